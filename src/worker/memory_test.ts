import assert from "node:assert/strict";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { Memory } from "./memory.ts";

const MB = 1024 * 1024;

function remembering(): {
  place: ConstructorParameters<typeof Memory>[0] & Numbers;
  done: string[];
} {
  const done: string[] = [];
  const place = {
    reactor: new FakeReactor(),
    preparedMemory: { released: 0 },
    clients: { left: 0 },
    longBytes: 0,
    texts: { forgetUnused: () => void done.push("forget") },
    toControl: ({ kind }: { kind: string }) => void done.push(kind),
  };
  return { place, done };
}

interface Numbers {
  preparedMemory: { released: number };
  clients: { left: number };
  longBytes: number;
}

Deno.test("memory: much that was let go of is collected, when nothing more follows", () => {
  const { place, done } = remembering();
  const memory = new Memory(place, () => void done.push("collect"));
  place.preparedMemory.released = 100 * MB;
  memory.look();
  place.preparedMemory.released = 200 * MB;
  memory.look();
  assert.deepEqual(done, []);
  memory.look();
  assert.deepEqual(done.splice(0), ["forget", "collect", "collected"]);
  memory.look();
  assert.deepEqual(done, []);
});

Deno.test("memory: a little is not worth it, until it has become much", () => {
  const { place, done } = remembering();
  const memory = new Memory(place, () => void done.push("collect"));
  for (let i = 0; i < 32; i++) {
    assert.deepEqual(done, []);
    place.preparedMemory.released += MB;
    memory.look();
  }
  assert.equal(done.length, 3);
});

Deno.test("memory: clients that leave and long messages that are through count, too", () => {
  const { place, done } = remembering();
  const memory = new Memory(place, () => void done.push("collect"));
  place.clients.left = 10_000;
  memory.look();
  memory.look();
  assert.equal(done.splice(0).length, 3);
  place.longBytes = 200 * MB;
  memory.look();
  memory.look();
  assert.deepEqual(done, []);
  place.longBytes = 0;
  memory.look();
  memory.look();
  assert.equal(done.length, 3);
});

import assert from "node:assert/strict";
import { decode, encode } from "../../handover/codec.ts";
import type { FrozenItem } from "../../mail.ts";
import { readAt } from "../../os/memory_file.ts";
import { BYTES_A_TURN, Packing, sizeOf, Unpacking } from "./blobs.ts";
import { Holding } from "./holding.ts";
import * as libc from "../../os/libc.ts";
import type { Fd } from "../../os/fd.ts";

function session(id: number, ...lengths: number[]): FrozenItem & { type: "session" } {
  const parameters = new Map([["TimeZone", "UTC"]]);
  const statements = lengths.map((length, i) => [
    Uint8Array.of(i),
    { id: i, body: new Uint8Array(length).fill(id + i), shape: Uint8Array.of(i), planner: "" },
  ]);
  const content = { state: { id, secret: new Uint8Array(4) }, statements, parameters, tail: null };
  return { type: "session", database: "db", user: "me", fds: [], session: content };
}

function pack(items: FrozenItem[], turns = 1): { items: FrozenItem[]; blobs: Fd | undefined } {
  const packing = new Packing(items);
  for (let i = 1; i < turns; i++) assert.ok(!packing.step());
  assert.ok(packing.step());
  return packing.take()!;
}

Deno.test("blobs: long bytes go apart, and come back where they were", () => {
  const items = [session(1, 5000, 10, 300_000), session(2), session(3, 70_000)];
  const before = structuredClone(items);
  const { items: packed, blobs } = pack(items);
  assert.deepEqual(items, before, "what is frozen may have to be thawed here");
  const wire = encode(packed);
  assert.ok(wire.length < 3000, `${wire.length}`);
  const arrived = decode(wire) as FrozenItem[];
  const unpacking = new Unpacking(blobs!);
  for (const item of arrived) {
    unpacking.begin(item);
    assert.ok(unpacking.step());
  }
  assert.deepEqual(arrived, before);
  libc.close(blobs!);
});

Deno.test("blobs: no file where nothing is long", () => {
  const { blobs, items } = pack([session(1, 100)]);
  assert.equal(blobs, undefined);
  assert.deepEqual(items, [session(1, 100)]);
});

Deno.test("blobs: a size is that of the bytes and a little more", () => {
  for (const length of [0, 1000, 2_000_000]) {
    const size = sizeOf(session(1, length, length));
    assert.ok(size >= 2 * length && size < 2 * length + 1000, `${size}`);
  }
  assert.ok(sizeOf({ text: "x".repeat(5000), map: new Map([["y".repeat(3000), 1]]) }) > 8000);
});

Deno.test("holding: what is whole waits for its word, what is not is refused and closed", () => {
  const errors: string[] = [];
  const answers: number[][] = [];
  const holding = new Holding({
    log: { error: (_, message) => void errors.push(message) },
    reactor: { atEndOfTurn: () => assert.fail("it is done in one turn") },
  });
  const { items, blobs } = pack([session(1, 5000), session(2, 6000), session(3)]);
  const broken = items[1] as FrozenItem & { session: { statements: unknown } };
  broken.session.statements = { $blob: [5000, 1e9] };
  broken.fds = [libc.eventfd(0, 0)];
  const answer = (refused: number[]) => void answers.push(refused);
  holding.take(4, items, blobs, answer);
  assert.deepEqual(answers, [[1]]);
  assert.match(errors.join(), /^a session of me@db can't be taken over: RangeError/);
  assert.ok(libc.write(broken.fds[0] as Fd, new Uint8Array(8), 8) < 0, "it is closed");
  assert.throws(() => readAt(blobs!, new Uint8Array(1), 0), "and so is the file");
  holding.take(5, [session(7)], undefined, answer);
  assert.deepEqual(answers[1], []);
  const released = holding.release(4);
  assert.deepEqual(released.map(({ index }) => index), [0, 2]);
  const statements = released.map(({ item }) => {
    const { session } = item as { session: { statements: [unknown, { body: Uint8Array }][] } };
    return session.statements.map(([, { body }]) => body);
  });
  assert.deepEqual(statements, [[new Uint8Array(5000).fill(1)], []]);
  assert.deepEqual(holding.release(4), []);
  assert.equal(holding.release(5).length, 1);
});

Deno.test("blobs: what is very long takes several turns, on either side", () => {
  const items = [session(1, 9_000_000, 5000), session(2, 8_000_000)];
  const before = structuredClone(items);
  const count = Math.ceil((9_000_000 + 5000 + 8_000_000) / BYTES_A_TURN);
  const { items: packed, blobs } = pack(items, count);
  const turns: (() => void)[] = [];
  const holding = new Holding({
    log: { error: () => assert.fail("it is all there") },
    reactor: { atEndOfTurn: (action) => void turns.push(action) },
  });
  let answer: number[] | undefined;
  holding.take(1, packed, blobs, (refused) => answer = refused);
  for (let i = 1; i < count; i++) {
    assert.equal(answer, undefined);
    assert.deepEqual(holding.release(1), []);
    turns.shift()!();
  }
  assert.deepEqual(answer, []);
  assert.equal(turns.length, 0);
  assert.deepEqual(holding.release(1).map(({ item }) => item.type), ["session", "session"]);
  assert.deepEqual(
    (packed as typeof before).map(({ session }) => session),
    before.map(({ session }) => session),
  );
});

Deno.test("blobs: what is abandoned leaves no file open", () => {
  const packing = new Packing([session(1, 9_000_000)]);
  assert.ok(!packing.step());
  packing.abandon();
  assert.equal(packing.take()!.blobs, undefined);
});

Deno.test("blobs: what was read is not kept in the file until that is closed", () => {
  const { items, blobs } = pack([session(1, 9_000_000)], Math.ceil(9_000_000 / BYTES_A_TURN));
  const kept = () => Deno.statSync(`/proc/self/fd/${blobs}`).blocks! * 512;
  assert.ok(kept() >= 9_000_000, `${kept()}`);
  const unpacking = new Unpacking(blobs!);
  unpacking.begin(items[0]!);
  assert.ok(!unpacking.step());
  assert.ok(kept() <= 9_000_000 - BYTES_A_TURN + 8192, `${kept()}`);
  do unpacking.nextTurn(); while (!unpacking.step());
  assert.ok(kept() <= 200_000, `${kept()}`);
  assert.deepEqual(items, [session(1, 9_000_000)]);
  libc.close(blobs!);
});

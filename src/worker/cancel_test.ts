import assert from "node:assert/strict";
import type { Pool } from "../pool/pool.ts";
import { cancelAnywhere, cancelHere, type CancelingWorker } from "./cancel.ts";

const SECRET = Uint8Array.of(1, 2, 3, 4);
const LEAVING = {} as Pool;

/** A worker that has client 7, and what it does. */
function worker(
  change: { frozen?: boolean; pool?: Pool; secret?: Uint8Array } = {},
): CancelingWorker & { done: string[] } {
  const { frozen = false, pool, secret = SECRET } = change;
  const done: string[] = [];
  const session = { frozen, pool, state: { secret }, cancel: () => void done.push("canceled") };
  return {
    done,
    sessions: new Map([[7, session as never]]),
    peers: [1, 2],
    relocations: { homeOf: (pool) => pool === LEAVING ? 2 : undefined },
    toPeer: (index, mail) => void done.push(`${mail.kind} to ${index}`),
    toControl: (mail) => void done.push(mail.kind),
  };
}

Deno.test("cancel: a client of this worker is found here, and nobody else is asked", () => {
  const here = worker();
  cancelAnywhere(here, 7, SECRET.slice());
  assert.deepEqual(here.done, ["canceled"]);
});

Deno.test("cancel: a wrong secret cancels nothing, here or elsewhere", () => {
  for (const secret of [[], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 5]]) {
    const here = worker();
    cancelAnywhere(here, 7, Uint8Array.from(secret));
    assert.deepEqual(here.done, [], String(secret));
  }
  const withoutKey = worker({ secret: new Uint8Array(0) });
  cancelAnywhere(withoutKey, 7, new Uint8Array(0));
  assert.deepEqual(withoutKey.done, []);
});

Deno.test("cancel: whom this worker does not have the others may have, or the other process", () => {
  const here = worker();
  cancelAnywhere(here, 8, SECRET);
  assert.deepEqual(here.done, ["cancel to 1", "cancel to 2", "cancel_elsewhere"]);
});

Deno.test("cancel: what another worker or process asks for is not passed round again", () => {
  const here = worker();
  assert.ok(!cancelHere(here, 8, SECRET));
  assert.deepEqual(here.done, []);
});

Deno.test("cancel: a frozen client is canceled where it is thawed", () => {
  const leaving = worker({ frozen: true, pool: LEAVING });
  assert.ok(cancelHere(leaving, 7, SECRET));
  assert.deepEqual(leaving.done, ["cancel to 2"]);
  const upgrading = worker({ frozen: true, pool: {} as Pool });
  assert.ok(cancelHere(upgrading, 7, SECRET));
  assert.deepEqual(upgrading.done, ["cancel_elsewhere"]);
});

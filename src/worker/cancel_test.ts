import assert from "node:assert/strict";
import type { WorkerToWorker } from "../mail.ts";
import type { Pool } from "../pool/pool.ts";
import { WrongKeys } from "./wrong_keys.ts";
import { cancelAnywhere, cancelAsked, type CancelingWorker, CancelTickets } from "./cancel.ts";

const SECRET = Uint8Array.of(1, 2, 3, 4);
const LEAVING = {} as Pool;

/** Sent from some address. */
function by(secret: Uint8Array): { secret: Uint8Array; address: string } {
  return { secret, address: "10.0.0.1" };
}

interface TestedWorker extends CancelingWorker {
  done: string[];
  mail: WorkerToWorker[];
  /** Ends the cancel request that is on its way to PostgreSQL. */
  end: () => void;
  through: () => void;
}

/** A worker that has client 7, and what it does. */
function worker(change: { frozen?: boolean; pool?: Pool; secret?: Uint8Array } = {}): TestedWorker {
  const { frozen = false, pool, secret = SECRET } = change;
  const done: string[] = [];
  const mail: WorkerToWorker[] = [];
  const cancel = (through: () => void) => {
    done.push("canceled");
    it.end = through;
  };
  const session = { frozen, pool, state: { secret }, cancel };
  const it: TestedWorker = {
    index: 0,
    done,
    mail,
    end: () => {},
    through: () => void done.push("through"),
    sessions: new Map([[7, session as never]]),
    peers: [1, 2],
    relocations: { homeOf: (pool) => pool === LEAVING ? 2 : undefined },
    tickets: new CancelTickets(),
    wrongKeys: new WrongKeys(),
    reactor: { now: 0 },
    log: { provoked: () => void done.push("logged") },
    toPeer: (index, one) => {
      done.push(`${one.kind} to ${index}`);
      mail.push(one);
    },
    toControl: (mail) => void done.push(mail.kind),
  };
  return it;
}

Deno.test("cancel: a client of this worker is found here, and it is through when PostgreSQL has hung up", () => {
  const here = worker();
  cancelAnywhere(here, 7, by(SECRET.slice()), here.through);
  assert.deepEqual(here.done, ["canceled"]);
  here.end();
  assert.deepEqual(here.done, ["canceled", "through"]);
});

Deno.test("cancel: a wrong secret cancels nothing, here or elsewhere", () => {
  for (const secret of [[], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 5]]) {
    const here = worker();
    cancelAnywhere(here, 7, by(Uint8Array.from(secret)), here.through);
    assert.deepEqual(here.done, ["through"], String(secret));
  }
  const withoutKey = worker({ secret: new Uint8Array(0) });
  cancelAnywhere(withoutKey, 7, by(new Uint8Array(0)), withoutKey.through);
  assert.deepEqual(withoutKey.done, ["through"]);
});

Deno.test("cancel: whom this worker does not have the others may have, or the other process; all have to answer", () => {
  const here = worker();
  cancelAnywhere(here, 8, by(SECRET), here.through);
  assert.deepEqual(here.done, ["cancel_elsewhere", "cancel to 1", "cancel to 2"]);
  const [first, second] = here.mail.map((one) => one.kind === "cancel" ? one.from.ticket : 0);
  assert.equal(first, second);
  here.tickets.answered(first!, 1, "miss");
  assert.equal(here.done.length, 3);
  here.tickets.answered(first!, 1, "miss");
  assert.equal(here.done.length, 3);
  here.tickets.answered(first!, 2, "miss");
  here.tickets.answered(first!, 2, "miss");
  assert.deepEqual(here.done.slice(3), ["through"]);
});

Deno.test("cancel: a worker that is lost is waited for no more", () => {
  const here = worker();
  cancelAnywhere(here, 8, by(SECRET), here.through);
  here.tickets.lost(1);
  assert.equal(here.done.length, 3);
  here.tickets.lost(2);
  here.tickets.lost(2);
  assert.deepEqual(here.done.slice(3), ["through"]);
});

Deno.test("cancel: with one worker alone there is nobody to be waited for", () => {
  const here = { ...worker(), peers: [] };
  cancelAnywhere(here, 8, by(SECRET), here.through);
  assert.deepEqual(here.done, ["cancel_elsewhere", "through"]);
});

Deno.test("cancel: who is asked by another worker answers when it is through, at once if it is not its client", () => {
  const here = worker();
  cancelAsked(here, 8, SECRET, { worker: 2, ticket: 5 });
  assert.deepEqual(here.mail, [{ kind: "cancel_through", ticket: 5, key: "miss" }]);
  cancelAsked(here, 7, SECRET, { worker: 2, ticket: 6 });
  assert.deepEqual(here.done, ["cancel_through to 2", "canceled"]);
  here.end();
  assert.deepEqual(here.done.slice(2), ["cancel_through to 2"]);
});

Deno.test("cancel: what another process asks for is not passed round again, and answered to nobody", () => {
  const here = worker();
  cancelAsked(here, 8, SECRET, undefined);
  assert.deepEqual(here.done, []);
  cancelAsked(here, 7, SECRET, undefined);
  here.end();
  assert.deepEqual(here.done, ["canceled"]);
});

Deno.test("cancel: a frozen client is canceled where it is thawed", () => {
  const leaving = worker({ frozen: true, pool: LEAVING });
  cancelAnywhere(leaving, 7, by(SECRET), leaving.through);
  assert.deepEqual(leaving.done, ["cancel to 2"]);
  leaving.tickets.answered(1, 2, "hit");
  assert.deepEqual(leaving.done, ["cancel to 2", "through"]);
  const upgrading = worker({ frozen: true, pool: {} as Pool });
  cancelAnywhere(upgrading, 7, by(SECRET), upgrading.through);
  assert.deepEqual(upgrading.done, ["cancel_elsewhere", "through"]);
});

Deno.test("cancel: an address with many wrong keys is not listened to, right ones do not count", () => {
  const here = worker();
  const send = (secret: Uint8Array, address: string) => {
    here.done.length = 0;
    cancelAnywhere(here, 7, { secret, address }, here.through);
    return here.done.join();
  };
  for (let i = 0; i < 300; i++) assert.equal(send(SECRET, "10.0.0.1"), "canceled");
  const wrong = Uint8Array.of(1, 2, 3, 5);
  for (let i = 0; i < 100; i++) assert.equal(send(wrong, "10.0.0.1"), "through");
  assert.equal(send(SECRET, "10.0.0.1"), "logged,through");
  assert.equal(send(SECRET, "10.0.0.2"), "canceled");
});

Deno.test("cancel: keys that are wrong everywhere count, those that are right somewhere do not", () => {
  for (const [key, left] of [["miss", "logged,through"], ["hit", "canceled"]] as const) {
    const here = worker();
    for (let i = 0; i < 100; i++) {
      cancelAnywhere(here, 8, by(SECRET), here.through);
      const mail = here.mail.at(-1)!;
      const ticket = mail.kind === "cancel" ? mail.from.ticket : 0;
      here.tickets.answered(ticket, 1, key);
      here.tickets.answered(ticket, 2, "miss");
    }
    here.done.length = 0;
    cancelAnywhere(here, 7, by(SECRET), here.through);
    assert.equal(here.done.join(), left);
  }
});

/**
 * A CancelRequest finds its session: on this worker, on another one, or in the other process of a binary upgrade. A frozen
 * session is here and there at once: what means it goes where it is thawed.
 *
 * Whoever sends one reads until the end of the connection, to know that no statement sent from then on can be hit: so the
 * connection ends when PostgreSQL has hung up, or when it is certain that nothing is sent to it.
 */

import { timingSafeEqual } from "node:crypto";
import type { CancelAsker, WorkerToControl, WorkerToWorker } from "../mail.ts";
import type { Session } from "../client/session.ts";
import { peerAddress } from "../client/state.ts";
import type { Log } from "../log/log.ts";
import type { WrongKeys } from "./wrong_keys.ts";
import type { Pool } from "../pool/pool.ts";

/** A session as far as it can be canceled. */
type CancelableSession = Pick<Session, "frozen" | "pool" | "cancel"> & {
  readonly state: Pick<Session["state"], "secret">;
};

/** Told once, when nothing of the request is on its way to PostgreSQL any more. */
type Through = (key: "hit" | "miss") => void;

/** Cancel requests whose clients other workers were asked for. */
export class CancelTickets {
  readonly #open = new Map<number, { left: Set<number>; hit: boolean; through: Through }>();
  #last: number;

  /** Numbers count from `after` on. */
  constructor(after = 0) {
    this.#last = after;
  }

  /** `through` is called when these workers have answered. */
  open(workers: readonly number[], through: Through): number {
    const ticket = ++this.#last;
    if (workers.length === 0) through("miss");
    else this.#open.set(ticket, { left: new Set(workers), hit: false, through });
    return ticket;
  }

  answered(ticket: number, worker: number, key: "hit" | "miss"): void {
    const one = this.#open.get(ticket);
    if (one === undefined) return;
    one.hit ||= key === "hit";
    one.left.delete(worker);
    if (one.left.size > 0) return;
    this.#open.delete(ticket);
    one.through(one.hit ? "hit" : "miss");
  }

  /** This worker will answer none that is open. */
  lost(worker: number): void {
    for (const ticket of [...this.#open.keys()]) this.answered(ticket, worker, "miss");
  }
}

/** What canceling needs of its worker. */
export interface CancelingWorker {
  readonly index: number;
  /** By the process id of their key. */
  readonly sessions: ReadonlyMap<number, CancelableSession>;
  /** The other workers. */
  readonly peers: Iterable<number>;
  /** The worker that this pool is on its way to. */
  readonly relocations: { homeOf(pool: Pool | undefined): number | undefined };
  readonly tickets: CancelTickets;
  readonly wrongKeys: WrongKeys;
  readonly reactor: { readonly now: number };
  readonly log: Pick<Log, "provoked">;
  toPeer(worker: number, mail: WorkerToWorker): void;
  toControl(mail: WorkerToControl): void;
}

/**
 * A client has sent it to this worker: whom it means may be anywhere. `through`: nothing of it is on its way to PostgreSQL
 * any more; what the other process of an upgrade does with it is not waited for.
 */
export function cancelAnywhere(
  worker: CancelingWorker,
  processId: number,
  { secret, address }: { secret: Uint8Array; address: string },
  through: () => void,
): void {
  const { wrongKeys, reactor } = worker;
  if (wrongKeys.exceeded(address, reactor.now)) {
    const from = peerAddress({ ip: address });
    worker.log.provoked(
      "warn",
      "pg_doorman::client",
      { kind: "wrong_cancel_keys", address: from },
      `cancel request from ${from} is not looked at: too many with a wrong key came from there`,
    );
    return through();
  }
  const done: Through = (key) => {
    if (key === "miss") wrongKeys.note(address, reactor.now);
    through();
  };
  if (cancelHere(worker, processId, secret, done)) return;
  worker.toControl({ kind: "cancel_elsewhere", processId, secret });
  const peers = [...worker.peers];
  const from = asker(worker, peers, done);
  for (const index of peers) worker.toPeer(index, { kind: "cancel", processId, secret, from });
}

/** Whether the session is this worker's: then `through` will be called. With a wrong secret nothing happens. */
function cancelHere(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
  through: Through,
): boolean {
  const session = worker.sessions.get(processId);
  if (session === undefined) return false;
  const own = session.state.secret;
  if (session.frozen) {
    const home = worker.relocations.homeOf(session.pool);
    if (home !== undefined) {
      const from = asker(worker, [home], through);
      worker.toPeer(home, { kind: "cancel", processId, secret, from });
    } else {
      worker.toControl({ kind: "cancel_elsewhere", processId, secret });
      through("hit");
    }
    return true;
  }
  if (own.length > 0 && own.length === secret.length && timingSafeEqual(own, secret)) {
    session.cancel(() => through("hit"));
  } else through("miss");
  return true;
}

function asker(
  worker: CancelingWorker,
  asked: readonly number[],
  through: Through,
): CancelAsker {
  return { worker: worker.index, ticket: worker.tickets.open(asked, through) };
}

/** Another worker (`from`), or the other process, looks for the client. */
export function cancelAsked(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
  from: CancelAsker | undefined,
): void {
  const through: Through = (key) => {
    if (from === undefined) return;
    worker.toPeer(from.worker, { kind: "cancel_through", ticket: from.ticket, key });
  };
  if (!cancelHere(worker, processId, secret, through)) through("miss");
}

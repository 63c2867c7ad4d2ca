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
import type { Pool } from "../pool/pool.ts";

/** A session as far as it can be canceled. */
type CancelableSession = Pick<Session, "frozen" | "pool" | "cancel"> & {
  readonly state: Pick<Session["state"], "secret">;
};

/** Cancel requests whose clients other workers were asked for. */
export class CancelTickets {
  readonly #open = new Map<number, { left: number; through: () => void }>();
  #last = 0;

  /** `through` is called when so many workers have answered. */
  open(answers: number, through: () => void): number {
    const ticket = ++this.#last;
    if (answers === 0) through();
    else this.#open.set(ticket, { left: answers, through });
    return ticket;
  }

  answered(ticket: number): void {
    const one = this.#open.get(ticket);
    if (one === undefined || --one.left > 0) return;
    this.#open.delete(ticket);
    one.through();
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
  secret: Uint8Array,
  through: () => void,
): void {
  if (cancelHere(worker, processId, secret, through)) return;
  worker.toControl({ kind: "cancel_elsewhere", processId, secret });
  const peers = [...worker.peers];
  const from = asker(worker, peers.length, through);
  for (const index of peers) worker.toPeer(index, { kind: "cancel", processId, secret, from });
}

/** Whether the session is this worker's: then `through` will be called. With a wrong secret nothing happens. */
function cancelHere(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
  through: () => void,
): boolean {
  const session = worker.sessions.get(processId);
  if (session === undefined) return false;
  const own = session.state.secret;
  if (session.frozen) {
    const home = worker.relocations.homeOf(session.pool);
    if (home !== undefined) {
      const from = asker(worker, 1, through);
      worker.toPeer(home, { kind: "cancel", processId, secret, from });
    } else {
      worker.toControl({ kind: "cancel_elsewhere", processId, secret });
      through();
    }
    return true;
  }
  if (own.length > 0 && own.length === secret.length && timingSafeEqual(own, secret)) {
    session.cancel(through);
  } else through();
  return true;
}

function asker(worker: CancelingWorker, answers: number, through: () => void): CancelAsker {
  return { worker: worker.index, ticket: worker.tickets.open(answers, through) };
}

/** Another worker (`from`), or the other process, looks for the client. */
export function cancelAsked(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
  from: CancelAsker | undefined,
): void {
  const through = () => {
    if (from === undefined) return;
    worker.toPeer(from.worker, { kind: "cancel_through", ticket: from.ticket });
  };
  if (!cancelHere(worker, processId, secret, through)) through();
}

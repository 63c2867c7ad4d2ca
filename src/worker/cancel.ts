/**
 * A CancelRequest finds its session: on this worker, on another one, or in the other process of a binary upgrade. A frozen
 * session is here and there at once: what means it goes where it is thawed.
 */

import type { WorkerToControl, WorkerToWorker } from "../mail.ts";
import type { Session } from "../client/session.ts";
import type { Pool } from "../pool/pool.ts";

/** A session as far as it can be canceled. */
type CancelableSession = Pick<Session, "frozen" | "pool" | "cancel"> & {
  readonly state: Pick<Session["state"], "secret">;
};

/** What canceling needs of its worker. */
export interface CancelingWorker {
  /** By the process id of their key. */
  readonly sessions: ReadonlyMap<number, CancelableSession>;
  /** The other workers. */
  readonly peers: Iterable<number>;
  /** The worker that this pool is on its way to. */
  readonly relocations: { homeOf(pool: Pool | undefined): number | undefined };
  toPeer(worker: number, mail: WorkerToWorker): void;
  toControl(mail: WorkerToControl): void;
}

/** A client has sent it to this worker: whom it means may be anywhere. */
export function cancelAnywhere(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
): void {
  if (cancelHere(worker, processId, secret)) return;
  for (const index of worker.peers) worker.toPeer(index, { kind: "cancel", processId, secret });
  worker.toControl({ kind: "cancel_elsewhere", processId, secret });
}

/** Whether the session is this worker's; with a wrong secret nothing happens. */
export function cancelHere(
  worker: CancelingWorker,
  processId: number,
  secret: Uint8Array,
): boolean {
  const session = worker.sessions.get(processId);
  if (session === undefined) return false;
  const own = session.state.secret;
  if (session.frozen) {
    const home = worker.relocations.homeOf(session.pool);
    if (home !== undefined) worker.toPeer(home, { kind: "cancel", processId, secret });
    else worker.toControl({ kind: "cancel_elsewhere", processId, secret });
    return true;
  }
  if (own.length > 0 && own.length === secret.length && own.every((b, i) => b === secret[i])) {
    session.cancel();
  }
  return true;
}

/**
 * The clients of this worker: accepted here, handed over by another worker, or come with an upgrade or with their pool;
 * and gone again by one of these ways, or closed.
 */

import type { Fd } from "../os/fd.ts";
import type { ClientContext } from "../client/context.ts";
import type { SessionSnapshot } from "../client/freeze.ts";
import { ClientLogin } from "../client/login/login.ts";
import { bringPlace } from "../client/login/places.ts";
import type { Pool } from "../pool/pool.ts";
import { Session } from "../client/session.ts";
import { newSessionState, type SessionState, Stage } from "../client/state.ts";
import type { WorkerToWorker } from "../mail.ts";
import { NO_PARAMETERS } from "../server/parameters.ts";
import { streamOf } from "../server/stream_of.ts";
import { MOST_CLIENT_ID } from "../client/login/process_id.ts";
import { Shared } from "../stats/shared.ts";
import type { Accepted } from "./accept.ts";

/** What sessions have of their worker, and a way to the other workers. */
export interface SessionsPlace extends ClientContext {
  toPeer(worker: number, mail: WorkerToWorker): void;
}

/** What a session is made of that was one elsewhere. */
export type Travelled = Pick<SessionSnapshot, "state" | "tls">;

/** A session that ends within this time hardly ever sees two collections of the engine's new objects. */
const YOUNG_MS = 1000;

export class Sessions {
  readonly #place: SessionsPlace;
  readonly #all = new Map<number, Session>();
  /** How many have ever left that have grown old: what others had was collected soon after. */
  left = 0;

  constructor(place: SessionsPlace) {
    this.#place = place;
  }

  /** By the process id of their key. */
  get all(): ReadonlyMap<number, Session> {
    return this.#all;
  }

  accept({ fd, unix, address, ip }: Accepted): void {
    const { reactor, shared, counts } = this.#place;
    counts.total++;
    // Positive, and never 0: a process id is made of it.
    const id = (Atomics.add(shared, Shared.LastClientId, 1) & 0x7fffffff) % MOST_CLIENT_ID + 1;
    const state: SessionState = { ...newSessionState(id, reactor.now), address, ip, unix };
    this.#open(fd, { state, tls: undefined }).listen(undefined);
  }

  #open(fd: Fd, { state, tls }: Travelled): Session {
    const session = new Session(this.#place, streamOf(fd, tls), state);
    session.login = new ClientLogin(session);
    this.#all.set(state.id, session);
    return session;
  }

  /** A session that comes with its pool; with a login if it is not through. */
  openThawed(fd: Fd, { state, tls }: Travelled, pool: Pool | undefined): Session {
    this.#place.tally.add("Clients", 1);
    bringPlace({ context: this.#place, state, pool });
    const session = new Session(this.#place, streamOf(fd, tls), state);
    if (state.stage <= Stage.Preparing) session.login = new ClientLogin(session);
    this.#all.set(state.id, session);
    return session;
  }

  /** Its pool is on the other worker. */
  handOver(worker: number, client: number): void {
    const session = this.#all.get(client)!;
    this.#all.delete(client);
    const snapshot = session.freeze();
    session.handedOver();
    this.#place.tally.add("Clients", -1);
    this.#place.toPeer(worker, { kind: "hand_over", fd: session.stream.fd, session: snapshot });
  }

  /** Another worker has handed it over. */
  takeOver(fd: Fd, snapshot: SessionSnapshot): void {
    const { state, tail } = snapshot;
    state.connectedAtMs = this.#place.reactor.now - state.connectedAtMs;
    state.parameters = NO_PARAMETERS;
    this.#place.tally.add("Clients", 1);
    const session = this.#open(fd, snapshot);
    session.listen(tail);
    if (session.login!.begin()) session.takeKept();
  }

  leave(client: number): void {
    const since = this.#all.get(client)?.state.connectedAtMs ?? -Infinity;
    if (this.#place.reactor.now - since > YOUNG_MS) this.left++;
    this.#all.delete(client);
    this.#place.tally.add("Clients", -1);
  }
}

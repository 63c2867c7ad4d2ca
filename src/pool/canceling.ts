/**
 * Cancel requests for a pool's servers. Until PostgreSQL has taken one, its server must not meet another client, nor another
 * statement of the same one: it would lose a query that nobody wanted canceled.
 */

import type { PoolSettings, ServerTls } from "../config/settings.ts";
import { type CancelWay, sendCancelRequest } from "../server/cancel_request.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { HandshakeCounts } from "../server/encryption.ts";
import { ServerStage } from "../server/state.ts";
import type { PoolEnvironment, PoolOwner } from "./environment.ts";

/** What is needed of a pool. */
export interface CancelingPool {
  readonly settings: Pick<PoolSettings, "connect_timeout" | "server_tls">;
  readonly name: string;
  readonly traffic: HandshakeCounts;
  readonly moved: boolean;
  afterUse(server: ServerConnection): void;
  cancel(server: ServerConnection): void;
}

/** What is needed of the worker. */
type CancelingEnvironment<Pool> =
  & Pick<PoolEnvironment, "reactor" | "handshake" | "log">
  & Pick<PoolOwner<Pool>, "lateServer">;

export class Canceling<Pool extends CancelingPool> {
  readonly #pool: Pool;
  readonly #environment: CancelingEnvironment<Pool>;

  constructor(
    pool: Pool,
    environment: CancelingEnvironment<Pool>,
  ) {
    this.#pool = pool;
    this.#environment = environment;
  }

  /** Asks PostgreSQL to cancel what the server runs. `through`: what is sent to it now can't be hit by this. */
  cancel(server: ServerConnection, through: () => void = () => {}): void {
    server.cancelsUnderWay++;
    const { settings, name, traffic } = this.#pool;
    const { reactor, log } = this.#environment;
    const way = {
      reactor,
      timeoutMs: settings.connect_timeout,
      encryption: encryptionOf(server, settings.server_tls),
      tls: this.#environment,
      counts: traffic,
    };
    sendCancelRequest(server.state, way, (end, why) => {
      server.cancelsUnderWay--;
      if (end === "lost") {
        log.warn(
          "pg_doorman::server",
          `[${name}] cancel request for pid=${server.state.pid}: ${why}`,
        );
      }
      // Lost is not the same as never: the server must not meet another client.
      if (end === "lost") server.state.epoch = -1;
      if (server.cancelsUnderWay === 0) this.#free(server);
      through();
    });
  }

  #free(server: ServerConnection): void {
    if (server.state.stage === ServerStage.Cleaning && server.owed.length === 0) {
      this.#pool.afterUse(server);
    } else if (this.#pool.moved) this.#environment.lateServer(this.#pool, server);
    // What its client has sent since waits.
    else if (!server.congested) server.link?.serverWritable();
  }

  /** Its client has left, what is owed to it is dropped: what PostgreSQL still does is canceled, after `graceMs`. */
  leftBehind(server: ServerConnection, graceMs: number): void {
    const { state } = server;
    if (state.stage !== ServerStage.Draining) return;
    const { uses } = state;
    const cancel = () => {
      const same = state.stage === ServerStage.Draining && state.uses === uses;
      if (!same || server.cancelsUnderWay > 0 || !server.owed.owesClient()) return;
      this.#pool.cancel(server);
    };
    const { reactor } = this.#environment;
    if (graceMs === 0) cancel();
    else reactor.at(reactor.now + graceMs, cancel);
  }
}

/** The same TLS as the server connection itself has; what comes from elsewhere left its files behind. */
function encryptionOf(
  { state, tlsSettings }: ServerConnection,
  { files }: ServerTls,
): CancelWay["encryption"] {
  if (state.tls === undefined) return undefined;
  const { mode, direct, host } = state.tls;
  return { settings: tlsSettings ?? { mode, direct, files }, host };
}

/** Cancels what runs before its server is closed: PostgreSQL notices that nobody is there only when it writes. */
export function cancelRunning(
  pool: { servers(): Iterable<ServerConnection>; cancel(server: ServerConnection): void },
): void {
  for (const server of pool.servers()) {
    if (server.owed.length > 0 && server.cancelsUnderWay === 0) pool.cancel(server);
  }
}

/**
 * `connect_query`: what is run once on each new server connection before clients have it. An error of it is logged and
 * changes nothing: the connection works, and without it nobody could be served.
 */

import type { PoolSettings } from "../../config/settings.ts";
import type { Log } from "../../log/log.ts";
import { oneLine } from "../../log/one_line.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";

/** A server that is greeted. */
export interface GreetedServer {
  readonly state: { readonly pid: number };
  runOwn(sql: string): void;
}

/** What is needed of a pool. */
export interface GreetingPool {
  readonly name: string;
}

export class Greeting<Server extends GreetedServer> {
  readonly #pool: GreetingPool;
  readonly #log: Pick<Log, "warn">;
  readonly #underWay = new Set<Server>();

  constructor(pool: GreetingPool, log: Pick<Log, "warn">) {
    this.#pool = pool;
    this.#log = log;
  }

  /** Sends the query, if there is one. */
  begin(server: Server, { connect_query }: Pick<PoolSettings, "connect_query">): boolean {
    if (connect_query === "") return false;
    this.#underWay.add(server);
    server.runOwn(connect_query);
    return true;
  }

  /** The server has answered, or is closed. Says whether it was being greeted: then its error is dealt with. */
  end(server: Server, error: ReceivedError | undefined): boolean {
    if (!this.#underWay.delete(server)) return false;
    if (error !== undefined) {
      this.#log.warn(
        "pg_doorman::server",
        `[${this.#pool.name}] pid=${server.state.pid} connect_query failed: ${error.code}: ` +
          oneLine(error.message),
      );
    }
    return true;
  }
}

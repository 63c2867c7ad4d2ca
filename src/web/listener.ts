/**
 * The listening socket of `[web]`: opened at the start, and by the new process of a binary upgrade before the old one
 * closes its own. Both may have the port for that moment (SO_REUSEPORT), so that no scrape finds it closed.
 */

import type { WebConfig } from "../config/types.ts";
import type { WebEnvironment } from "./environment.ts";
import { HttpServer } from "./http/server.ts";
import type { MetricsSnapshot } from "./metrics/gather.ts";
import { Routes } from "./routes.ts";

const TARGET = "pg_doorman::web";
/** The log says no oftener that connections can't be accepted. */
const FAILED_LOG_EVERY_MS = 5000;

/** The socket can't be opened. */
export class WebListenError extends Error {}

/** Whether somebody else may have the port. */
export type Sharing = "alone" | "with the process before";

export class WebListener {
  readonly #environment: WebEnvironment;
  readonly #routes: Routes;
  #server: HttpServer | undefined;
  #failedLoggedAtMs = -Infinity;

  constructor(environment: WebEnvironment) {
    this.#environment = environment;
    this.#routes = new Routes(environment);
  }

  /** Opens the socket, if the configuration wants one, and serves. Throws a `WebListenError`. */
  open({ enabled, host, port }: Pick<WebConfig, "enabled" | "host" | "port">, how: Sharing): void {
    if (!enabled || this.#server !== undefined) return;
    const hostname = host.replace(/^\[(.*)\]$/, "$1");
    const name = `${host}:${port}`;
    let listener: Deno.TcpListener;
    try {
      if (!/^[0-9.]+$|:/.test(hostname)) throw new Error("[web] host has to be an IP address");
      // Two services that share a port by mistake would each get half of the scrapes.
      if (how === "alone") Deno.listen({ hostname, port }).close();
      listener = Deno.listen(sharedAddress(hostname, port));
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new WebListenError(`listen on ${name} for [web]: ${why}`, { cause });
    }
    this.#server = new HttpServer(listener, {
      handle: (request) => this.#routes.handle(request),
      answered: (head, answer, peer) => this.#routes.answered(head, answer, peer),
      sever: (localPort, peerPort) => this.#environment.sever(localPort, peerPort),
      failed: (why) => this.#failed(why),
    });
    this.#environment.log.info(TARGET, `metrics and health checks on http://${name}`);
  }

  get isOpen(): boolean {
    return this.#server !== undefined;
  }

  /** Serves no more; resolves when answers under way are sent. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close();
  }

  /** Counts for the next process. */
  snapshot(): MetricsSnapshot {
    return this.#routes.gathering.snapshot();
  }

  /** Counts of the process before. */
  takeOver(snapshot: MetricsSnapshot): void {
    this.#routes.gathering.takeOver(snapshot);
  }

  #failed(why: string): void {
    const now = performance.now();
    if (now - this.#failedLoggedAtMs < FAILED_LOG_EVERY_MS) return;
    this.#failedLoggedAtMs = now;
    this.#environment.log.error(TARGET, `connections of [web] can't be accepted: ${why}`);
  }
}

/** The types know `reusePort` of datagrams alone. */
function sharedAddress(
  hostname: string,
  port: number,
): Deno.TcpListenOptions & { reusePort: boolean } {
  return { hostname, port, reusePort: true };
}

/**
 * An HTTP/1.1 server with what the runtime's own ones (`Deno.serve`, `node:http`) lack: a bound on connections and on
 * how long a client may take for its head. It takes so many connections and requests a second at most, so that whoever
 * asks without end costs the process little.
 *
 * At the bound the connection makes way whose client has been waited for the longest, for its request or to take its
 * answer: a client that asks is served, however many others just stay.
 */

import type { Answer, Handle } from "./answer.ts";
import { HTTP_TIMES, HttpConnection, type HttpHost, type HttpTimes } from "./connection.ts";
import type { RequestHead } from "./head.ts";
import { Pace } from "./pace.ts";

/** Connections at the same time. */
export const MOST_CONNECTIONS = 128;
const CONNECTIONS_A_SECOND = 500;
const REQUESTS_A_SECOND = 500;
/** After an accept has failed: for want of descriptors, as a rule. */
const ACCEPT_AGAIN_MS = 250;
/** What a server that closes gives answers under way. */
const LAST_ANSWERS_MS = 1000;

/** What the server needs. */
export interface HttpServerOptions {
  handle: Handle;
  /** Every answer, for the log and the counts; the head is absent when it could not be understood. */
  answered: (head: RequestHead | undefined, answer: Answer, peer: string) => void;
  sever: HttpHost["sever"];
  /** An accept has failed. */
  failed: (why: string) => void;
  times?: HttpTimes;
  mostConnections?: number;
}

export class HttpServer implements HttpHost {
  readonly handle: Handle;
  readonly times: HttpTimes;
  readonly answered: HttpHost["answered"];
  readonly sever: HttpHost["sever"];
  closing = false;
  readonly #listener: Deno.Listener<Deno.TcpConn>;
  readonly #options: HttpServerOptions;
  readonly #connections = new Map<HttpConnection, Promise<void>>();
  readonly #accepts = new Pace(CONNECTIONS_A_SECOND);
  readonly #requests = new Pace(REQUESTS_A_SECOND);

  /** Begins to accept. The listener is the server's from now on. */
  constructor(listener: Deno.Listener<Deno.TcpConn>, options: HttpServerOptions) {
    this.#listener = listener;
    this.#options = options;
    this.handle = options.handle;
    this.answered = options.answered;
    this.sever = options.sever;
    this.times = options.times ?? HTTP_TIMES;
    void this.#accept();
  }

  /** Open connections. */
  get connections(): number {
    return this.#connections.size;
  }

  admit(): Promise<void> {
    return this.#requests.next();
  }

  async #accept(): Promise<void> {
    while (!this.closing) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (this.closing) return;
        this.#options.failed(error instanceof Error ? error.message : String(error));
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS));
        continue;
      }
      if (this.closing || !this.#makeRoom()) conn.close();
      else this.#serve(conn);
      await this.#accepts.next();
    }
  }

  #serve(conn: Deno.TcpConn): void {
    const connection = new HttpConnection(conn, this);
    const served = connection.serve().then(() => void this.#connections.delete(connection));
    this.#connections.set(connection, served);
  }

  #makeRoom(): boolean {
    if (this.#connections.size < (this.#options.mostConnections ?? MOST_CONNECTIONS)) return true;
    let longest: HttpConnection | undefined;
    for (const connection of this.#connections.keys()) {
      const { waitsSinceMs = Infinity } = connection;
      if (waitsSinceMs < (longest?.waitsSinceMs ?? Infinity)) longest = connection;
    }
    if (longest === undefined) return false;
    longest.close();
    this.#connections.delete(longest);
    return true;
  }

  /** Accepts no more, and resolves when answers under way are sent, or time is over. */
  async close(): Promise<void> {
    this.closing = true;
    this.#listener.close();
    for (const connection of this.#connections.keys()) {
      if (connection.idle) connection.close();
    }
    const timer = setTimeout(() => {
      for (const connection of this.#connections.keys()) connection.close();
    }, LAST_ANSWERS_MS);
    await Promise.all(this.#connections.values());
    clearTimeout(timer);
  }
}

/**
 * A server that says what a test tells it to, in PostgreSQL's place: for servers that break the protocol, stall or die.
 *
 *     await using server = new WireServer(async (peer) => {
 *       await peer.welcome();
 *       await peer.query();
 *       await peer.send(wire.message("Z", wire.text("I")));
 *     });
 *
 * A script that ends keeps its connection open until the other side closes it; `peer.hangUp()` closes it. A peer that is
 * gone ends its script quietly.
 */

import { freePort } from "./ports.ts";
import * as wire from "./wire_messages.ts";

/** Ends a script whose peer has closed the connection. */
class Gone extends Error {}

/** One accepted connection. */
export class WirePeer {
  readonly #connection: Deno.Conn;
  readonly #reader = new wire.MessageReader();
  readonly #buffer = new Uint8Array(1 << 16);
  #startup: number[] = [];

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  async #receive(): Promise<Uint8Array> {
    let count: number | null;
    try {
      count = await this.#connection.read(this.#buffer);
    } catch (error) {
      throw new Gone("peer is gone", { cause: error });
    }
    if (count === null) throw new Gone("peer is gone");
    return this.#buffer.subarray(0, count);
  }

  /** Reads the first packet, which has no type. */
  async startup(): Promise<Uint8Array> {
    for (;;) {
      const bytes = Uint8Array.from(this.#startup);
      if (bytes.length >= 4) {
        const length = new DataView(bytes.buffer).getInt32(0);
        if (bytes.length >= length) {
          this.#reader.push(bytes.subarray(length));
          return bytes.subarray(0, length);
        }
      }
      this.#startup.push(...await this.#receive());
    }
  }

  /** A login as PostgreSQL does it where it trusts. */
  async welcome(parameters: Record<string, string> = {}): Promise<void> {
    await this.startup();
    const reported = { server_version: "18.0", client_encoding: "UTF8", ...parameters };
    await this.send(
      wire.message("R", wire.int32(0)),
      ...Object.entries(reported).map(([name, value]) =>
        wire.message("S", wire.cstring(name), wire.cstring(value))
      ),
      wire.message("K", wire.int32(4711, 1)),
      wire.message("Z", wire.text("I")),
    );
  }

  /** The next message of the pooler. */
  async read(): Promise<wire.Message> {
    for (;;) {
      const message = this.#reader.next();
      if (message !== undefined) return message;
      this.#reader.push(await this.#receive());
    }
  }

  /** Sends bytes; waits until the kernel has taken them. */
  async send(...parts: Uint8Array[]): Promise<void> {
    try {
      for (const part of parts) {
        for (let at = 0; at < part.length;) {
          at += await this.#connection.write(part.subarray(at));
        }
      }
    } catch (error) {
      throw new Gone("peer is gone", { cause: error });
    }
  }

  /** Answers one simple query with a row, as PostgreSQL does. */
  async answer(value: string): Promise<void> {
    const column = [wire.cstring("x"), wire.int32(0), wire.int16(0), wire.int32(25)];
    await this.send(
      wire.message("T", wire.int16(1), ...column, wire.int16(-1), wire.int32(-1), wire.int16(0)),
      wire.message("D", wire.int16(1), wire.int32(value.length), wire.text(value)),
      wire.message("C", wire.cstring("SELECT 1")),
      wire.message("Z", wire.text("I")),
    );
  }

  /** Closes the connection. */
  hangUp(): void {
    throw new Gone("the script hangs up");
  }

  /** Waits until the other side has closed the connection. */
  async untilClosed(): Promise<void> {
    for (;;) await this.#receive();
  }
}

/** What a server does with a connection; `nth` counts them from 0. */
export type WireScript = (peer: WirePeer, nth: number) => Promise<void>;

export class WireServer {
  readonly port: number;
  /** Connections accepted so far. */
  accepted = 0;
  /** A script failed otherwise than by its peer's end. */
  readonly faults: Error[] = [];
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.Conn>();
  readonly #running: Promise<void>;

  constructor(script: WireScript) {
    this.port = freePort();
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: this.port });
    this.#running = this.#accept(script);
  }

  async #accept(script: WireScript): Promise<void> {
    const scripts: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.#connections.add(connection);
      scripts.push(this.#run(script, connection, this.accepted++));
    }
    await Promise.all(scripts);
  }

  async #run(script: WireScript, connection: Deno.Conn, nth: number): Promise<void> {
    const peer = new WirePeer(connection);
    try {
      await script(peer, nth);
      await peer.untilClosed();
    } catch (error) {
      if (!(error instanceof Gone)) this.faults.push(error as Error);
    } finally {
      if (this.#connections.delete(connection)) connection.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) {
      this.#connections.delete(connection);
      connection.close();
    }
    await this.#running;
    if (this.faults.length > 0) throw new AggregateError(this.faults, "the scripted server failed");
  }
}

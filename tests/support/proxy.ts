/**
 * What stands between the pooler and a PostgreSQL server: a proxy that passes bytes on and keeps the first ones of each
 * connection, and one that ends TLS with a certificate of its own, as an attacker would.
 */

import type { Certificate } from "./certificates.ts";

abstract class Relay {
  /** Where connections are passed on to. */
  target: number;
  readonly #connections = new Set<Deno.Conn>();
  readonly #running = new Set<Promise<void>>();

  constructor(target: number) {
    this.target = target;
  }

  protected abstract connect(): Promise<Deno.Conn>;
  protected abstract readonly listener: Deno.Listener<Deno.Conn>;
  protected seen(_bytes: Uint8Array, _connection: Deno.Conn): void {}

  get port(): number {
    return (this.listener.addr as Deno.NetAddr).port;
  }

  protected run(): void {
    this.#running.add(this.#accept());
  }

  async #accept(): Promise<void> {
    for (;;) {
      let near: Deno.Conn;
      try {
        near = await this.listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
          return;
        }
        // A handshake that failed.
        continue;
      }
      const relaying = this.#relay(near).finally(() => this.#running.delete(relaying));
      this.#running.add(relaying);
    }
  }

  async #relay(near: Deno.Conn): Promise<void> {
    this.#connections.add(near);
    let far: Deno.Conn | undefined;
    try {
      far = await this.connect();
      this.#connections.add(far);
      const both = [near, far];
      const end = () => both.forEach((one) => this.#close(one));
      // Either end may break the connection.
      await Promise.allSettled([
        this.#pass(near, far, near).finally(end),
        this.#pass(far, near).finally(end),
      ]);
    } catch {
      this.#close(near);
    }
  }

  async #pass(from: Deno.Conn, to: Deno.Conn, told?: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(1 << 16);
    for (;;) {
      const count = await from.read(buffer);
      if (count === null) return;
      const bytes = buffer.subarray(0, count);
      if (told !== undefined) this.seen(bytes, told);
      for (let at = 0; at < count;) at += await to.write(bytes.subarray(at));
    }
  }

  #close(connection: Deno.Conn | undefined): void {
    if (connection === undefined || !this.#connections.delete(connection)) return;
    try {
      connection.close();
    } catch {
      // The other direction was faster.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.listener.close();
    for (const one of [...this.#connections]) this.#close(one);
    await Promise.all(this.#running);
  }
}

/** Passes bytes on. */
export class Proxy extends Relay {
  protected readonly listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  /** The first bytes of each connection, in their order. */
  readonly firsts: Uint8Array[] = [];
  readonly #known = new WeakSet<Deno.Conn>();

  constructor(target: number) {
    super(target);
    this.run();
  }

  protected override connect(): Promise<Deno.Conn> {
    return Deno.connect({ hostname: "127.0.0.1", port: this.target });
  }

  protected override seen(bytes: Uint8Array, connection: Deno.Conn): void {
    if (this.#known.has(connection)) return;
    this.#known.add(connection);
    this.firsts.push(bytes.slice(0, 8));
  }
}

/** Takes direct TLS with a certificate of its own, and passes what it reads on by direct TLS. */
export class TlsProxy extends Relay {
  protected readonly listener: Deno.TlsListener;
  readonly #trusted: string;

  constructor(target: number, shown: Certificate, trusted: Certificate) {
    super(target);
    this.#trusted = new TextDecoder().decode(trusted.certificate);
    this.listener = Deno.listenTls({
      hostname: "127.0.0.1",
      port: 0,
      cert: new TextDecoder().decode(shown.certificate),
      key: new TextDecoder().decode(shown.key),
      alpnProtocols: ["postgresql"],
    });
    this.run();
  }

  protected override connect(): Promise<Deno.Conn> {
    return Deno.connectTls({
      hostname: "localhost",
      port: this.target,
      caCerts: [this.#trusted],
      alpnProtocols: ["postgresql"],
    });
  }
}

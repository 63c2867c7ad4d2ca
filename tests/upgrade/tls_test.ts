/**
 * Clients with TLS through binary upgrades: under load, with other certificates, in the middle of a handshake and of a
 * record, after keys were exchanged, and towards a program that knows no TLS (versions_test.ts). Their other states:
 * tls_states_test.ts.
 */

import assert from "node:assert/strict";
import { Authority } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { bench } from "./load.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const POOL_SIZE = 10;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(general: { tls_mode?: string; pg_hba?: string } = {}): Promise<Service> {
  return Service.start({
    tls: true,
    config: {
      general: { query_wait_timeout: "30s", shutdown_timeout: "20s", ...general },
      pools: { app: poolOf(postgres, {}, { pool_size: POOL_SIZE, min_pool_size: POOL_SIZE }) },
    },
  });
}

/** Passes a connection on, byte by byte as the test allows it. */
class Valve implements Disposable {
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  #client: Deno.Conn | undefined;
  #server: Deno.Conn | undefined;
  /** So many bytes of the client are still let through. */
  #open = Infinity;
  #held: Uint8Array[] = [];

  constructor(to: number) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    void this.#serve(to);
  }

  async #serve(to: number): Promise<void> {
    const client = await this.#listener.accept();
    const server = await Deno.connect({ hostname: "127.0.0.1", port: to });
    this.#client = client;
    this.#server = server;
    void server.readable.pipeTo(client.writable).catch(() => {});
    const buffer = new Uint8Array(65_536);
    for (;;) {
      const count = await client.read(buffer).catch(() => null);
      if (count === null) return;
      this.#held.push(buffer.slice(0, count));
      await this.#pass();
    }
  }

  async #pass(): Promise<void> {
    while (this.#open > 0 && this.#held.length > 0) {
      const [piece] = this.#held;
      const part = piece!.subarray(0, Math.min(this.#open, piece!.length));
      this.#open -= part.length;
      if (part.length === piece!.length) this.#held.shift();
      else this.#held[0] = piece!.subarray(part.length);
      for (let at = 0; at < part.length;) at += await this.#server!.write(part.subarray(at));
    }
  }

  /** Lets so many bytes through from now on. */
  async letThrough(count: number): Promise<void> {
    this.#open = count;
    await this.#pass();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const connection of [this.#client, this.#server]) {
      try {
        connection?.close();
      } catch (error) {
        if (!(error instanceof Deno.errors.BadResource)) throw error;
      }
    }
  }
}

for (const protocol of ["simple", "prepared"]) {
  Deno.test(`upgrade: pgbench with TLS, ${protocol} protocol, a new certificate each time: nothing fails`, async () => {
    await using service = await start({ tls_mode: "require" });
    const { transactions } = await bench(service, postgres, {
      database: "app",
      protocol,
      clients: 20,
      seconds: 5,
      upgrades: 2,
      poolSize: POOL_SIZE,
      prepare: () => service.renewCertificate(),
    });
    assert.ok(transactions > 100);
  });
}

Deno.test("upgrade: who is there keeps the certificate he was shown, who comes gets the new one", async () => {
  await using service = await start();
  using old = await service.login();
  const other = Authority.create(service.dir, "Other CA");
  service.renewCertificate(other);
  service.allowLog(
    /general\.tls_certificate \(content of the file\) has changed and is not applied/,
    /general\.tls_private_key \(content of the file\) has changed and is not applied/,
  );
  service.signal("SIGHUP");
  await service.waitForLog(/tls_certificate .* is not applied: .* binary upgrade or a restart/);
  using before = await service.login();
  await service.upgrade();
  assert.equal(await old.value("SELECT 1"), "1");
  assert.equal(await before.value("SELECT 1"), "1");
  using after = await service.login({ tls: { ca: Deno.readTextFileSync(other.certificatePath) } });
  assert.equal(await after.value("SELECT 1"), "1");
  service.allowLog(/TLS handshake with .* failed: /);
  await assert.rejects(service.login(), /invalid peer certificate/);
  await service.upgrade();
  for (const client of [old, before, after]) assert.equal(await client.value("SELECT 2"), "2");
});

Deno.test("upgrade: a certificate without its key is refused before anything moves, by a reload, too", async () => {
  await using service = await start();
  using client = await service.login();
  const other = service.authority!.issue({ name: "localhost" });
  Deno.writeFileSync(`${service.dir}/server.crt`, other.certificate);
  service.allowLog(/tls_private_key: is not the key of /, /BINARY UPGRADE ABORTED/, /rejected/);
  service.allowLog(/Config parse error/);
  assert.match(await service.failedUpgrade(), /tls_private_key: is not the key of /);
  service.signal("SIGHUP");
  await service.waitForLog(/configuration rejected, nothing has changed: 1 fault/);
  using another = await service.login();
  for (const one of [client, another]) assert.equal(await one.value("SELECT 1"), "1");
  Deno.writeFileSync(`${service.dir}/server.key`, other.key);
  await service.upgrade();
  for (const one of [client, another]) assert.equal(await one.value("SELECT 2"), "2");
});

Deno.test("upgrade: a handshake under way ends where it began, and its client moves then", async () => {
  await using service = await start();
  using asking = await WireClient.open({ port: service.port });
  asking.send(wire.SSL_REQUEST);
  assert.equal(await asking.readByte(), "S");
  using valve = new Valve(service.port);
  const client = WireClient.open({ port: valve.port, tls: service.tls });
  // The request, and a part of the ClientHello.
  await valve.letThrough(8 + 100);
  const from = service.logs.length;
  const { old } = await service.begin();
  await service.waitForLog(/waiting for .* [12] clients that log in/, 5000, from);
  await valve.letThrough(Infinity);
  using encrypted = await client;
  await encrypted.logIn({ user: "postgres", database: "app" });
  assert.equal(await encrypted.value("SELECT 1"), "1");
  asking.close();
  await service.waitForEnd(old);
  assert.equal(await encrypted.value("SELECT 2"), "2");
});

Deno.test("upgrade: with TLS and no login yet, and in the middle of a record, in a transaction", async () => {
  await using service = await start();
  using silent = await WireClient.open({ port: service.port, tls: service.tls });
  using valve = new Valve(service.port);
  using client = await service.login({ port: valve.port });
  await client.query("BEGIN");
  const backend = await client.value("SELECT pg_backend_pid()");
  for (const part of [1, 4, 5, 6, 20]) {
    await valve.letThrough(part);
    client.send(wire.query(`SELECT ${part}, '${"x".repeat(30_000)}'`));
    await client.flushed();
    const { left } = await service.upgrade();
    assert.equal(left, 0);
    await valve.letThrough(Infinity);
    assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [[
      String(part),
      "x".repeat(30_000),
    ]]);
  }
  assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  await client.query("COMMIT");
  await silent.logIn({ user: "postgres", database: "app" });
  assert.equal(await silent.value("SELECT 1"), "1");
});

/** The openssl program as a client: it can exchange keys whenever a test wants it to. */
class OpensslClient implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #said = "";

  constructor(service: Service) {
    this.#child = new Deno.Command("openssl", {
      args: [
        ...["s_client", "-starttls", "postgres", "-connect", `127.0.0.1:${service.port}`],
        ...["-CAfile", service.authority!.certificatePath, "-verify_return_error"],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    for (const output of [this.#child.stdout, this.#child.stderr]) void this.#listen(output);
  }

  async #listen(output: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder("latin1");
    for await (const piece of output) this.#said += decoder.decode(piece);
  }

  /** Waits for this in what has come, and forgets all up to it. */
  async heard(text: string): Promise<void> {
    await waitFor(
      `${JSON.stringify(text)} of openssl`,
      10_000,
      () => this.#said.includes(text) || undefined,
    );
    this.#said = this.#said.slice(this.#said.indexOf(text) + text.length);
  }

  async send(bytes: Uint8Array): Promise<void> {
    await this.#writer.write(bytes);
  }

  /** New keys for what it sends; with `K` it asks for new ones of the other side, too. */
  async exchangeKeys(letter: "k" | "K"): Promise<void> {
    await this.send(new TextEncoder().encode(`${letter}\n`));
    await this.heard("KEYUPDATE");
    await this.heard("\n");
  }

  async ask(number: number): Promise<void> {
    // A piece of input that begins with Q would be an order to leave.
    await this.send(wire.join([wire.SYNC, wire.query(`SELECT 'answer ' || ${number}`)]));
    await this.heard(`answer ${number}`);
    await this.heard("Z\0\0\0\x05I");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#writer.abort().catch(() => {});
    await this.#child.status;
  }
}

Deno.test("upgrade: keys are exchanged before and after it, by the client and when it asks for it", async () => {
  await using service = await start({ pg_hba: "host all all all trust" });
  await using client = new OpensslClient(service);
  await client.heard("Verify return code: 0 (ok)\n---\n");
  await client.send(wire.startup({ user: "postgres", database: "app" }));
  await client.heard("Z\0\0\0\x05I");
  let number = 0;
  for (const letter of ["K", "k", "K"] as const) {
    await client.ask(++number);
    await client.exchangeKeys(letter);
    await client.ask(++number);
    await client.exchangeKeys("K");
    // What is owed to it travels, too.
    const { clients, left } = await service.upgrade();
    assert.deepEqual([clients, left], [1, 0]);
    await client.ask(++number);
  }
});

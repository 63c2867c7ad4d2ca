/**
 * Clients that abuse TLS: garbage and half handshakes, slow ones, hundreds at once, records that are none. The offender
 * alone is closed, memory stays bounded, and a well-behaved client beside them notices nothing.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { Authority, type Certificate } from "../support/certificates.ts";
import { Bystander, restingSockets, socketCount } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient, type WireTls } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let folder: string;
let certificate: Certificate;
let tls: WireTls;
/** A ClientHello as rustls makes it. */
let hello: Uint8Array<ArrayBuffer>;

Deno.test.beforeAll(async () => {
  [postgres, folder] = await Promise.all([Postgres.start(), makeTestFolder("hostile-tls")]);
  const authority = Authority.create(folder);
  certificate = authority.issue({ name: "localhost" });
  tls = { ca: Deno.readTextFileSync(authority.certificatePath) };
  hello = await captureHello();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

async function captureHello(): Promise<Uint8Array<ArrayBuffer>> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = listener.accept();
  const client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const encrypted = await Deno.startTls(client, { hostname: "localhost" });
  const handshake = encrypted.handshake().catch(() => undefined);
  using server = await accepted;
  const bytes = new Uint8Array(65_536);
  const count = await server.read(bytes);
  encrypted.close();
  await handshake;
  return bytes.slice(0, count!);
}

function start(general: Config = {}): Promise<Doorman> {
  return Doorman.start({
    config: {
      general: {
        tls_certificate: certificate.certificatePath,
        tls_private_key: certificate.keyPath,
        ...general,
      },
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        }),
      },
    },
    allowLog: [/TLS handshake with .* failed/, /canceling authentication due to timeout/],
  });
}

/** A client whose SSLRequest was answered by S. */
async function asking(doorman: Doorman): Promise<WireClient> {
  const client = await WireClient.open({ port: doorman.port });
  client.send(wire.SSL_REQUEST);
  assert.equal(await client.readByte(), "S");
  return client;
}

/** The same from an address of this machine other than 127.0.0.1. */
async function askingFrom(localAddress: string, port: number) {
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  await once(socket, "connect");
  socket.write(wire.SSL_REQUEST);
  const [answer] = await once(socket, "data");
  assert.equal(String(answer), "S");
  return { socket, [Symbol.dispose]: () => void socket.destroy() };
}

/** What the server still says, up to the end of the stream. */
async function rest(client: WireClient): Promise<string> {
  let bytes = "";
  for (;;) {
    try {
      bytes += await client.readByte();
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return bytes;
      assert.match(String(error), /the connection was closed/);
      return bytes;
    }
  }
}

Deno.test("what is no handshake ends with an alert at most, never with a word in clear", async () => {
  await using doorman = await start();
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const random = crypto.getRandomValues(new Uint8Array(3000));
  const garbage = [
    wire.startup({ user: "postgres", database: "app" }),
    wire.SSL_REQUEST,
    wire.cancelRequest(1, new Uint8Array(4)),
    random,
    hello.map((byte, i) => i === 5 ? 99 : byte),
    hello.map((byte, i) => i > 60 ? byte ^ 0x55 : byte),
    Uint8Array.of(0x16, 3, 1, 0xff, 0xff, ...random),
    Uint8Array.of(0x16, 3, 1, 0, 0),
    Uint8Array.of(0x15, 3, 1, 0, 2, 2, 40),
    Uint8Array.of(0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5),
    Uint8Array.of(0x80, 0x2e, 1, 3, 1, ...random),
  ];
  for (const [i, bytes] of garbage.entries()) {
    using client = await asking(doorman);
    client.send(bytes);
    await client.closeWrite();
    const said = await rest(client);
    if (said !== "") assert.equal(said.charCodeAt(0), 0x15, `${i}: ${said}`);
    assert.doesNotMatch(said, /FATAL|ERROR/);
  }
  // At the very beginning, where a ClientHello is direct TLS.
  doorman.allowLog(/invalid length of startup packet/);
  for (const bytes of garbage.slice(4)) {
    using client = await WireClient.open({ port: doorman.port });
    client.send(bytes);
    await client.closeWrite();
    assert.doesNotMatch(await rest(client), /FATAL|ERROR/);
  }
  await doorman.waitForLog(/TLS handshake with 127\.0\.0\.1:\d+ failed: /);
  await waitFor(
    "their sockets are closed",
    5000,
    () => socketCount(doorman) <= before || undefined,
  );
  assert.ok(doorman.logs.split("TLS handshake with").length < 12, "many failures are few lines");
});

Deno.test("a ClientHello that arrives byte by byte, or never whole, is ended in time and in silence", async () => {
  await using doorman = await start({ client_login_timeout: "1500ms" });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  using silent = await asking(doorman);
  using half = await asking(doorman);
  half.send(hello.subarray(0, hello.length - 1));
  using direct = await WireClient.open({ port: doorman.port });
  direct.send(hello.subarray(0, 1));
  for (const client of [silent, half, direct]) assert.equal(await rest(client), "");
  await doorman.waitForLog(/canceling authentication due to timeout/);
});

Deno.test("hundreds of half handshakes keep nobody out and take little memory", async () => {
  await using doorman = await start({ max_connections: 2000, worker_threads: 1 });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = doorman.rssKb();
  const clients: WireClient[] = [];
  let answered = 0;
  try {
    for (let i = 0; i < 1200; i++) {
      const client = await asking(doorman);
      client.patienceMs = 60_000;
      clients.push(client);
    }
    using other = await askingFrom("127.0.0.2", doorman.port);
    for (const client of clients) {
      client.send(hello);
      client.readByte().then(() => answered++, () => {});
    }
    await Promise.all(clients.map((client) => client.flushed()));
    // From another address, and so not behind all of them.
    other.socket.write(hello);
    await once(other.socket, "data");
    assert.ok(answered < clients.length, "all of the crowd were before");
    const login = { port: doorman.port, user: "postgres", database: "app", tls };
    for (let i = 0; i < 3; i++) {
      using client = await WireClient.login(login);
      assert.equal(await client.value("SELECT 1"), "1");
    }
    const grown = doorman.rssKb() - before;
    assert.ok(grown < 100_000, `${grown} kB more`);
  } finally {
    for (const client of clients) client.close();
  }
  await doorman.waitForLog(/failed: the client made no step for too long, and others wait/);
});

Deno.test("handshakes that go on byte by byte keep nobody out", async () => {
  await using doorman = await start({ max_connections: 2000, worker_threads: 1 });
  const clients: WireClient[] = [];
  let sent = 11;
  const drip = setInterval(() => {
    sent++;
    for (const client of clients) client.send(hello.subarray(sent - 1, sent));
  }, 400);
  try {
    for (let i = 0; i < 600; i++) {
      const client = await asking(doorman);
      client.send(hello.subarray(0, sent));
      clients.push(client);
    }
    const login = { port: doorman.port, user: "postgres", database: "app", tls };
    using client = await WireClient.login(login);
    assert.equal(await client.value("SELECT 1"), "1");
  } finally {
    clearInterval(drip);
    for (const client of clients) client.close();
  }
  await doorman.waitForLog(/failed: the client made no step for too long, and others wait/);
});

Deno.test("tls_rate_limit_per_second paces handshakes, and all of them come through", async () => {
  await using doorman = await start({ tls_rate_limit_per_second: 100 });
  const login = { port: doorman.port, user: "postgres", database: "app", tls };
  const begun = performance.now();
  await Promise.all(Array.from({ length: 60 }, async () => {
    using client = await WireClient.login(login);
    assert.equal(await client.value("SELECT 1"), "1");
  }));
  // One in each hundredth of a second: not sooner, whatever the machine does.
  const took = performance.now() - begun;
  assert.ok(took > 550, `${took} ms`);
});

Deno.test("after the handshake a broken record costs its sender the session, and nobody else", async () => {
  await using doorman = await start();
  doorman.allowLog(/client connection failed: /);
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  for (let i = 0; i < 5; i++) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    // Passes all on, and then something that is no record of this connection.
    const accepted = listener.accept();
    const opening = WireClient.login({ port, user: "postgres", database: "app", tls });
    using inner = await accepted;
    using outer = await Deno.connect({ hostname: "127.0.0.1", port: doorman.port });
    const back = outer.readable.pipeTo(inner.writable, { preventClose: true }).catch(() => {});
    const writer = outer.writable.getWriter();
    const forth = (async () => {
      const buffer = new Uint8Array(65_536);
      for (;;) {
        const count = await inner.read(buffer).catch(() => null);
        if (count === null) return;
        await writer.write(buffer.slice(0, count)).catch(() => {});
      }
    })();
    using client = await opening;
    assert.equal(await client.value("SELECT 1"), "1");
    const bad = [
      Uint8Array.of(0x17, 3, 3, 0, 40, ...new Uint8Array(40)),
      Uint8Array.of(0x17, 3, 3, 0xff, 0xff),
      wire.query("SELECT 2"),
      Uint8Array.of(0x16, 3, 3, 0, 4, 0, 0, 0, 0),
      hello,
    ][i]!;
    await writer.write(bad);
    await assert.rejects(client.readToEnd(), /alert|record|decrypt|peer/i);
    client.close();
    await Promise.all([back, forth]);
  }
  await waitFor(
    "their sockets are closed",
    5000,
    () => socketCount(doorman) <= before || undefined,
  );
  await doorman.waitForLog(/client connection failed: /);
});

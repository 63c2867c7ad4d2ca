/** Our handshake and record layer against other implementations: the openssl program and Node's TLS. */

import assert from "node:assert/strict";
import { connect, type TLSSocket } from "node:tls";
import { EPROTO } from "../os/errno.ts";
import { Authority } from "../../tests/support/certificates.ts";
import type { TlsLimits } from "./context.ts";
import { SUITES, TLS_1_3 } from "./suites.ts";
import { Conversation, eventually, Port } from "./testing/conversation.ts";
import { asking, serving } from "./testing/ends.ts";
import { PeerProgram } from "./testing/peer_program.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-tls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const identities = {
  ec: authority.issue({ name: "localhost", kind: "ec" }),
  rsa: authority.issue({ name: "localhost", kind: "rsa" }),
};

for (const suite of SUITES) {
  const kind = suite.name.includes("RSA") ? "rsa" : "ec";
  const version = suite.version === TLS_1_3 ? "-tls1_3" : "-tls1_2";
  const limits: TlsLimits = suite.version === TLS_1_3
    ? { ciphersuites: suite.name }
    : { ciphers: suite.name };

  Deno.test(`tls with openssl s_client: ${suite.name}`, async () => {
    using port = new Port();
    await using client = new PeerProgram("openssl", [
      ...["s_client", "-connect", `127.0.0.1:${port.number}`, "-servername", "localhost"],
      ...["-CAfile", authority.certificatePath, "-verify_return_error", version],
    ]);
    using talk = await Conversation.accept(await port.accept(), serving(identities[kind], limits));
    assert.equal(talk.finished.info.cipher, suite.name);
    await client.write("hello\n");
    await talk.hear("hello\n");
    talk.say("and hello\n");
    await client.hear("and hello");
    talk.move();
    if (suite.version === TLS_1_3) {
      // What stands behind a command is not looked at.
      await client.write("K\n");
      await client.hear("KEYUPDATE");
      await client.write("after both keys\n");
      await talk.hear("after both keys\n");
      talk.say("with new keys of ours\n");
      await client.hear("with new keys of ours");
      talk.move();
      await client.write("k\n");
      await client.hear("KEYUPDATE");
      await client.write("after its keys\n");
      await talk.hear("after its keys\n");
    }
    talk.say("x".repeat(100_000) + "end of much\n");
    await client.hear("end of much");
    await client.write("y".repeat(5000) + "\n");
    await talk.hear("y\n");
    await client.write("Q\n");
    assert.equal(await talk.ending(), 0);
  });
}

/** s_client, connected to a port of ours. */
function sClient(port: Port, ...args: string[]): PeerProgram {
  return new PeerProgram("openssl", ["s_client", "-connect", `127.0.0.1:${port.number}`, ...args]);
}

Deno.test("tls with openssl s_client: a new handshake is refused, in TLS 1.2", async () => {
  using port = new Port();
  await using client = sClient(port, "-tls1_2");
  using talk = await Conversation.accept(await port.accept(), serving(identities.ec));
  await client.write("hello\n");
  await talk.hear("hello\n");
  await client.write("R\n");
  assert.equal(await talk.ending(), -EPROTO);
  assert.match(talk.stream.fault, /no_renegotiation/);
  await client.hear("no renegotiation");
});

Deno.test("tls with openssl s_client: a client that asks for small records gets them", async () => {
  for (const version of ["-tls1_2", "-tls1_3"]) {
    using port = new Port();
    await using client = sClient(port, "-maxfraglen", "1024", version, "-msg", "-quiet");
    using talk = await Conversation.accept(await port.accept(), serving(identities.ec));
    assert.equal(talk.stream.freeze().mostPlaintext, 1024);
    talk.say("x".repeat(5000) + "end\n");
    await client.hear("end");
  }
});

Deno.test("tls with openssl s_client: versions that are too old are refused", async () => {
  for (const [version, minVersion] of [["-tls1_1", "1.2"], ["-tls1_2", "1.3"]] as const) {
    using port = new Port();
    await using client = sClient(port, version, "-cipher", "ALL:@SECLEVEL=0");
    const talk = Conversation.accept(await port.accept(), serving(identities.ec, { minVersion }));
    await assert.rejects(talk, /unsupported protocol/);
    await client.hear("protocol version");
  }
});

/** As many as an extension may have. */
function manyNames(): string {
  return Array.from({ length: 250 }, (_, n) => String(n).padStart(240, "0")).join(",");
}

Deno.test("tls with openssl s_client: ALPN", async () => {
  for (
    const [offers, direct, chosen] of [
      ["postgresql", true, "postgresql"],
      ["h2,postgresql", false, "postgresql"],
      // A ClientHello of 60 kB, in four records.
      [`${manyNames()},postgresql`, true, "postgresql"],
      ["h2", false, undefined],
      ["h2", true, undefined],
    ] as const
  ) {
    using port = new Port();
    await using client = sClient(port, "-alpn", offers);
    const talking = Conversation.accept(await port.accept(), serving(identities.ec), { direct });
    if (chosen === undefined) {
      await assert.rejects(talking, /no application protocol/);
      await client.hear("no application protocol");
      continue;
    }
    using talk = await talking;
    assert.equal(talk.finished.alpn, chosen);
    await client.hear(`ALPN protocol: ${chosen}`);
  }
});

Deno.test("tls with openssl s_client: client certificates", async () => {
  const mine = authority.issue({ name: "alice" });
  for (const version of ["-tls1_2", "-tls1_3"]) {
    using port = new Port();
    const args = ["-cert", mine.certificatePath, "-key", mine.keyPath, version];
    await using client = sClient(port, ...args);
    const context = serving(identities.ec, {}, authority);
    using talk = await Conversation.accept(await port.accept(), context);
    assert.deepEqual(talk.finished.peerCertificate, mine.der);
    await client.hear("Test CA");
    await using without = sClient(port, version);
    const refused = Conversation.accept(await port.accept(), context);
    await assert.rejects(refused, /peer did not return a certificate/);
    await without.hear(version === "-tls1_3" ? "certificate required" : "handshake failure");
  }
});

/** A port that nobody listens on any more. */
function freePort(): number {
  using port = new Port();
  return port.number;
}

/** s_server, which accepts one client after the other. */
async function sServer(...args: string[]): Promise<{ server: PeerProgram; port: number }> {
  const port = freePort();
  const server = new PeerProgram("openssl", [
    ...["s_server", "-accept", `127.0.0.1:${port}`],
    ...["-cert", identities.ec.certificatePath, "-key", identities.ec.keyPath, ...args],
  ]);
  await server.hear("ACCEPT");
  return { server, port };
}

for (const suite of SUITES.filter(({ name }) => !name.includes("RSA"))) {
  const is13 = suite.version === TLS_1_3;

  Deno.test(`tls with openssl s_server: ${suite.name}`, async () => {
    // With tickets, as it has them by default.
    const { server, port } = await sServer(is13 ? "-tls1_3" : "-tls1_2");
    await using _ = server;
    const context = asking(
      is13 ? { ciphersuites: suite.name } : { ciphers: suite.name },
      authority,
    );
    using talk = await Conversation.connect(port, context, { serverName: "localhost" });
    assert.equal(talk.finished.info.cipher, suite.name);
    assert.deepEqual(talk.finished.peerCertificate, identities.ec.der);
    talk.say("hello\n");
    await server.hear("hello");
    await server.write("and hello\n");
    await talk.hear("and hello\n");
    talk.move();
    if (is13) {
      await server.write("K\n");
      await talk.until("new keys and a wish", (stream) => stream.freeze().owesUpdate);
      await server.write("with new keys\n");
      await talk.hear("with new keys\n");
      talk.move();
      talk.say("of ours, too\n");
      await server.hear("of ours, too");
      await server.write("k\n");
      await talk.until("new keys", (stream) => stream.freeze().receive.sequence === 0);
    } else {
      // It asks for a new handshake, and does not get one.
      const { sequence } = talk.stream.freeze().receive;
      await server.write("r\n");
      await talk.until("a wish", (stream) => stream.freeze().receive.sequence > sequence);
      assert.equal(talk.stream.fault, "");
      return;
    }
    await server.write("y".repeat(4000) + "end\n");
    await talk.hear("yend\n");
    talk.say("x".repeat(100_000) + "end of much\n");
    await server.hear("end of much");
  });
}

Deno.test("tls with openssl s_server: SNI is sent for names, and not for addresses", async () => {
  for (const [serverName, said] of [["localhost", `"localhost"`], ["127.0.0.1", "null"]] as const) {
    const args = ["-servername", "elsewhere", "-cert2", identities.rsa.certificatePath];
    const { server, port } = await sServer(...args, "-key2", identities.rsa.keyPath);
    await using _ = server;
    using talk = await Conversation.connect(port, asking({}, authority), { serverName });
    talk.say("hello\n");
    await server.hear(said === "null" ? "hello" : `Hostname in TLS extension: ${said}`);
  }
});

Deno.test("tls with openssl s_server: a client certificate that is refused later is told by an alert", async () => {
  const theirs = Authority.create(folder, "Another CA").issue({ name: "mallory" });
  const args = ["-Verify", "1", "-verify_return_error", "-CAfile", authority.certificatePath];
  const { server, port } = await sServer("-tls1_3", ...args);
  await using _ = server;
  // For the client the handshake is over before the server has looked at its certificate.
  const context = asking({}, undefined, "none", theirs);
  using talk = await Conversation.connect(port, context);
  assert.equal(await talk.ending(), -EPROTO);
  assert.match(talk.stream.fault, /it sent the alert unknown_ca/);
});

Deno.test("tls with the client of rustls, by Node's names", async () => {
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    using port = new Port();
    const client = connect({
      port: port.number,
      host: "127.0.0.1",
      servername: "localhost",
      ca: [new TextDecoder().decode(authority.certificate)],
      minVersion: version,
      maxVersion: version,
    });
    const heard = textOf(client);
    client.write("hello\n");
    using talk = await Conversation.accept(await port.accept(), serving(identities.ec));
    await talk.hear("hello\n");
    talk.move();
    talk.say("x".repeat(100_000) + "end\n");
    await eventually("the end", () => heard().endsWith("xend\n") ? true : undefined);
    assert.equal(heard().length, 100_004);
    client.write("y".repeat(70_000) + "end\n");
    assert.equal((await talk.hear("end\n")).length, 70_004);
    talk.stream.sayEnd();
    await new Promise((resolve) => client.once("end", resolve));
    client.end();
    assert.equal(await talk.ending(), 0);
    client.destroy();
  }
});

Deno.test("tls with the server of rustls", async () => {
  const decoder = new TextDecoder();
  using listener = Deno.listenTls({
    port: 0,
    hostname: "127.0.0.1",
    key: decoder.decode(identities.ec.key),
    cert: decoder.decode(identities.ec.certificate),
  });
  const accepting = listener.accept();
  const { port } = listener.addr as Deno.NetAddr;
  // Its handshake goes on when it is read from.
  const greeting = accepting.then((socket) => socket.handshake().then(() => socket));
  using talk = await Conversation.connect(port, asking({}, authority), { serverName: "localhost" });
  using socket = await greeting;
  talk.say("hello\n");
  const bytes = new Uint8Array(100);
  assert.equal(decoder.decode(bytes.subarray(0, (await socket.read(bytes))!)), "hello\n");
  talk.move();
  const writer = socket.writable.getWriter();
  const writing = writer.write(new TextEncoder().encode("x".repeat(100_000) + "end\n"));
  assert.equal((await talk.hear("end\n")).length, 100_004);
  await writing;
  writer.releaseLock();
  talk.stream.sayEnd();
  assert.equal(await socket.read(bytes), null);
});

/** All that a socket of Node's has received. */
function textOf(socket: TLSSocket): () => string {
  let text = "";
  socket.on("data", (bytes) => text += new TextDecoder().decode(bytes));
  return () => text;
}

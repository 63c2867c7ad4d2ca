/** Handshakes of ours with each other, and what contexts are made of. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  Authority,
  bundle,
  type Certificate,
  type KeyKind,
  runOpenssl,
} from "../../tests/support/certificates.ts";
import { openssl, textAt } from "../os/openssl.ts";
import { offersPostgres } from "./alpn.ts";
import { tlsServerEndPoint } from "./channel_binding.ts";
import { AskingContext, ServingContext } from "./context.ts";
import { Handshake } from "./handshake.ts";
import { KeyLog, lineKeeper, takeKept } from "./key_log.ts";
import type { PemFile } from "./pem.ts";
import { asking, converse, pem, serving, shakeHands } from "./testing/ends.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-tls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const stranger = Authority.create(folder, "Another CA");
const certificate = authority.issue({ name: "localhost" });
const encoder = new TextEncoder();

/** Why a handshake fails, on both ends. */
function failure(server: Handshake, client: Handshake): { server: string; client: string } {
  converse(server, client);
  const why = { server: server.why, client: client.why };
  assert.ok(server.state === "failed" || client.state === "failed", "it succeeded");
  server.end();
  client.end();
  return why;
}

function faultsOf(context: ServingContext | AskingContext | string[]): string[] {
  assert.ok(Array.isArray(context), "nothing was found wrong");
  return context;
}

function openServing(certificate: PemFile, key: PemFile, ca?: PemFile): ServingContext | string[] {
  return ServingContext.open({ certificate, key, ...(ca === undefined ? {} : { ca }) }, {});
}

// ── what contexts are made of ───────────────────────────────────────────────────────────────────────────────────────

for (const kind of ["ec", "rsa", "ed25519", "rsa-pss"] as const satisfies KeyKind[]) {
  Deno.test(`tls context: a certificate of kind ${kind}, its key in PKCS#8`, () => {
    const issued = authority.issue({ name: "localhost", kind });
    const { server, client } = shakeHands(serving(issued), asking({}, authority), {
      serverName: "localhost",
    });
    assert.equal(client.info.cipher, server.info.cipher);
    assert.deepEqual(client.peerCertificate, issued.der);
    assert.equal(server.peerCertificate, undefined);
  });
}

Deno.test("tls context: keys in the traditional form, and with other things before them", () => {
  for (const kind of ["ec", "rsa"] as const) {
    const issued = authority.issue({ name: "localhost", kind });
    const traditional = issued.keyAs("traditional");
    assert.match(new TextDecoder().decode(traditional), /BEGIN (EC|RSA) PRIVATE KEY/);
    for (
      const text of [
        traditional,
        bundle(encoder.encode("Bag Attributes\n"), issued.certificate, traditional),
      ]
    ) {
      const context = openServing(pem("c", issued.certificate), pem("k", text));
      assert.ok(!Array.isArray(context), String(context));
      shakeHands(context, asking());
      context.end();
      context.end();
    }
  }
});

Deno.test("tls context: an encrypted key is a fault, and nobody is asked for its password", () => {
  const issued = authority.issue({ name: "localhost", kind: "rsa" });
  for (const form of ["encrypted", "encrypted-traditional"] as const) {
    const context = openServing(pem("c.crt", issued.certificate), pem("c.key", issued.keyAs(form)));
    assert.match(faultsOf(context).join(), /c\.key is encrypted/);
  }
});

Deno.test("tls context: each fault names its file, all of them at once", () => {
  const good = pem("a.crt", certificate.certificate);
  const goodKey = pem("a.key", certificate.key);
  const other = authority.issue({ name: "localhost" });
  const rubbish = pem("b", encoder.encode("rubbish"));
  const damaged = encoder.encode("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const damagedKey = encoder.encode(
    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
  );
  const unfinished = certificate.certificate.slice(0, 200);
  const cases: [ServingContext | AskingContext | string[], RegExp][] = [
    [openServing(good, pem("o.key", other.key)), /key in o\.key is not the one of .* a\.crt/],
    [openServing(rubbish, goodKey), /b has no certificate/],
    [openServing(good, rubbish), /b has no private key/],
    [openServing(rubbish, rubbish), /b has no certificate.*b has no private key/s],
    [openServing(pem("d.crt", damaged), goodKey), /certificate 1 of d\.crt can't be read: /],
    [openServing(good, pem("d.key", damagedKey)), /key in d\.key can't be read: /],
    [openServing(pem("u", unfinished), goodKey), /certificate 1 of u can't be read: /],
    [openServing(good, goodKey, rubbish), /b has no certificate/],
    [
      openServing(good, goodKey, pem("ca", bundle(authority.certificate, damaged))),
      /certificate 2 of ca/,
    ],
    [
      AskingContext.open({ certificate: good }, { verification: "none" }),
      /a certificate needs its private key/,
    ],
    [AskingContext.open({}, { verification: "ca" }), /nothing can be verified/],
    [
      AskingContext.open({ ca: rubbish }, { verification: "full" }),
      /b has no certificate/,
    ],
  ];
  for (const [context, wanted] of cases) assert.match(faultsOf(context).join("\n"), wanted);
});

Deno.test("tls context: a key that OpenSSL's security level refuses is a fault", () => {
  const small = new Authority(folder, "small");
  runOpenssl(folder, [
    ...["req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=small"],
    ...["-keyout", small.keyPath, "-out", small.certificatePath],
  ]);
  const context = openServing(pem("s.crt", small.certificate), pem("s.key", small.key));
  assert.match(faultsOf(context).join(), /s\.crt can't be used: ee key too small/);
});

Deno.test("tls context: suites that are not data are refused, and those that are can be chosen", () => {
  const files = {
    certificate: pem("a.crt", certificate.certificate),
    key: pem("a.key", certificate.key),
  };
  for (
    const limits of [
      { ciphers: "ECDHE-RSA-AES128-SHA" },
      { ciphers: "ECDHE-RSA-AES128-GCM-SHA256:AES128-GCM-SHA256" },
      { ciphers: "DEFAULT" },
      { ciphers: "" },
      { ciphersuites: "TLS_AES_128_CCM_SHA256" },
      { ciphersuites: "ECDHE-RSA-AES128-GCM-SHA256" },
    ]
  ) {
    assert.match(faultsOf(ServingContext.open(files, limits)).join(), /is not a suite/);
    assert.match(
      faultsOf(AskingContext.open({}, { ...limits, verification: "none" })).join(),
      /is not a suite/,
    );
  }
  const chosen = { ciphersuites: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256" };
  // The server's order counts.
  const other = asking({ ciphersuites: "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256" });
  const { server } = shakeHands(serving(certificate, chosen), other);
  assert.equal(server.info.cipher, "TLS_CHACHA20_POLY1305_SHA256");
});

// ── who trusts whom ─────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls handshake: the server's certificate is verified as far as the context says", () => {
  const context = serving(certificate);
  const named = (serverName?: string) => serverName === undefined ? {} : { serverName };
  for (
    const [ca, verification, name] of [
      [undefined, "none", "elsewhere"],
      [authority, "ca", "elsewhere"],
      [authority, "ca", undefined],
      [authority, "full", "localhost"],
      [authority, "full", "127.0.0.1"],
    ] as const
  ) {
    shakeHands(context, asking({}, ca, verification), named(name));
  }
  for (
    const [ca, verification, name, why] of [
      [stranger, "ca", "localhost", /verify failed: unable to get local issuer certificate/],
      [stranger, "full", "localhost", /verify failed/],
      [authority, "full", "elsewhere", /verify failed: hostname mismatch/i],
      [authority, "full", "127.0.0.2", /verify failed: IP address mismatch/i],
      [authority, "full", "::1", /verify failed: IP address mismatch/i],
      [authority, "full", undefined, /no name/],
    ] as const
  ) {
    const server = Handshake.accept(context);
    const client = Handshake.connect(asking({}, ca, verification), named(name));
    assert.match(failure(server, client).client, why);
  }
});

Deno.test("tls handshake: who is expired, or signed by nobody known, is refused", () => {
  const expired = authority.issue({ name: "localhost", days: -1 });
  const why = failure(
    Handshake.accept(serving(expired)),
    Handshake.connect(asking({}, authority), { serverName: "localhost" }),
  );
  assert.match(why.client, /certificate has expired/);
  assert.match(why.server, /alert certificate expired/);
});

Deno.test("tls handshake: a chain is sent along, and each certificate of a bundle counts", () => {
  const below = authority.issueAuthority("Intermediate CA");
  const leaf = below.issue({ name: "localhost" });
  const key = pem("leaf.key", leaf.key);
  const chained = openServing(pem("chain.crt", bundle(leaf.certificate, below.certificate)), key);
  const alone = openServing(pem("leaf.crt", leaf.certificate), key);
  assert.ok(!Array.isArray(chained) && !Array.isArray(alone));
  const trusting = AskingContext.open({
    ca: pem("bundle.crt", bundle(stranger.certificate, authority.certificate)),
  }, { verification: "full" });
  assert.ok(!Array.isArray(trusting));
  shakeHands(chained, trusting, { serverName: "localhost" });
  const why = failure(
    Handshake.accept(alone),
    Handshake.connect(trusting, { serverName: "localhost" }),
  );
  assert.match(why.client, /verify failed/);
});

Deno.test("tls handshake: clients must have a certificate of the CA's where one is given", () => {
  const context = serving(certificate, {}, authority);
  // Else what it keeps would be names that the certificate may have.
  assert.ok(!context.keepsLines);
  const mine = authority.issue({ name: "alice" });
  const { server } = shakeHands(context, asking({}, undefined, "none", mine));
  assert.deepEqual(server.peerCertificate, mine.der);
  const without = failure(Handshake.accept(context), Handshake.connect(asking()));
  assert.match(without.server, /peer did not return a certificate/);
  const theirs = stranger.issue({ name: "mallory" });
  const client = Handshake.connect(asking({}, undefined, "none", theirs));
  assert.match(failure(Handshake.accept(context), client).server, /verify failed/);
  // Both of a bundle's authorities.
  const both = ServingContext.open({
    certificate: pem("a.crt", certificate.certificate),
    key: pem("a.key", certificate.key),
    ca: pem("both.crt", bundle(authority.certificate, stranger.certificate)),
    demanded: true,
  }, {});
  assert.ok(!Array.isArray(both));
  for (const one of [mine, theirs]) shakeHands(both, asking({}, undefined, "none", one));
});

Deno.test("tls handshake: clients may have a certificate, and then one of the CA's", () => {
  const context = ServingContext.open({
    certificate: pem("a.crt", certificate.certificate),
    key: pem("a.key", certificate.key),
    ca: pem("ca.crt", authority.certificate),
  }, {});
  assert.ok(!Array.isArray(context));
  const { server } = shakeHands(context, asking());
  assert.equal(server.peerCertificate, undefined);
  const mine = authority.issue({ name: "alice" });
  assert.deepEqual(
    shakeHands(context, asking({}, undefined, "none", mine)).server.peerCertificate,
    mine.der,
  );
  const theirs = Handshake.connect(
    asking({}, undefined, "none", stranger.issue({ name: "mallory" })),
  );
  assert.match(failure(Handshake.accept(context), theirs).server, /verify failed/);
});

// ── ALPN ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls handshake: ALPN is chosen where it is offered, and told", () => {
  for (const minVersion of ["1.2", "1.3"] as const) {
    const context = serving(certificate, { minVersion });
    const offered = shakeHands(context, asking(), { alpn: true });
    assert.deepEqual([offered.server.alpn, offered.client.alpn], ["postgresql", "postgresql"]);
    const not = shakeHands(context, asking());
    assert.deepEqual([not.server.alpn, not.client.alpn], [undefined, undefined]);
  }
});

Deno.test("tls handshake: direct TLS without ALPN is refused with an alert, and with it goes on", () => {
  const context = serving(certificate);
  const why = failure(Handshake.accept(context, { direct: true }), Handshake.connect(asking()));
  assert.match(why.client, /alert no application protocol/);
  assert.match(why.server, /^no application protocol: .*ALPN/);
  const { server } = shakeHands(context, asking(), { alpn: true }, { direct: true });
  assert.equal(server.alpn, "postgresql");
  // What one handshake asks for is nothing to the next, nor to one that goes on beside it.
  shakeHands(context, asking());
  const beside = Handshake.accept(context, { direct: true });
  shakeHands(context, asking());
  const without = Handshake.connect(asking());
  assert.match(failure(beside, without).client, /alert no application protocol/);
});

Deno.test("tls alpn: the name is found among others, and in no damaged list", () => {
  const list = (...names: string[]) =>
    Uint8Array.from(names.flatMap((name) => [name.length, ...encoder.encode(name)]));
  assert.ok(offersPostgres(list("postgresql")));
  assert.ok(offersPostgres(list("h2", "http/1.1", "postgresql")));
  for (
    const other of [list(), list("h2"), list("postgresq"), list("postgresql2"), list("POSTGRESQL")]
  ) {
    assert.ok(!offersPostgres(other));
  }
  assert.ok(!offersPostgres(list("postgresql").slice(0, 8)));
  assert.ok(!offersPostgres(Uint8Array.of(200, 1, 2, 3)));
});

// ── the bytes of a handshake ────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls handshake: byte by byte, and what is behind it belongs to the records", () => {
  const server = Handshake.accept(serving(certificate));
  const client = Handshake.connect(asking());
  const behind = Uint8Array.of(23, 3, 3, 0, 99, 1, 2, 3);
  const tell = (from: Handshake, to: Handshake) => {
    const output = from.output() ?? new Uint8Array();
    for (let i = 0; i < output.length; i++) {
      // What the client has said at once comes with its last byte.
      const last = from === client && from.state === "done" && i === output.length - 1;
      const piece = last ? Uint8Array.of(output[i], ...behind) : output.slice(i, i + 1);
      to.take(piece, 0, piece.length);
    }
  };
  for (let turn = 0; turn < 10; turn++) {
    tell(client, server);
    tell(server, client);
  }
  assert.deepEqual([server.state, client.state], ["done", "done"]);
  assert.deepEqual(server.finish().state.undecoded, behind);
  assert.equal(client.finish().state.undecoded, undefined);
});

Deno.test("tls handshake: what is no TLS fails at once, with an answer and a word for the log", () => {
  for (
    const text of ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\x08\x04\xd2\x16\x2f", "\x16\x03\x01\xff\xff"]
  ) {
    const server = Handshake.accept(serving(certificate));
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    server.take(bytes, 0, bytes.length);
    assert.equal(server.state, "failed", text);
    assert.notEqual(server.why, "");
    // Dead, and not to be woken.
    server.take(bytes, 0, bytes.length);
    assert.equal(server.state, "failed");
    server.end();
    server.end();
    assert.equal(server.output(), undefined);
  }
});

Deno.test("tls handshake: floods of what says nothing are ended, and nothing is piled up", () => {
  const context = serving(certificate);
  const hello = Handshake.connect(asking()).output()!;
  const floods: [string, number[]][] = [
    ["empty records", [22, 3, 3, 0, 0]],
    ["alerts that warn", [21, 3, 3, 0, 2, 1, 90]],
    ["fragments of one byte of a message without end", [22, 3, 3, 0, 1, 1]],
    ["a message as long as can be", [22, 3, 3, 0, 5, 1, 0xff, 0xff, 0xff, 0]],
    ["records of data", [23, 3, 3, 0, 1, 0]],
  ];
  for (const [name, record] of floods) {
    for (const begin of [new Uint8Array(), hello]) {
      const server = Handshake.accept(context);
      server.take(begin, 0, begin.length);
      const bytes = Uint8Array.from(
        { length: 200 * record.length },
        (_, i) => record[i % record.length],
      );
      for (let i = 0; i < 1000 && server.state === "going"; i++) {
        server.take(bytes, 0, bytes.length);
      }
      assert.equal(server.state, "failed", name);
      server.end();
    }
  }
});

Deno.test("tls handshake: it can't be finished before its last output was taken", () => {
  const server = Handshake.accept(serving(certificate));
  const client = Handshake.connect(asking());
  const hello = client.output()!;
  server.take(hello, 0, hello.length);
  const answer = server.output()!;
  client.take(answer, 0, answer.length);
  assert.equal(client.state, "done");
  assert.throws(() => client.finish(), /last output/);
  assert.ok(client.output());
  client.finish();
  server.end();
});

Deno.test("tls key log: takes the secrets that it knows, and overwrites them", () => {
  const log = new KeyLog();
  const random = "ab".repeat(32);
  log.take(encoder.encode(`SERVER_TRAFFIC_SECRET_0 ${random} 00ff10`));
  log.take(encoder.encode(`CLIENT_HANDSHAKE_TRAFFIC_SECRET ${random} 01`));
  log.take(encoder.encode(`CLIENT_TRAFFIC_SECRET_0 ${random} A0b1`));
  log.take(encoder.encode(`CLIENT_RANDOM ${random} 7f`));
  log.take(encoder.encode("nothing"));
  const { clientTraffic, serverTraffic, master } = log;
  assert.deepEqual(serverTraffic, Uint8Array.of(0, 255, 16));
  assert.deepEqual(clientTraffic, Uint8Array.of(0xa0, 0xb1));
  assert.deepEqual(master, Uint8Array.of(0x7f));
  log.end();
  assert.equal(log.master, undefined);
  for (const secret of [clientTraffic, serverTraffic, master]) {
    assert.ok(secret!.every((byte) => byte === 0));
  }
});

// ── of certificates ─────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls key log: lines that OpenSSL keeps are taken once, and overwritten", () => {
  const { ssl, crypto } = openssl();
  const context = serving(certificate);
  assert.ok(context.keepsLines);
  const handshake = ssl.SSL_new(context.pointer)!;
  const form = { parameters: ["pointer", "buffer"], result: "void" } as const;
  const keep = new Deno.UnsafeFnPointer(lineKeeper() as Deno.PointerObject<typeof form>, form);
  const random = "ab".repeat(32);
  const labels = [
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
  ];
  for (const [i, label] of labels.entries()) {
    keep.call(handshake, encoder.encode(`${label} ${random} 0${i}ff\0`));
  }
  const log = new KeyLog();
  takeKept(handshake, log);
  assert.deepEqual(log.serverTraffic, Uint8Array.of(2, 255));
  assert.deepEqual(log.clientTraffic, Uint8Array.of(4, 255));
  assert.equal(log.master, undefined);
  const names = ssl.SSL_get0_param(handshake);
  for (let i = 0; i < labels.length; i++) {
    const line = crypto.X509_VERIFY_PARAM_get0_host(names, i);
    assert.notEqual(line, null);
    assert.equal(textAt(line), "");
  }
  const again = new KeyLog();
  takeKept(handshake, again);
  assert.equal(again.clientTraffic, undefined);
  ssl.SSL_free(handshake);
  log.end();
});

Deno.test("tls channel binding: the hash is that of the signature, SHA-256 at least", () => {
  const hash = (name: string, { der }: Certificate) =>
    new Uint8Array(createHash(name).update(der).digest());
  for (
    const [signed, name] of [
      ["sha256", "sha256"],
      ["sha384", "sha384"],
      ["sha512", "sha512"],
      ["sha1", "sha256"],
    ] as const
  ) {
    const issued = authority.issue({ name: "localhost", hash: signed });
    assert.deepEqual(tlsServerEndPoint(issued.der), hash(name, issued), signed);
  }
  assert.deepEqual(serving(certificate).endPoint, hash("sha256", certificate));
  const pss = Authority.create(folder, "PSS CA", "rsa-pss").issue({ name: "localhost" });
  assert.deepEqual(tlsServerEndPoint(pss.der), hash("sha256", pss));
  // EdDSA signs without a hash.
  const edwards = Authority.create(folder, "Ed25519 CA", "ed25519").issue({ name: "localhost" });
  assert.equal(tlsServerEndPoint(edwards.der), undefined);
  assert.equal(tlsServerEndPoint(encoder.encode("rubbish")), undefined);
});

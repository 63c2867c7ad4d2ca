import assert from "node:assert/strict";
import { CERTIFICATE, KEY } from "../../tests/support/pem.ts";
import type { PemFile, ServerTls, ServerTlsMode } from "../config/settings.ts";
import { NO_TLS } from "../testing/settings.ts";
// What lasts as long as the thread is made before a test begins.
import "../tls/testing/ends.ts";
import { AskingContexts } from "./asking_contexts.ts";

function pem(name: string, text: string): PemFile {
  return { name, text: new TextEncoder().encode(text) };
}

function settings(mode: ServerTlsMode, files: Partial<ServerTls["files"]> = {}): ServerTls {
  const digest = JSON.stringify(
    files,
    (_, value) => value instanceof Uint8Array ? [...value] : value,
  );
  return { mode, direct: false, files: { ...NO_TLS.files, digest, ...files } };
}

/** What a handshake begins with, or why there is none. */
function begun(contexts: AskingContexts, tls: ServerTls, name = "db.example"): string {
  const handshake = contexts.handshake(tls, name);
  if (typeof handshake === "string") return handshake;
  const hello = new TextDecoder("latin1").decode(handshake.output());
  handshake.end();
  assert.equal(hello.charCodeAt(0), 0x16);
  assert.ok(hello.includes("\x0apostgresql"), "ALPN");
  return hello.includes(name) ? "hello by name" : "hello";
}

Deno.test("asking contexts: who is asked is told its name, unless that is an address", () => {
  const contexts = new AskingContexts();
  const full = settings("verify-full", { ca: pem("ca.pem", CERTIFICATE) });
  for (const tls of [settings("require"), settings("prefer"), settings("allow"), full]) {
    assert.equal(begun(contexts, tls), "hello by name");
    assert.equal(begun(contexts, tls, "127.0.0.1"), "hello");
  }
  contexts.keepOnly([]);
});

Deno.test("asking contexts: what is wrong with files is told at each attempt, until they are others", () => {
  const contexts = new AskingContexts();
  assert.match(begun(contexts, settings("verify-ca")), /CA certificate/);
  const broken = settings("verify-ca", { ca: pem("ca.pem", "nothing") });
  for (let i = 0; i < 2; i++) {
    assert.match(begun(contexts, broken), /^ca\.pem has no certificate/);
  }
  const pair = { certificate: pem("own.crt", CERTIFICATE), key: pem("own.key", KEY) };
  assert.equal(begun(contexts, settings("require", pair)), "hello by name");
  assert.equal(
    begun(contexts, settings("verify-ca", { ca: pem("ca.pem", CERTIFICATE) })),
    "hello by name",
  );
  contexts.keepOnly([]);
});

Deno.test("asking contexts: a handshake goes on when its context is let go of, and there is a new one", () => {
  const contexts = new AskingContexts();
  const tls = settings("require");
  const handshake = contexts.handshake(tls, "db");
  assert.ok(typeof handshake !== "string");
  contexts.keepOnly([settings("verify-ca", { ca: pem("ca.pem", CERTIFICATE) })]);
  assert.equal(handshake.state, "going");
  handshake.take(Uint8Array.from([0x15, 3, 3, 0, 2, 2, 40]), 0, 7);
  assert.equal(handshake.state, "failed");
  assert.match(handshake.why, /handshake failure/);
  handshake.end();
  assert.equal(begun(contexts, tls), "hello by name");
  contexts.keepOnly([tls]);
  assert.equal(begun(contexts, tls), "hello by name");
  contexts.keepOnly([]);
});

import assert from "node:assert/strict";
import { CERTIFICATE, KEY } from "../../../tests/support/pem.ts";
import { readRejections, REJECTIONS } from "../../stats/rejections.ts";
import { SHARED_WORDS } from "../../stats/shared.ts";
import { AskingContext, ServingContext } from "../../tls/context.ts";
import { Handshake } from "../../tls/handshake.ts";
import type { TlsState } from "../../tls/state.ts";
import { newSessionState, Stage } from "../state.ts";
import { type EncryptingSession, Encryption } from "./encryption.ts";

// What lasts as long as the thread is made before a test begins.
const text = (pem: string) => ({ name: "a file", text: new TextEncoder().encode(pem) });
const SERVING = opened(
  ServingContext.open({ certificate: text(CERTIFICATE), key: text(KEY) }, {}),
);
const ASKING = opened(AskingContext.open({}, { verification: "none" }));

function opened<T>(context: T | string[]): T {
  if (Array.isArray(context)) throw new Error(context.join());
  return context;
}

/** A session before its login, the client at its other end, and all that happens between them. */
class World implements Disposable {
  readonly events: string[] = [];
  readonly state = newSessionState(7, 0);
  readonly warnings: string[] = [];
  readonly shared = new Int32Array(SHARED_WORDS);
  /** On its way to the client. */
  sent: Uint8Array<ArrayBuffer>[] = [];
  kept: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  secured: TlsState | undefined;
  /** Whether there is a place for a handshake. */
  room = true;
  handshakes = 0;
  steps = 0;
  readonly session: EncryptingSession;
  readonly encryption: Encryption;
  client: Handshake | undefined;

  constructor({ tls = true, unix = false } = {}) {
    this.state.unix = unix;
    const session = {
      state: this.state,
      name: "[#7]",
      encrypted: false,
      handshaking: false,
      context: {
        tls: tls ? { serving: SERVING, mode: "allow" } : undefined,
        handshakes: {
          begin: () => {
            if (this.room) this.handshakes++;
            return this.room;
          },
          stepped: () => this.steps++,
          over: () => this.handshakes--,
        },
        shared: this.shared,
        log: {
          provoked: (_: string, _target: string, _by: object, message: string) =>
            this.warnings.push(message),
        },
      },
      write: (bytes: Uint8Array<ArrayBuffer>) => this.sent.push(bytes),
      keep: (bytes: Uint8Array<ArrayBuffer>, at: number, end: number) =>
        this.kept = bytes.slice(at, end),
      hold: () => this.events.push("hold"),
      goOn: () => {
        const kept = this.kept;
        this.kept = new Uint8Array(0);
        this.take(kept);
      },
      secure: (state: TlsState) => {
        this.secured = state;
        session.encrypted = true;
      },
      readNow: () => this.events.push("read"),
      say: (bytes: Uint8Array) => {
        this.events.push(`say ${bytes.length}`);
        this.state.stage = Stage.Closing;
        this.encryption.end();
      },
      close: () => this.events.push("close"),
    };
    this.session = session as unknown as EncryptingSession;
    this.encryption = new Encryption(this.session, {
      waits: () => {},
      broken: (how) => this.events.push(how),
    });
  }

  take(bytes: Uint8Array<ArrayBuffer>): boolean {
    return this.encryption.take(bytes, 0, bytes.length);
  }

  request(kind: "ssl_request" | "gssenc_request", more = false): boolean {
    return this.encryption.requested(kind, more);
  }

  /** What was sent in clear since the last call. */
  told(): string {
    return this.sent.splice(0).map((bytes) => new TextDecoder().decode(bytes)).join();
  }

  /** The client's handshake, its bytes in pieces of this length. */
  shakeHands(length = Infinity, options: { alpn?: boolean } = {}): void {
    this.client = Handshake.connect(ASKING, { serverName: "pooler.example", ...options });
    for (let turn = 0; turn < 10; turn++) {
      const asked = this.client.output();
      for (let at = 0; asked !== undefined && at < asked.length; at += length) {
        const piece = asked.slice(at, at + length);
        if (this.state.stage === Stage.Startup) assert.ok(this.take(piece));
      }
      for (const bytes of this.sent.splice(0)) this.client.take(bytes, 0, bytes.length);
    }
  }

  happened(): string[] {
    return this.events.splice(0);
  }

  [Symbol.dispose](): void {
    this.client?.end();
    this.encryption.end();
  }
}

Deno.test("encryption: S where there is a certificate, N on a unix socket and for GSSAPI", () => {
  for (
    const [options, answer] of [[{}, "S"], [{ unix: true }, "N"], [{ tls: false }, "N"]] as const
  ) {
    using world = new World(options);
    assert.ok(world.request("gssenc_request"));
    assert.ok(!world.encryption.underWay);
    assert.ok(world.request("ssl_request"));
    assert.equal(world.told(), `N,${answer}`);
    assert.equal(world.encryption.underWay, answer === "S");
    assert.equal(world.session.handshaking, answer === "S");
  }
});

Deno.test("encryption: requests are few, with nothing behind them, and none on an encrypted connection", () => {
  for (const kind of ["ssl_request", "gssenc_request"] as const) {
    using world = new World({ tls: false });
    assert.ok(world.request(kind) && world.request(kind));
    assert.ok(!world.request(kind));
    assert.deepEqual(world.happened(), ["unexpected data after encryption request"]);
  }
  using glued = new World();
  // deno-lint-ignore no-boolean-literal-for-arguments
  assert.ok(!glued.request("ssl_request", true));
  assert.deepEqual(glued.happened(), ["unexpected data after encryption request"]);
  assert.equal(glued.told(), "");
  using encrypted = new World();
  Object.assign(encrypted.session, { encrypted: true });
  assert.ok(!encrypted.request("ssl_request"));
  assert.deepEqual(encrypted.happened(), [
    "encryption requested on a connection that is encrypted",
  ]);
});

Deno.test("encryption: a handshake in pieces of any length ends with the session's stream exchanged", () => {
  for (const length of [1, 7, 100, Infinity]) {
    using world = new World();
    world.request("ssl_request");
    world.told();
    world.shakeHands(length);
    assert.equal(world.client!.state, "done");
    assert.ok(world.secured !== undefined);
    assert.deepEqual(world.happened(), ["read"]);
    assert.deepEqual(world.state.channelBinding, SERVING.endPoint);
    assert.equal(world.handshakes, 0);
    assert.ok(!world.session.handshaking);
    assert.deepEqual(world.warnings, []);
  }
});

Deno.test("encryption: direct TLS with ALPN, and an alert without", () => {
  using world = new World();
  world.shakeHands(Infinity, { alpn: true });
  assert.equal(world.client!.state, "done");
  assert.ok(world.secured !== undefined);
  using other = new World();
  other.shakeHands();
  assert.equal(other.client!.state, "failed");
  assert.match(other.client!.why, /no application protocol/);
  assert.equal(other.secured, undefined);
  assert.deepEqual(other.happened(), ["say 0"]);
  assert.match(other.warnings.join(), /TLS handshake with .* failed: /);
  assert.equal(other.handshakes, 0);
});

Deno.test("encryption: a ClientHello is one at the very beginning alone", () => {
  const hello = Uint8Array.of(0x16, 3, 1, 0, 5);
  for (const options of [{ tls: false }, { unix: true }]) {
    using world = new World(options);
    assert.ok(!world.take(hello));
  }
  using asked = new World();
  asked.request("gssenc_request");
  assert.ok(!asked.take(hello));
  using encrypted = new World();
  Object.assign(encrypted.session, { encrypted: true });
  assert.ok(!encrypted.take(hello));
  using startup = new World();
  assert.ok(!startup.take(Uint8Array.of(0, 0, 0, 8)));
});

Deno.test("encryption: garbage in place of a handshake ends with an alert and nothing else", () => {
  using world = new World();
  world.request("ssl_request");
  world.told();
  assert.ok(
    world.take(
      new TextEncoder().encode("\0\0\0\x29\0\x03\0\0user\0me\0\0 and more of it, in clear"),
    ),
  );
  assert.deepEqual(world.happened(), ["say 0"]);
  for (const bytes of world.sent) assert.equal(bytes[0], 21, "an alert");
  assert.equal(world.warnings.length, 1);
  assert.equal(readRejections(world.shared)[REJECTIONS.indexOf("tls_handshake_fail")], 1);
  assert.equal(world.handshakes, 0);
  assert.ok(world.session.handshaking, "nothing is said in clear from here on");
});

Deno.test("encryption: what is answered is a step, and pieces of a message are none", () => {
  using world = new World();
  world.request("ssl_request");
  world.told();
  const client = Handshake.connect(ASKING);
  const hello = client.output()!;
  for (const byte of hello.subarray(0, -1)) assert.ok(world.take(Uint8Array.of(byte)));
  assert.equal(world.steps, 0);
  assert.ok(world.take(hello.slice(-1)));
  assert.equal(world.steps, 1);
  client.end();
});

Deno.test("encryption: without a place the ClientHello waits, and may leave", () => {
  using world = new World();
  world.room = false;
  world.request("ssl_request");
  world.told();
  const client = Handshake.connect(ASKING);
  const hello = client.output()!;
  assert.ok(world.take(hello));
  assert.deepEqual(world.happened(), ["hold"]);
  assert.deepEqual(world.kept, hello);
  assert.equal(world.sent.length, 0);
  world.room = true;
  world.handshakes++;
  world.encryption.proceed();
  assert.ok(world.sent.length > 0);
  world.encryption.giveWay();
  assert.deepEqual(world.happened(), ["say 0", "close"]);
  assert.equal(world.handshakes, 0);
  client.end();
});

import assert from "node:assert/strict";
import type { ServerTlsMode } from "../config/settings.ts";
import { inetAddress, unixAddress } from "../os/socket_address.ts";
import { hex } from "../protocol/testing/wire.ts";
import { noSums } from "../stats/counters.ts";
import { durationCounts } from "../stats/durations.ts";
import { NO_TLS } from "../testing/settings.ts";
import {
  type AskedHandshake,
  type Attempt,
  type Encrypted,
  Encryption,
  firstAttempt,
  mayNeedTls,
} from "./encryption.ts";

const SSL_REQUEST = hex("00000008 04d2162f");
const HELLO = Uint8Array.of(0x16, 1);

/** A handshake that goes as the test says. */
class FakeHandshake implements AskedHandshake {
  state: AskedHandshake["state"] = "going";
  why = "";
  alpn: string | undefined = "postgresql";
  taken: number[] = [];
  ended = 0;
  #output: Uint8Array<ArrayBuffer> | undefined = HELLO.slice();

  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    this.taken.push(...bytes.subarray(at, end));
    // 1: done, 2: refused.
    if (this.taken.at(-1) === 1) this.state = "done";
    if (this.taken.at(-1) === 2) {
      this.state = "failed";
      this.why = "certificate verify failed: hostname mismatch";
    }
    this.#output = Uint8Array.of(0xff);
  }

  output(): Uint8Array<ArrayBuffer> | undefined {
    const bytes = this.#output;
    this.#output = undefined;
    return bytes;
  }

  finish(): ReturnType<AskedHandshake["finish"]> {
    return { state: {}, info: {}, alpn: this.alpn } as ReturnType<AskedHandshake["finish"]>;
  }

  end(): void {
    this.ended++;
  }
}

class Bench {
  readonly counts = noSums();
  readonly handshake = new FakeHandshake();
  readonly names: string[] = [];
  sent: number[] = [];
  /** Why there is no TLS to be had. */
  fault: string | undefined;
  readonly encryption: Encryption;

  constructor(
    attempt: Attempt,
    mode: ServerTlsMode = "require",
    { direct = false, host = "db" } = {},
  ) {
    this.encryption = new Encryption(
      { attempt, tls: { ...NO_TLS, mode, direct }, host, where: "10.0.0.1:5432" },
      {
        source: {
          handshake: (_, name) => {
            this.names.push(name);
            return this.fault ?? this.handshake;
          },
        },
        counts: this.counts,
        send: (bytes) => this.sent.push(...bytes),
      },
    );
  }

  take(text: string): Encrypted | undefined {
    const bytes = Uint8Array.from(["x", ...text], (c) => c.charCodeAt(0));
    return this.encryption.take(bytes, 1, bytes.length);
  }
}

function failureOf(outcome: Encrypted | undefined): string {
  assert.ok(outcome?.kind === "failed", JSON.stringify(outcome));
  return `${outcome.code} ${outcome.message}${outcome.transient ? " (transient)" : ""}`;
}

Deno.test("encryption: what is tried first, by mode; a unix socket has none", () => {
  const tcp = inetAddress("127.0.0.1", 5432)!;
  const unix = unixAddress("/tmp/.s.PGSQL.5432")!;
  const first: Record<ServerTlsMode, Attempt> = {
    "disable": "plain",
    "allow": "plain",
    "prefer": "offered",
    "require": "required",
    "verify-ca": "required",
    "verify-full": "required",
  };
  for (const [mode, attempt] of Object.entries(first) as [ServerTlsMode, Attempt][]) {
    assert.equal(firstAttempt({ mode }, tcp), attempt, mode);
    assert.equal(firstAttempt({ mode }, unix), "plain", mode);
  }
});

Deno.test("encryption: allow tries TLS where the server wants it, and not where it would not help", () => {
  const cases: [code: string, answered: boolean, mends: boolean][] = [
    ["28000", false, true],
    ["28000", true, true],
    ["08006", false, true],
    ["08P01", false, true],
    ["08006", true, false],
    ["28P01", true, false],
    ["3D000", true, false],
    ["53300", false, false],
    ["57P03", false, false],
  ];
  for (const [code, answered, mends] of cases) {
    assert.equal(mayNeedTls(code, answered), mends, `${code}, answered: ${answered}`);
  }
});

Deno.test("encryption: asked for, granted, shaken hands", () => {
  const bench = new Bench("required", "verify-full", { host: "db.example." });
  assert.equal(bench.encryption.begin(), undefined);
  assert.deepEqual(Uint8Array.from(bench.sent), SSL_REQUEST);
  bench.sent = [];
  assert.equal(bench.take("S"), undefined);
  assert.deepEqual(bench.names, ["db.example"]);
  assert.deepEqual(bench.sent, [...HELLO]);
  assert.equal(bench.take("ab"), undefined);
  const outcome = bench.take("c\x01");
  assert.ok(outcome?.kind === "encrypted");
  assert.deepEqual(bench.handshake.taken, [0x61, 0x62, 0x63, 1]);
  // The last word of the handshake goes out, too.
  assert.deepEqual(bench.sent, [...HELLO, 0xff, 0xff]);
  assert.equal(bench.handshake.ended, 1);
  const { server_tls_handshakes, server_tls_handshake_errors } = bench.counts;
  assert.equal(durationCounts(bench.counts, "handshake").reduce((sum, count) => sum + count), 1);
  assert.deepEqual([server_tls_handshakes, server_tls_handshake_errors], [1, 0]);
});

Deno.test("encryption: no TLS there is plain for prefer, and the end where it is required", () => {
  const prefers = new Bench("offered", "prefer");
  prefers.encryption.begin();
  assert.deepEqual(prefers.take("N"), { kind: "plain" });
  assert.equal(prefers.counts.server_tls_handshake_errors, 0);
  const requires = new Bench("required", "verify-ca");
  requires.encryption.begin();
  assert.equal(
    failureOf(requires.take("N")),
    '08001 TLS with 10.0.0.1:5432: PostgreSQL has none, and server_tls_mode is "verify-ca": ' +
      "set ssl = on there, or another server_tls_mode here",
  );
  assert.equal(requires.counts.server_tls_handshake_errors, 1);
});

Deno.test("encryption: a plain connection asks for nothing", () => {
  const bench = new Bench("plain", "allow");
  assert.deepEqual(bench.encryption.begin(), { kind: "plain" });
  assert.deepEqual(bench.sent, []);
});

Deno.test("encryption: what is no answer, and what stands behind one, is the end", () => {
  const cases = [
    ["E", "08006 TLS with 10.0.0.1:5432: an error instead of an answer (transient)"],
    [
      `${"E"}secret words\0`,
      "08006 TLS with 10.0.0.1:5432: an error instead of an answer (transient)",
    ],
    ["R\0\0\0\x08", "08P01 TLS with 10.0.0.1:5432: neither yes nor no, this is no PostgreSQL"],
    ["\x15\x03", "08P01 TLS with 10.0.0.1:5432: neither yes nor no, this is no PostgreSQL"],
    ["SR\0", "08P01 TLS with 10.0.0.1:5432: bytes behind the answer to SSLRequest"],
    ["NR\0", "08P01 TLS with 10.0.0.1:5432: bytes behind the answer to SSLRequest"],
  ];
  for (const attempt of ["offered", "required"] as const) {
    for (const [said, failure] of cases) {
      const bench = new Bench(attempt);
      bench.encryption.begin();
      assert.equal(failureOf(bench.take(said!)), failure);
      assert.deepEqual(bench.handshake.taken, []);
    }
  }
});

Deno.test("encryption: a handshake that fails is no reason to go on without, whatever the mode", () => {
  for (const [attempt, mode] of [["offered", "prefer"], ["required", "verify-full"]] as const) {
    const bench = new Bench(attempt, mode);
    bench.encryption.begin();
    bench.take("S");
    bench.sent = [];
    const name = mode === "verify-full" ? ', name "db"' : "";
    assert.equal(
      failureOf(bench.take("\x02")),
      `08001 TLS with 10.0.0.1:5432 (server_tls_mode "${mode}"${name}): ` +
        "certificate verify failed: hostname mismatch",
    );
    // The alert that tells the server.
    assert.deepEqual(bench.sent, [0xff]);
    assert.equal(bench.counts.server_tls_handshake_errors, 1);
  }
});

Deno.test("encryption: why no handshake can be begun", () => {
  const bench = new Bench("required");
  bench.fault = "TLS needs OpenSSL 3";
  bench.encryption.begin();
  assert.equal(
    failureOf(bench.take("S")),
    "08001 TLS with 10.0.0.1:5432 is not possible: TLS needs OpenSSL 3",
  );
});

Deno.test("encryption: the connection ends before the answer, and in the handshake", () => {
  const bench = new Bench("required");
  bench.encryption.begin();
  assert.equal(
    failureOf(bench.encryption.lost("it hung up")),
    "08006 TLS with 10.0.0.1:5432: it hung up instead of an answer (transient)",
  );
  bench.take("S");
  assert.equal(
    failureOf(bench.encryption.lost("it hung up")),
    '08006 TLS with 10.0.0.1:5432 (server_tls_mode "require"): it hung up in the handshake (transient)',
  );
});

Deno.test("encryption: direct TLS begins with the handshake, and the server must know what it speaks", () => {
  const bench = new Bench("required", "require", { direct: true });
  assert.equal(bench.encryption.begin(), undefined);
  assert.deepEqual(bench.sent, [...HELLO]);
  assert.match(failureOf(bench.encryption.lost("it hung up")), /PostgreSQL 17 or newer/);
  bench.handshake.alpn = undefined;
  assert.equal(
    failureOf(bench.take("\x01")),
    '08001 TLS with 10.0.0.1:5432 (server_tls_mode "require"): ' +
      'the server does not say that it speaks "postgresql" (ALPN)',
  );
  assert.equal(bench.handshake.ended, 1);
});

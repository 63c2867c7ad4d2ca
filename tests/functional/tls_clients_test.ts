/**
 * TLS towards clients: what tls_mode lets in and keeps out, the ways to begin it, whom certificates let in, and what
 * operators see of it. Clients are libpq (OpenSSL) and Deno's own (rustls).
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Authority, bundle, type Certificate } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { Refused, WireClient, type WireTls } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let folder: string;
let authority: Authority;
let certificate: Certificate;
let tls: WireTls;

Deno.test.beforeAll(async () => {
  [postgres, folder] = await Promise.all([
    Postgres.start({ settings: ["max_connections = 60"] }),
    makeTestFolder("certificates"),
  ]);
  authority = Authority.create(folder);
  certificate = authority.issue({ name: "localhost" });
  tls = { ca: Deno.readTextFileSync(authority.certificatePath) };
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** A doorman with a certificate. */
async function start(
  general: Config = {},
  { config = {}, ...more }: { config?: Config; allowLog?: RegExp[]; env?: Record<string, string> } =
    {},
): Promise<Doorman> {
  return await Doorman.start({
    config: {
      general: {
        tls_certificate: certificate.certificatePath,
        tls_private_key: certificate.keyPath,
        ...general,
      },
      pools: { app: poolOf(postgres) },
      ...config,
    },
    ...more,
  });
}

/** What psql says, or why it fails. */
async function psql(doorman: Doorman, settings: string, sql = "SELECT 'in'"): Promise<string> {
  const place = `host=localhost hostaddr=127.0.0.1 port=${doorman.port}`;
  const who = "user=postgres password=postgres dbname=app connect_timeout=10";
  const { success, stdout, stderr } = await new Deno.Command("psql", {
    args: [
      "-XAtq",
      `${place} ${who} sslrootcert=${authority.certificatePath} ${settings}`,
      "-c",
      sql,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  return new TextDecoder().decode(success ? stdout : stderr).trim();
}

async function login(doorman: Doorman, more: { tls?: WireTls; database?: string } = {}) {
  const { port } = doorman;
  return await WireClient.login({ port, user: "postgres", database: "app", tls, ...more });
}

/** The rows of a SHOW. */
async function show(doorman: Doorman, what: string): Promise<Record<string, string | null>[]> {
  const { user, password } = ADMIN;
  using admin = await WireClient.login({
    port: doorman.port,
    user,
    password,
    database: "pgdoorman",
  });
  return wire.recordsOf(await admin.query(`SHOW ${what}`));
}

Deno.test("tls clients: both versions and all suites, with the server verified in full", async () => {
  const rsa = authority.issue({ name: "localhost", kind: "rsa" });
  for (const { certificatePath, keyPath } of [certificate, rsa]) {
    await using doorman = await start({
      tls_certificate: certificatePath,
      tls_private_key: keyPath,
    });
    for (const version of ["TLSv1.2", "TLSv1.3"]) {
      const only = `ssl_min_protocol_version=${version} ssl_max_protocol_version=${version}`;
      assert.equal(await psql(doorman, `sslmode=verify-full ${only}`), "in", version);
    }
  }
  const suites = [
    ["1.2", "tls_ciphers", "ECDHE-RSA-AES128-GCM-SHA256"],
    ["1.2", "tls_ciphers", "ECDHE-RSA-AES256-GCM-SHA384"],
    ["1.2", "tls_ciphers", "ECDHE-RSA-CHACHA20-POLY1305"],
    ["1.3", "tls_ciphersuites", "TLS_AES_128_GCM_SHA256"],
    ["1.3", "tls_ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ["1.3", "tls_ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
  ] as const;
  for (const [version, key, suite] of suites) {
    const { certificatePath, keyPath } = rsa;
    await using doorman = await start({
      tls_certificate: certificatePath,
      tls_private_key: keyPath,
      [key]: suite,
    });
    const sql = "SELECT string_agg(repeat(md5(g::text), 100), '') FROM generate_series(1, 100) g";
    const long = await psql(
      doorman,
      `sslmode=require ssl_max_protocol_version=TLSv${version}`,
      `${sql}; SELECT pg_sleep(0.5)`,
    );
    assert.equal(long.trim(), await postgres.psql(sql), suite);
    using client = await login(doorman);
    assert.equal(await client.value("SELECT 1"), "1");
    const [row] = (await show(doorman, "CLIENTS")).filter(({ tls }) => tls === "true");
    if (version === "1.3") {
      assert.deepEqual([row!.tls_version, row!.tls_cipher], ["TLSv1.3", suite]);
    }
  }
});

Deno.test("tls clients: what each tls_mode makes of plain and of encrypted clients", async () => {
  const refused = /connections without TLS are not allowed here \(tls_mode=/;
  const table = [
    ["", { disable: "in", prefer: "in", require: "in" }],
    ["allow", { disable: "in", prefer: "in", require: "in" }],
    ["disable", { disable: "in", prefer: "in", require: /server does not support SSL/ }],
    ["require", { disable: refused, prefer: "in", require: "in" }],
  ] as const;
  for (const [mode, results] of table) {
    const allowLog = [refused];
    await using doorman = await start(mode === "" ? {} : { tls_mode: mode }, { allowLog });
    for (const [sslmode, wanted] of Object.entries(results)) {
      const said = await psql(doorman, `sslmode=${sslmode}`);
      if (typeof wanted === "string") assert.equal(said, wanted, `${mode} ${sslmode}`);
      else assert.match(said, wanted, `${mode} ${sslmode}`);
    }
  }
  await using without = await Doorman.start({ config: { pools: { app: poolOf(postgres) } } });
  assert.equal(await psql(without, "sslmode=prefer"), "in");
  assert.match(await psql(without, "sslmode=require"), /server does not support SSL/);
});

Deno.test("tls clients: where TLS is demanded, 28000 tells; unix sockets and cancel requests are let in", async () => {
  const allowLog = [/connections without TLS are not allowed here/];
  await using doorman = await start({ tls_mode: "require", unix_socket_dir: folder }, { allowLog });
  const { port } = doorman;
  await assert.rejects(
    WireClient.login({ port, user: "postgres", database: "app" }),
    (error: Refused) => error.fields.C === "28000" && /tls_mode=require/.test(error.fields.M!),
  );
  const path = join(folder, `.s.PGSQL.${port}`);
  using local = await WireClient.open({ path });
  local.send(wire.SSL_REQUEST);
  assert.equal(await local.readByte(), "N");
  await local.logIn({ user: "postgres", database: "app" });
  assert.equal(await local.value("SELECT 1"), "1");
  for (const place of [{ port }, { port, tls }]) {
    using client = await login(doorman);
    client.send(wire.query("SELECT pg_sleep(60)"));
    await sleeping();
    using other = await WireClient.open(place);
    other.send(wire.cancelRequest(client.pid, client.secret));
    assert.deepEqual(await other.readToEnd(), []);
    assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
  }
});

async function sleeping(): Promise<void> {
  await waitFor("the query runs", 5000, async () =>
    await postgres.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
      ) === "1" || undefined);
}

Deno.test("tls clients: a cancel over TLS reaches a plain client's query", async () => {
  await using doorman = await start();
  const { port } = doorman;
  using plain = await WireClient.login({ port, user: "postgres", database: "app" });
  plain.send(wire.query("SELECT pg_sleep(60)"));
  await sleeping();
  using other = await WireClient.open({ port, tls });
  other.send(wire.cancelRequest(plain.pid, plain.secret));
  assert.deepEqual(await other.readToEnd(), []);
  assert.deepEqual(wire.errorCodes(await plain.readUntil("Z")), ["57014"]);
  const [counts] = await show(doorman, "CONNECTIONS");
  assert.deepEqual([counts!.tls, counts!.cancel, counts!.errors], ["0", "1", "0"]);
});

Deno.test("tls clients: direct TLS needs ALPN, and is told so by an alert", async () => {
  await using doorman = await start({}, { allowLog: [/TLS handshake with .* failed/] });
  using client = await login(doorman, { tls: { ...tls, direct: ["postgresql"] } });
  assert.equal(await client.value("SELECT 1"), "1");
  for (const direct of [[], ["h2"], ["h2", "http/1.1"]]) {
    await assert.rejects(
      login(doorman, { tls: { ...tls, direct } }),
      /NoApplicationProtocol/,
      direct.join(),
    );
  }
  using several = await login(doorman, { tls: { ...tls, direct: ["h2", "postgresql"] } });
  assert.equal(await several.value("SELECT 1"), "1");
  // Inside of TLS there is no other.
  using twice = await WireClient.open({ port: doorman.port, tls });
  doorman.allowLog(/encryption requested on a connection that is encrypted/);
  twice.send(wire.SSL_REQUEST);
  assert.deepEqual(wire.errorCodes(await twice.readToEnd()), ["08P01"]);
});

Deno.test("tls clients: what comes in clear behind a request for TLS is never taken", async () => {
  await using doorman = await start({}, { allowLog: [/unexpected data after encryption request/] });
  const { port } = doorman;
  const start_ = wire.startup({ user: "postgres", database: "app" });
  for (const request of [wire.SSL_REQUEST, wire.GSSENC_REQUEST]) {
    using client = await WireClient.open({ port });
    client.send(wire.join([request, start_]));
    assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["08P01"]);
  }
  using polite = await WireClient.open({ port });
  polite.send(wire.GSSENC_REQUEST);
  assert.equal(await polite.readByte(), "N");
  await polite.encrypt(tls);
  await polite.logIn({ user: "postgres", database: "app" });
  using stubborn = await WireClient.open({ port });
  for (let i = 0; i < 2; i++) {
    stubborn.send(wire.GSSENC_REQUEST);
    assert.equal(await stubborn.readByte(), "N");
  }
  stubborn.send(wire.GSSENC_REQUEST);
  assert.deepEqual(wire.errorCodes(await stubborn.readToEnd()), ["08P01"]);
});

Deno.test("tls clients: who has a certificate of the right authority comes in, by a bundle of them, too", async () => {
  const second = Authority.create(folder, "Second CA");
  const foreign = Authority.create(folder, "Foreign CA");
  const bundled = join(folder, "bundle.pem");
  Deno.writeFileSync(bundled, bundle(authority.certificate, second.certificate));
  const failed = /TLS handshake with .* failed: /;
  for (const tls_mode of ["verify-ca", "verify-full"]) {
    const allowLog = [failed, /connections without TLS/];
    await using doorman = await start({ tls_mode, tls_ca_cert: bundled }, { allowLog });
    const as = ({ certificatePath, keyPath }: Certificate) =>
      psql(doorman, `sslmode=verify-full sslcert=${certificatePath} sslkey=${keyPath}`);
    assert.equal(await as(authority.issue({ name: "anybody" })), "in");
    assert.equal(await as(second.issue({ name: "somebody" })), "in");
    const alerts = /alert|SSL error|closed/;
    assert.match(await as(foreign.issue({ name: "postgres" })), alerts);
    assert.match(await as(authority.issue({ name: "late", days: -1 })), alerts);
    assert.match(await psql(doorman, "sslmode=verify-full sslcert=none"), alerts);
    assert.match(await psql(doorman, "sslmode=disable"), /connections without TLS/);
    await doorman.waitForLog(failed);
  }
});

Deno.test("tls clients: every common form of a private key", async () => {
  const rsa = authority.issue({ name: "localhost", kind: "rsa" });
  const file = join(folder, "form.key");
  const forms: [Certificate, Uint8Array][] = [
    [rsa, rsa.key],
    [rsa, rsa.keyAs("traditional")],
    [certificate, certificate.keyAs("traditional")],
    [certificate, bundle(certificate.certificate, certificate.key)],
  ];
  for (const kind of ["ed25519", "rsa-pss"] as const) {
    const other = authority.issue({ name: "localhost", kind });
    forms.push([other, other.key]);
  }
  for (const [{ certificatePath }, key] of forms) {
    Deno.writeFileSync(file, key, { mode: 0o600 });
    await using doorman = await start({
      tls_certificate: certificatePath,
      tls_private_key: file,
    });
    assert.equal(await psql(doorman, "sslmode=verify-full"), "in");
  }
});

Deno.test("tls clients: intermediate certificates are sent along", async () => {
  const between = authority.issueAuthority("Between");
  const leaf = between.issue({ name: "localhost" });
  const chain = join(folder, "chain.pem");
  Deno.writeFileSync(chain, bundle(leaf.certificate, between.certificate));
  await using doorman = await start({ tls_certificate: chain, tls_private_key: leaf.keyPath });
  assert.equal(await psql(doorman, "sslmode=verify-full"), "in");
});

Deno.test("tls clients: tls_min_version", async () => {
  const failed = /TLS handshake with .* failed: /;
  await using doorman = await start({ tls_min_version: "1.3" }, { allowLog: [failed] });
  assert.equal(await psql(doorman, "sslmode=require ssl_min_protocol_version=TLSv1.3"), "in");
  assert.match(
    await psql(doorman, "sslmode=require ssl_max_protocol_version=TLSv1.2"),
    /alert|SSL/,
  );
  await doorman.waitForLog(failed);
});

Deno.test("tls clients: hostssl and hostnossl", async () => {
  const pg_hba = `
hostssl   app        all all scram-sha-256
hostnossl other      all all scram-sha-256
host      pgdoorman  all all scram-sha-256
`;
  const allowLog = [/no pg_hba.conf entry for host/];
  const pools = { app: poolOf(postgres), other: poolOf(postgres) };
  await using doorman = await start({ pg_hba }, { allowLog, config: { pools } });
  assert.equal(await psql(doorman, "sslmode=require"), "in");
  assert.match(
    await psql(doorman, "sslmode=disable"),
    /postgres@app \(TLS: false\) from 127.0.0.1 is not/,
  );
  assert.equal(await psql(doorman, "sslmode=disable dbname=other"), "in");
  assert.match(
    await psql(doorman, "sslmode=require dbname=other"),
    /postgres@other \(TLS: true\) from/,
  );
});

Deno.test("tls clients: SCRAM bound to the channel, where libpq demands it", async () => {
  await using doorman = await start();
  assert.equal(await psql(doorman, "sslmode=require channel_binding=require"), "in");
  assert.equal(await psql(doorman, "sslmode=require channel_binding=disable"), "in");
  assert.match(await psql(doorman, "sslmode=disable channel_binding=require"), /channel binding/);
  const rsa = authority.issue({ name: "localhost", kind: "rsa", hash: "sha384" });
  await using other = await start({
    tls_certificate: rsa.certificatePath,
    tls_private_key: rsa.keyPath,
  });
  assert.equal(await psql(other, "sslmode=require channel_binding=require"), "in");
});

Deno.test("tls clients: SHOW CLIENTS and SHOW CONNECTIONS tell who has TLS", async () => {
  await using doorman = await start();
  using encrypted = await login(doorman);
  using plain = await login(doorman, { tls: undefined });
  assert.equal(await encrypted.value("SELECT 1"), await plain.value("SELECT 1"));
  const rows = (await show(doorman, "CLIENTS")).filter(({ database }) => database === "app");
  assert.deepEqual(
    rows.map(({ tls, tls_version, tls_cipher }) => [tls, tls_version, tls_cipher]),
    [["true", "TLSv1.3", "TLS_AES_256_GCM_SHA384"], ["false", "", ""]],
  );
  const [counts] = await show(doorman, "CONNECTIONS");
  assert.deepEqual([counts!.tls, counts!.errors], ["1", "0"]);
});

Deno.test("tls clients: the admin console over TLS", async () => {
  await using doorman = await start();
  const { user, password } = ADMIN;
  const { port } = doorman;
  using admin = await WireClient.login({ port, user, password, database: "pgdoorman", tls });
  const [row] = wire.recordsOf(await admin.query("SHOW CLIENTS"));
  assert.equal(row!.tls, "true");
});

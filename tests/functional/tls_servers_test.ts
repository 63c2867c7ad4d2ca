/**
 * TLS towards PostgreSQL: every `server_tls_mode` against servers that have TLS, that have none and that demand it; whom is
 * trusted, client certificates, channel binding, direct TLS, cancel requests, and what operators and clients are told.
 */

import assert from "node:assert/strict";
import { Authority, type Certificate } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { hasDebianPostgres } from "../support/postgres_binaries.ts";
import { Proxy, TlsProxy } from "../support/proxy.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let folder: string;
let authority: Authority;
let stranger: Authority;
let own: Certificate;
/** With TLS for who wants it, without TLS, and with TLS alone, for another name. */
let postgres: Postgres;
let plain: Postgres;
let only: Postgres;

const ELSEWHERE = "db.example";

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("tls-servers");
  authority = Authority.create(folder);
  stranger = Authority.create(folder, "Somebody else");
  own = authority.issue({ name: "certified" });
  [postgres, plain, only] = await Promise.all([
    Postgres.start({
      auth: "scram-sha-256",
      tls: { certificate: authority.issue({ name: "localhost" }), ca: authority },
      settings: ["max_connections = 60", "wal_level = logical"],
      hba: [
        "hostnossl all certified,shown 127.0.0.1/32 reject",
        "hostssl all certified 127.0.0.1/32 cert",
        "hostssl all shown 127.0.0.1/32 scram-sha-256 clientcert=verify-ca",
        "host all trusted 127.0.0.1/32 trust",
      ],
    }),
    Postgres.start(),
    Postgres.start({
      auth: "scram-sha-256",
      tls: {
        certificate: authority.issue({ name: ELSEWHERE, for: [`DNS:${ELSEWHERE}`] }),
        only: true,
      },
    }),
  ]);
  await postgres.query(
    "CREATE ROLE certified LOGIN; CREATE ROLE trusted LOGIN; " +
      "CREATE ROLE shown LOGIN PASSWORD 'shown'",
  );
});

Deno.test.afterAll(async () => {
  for (const one of [postgres, plain, only]) await one[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** What PostgreSQL says of the connection that answers: version and suite, empty without TLS. */
const SSL = "SELECT coalesce(version || ' ' || cipher, '') FROM pg_stat_ssl " +
  "WHERE pid = pg_backend_pid()";
const TLS_1_3 = "TLSv1.3 TLS_AES_256_GCM_SHA384";

function start(pools: Record<string, Config>, general: Config = {}): Promise<Doorman> {
  return Doorman.start({
    config: { general, pools },
    allowLog: [
      ...[/server login failed/, /checkout timeout/, /cancel request for/],
      /server_tls_ca_cert: has no effect: server_tls_mode (require|prefer|allow) verifies nothing/,
    ],
  });
}

function login(doorman: Doorman, database = "app", user = "postgres"): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, database, user });
}

async function valueOf(doorman: Doorman, sql: string, database?: string, user?: string) {
  using client = await login(doorman, database, user);
  return await client.value(sql);
}

/** What the client is told that gets no server. */
async function refusal(doorman: Doorman, database?: string, user?: string): Promise<string> {
  try {
    await valueOf(doorman, "SELECT 1", database, user);
  } catch (error) {
    if (error instanceof Refused) return `${error.fields.C} ${error.fields.M}`;
    throw error;
  }
  throw new Error("it got in");
}

async function consoleOf(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({
    port: doorman.port,
    database: "pgdoorman",
    user: ADMIN.user,
    password: ADMIN.password,
  });
}

const MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;

Deno.test("tls servers: each mode, where PostgreSQL has TLS, has none, and wants nothing else", async () => {
  const servers = { postgres, plain, only };
  const pools: Record<string, Config> = {};
  for (const server_tls_mode of MODES) {
    for (const [name, server] of Object.entries(servers)) {
      pools[`${server_tls_mode} ${name}`] = poolOf(server, { server_tls_mode });
    }
  }
  await using doorman = await start(pools, { server_tls_ca_cert: authority.certificatePath });
  const none =
    /^08001 could not connect to PostgreSQL: TLS with 127\.0\.0\.1:\d+: PostgreSQL has none, and server_tls_mode is "[a-z-]+": set ssl = on there/;
  const expected: Record<string, string | RegExp> = {
    "disable postgres": "",
    "disable plain": "",
    "disable only": /^28000 .*no pg_hba\.conf entry .* no encryption/,
    "allow postgres": "",
    "allow plain": "",
    "allow only": TLS_1_3,
    "prefer postgres": TLS_1_3,
    "prefer plain": "",
    "prefer only": TLS_1_3,
    "require postgres": TLS_1_3,
    "require plain": none,
    "require only": TLS_1_3,
    "verify-ca postgres": TLS_1_3,
    "verify-ca plain": none,
    "verify-ca only": TLS_1_3,
    "verify-full postgres": TLS_1_3,
    "verify-full plain": none,
    "verify-full only":
      /^08001 .*server_tls_mode "verify-full", name "127\.0\.0\.1"\): certificate verify failed: IP address mismatch/,
  };
  for (const [database, wanted] of Object.entries(expected)) {
    if (typeof wanted === "string") {
      assert.equal(await valueOf(doorman, SSL, database), wanted, database);
    } else assert.match(await refusal(doorman, database), wanted, database);
  }
  // One line for each failure, with what the client was told.
  const lines = doorman.logs.match(/\[postgres@require plain\] server login failed: .*/g);
  assert.equal(lines?.length, 1);
  assert.match(lines[0]!, /08001: TLS with .*: PostgreSQL has none/);
});

Deno.test("tls servers: only the configured authority is trusted, and verify-full wants the name or address", async () => {
  const bundle = `${folder}/bundle.pem`;
  await Deno.writeTextFile(
    bundle,
    Deno.readTextFileSync(stranger.certificatePath) +
      Deno.readTextFileSync(authority.certificatePath),
  );
  const with_ = (server: Postgres, host: string, mode: string, ca: string) =>
    poolOf(server, { server_host: host, server_tls_mode: mode, server_tls_ca_cert: ca });
  await using doorman = await start({
    address: with_(postgres, "127.0.0.1", "verify-full", authority.certificatePath),
    name: with_(postgres, "localhost", "verify-full", authority.certificatePath),
    bundle: with_(postgres, "localhost", "verify-full", bundle),
    foreign_ca: with_(postgres, "localhost", "verify-ca", stranger.certificatePath),
    foreign_full: with_(postgres, "localhost", "verify-full", stranger.certificatePath),
    // What is not to be verified is not.
    unverified: with_(postgres, "localhost", "require", stranger.certificatePath),
    wrong_name: with_(only, "localhost", "verify-full", authority.certificatePath),
    // Whoever the authority has signed.
    no_name: with_(only, "localhost", "verify-ca", authority.certificatePath),
  });
  for (const database of ["address", "name", "bundle", "unverified", "no_name"]) {
    assert.equal(await valueOf(doorman, SSL, database), TLS_1_3, database);
  }
  for (const database of ["foreign_ca", "foreign_full"]) {
    assert.match(
      await refusal(doorman, database),
      /^08001 .*certificate verify failed: .*(?:issuer|self.signed)/,
    );
  }
  assert.match(
    await refusal(doorman, "wrong_name"),
    /^08001 .*name "localhost"\): certificate verify failed: hostname mismatch/,
  );
});

Deno.test("tls servers: pool and general keys are merged one by one", async () => {
  await using doorman = await start({
    // Mode of its own, files of all; and a file of its own, mode of all.
    loose: poolOf(postgres, { server_tls_mode: "require" }),
    foreign: poolOf(postgres, { server_tls_ca_cert: stranger.certificatePath }),
    common: poolOf(postgres),
    off: poolOf(plain, { server_tls_mode: "disable" }),
  }, { server_tls_mode: "verify-full", server_tls_ca_cert: authority.certificatePath });
  assert.equal(await valueOf(doorman, SSL, "loose"), TLS_1_3);
  assert.equal(await valueOf(doorman, SSL, "common"), TLS_1_3);
  assert.equal(await valueOf(doorman, SSL, "off"), "");
  assert.match(await refusal(doorman, "foreign"), /^08001 .*certificate verify failed/);
});

Deno.test("tls servers: the certificate that PostgreSQL wants to see", async () => {
  const foreign = stranger.issue({ name: "certified" });
  const users = ["certified", "shown"].map((username) => ({
    username,
    password: username,
    server_username: username,
    server_password: username,
    pool_size: 2,
  }));
  const pair = {
    server_tls_certificate: own.certificatePath,
    server_tls_private_key: own.keyPath,
  };
  await using doorman = await start({
    bare: poolOf(postgres, { users, server_tls_mode: "require" }),
    pair: poolOf(postgres, { users, server_tls_mode: "require", ...pair }),
    // Without TLS neither gets in: the same way again, with TLS.
    allow: poolOf(postgres, { users, server_tls_mode: "allow", ...pair }),
    prefer: poolOf(postgres, { users, server_tls_mode: "prefer", ...pair }),
    foreign: poolOf(postgres, {
      users,
      server_tls_mode: "require",
      server_tls_certificate: foreign.certificatePath,
      server_tls_private_key: foreign.keyPath,
    }),
  });
  const DN = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  for (const database of ["pair", "allow", "prefer"]) {
    for (const user of ["certified", "shown"]) {
      assert.equal(await valueOf(doorman, DN, database, user), "/CN=certified", database);
    }
  }
  assert.match(
    await refusal(doorman, "bare", "certified"),
    /^28000 .*valid client certificate/,
  );
  // In TLS 1.3 the server looks at it when the handshake is over for the client.
  const begun = performance.now();
  assert.match(
    await refusal(doorman, "foreign", "certified"),
    /^08001 .*TLS with .*: it sent the alert unknown_ca, perhaps for what server_tls_certificate/,
  );
  assert.ok(performance.now() - begun < 4000, "it does not help to wait");
});

Deno.test("tls servers: allow does not try a wrong password twice, and tells both refusals apart", async () => {
  await using proxy = new Proxy(postgres.port);
  await using shut = await Postgres.start({ hba: ["host all all 127.0.0.1/32 reject"] });
  const users = [{
    username: "postgres",
    password: "postgres",
    server_username: "postgres",
    server_password: "wrong",
    pool_size: 1,
  }];
  await using doorman = await start({
    wrong: poolOf(postgres, { server_port: proxy.port, server_tls_mode: "allow", users }),
    shut: poolOf(shut, { server_tls_mode: "allow" }),
  });
  assert.match(await refusal(doorman, "wrong"), /^28P01 /);
  assert.equal(proxy.firsts.length, 1);
  assert.match(
    await refusal(doorman, "shut"),
    /^28000 .*pg_hba\.conf rejects connection .*\(and it has no TLS to try\)/,
  );
});

Deno.test("tls servers: a unix socket has no TLS, whatever the mode", async () => {
  await using doorman = await start({
    app: poolOf(postgres, {
      server_host: postgres.socketDir,
      server_tls_mode: "verify-full",
      server_tls_ca_cert: authority.certificatePath,
    }),
  });
  assert.equal(await valueOf(doorman, SSL), "");
});

Deno.test("tls servers: direct TLS, with PostgreSQL 17 and newer", async () => {
  await using proxy = new Proxy(postgres.port);
  const direct = { server_tls_mode: "require", server_tls_direct: true };
  await using doorman = await start({
    app: poolOf(postgres, { server_port: proxy.port, ...direct }),
    // No TLS there at all.
    plain: poolOf(plain, { ...direct, connect_timeout: "2s", query_wait_timeout: "1s" }),
  });
  assert.equal(await valueOf(doorman, SSL), TLS_1_3);
  // The first bytes are a handshake record, no SSLRequest.
  assert.deepEqual(proxy.firsts.map((bytes) => bytes[0]), [0x16]);
  assert.match(await refusal(doorman, "plain"), /server_tls_direct needs PostgreSQL 17 or newer/);
});

Deno.test("tls servers: TLS 1.2, and the suites that it has", async () => {
  const settings = ["ssl_max_protocol_version = 'TLSv1.2'"];
  const suites = {
    "ECDHE-RSA-AES128-GCM-SHA256": "rsa",
    "ECDHE-RSA-AES256-GCM-SHA384": "rsa",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "ec",
  } as const;
  for (const [suite, kind] of Object.entries(suites)) {
    const certificate = authority.issue({ name: "localhost", kind });
    await using old = await Postgres.start({
      auth: "scram-sha-256",
      tls: { certificate },
      settings: [...settings, `ssl_ciphers = '${suite}'`],
    });
    await using doorman = await start({ app: poolOf(old, { server_tls_mode: "require" }) });
    assert.equal(await valueOf(doorman, SSL), `TLSv1.2 ${suite}`);
    assert.equal(
      await valueOf(doorman, "SELECT length(repeat('x', 3000000))"),
      "3000000",
    );
  }
});

Deno.test("tls servers: suites that can't be taken over are not agreed on", async () => {
  await using old = await Postgres.start({
    tls: { certificate: authority.issue({ name: "localhost", kind: "rsa" }) },
    settings: ["ssl_max_protocol_version = 'TLSv1.2'", "ssl_ciphers = 'ECDHE-RSA-AES256-SHA384'"],
  });
  await using doorman = await start({ app: poolOf(old, { server_tls_mode: "prefer" }) });
  assert.match(await refusal(doorman), /^08001 .*server_tls_mode "prefer"\): .*handshake failure/);
});

Deno.test("tls servers: SCRAM is bound to the certificate: who stands in between is found out", async () => {
  await using middle = new TlsProxy(
    postgres.port,
    authority.issue({ name: "localhost" }),
    authority,
  );
  const through = {
    server_port: middle.port,
    server_tls_mode: "verify-full",
    server_tls_ca_cert: authority.certificatePath,
    server_tls_direct: true,
  };
  const trusted = [{ username: "trusted", password: "trusted", pool_size: 1 }];
  await using doorman = await start({
    // Who proves nothing notices nothing.
    trusted: poolOf(postgres, { ...through, users: trusted }),
    app: poolOf(postgres, through),
  });
  assert.equal(await valueOf(doorman, "SELECT 1", "trusted", "trusted"), "1");
  assert.match(await refusal(doorman), /SCRAM channel binding check failed/);
});

Deno.test("tls servers: SCRAM with certificates of every kind, by password and by a client's key", async () => {
  const kinds = [
    authority.issue({ name: "localhost", kind: "rsa", hash: "sha512" }),
    authority.issue({ name: "localhost", kind: "rsa-pss" }),
    authority.issue({ name: "localhost", kind: "ed25519" }),
    // A signature by a hash that has none of its own.
    Authority.create(folder, "Bare", "ed25519").issue({ name: "localhost" }),
  ];
  const [{ rolpassword: verifier }] = await postgres.query<{ rolpassword: string }>(
    "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'",
  ) as [{ rolpassword: string }];
  for (const certificate of kinds) {
    await using server = await Postgres.start({ auth: "scram-sha-256", tls: { certificate } });
    await server.query(`ALTER ROLE postgres PASSWORD '${verifier}'`);
    await using doorman = await start({
      password: poolOf(server, { server_tls_mode: "require" }),
      key: poolOf(server, {
        server_tls_mode: "require",
        users: [{ username: "postgres", password: verifier, pool_size: 1 }],
      }),
    });
    for (const database of ["password", "key"]) {
      assert.equal(await valueOf(doorman, SSL, database), TLS_1_3, certificate.label);
    }
  }
});

Deno.test("tls servers: an older PostgreSQL, by its own OpenSSL 3", {
  ignore: !hasDebianPostgres(),
}, async () => {
  await using old = await Postgres.start({
    edition: "debian",
    auth: "scram-sha-256",
    tls: { certificate: authority.issue({ name: "localhost" }), only: true },
  });
  await using doorman = await start({
    app: poolOf(old, { server_tls_mode: "require" }),
    direct: poolOf(old, {
      server_tls_mode: "require",
      server_tls_direct: true,
      query_wait_timeout: "1s",
    }),
  });
  assert.match((await valueOf(doorman, SSL))!, /^TLSv1\.3 TLS_/);
  assert.match(await refusal(doorman, "direct"), /needs PostgreSQL 17 or newer/);
});

Deno.test("tls servers: a cancel request has the TLS of the connection that it means", async () => {
  await using proxy = new Proxy(postgres.port);
  const pool = { server_port: proxy.port, server_tls_ca_cert: authority.certificatePath };
  await using doorman = await start({
    full: poolOf(postgres, { ...pool, server_tls_mode: "verify-full" }),
    direct: poolOf(postgres, { ...pool, server_tls_mode: "require", server_tls_direct: true }),
    off: poolOf(postgres, { ...pool, server_tls_mode: "disable" }),
    strict: poolOf(postgres, { ...pool, server_tls_mode: "verify-full", server_tls_direct: true }),
  });
  const SSL_REQUEST = "0000000804d2162f";
  const firsts: Record<string, RegExp> = {
    full: new RegExp(`^${SSL_REQUEST}$`),
    direct: /^16030[13]/,
    // A StartupMessage, then a CancelRequest.
    off: /^(?:000000..0003000.|0000001.04d2162e)/,
  };
  for (const [database, first] of Object.entries(firsts)) {
    const before = proxy.firsts.length;
    using client = await login(doorman, database);
    client.send(wire.query("SELECT pg_sleep(60)"));
    await waitFor("the query runs", 5000, async () =>
      await postgres.psql(
          "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        ) === "1" || undefined);
    await client.cancel();
    const answer = await client.readUntil("Z");
    const error = answer.find(({ type }) => type === "E");
    assert.equal(wire.errorFields(error!).C, "57014", database);
    assert.equal(await client.value("SELECT 1"), "1");
    const seen = proxy.firsts.slice(before);
    assert.equal(seen.length, 2, database);
    for (const bytes of seen) assert.match(bytes.toHex(), first, database);
  }
  // A server's certificate that is not trusted any more: nothing is sent, and the log says why.
  using client = await login(doorman, "strict");
  client.send(wire.query("SELECT pg_sleep(3)"));
  await waitFor("the query runs", 5000, async () =>
    await postgres.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
      ) === "1" || undefined);
  await using foreign = new TlsProxy(
    postgres.port,
    stranger.issue({ name: "localhost" }),
    authority,
  );
  proxy.target = foreign.port;
  await client.cancel();
  await doorman.waitForLog(/cancel request for pid=\d+: TLS with .*certificate verify failed/);
  await client.readUntil("Z");
});

Deno.test("tls servers: those who listen and replicate have TLS, too", async () => {
  await using proxy = new Proxy(only.port);
  await using doorman = await start({
    app: poolOf(only, { server_port: proxy.port, server_tls_mode: "require" }),
  });
  using listener = await login(doorman);
  await listener.query("LISTEN news");
  using replica = await WireClient.login({
    port: doorman.port,
    database: "app",
    user: "postgres",
    parameters: { replication: "database" },
  });
  assert.equal((await replica.rows("IDENTIFY_SYSTEM")).length, 1);
  await only.query("NOTIFY news, 'hello'");
  assert.equal((await listener.read()).type, "A");
  using admin = await consoleOf(doorman);
  const rows = await admin.rows("SHOW SERVERS");
  assert.ok(rows.length >= 2);
  for (const row of rows) {
    assert.deepEqual([row[5], ...row.slice(-2)], ["true", ...TLS_1_3.split(" ")]);
  }
  for (const bytes of proxy.firsts) assert.equal(bytes.toHex(), "0000000804d2162f");
});

Deno.test("tls servers: the console tells of each connection, and counts handshakes", async () => {
  await using doorman = await start({
    app: poolOf(postgres, { server_tls_mode: "require" }),
    off: poolOf(postgres, { server_tls_mode: "disable" }),
    none: poolOf(plain, { server_tls_mode: "require" }),
  });
  assert.equal(await valueOf(doorman, "SELECT 1"), "1");
  assert.equal(await valueOf(doorman, "SELECT 1", "off"), "1");
  await refusal(doorman, "none");
  using admin = await consoleOf(doorman);
  const servers = (await admin.rows("SHOW SERVERS")).map((
    row,
  ) => [row[2], row[5], ...row.slice(-2)]);
  assert.deepEqual(servers, [
    ["app", "true", ...TLS_1_3.split(" ")],
    ["off", "false", "", ""],
  ]);
  const counts = (await admin.rows("SHOW STATS")).map((row) => [row[0], ...row.slice(-3, -1)]);
  assert.deepEqual(counts, [["app", "1", "0"], ["none", "0", "1"], ["off", "0", "0"]]);
});

Deno.test("tls servers: 64 MB each way, byte for byte", async () => {
  await using doorman = await start({ app: poolOf(postgres, { server_tls_mode: "require" }) });
  using client = await login(doorman);
  client.patienceMs = 60_000;
  await postgres.query("CREATE TABLE big (line text)");
  const line = (i: number) => `${i} ${"0123456789abcdef".repeat(63)}\n`;
  const LINES = 64 * 1024;
  client.send(wire.query("COPY big FROM STDIN"));
  await client.readUntil("G");
  for (let i = 0; i < LINES; i += 64) {
    let text = "";
    for (let j = i; j < i + 64; j++) text += line(j);
    client.send(wire.message("d", wire.text(text)));
    await client.flushed();
  }
  client.send(wire.message("c"));
  await client.readUntil("Z");
  const sum = await postgres.psql("SELECT count(*), sum(hashtextextended(line, 0)) FROM big");
  const made = await postgres.psql(
    `SELECT count(*), sum(hashtextextended(i || ' ' || repeat('0123456789abcdef', 63), 0))
     FROM generate_series(0, ${LINES - 1}) i`,
  );
  assert.equal(sum, made);
  client.send(
    wire.query("COPY (SELECT line FROM big ORDER BY split_part(line, ' ', 1)::int) TO STDOUT"),
  );
  let next = 0;
  for (;;) {
    const { type, body } = await client.read();
    if (type === "d") assert.equal(new TextDecoder().decode(body), line(next++));
    if (type === "Z") break;
  }
  assert.equal(next, LINES);
});

Deno.test("tls servers: whoever answers SSLRequest by anything else is left", async () => {
  const answers: [said: string, told: RegExp][] = [
    ["E", /^08006 .*an error instead of an answer/],
    [`${"E"}FATAL\0`, /^08006 .*an error instead of an answer/],
    ["HTTP/1.1 400", /^08P01 .*this is no PostgreSQL/],
    ["S" + "R\0\0\0\x08\0\0\0\0", /^08P01 .*bytes behind the answer to SSLRequest/],
    ["N" + "R\0\0\0\x08\0\0\0\0", /^08P01 .*bytes behind the answer to SSLRequest/],
    ["", /^08006 .*closed the connection instead of an answer/],
  ];
  for (const [said, told] of answers) {
    using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const sent: string[] = [];
    const serving = (async () => {
      for await (const connection of server) {
        const bytes = new Uint8Array(1000);
        assert.equal(await connection.read(bytes), 8);
        if (said !== "") {
          await connection.write(wire.text(said));
          for (;;) {
            const count = await connection.read(bytes).catch(() => null);
            if (count === null) break;
            sent.push(bytes.subarray(0, count).toHex());
          }
        }
        connection.close();
      }
    })();
    {
      await using doorman = await start({
        app: {
          server_host: "127.0.0.1",
          server_port: server.addr.port,
          server_tls_mode: "prefer",
          query_wait_timeout: "500ms",
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        },
      });
      assert.match(await refusal(doorman), told, JSON.stringify(said));
    }
    server.close();
    await serving;
    assert.deepEqual(sent, []);
  }
});

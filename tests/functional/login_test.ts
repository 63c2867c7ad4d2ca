/**
 * How clients log in: the first packets, pg_hba's methods with each stored form of a password, refusals and limits.
 */

import assert from "node:assert/strict";
import { ADMIN, Doorman } from "../support/doorman.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import { md5Stored, scramStored } from "../support/wire_login.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import * as wire from "../support/wire_messages.ts";

const PASSWORD = "correct-horse-battery";
const STORED: Record<string, string> = {
  plain: PASSWORD,
  md5: md5Stored("md5", PASSWORD),
  scram: scramStored(PASSWORD),
};
const HBA = `
# the first rule that fits decides
host   first     all      127.0.0.1/32          trust
host   first     all      all                   reject
host   rejected  all      all                   reject
host   trusting  all      127.0.0.0 255.0.0.0   trust
host   md5ing    all      samehost              md5
host   hashed    all      all                   md5
host   scramming all      127.0.0.1/32          scram-sha-256
host   cleartext all      127.0.0.1             password
host   verified  all      127.0.0.1             password
host   elsewhere all      10.0.0.0/8            trust
host   named     plain,md5 all                  trust
host   nowhere   all      127.0.0.1             password
local  nowhere   all      trust
host   pgdoorman,pgbouncer all all              scram-sha-256
local  "md5ing"  /^pl     trust
local  all       all      scram-sha-256
`;

let postgres: Postgres;
let doorman: Doorman;

function users(...names: string[]) {
  return names.map((username) => ({
    username,
    password: STORED[username]!,
    server_username: "postgres",
    pool_size: 2,
  }));
}

function pool(...names: string[]) {
  return {
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users: users(...names),
  };
}

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  doorman = await Doorman.start({
    args: ["-l", "trace"],
    allowLog: [
      /WARN .* login from /,
      /address "127.0.0.1" has no mask/,
      /unsupported query NONSENSE/,
    ],
    config: `
[general]
host = "127.0.0.1"
port = \${PORT}
admin_username = "admin"
admin_password = "word-of-the-admin"
unix_socket_dir = "\${DIR}"
unix_socket_mode = "0660"
worker_threads = 2
auth_failure_delay = 0
pg_hba = """${HBA}"""
${
      Object.entries({
        trusting: users("plain", "md5", "scram"),
        md5ing: users("plain", "md5"),
        scramming: users("plain", "scram"),
        hashed: users("md5"),
        cleartext: users("plain", "md5", "scram"),
        verified: users("plain", "scram"),
        rejected: users("plain"),
        first: users("plain"),
        elsewhere: users("plain"),
        named: users("plain", "md5", "scram"),
      }).map(([name, list]) =>
        `[pools.${name}]\nserver_host = "127.0.0.1"\nserver_port = ${postgres.port}\n` +
        `server_database = "postgres"\n` +
        list.map((user) =>
          `[[pools.${name}.users]]\n` +
          Object.entries(user).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join("")
        ).join("")
      ).join("\n")
    }`,
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  database: string,
  user: string,
  options: { password?: string; path?: string } = {},
): Promise<WireClient> {
  const { password = PASSWORD, path } = options;
  const place = path === undefined ? { port: doorman.port } : { path };
  return await WireClient.login({ ...place, user, database, password });
}

/** Authentication codes that the server asked with, AuthenticationOk last. */
function challenges(messages: readonly wire.Message[]): number[] {
  return messages.filter(({ type }) => type === "R")
    .map(({ body }) => new DataView(body.buffer).getInt32(0));
}

async function refusal(
  database: string,
  user: string,
  options: { password?: string; path?: string } = {},
): Promise<wire.ErrorFields> {
  try {
    (await login(database, user, options)).close();
  } catch (error) {
    if (error instanceof Refused) return error.fields;
    throw error;
  }
  throw new Error(`${user} got into ${database}`);
}

Deno.test("each pg_hba method with each stored form asks as PostgreSQL does and lets the right password in", async () => {
  const cases: [string, string, number[]][] = [
    ["trusting", "plain", [0]],
    ["trusting", "md5", [0]],
    ["trusting", "scram", [0]],
    ["md5ing", "plain", [5, 0]],
    ["md5ing", "md5", [5, 0]],
    ["scramming", "plain", [10, 11, 12, 0]],
    ["scramming", "scram", [10, 11, 12, 0]],
    ["cleartext", "plain", [3, 0]],
    ["cleartext", "md5", [3, 0]],
    ["cleartext", "scram", [3, 0]],
  ];
  for (const [database, user, asked] of cases) {
    using client = await login(database, user);
    assert.deepEqual(challenges(client.loginMessages), asked, `${user} in ${database}`);
    assert.equal(await client.value("SELECT current_user"), "postgres");
  }
});

Deno.test("a wrong password is refused with PostgreSQL's text and SQLSTATE by every method", async () => {
  for (
    const [database, user] of [["md5ing", "md5"], ["scramming", "scram"], ["cleartext", "md5"]]
  ) {
    for (const password of ["wrong", "", PASSWORD + "x"]) {
      assert.deepEqual(await refusal(database!, user!, { password }), {
        S: "FATAL",
        V: "FATAL",
        C: "28P01",
        M: `password authentication failed for user "${user}"`,
      });
    }
  }
});

/** All that a refused login shows, without what is random in every login. */
async function trace(database: string, user: string, password: string): Promise<string[]> {
  using client = await WireClient.open({ port: doorman.port });
  await client.logIn({ user, database, password }).catch((error) => {
    if (!(error instanceof Refused)) throw error;
  });
  assert.deepEqual(await client.readToEnd(), []);
  return client.loginMessages.map(({ type, body }) => {
    const code = type === "R" ? new DataView(body.buffer).getInt32(0) : -1;
    const hidden = new TextDecoder("latin1").decode(body)
      .replaceAll(user, "«user»")
      .replace(/^(.{4}r=)[^,]+(,s=)[A-Za-z0-9+/]{22}==(,i=\d+)$/s, "$1…$2…$3");
    const named = type === "E" ? hidden.split("«user»").length - 1 : 0;
    return `${type}${body.length - named * user.length} ${code === 5 ? "salt" : hidden}`;
  });
}

Deno.test("wrong password and unknown user: same messages, same fields, same lengths", async () => {
  for (
    const [database, known, unknown] of [
      ["hashed", "md5", "nobody"],
      ["scramming", "scram", "nobody"],
      ["scramming", "plain", "someone"],
      ["cleartext", "scram", "nobody"],
      ["trusting_no", "plain", "nobody"],
      ["pgdoorman", "admin", "nobody"],
    ] as const
  ) {
    assert.deepEqual(
      await trace(database, unknown, "wrong"),
      await trace(database, known, "wrong"),
      database,
    );
  }
});

Deno.test("an unknown user is shown the same salt at every try, as a known one is", async () => {
  const salt = async (user: string) => {
    using client = await WireClient.open({ port: doorman.port });
    await assert.rejects(client.logIn({ user, database: "scramming", password: "x" }), Refused);
    const [, first] = client.loginMessages;
    return /,s=([^,]+)/.exec(new TextDecoder().decode(first!.body))![1];
  };
  const [known, unknown, other] = [await salt("scram"), await salt("nobody"), await salt("noone")];
  assert.equal(known, /:([^$]+)\$/.exec(STORED.scram!)![1]);
  assert.equal(await salt("nobody"), unknown);
  assert.notEqual(unknown, known);
  assert.notEqual(unknown, other);
});

Deno.test("wrong password and unknown user take the same time, where the password is hashed", async () => {
  const times: Record<string, number[]> = { scram: [], nobody: [] };
  for (let i = 0; i < 15; i++) {
    for (const user of ["scram", "nobody"]) {
      const started = performance.now();
      await refusal("verified", user, { password: "wrong" });
      times[user]!.push(performance.now() - started);
    }
  }
  const median = (list: number[]) => list.sort((a, b) => a - b)[list.length >> 1]!;
  const ratio = median(times.scram!) / median(times.nobody!);
  assert.ok(ratio > 0.5 && ratio < 2, `${ratio} ${JSON.stringify(times)}`);
});

Deno.test("an unknown database can't be told from a wrong password; with trust it is told", async () => {
  const answers = await Promise.all(
    [["nowhere", "plain"], ["nowhere", "nobody"], ["verified", "nobody"]].map(
      async ([database, user]) => {
        using client = await WireClient.open({ port: doorman.port });
        client.send(wire.startup({ user: user!, database: database! }));
        const { type, body } = await client.read();
        client.send(wire.message("p", wire.cstring("wrong")));
        return [type, [...body], wire.errorCodes(await client.readToEnd())];
      },
    ),
  );
  assert.deepEqual(answers[0], answers[2]);
  assert.deepEqual(answers[1], answers[2]);
  const { C, M } = await refusal("nowhere", "plain");
  assert.equal(C, "28P01");
  assert.match(M!, /^password authentication failed for user "plain"$/);
  const trusted = await refusal("nowhere", "plain", { path: socketPath() });
  assert.equal(trusted.C, "3D000");
  assert.match(trusted.M!, /no pool configured for database "nowhere"/);
});

Deno.test("a missing user is refused with 28000", async () => {
  using client = await WireClient.open({ port: doorman.port });
  client.send(
    wire.packet(3 << 16, wire.cstring("database"), wire.cstring("trusting"), wire.cstring("")),
  );
  const [error] = await client.readToEnd();
  assert.deepEqual(wire.errorCodes([error!]), ["28000"]);
});

Deno.test("no database in the StartupMessage means the one named like the user", async () => {
  using client = await WireClient.open({ port: doorman.port });
  client.send(wire.startup({ user: "trusting" }));
  // The database exists, the user does not: refused as a wrong password is, not with 3D000.
  const [error] = await client.readToEnd();
  assert.equal(wire.errorFields(error!).C, "28P01");
});

Deno.test("pg_hba: reject, no rule, another network, a list of users, and the first match decides", async () => {
  for (
    const [database, user] of [["rejected", "plain"], ["elsewhere", "plain"], ["named", "scram"]]
  ) {
    const { C, M, D } = await refusal(database!, user!);
    assert.equal(C, "28000");
    assert.match(
      M!,
      /^(no pg_hba.conf entry|pg_hba.conf rejects connection) for host "127.0.0.1", /,
    );
    assert.match(
      D!,
      new RegExp(`${user}@${database} \\(TLS: false\\).* is not permitted by HBA configuration`),
    );
  }
  (await login("first", "plain")).close();
  (await login("named", "md5")).close();
  // An md5 hash can't serve a rule that asks for SCRAM.
  assert.equal((await refusal("hashed", "md5", { path: socketPath() })).C, "28000");
});

function socketPath(): string {
  return `${doorman.dir}/.s.PGSQL.${doorman.port}`;
}

Deno.test("unix socket: has the configured mode, and follows local rules", async () => {
  assert.equal(Deno.statSync(socketPath()).mode! & 0o777, 0o660);
  using trusted = await login("md5ing", "plain", { path: socketPath() });
  assert.deepEqual(challenges(trusted.loginMessages), [0]);
  using asked = await login("scramming", "scram", { path: socketPath() });
  assert.deepEqual(challenges(asked.loginMessages), [10, 11, 12, 0]);
  assert.equal(await asked.value("SELECT 1"), "1");
  // pg_hba's host rules are not for it.
  using notTrusted = await login("trusting", "plain", { path: socketPath() });
  assert.deepEqual(challenges(notTrusted.loginMessages), [10, 11, 12, 0]);
});

Deno.test("unix socket: gone after SIGTERM, and one that was left by a kill is taken over", async () => {
  const config = (dir: string) => ({
    general: { unix_socket_dir: dir },
    pools: { app: pool("plain") },
  });
  const folder = await makeTestFolder("socket");
  try {
    await using other = await Doorman.start({ config: config(folder), allowExit: [137] });
    const path = `${folder}/.s.PGSQL.${other.port}`;
    // The socket comes after the port that the start waits for.
    await other.waitForLog(/Accepting connections/);
    other.signal("SIGKILL");
    await other.waitForExit();
    assert.ok(Deno.lstatSync(path).isSocket);
    const from = other.logs.length;
    await other.start();
    await other.waitForLog(/Accepting connections/, 5_000, from);
    using client = await WireClient.login({
      path,
      user: "plain",
      database: "app",
      password: PASSWORD,
    });
    assert.equal(await client.value("SELECT 1"), "1");
    await other.stop();
    assert.throws(() => Deno.lstatSync(path), Deno.errors.NotFound);
  } finally {
    await removeFolder(folder);
  }
});

Deno.test("SSLRequest and GSSENCRequest are answered with N, in either order, and the login goes on", async () => {
  for (
    const requests of [
      [wire.SSL_REQUEST],
      [wire.GSSENC_REQUEST],
      [wire.GSSENC_REQUEST, wire.SSL_REQUEST],
      [wire.SSL_REQUEST, wire.GSSENC_REQUEST],
    ]
  ) {
    for (const path of [undefined, socketPath()]) {
      using client = await WireClient.open(path ? { path } : { port: doorman.port });
      for (const request of requests) {
        client.send(request);
        assert.equal(await client.readByte(), "N");
      }
      await client.logIn({ user: "scram", database: "scramming", password: PASSWORD });
      assert.equal(await client.value("SELECT 7"), "7");
    }
  }
});

Deno.test("bytes behind an SSLRequest that was not answered yet are refused", async () => {
  using client = await WireClient.open({ port: doorman.port });
  client.send(
    new Uint8Array([
      ...wire.SSL_REQUEST,
      ...wire.startup({ user: "plain", database: "trusting" }),
    ]),
  );
  const answer = await client.readToEnd();
  assert.deepEqual(wire.errorCodes(answer), ["08P01"]);
});

Deno.test("another major version is refused with an error that names it", async () => {
  for (const [major, minor] of [[2, 0], [4, 1]]) {
    using client = await WireClient.open({ port: doorman.port });
    client.send(
      wire.packet(
        (major! << 16) | minor!,
        wire.cstring("user"),
        wire.cstring("plain"),
        wire.cstring(""),
      ),
    );
    const answer = await client.readToEnd();
    assert.deepEqual(wire.errorCodes(answer), ["0A000"]);
    assert.match(wire.errorFields(answer[0]!).M!, new RegExp(`protocol ${major}\\.${minor}`));
  }
});

Deno.test("a StartupMessage that comes byte by byte is read as one that comes whole", async () => {
  using client = await WireClient.open({ port: doorman.port });
  const bytes = wire.startup({ user: "plain", database: "trusting", application_name: "slow" });
  for (const byte of bytes) {
    client.send(Uint8Array.of(byte));
    await client.flushed();
  }
  const messages = await client.readUntil("Z");
  assert.equal(wire.letters(messages).at(0), "R");
  assert.equal(client.parameters.get("application_name"), "slow");
});

Deno.test("a query sent right behind the StartupMessage of a trusted login is answered", async () => {
  using client = await WireClient.open({ port: doorman.port });
  client.send(
    new Uint8Array([
      ...wire.startup({ user: "scram", database: "trusting" }),
      ...wire.query("SELECT 42"),
    ]),
  );
  await client.readUntil("Z");
  assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [["42"]]);
});

Deno.test("admin console: both database names, right password only, unknown commands do not end it", async () => {
  for (const database of ["pgdoorman", "pgbouncer"]) {
    using client = await login(database, "admin", { password: "word-of-the-admin" });
    assert.match((await client.value("SHOW VERSION"))!, /^PgDoorman \d/);
    assert.equal((await client.query("NONSENSE")).at(-1)!.type, "Z");
    assert.equal((await client.query("")).at(-1)!.type, "Z");
    assert.match((await client.value("SHOW VERSION"))!, /^PgDoorman \d/);
    assert.equal((await refusal(database, "admin", { password: "wrong" })).C, "28P01");
    assert.equal((await refusal(database, "plain")).C, "28P01");
  }
});

Deno.test("names in UTF-8, with spaces and quotes, are taken as they are", async () => {
  const user = "üser 'of\" ñame";
  await using other = await Doorman.start({
    config: {
      general: { log_client_connections: true },
      pools: {
        "dätabase; x": {
          ...pool(),
          users: [{
            username: user,
            password: PASSWORD,
            server_username: "postgres",
            pool_size: 1,
          }],
        },
      },
    },
  });
  using client = await WireClient.login({
    port: other.port,
    user,
    database: "dätabase; x",
    password: PASSWORD,
    parameters: { application_name: "naïve ✓" },
  });
  assert.equal(await client.value("SELECT 1"), "1");
  await other.waitForLog(/client connected/);
  assert.ok(other.logs.includes(`[${user}@dätabase; x`), other.logs);
});

Deno.test("general.hba: networks that are let in; the password is still asked", async () => {
  await using other = await Doorman.start({
    config: { general: { hba: ["127.0.0.0/8"] }, pools: { app: pool("plain") } },
    allowLog: [/WARN .* login from/, /hba/],
  });
  const options = { port: other.port, user: "plain", database: "app" };
  (await WireClient.login({ ...options, password: PASSWORD })).close();
  await assert.rejects(WireClient.login({ ...options, password: "wrong" }), /28P01/);
  await using closed = await Doorman.start({
    config: { general: { hba: ["10.0.0.0/8"] }, pools: { app: pool("plain") } },
    allowLog: [/WARN .* login from/, /hba/],
  });
  await assert.rejects(
    WireClient.login({ ...options, port: closed.port, password: PASSWORD }),
    /28000/,
  );
});

Deno.test("a user with an empty password gets in by a trust rule alone", async () => {
  const users = [{ username: "open", password: "", server_username: "postgres", pool_size: 1 }];
  for (
    const [rule, lets] of [["trust", true], ["md5", false], ["scram-sha-256", false], [
      "password",
      false,
    ]]
  ) {
    await using other = await Doorman.start({
      config: {
        general: { pg_hba: `host all all all ${rule}` },
        pools: { app: { ...pool(), users } },
      },
      allowLog: [/WARN .* login from/, /empty password/],
    });
    const options = { port: other.port, user: "open", database: "app", password: "" };
    if (lets) (await WireClient.login(options)).close();
    else await assert.rejects(WireClient.login(options), /28P01/, String(rule));
  }
});

Deno.test({
  name: 'IPv6: host = "::1" listens there, and pg_hba\'s IPv6 networks count',
  ignore: !hasIpv6(),
  fn: async () => {
    await using other = await Doorman.start({
      config: {
        general: {
          host: "::1",
          log_client_connections: true,
          pg_hba: "host all all ::1/128 trust\nhost all all all reject",
        },
        pools: { app: pool("plain") },
      },
    });
    using client = await WireClient.login({
      port: other.port,
      host: "::1",
      user: "plain",
      database: "app",
    });
    assert.equal(await client.value("SELECT 1"), "1");
    await other.waitForLog(/client connected from \[::1\]:\d+/);
  },
});

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    Deno.stderr.writeSync(new TextEncoder().encode("left out: this machine has no IPv6\n"));
    return false;
  }
}

Deno.test("client_login_timeout cuts off who does not finish in time, with or without a StartupMessage", async () => {
  await using slow = await Doorman.start({
    allowLog: [/WARN .* login from /],
    config: {
      general: { client_login_timeout: "300ms" },
      pools: { app: pool("plain") },
    },
  });
  for (const start of [new Uint8Array(0), wire.startup({ user: "plain", database: "app" })]) {
    using client = await WireClient.open({ port: slow.port });
    const started = performance.now();
    client.send(start);
    const answer = await client.readToEnd();
    const took = performance.now() - started;
    assert.ok(took > 250 && took < 8000, `${took} ms`);
    assert.match(wire.errorFields(answer.at(-1)!).M!, /authentication.*timeout/);
  }
  // Whoever is through is not cut off.
  using client = await WireClient.login({
    port: slow.port,
    user: "plain",
    database: "app",
    password: PASSWORD,
  });
  assert.ok(await client.silent(400));
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("max_connections: the next client gets 53300, a cancel still passes, and a place that is free is given", async () => {
  await using small = await Doorman.start({
    allowLog: [/too many clients/],
    config: { general: { max_connections: 3 }, pools: { app: pool("plain") } },
  });
  const place = { port: small.port, user: "plain", database: "app", password: PASSWORD };
  const clients = [
    await WireClient.login(place),
    await WireClient.login(place),
    await WireClient.login(place),
  ];
  try {
    await assert.rejects(WireClient.login(place), (error) => {
      assert.ok(error instanceof Refused);
      assert.deepEqual([error.fields.S, error.fields.C], ["FATAL", "53300"]);
      assert.match(error.fields.M!, /sorry, too many clients already/);
      return true;
    });
    clients[0]!.send(wire.query("SELECT pg_sleep(30)"));
    await waitFor("the query runs", 5000, async () =>
      await postgres.psql(
          "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'",
        ) === "1" || undefined);
    await clients[0]!.cancel();
    assert.deepEqual(wire.errorCodes(await clients[0]!.readUntil("Z")), ["57014"]);
    await clients[1]!.terminate();
    await waitFor("a place", 5000, async () => {
      try {
        clients.push(await WireClient.login(place));
        return true;
      } catch (error) {
        if (error instanceof Refused) return undefined;
        throw error;
      }
    });
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("no password, hash or verifier is in the log, at the level trace, or in the admin console", async () => {
  using client = await login("pgdoorman", "admin", { password: "word-of-the-admin" });
  let shown = "";
  const shows =
    "CONFIG USERS DATABASES POOLS CLIENTS SERVERS STATS LISTS HELP CONNECTIONS LOG_LEVEL";
  for (const show of shows.split(" ")) {
    const messages = await client.query(`SHOW ${show}`);
    assert.deepEqual(wire.errorCodes(messages), [], show);
    shown += JSON.stringify(wire.rowsOf(messages));
  }
  assert.match(shown, /trusting/);
  const { logs } = doorman;
  assert.match(logs, /login from .* failed/);
  const verifier = STORED.scram!.split(/[$:]/);
  assert.equal(verifier.length, 5);
  for (
    const secret of [PASSWORD, "word-of-the-admin", STORED.md5!.slice(3), ...verifier.slice(2)]
  ) {
    assert.ok(!logs.includes(secret), `${secret} is in the log`);
    assert.ok(!shown.includes(secret), `${secret} is in the console`);
  }
});

Deno.test("Terminate or rubbish instead of a StartupMessage: the connection ends without a word, as PostgreSQL does it", async () => {
  for (const port of [postgres.port, doorman.port]) {
    for (
      const bytes of [wire.TERMINATE, wire.text("GET / HTTP/1.1\r\n\r\n"), new Uint8Array(8)]
    ) {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      try {
        await connection.write(bytes);
        assert.equal(await connection.read(new Uint8Array(100)), null);
      } finally {
        connection.close();
      }
    }
  }
});

Deno.test("Terminate instead of a password: the text is PostgreSQL's, and no word of a StartupMessage", async () => {
  using other = await WireClient.open({ port: doorman.port });
  other.send(wire.startup({ user: ADMIN.user, database: "pgdoorman" }));
  await other.read();
  other.send(wire.TERMINATE);
  const [told] = await other.readToEnd();
  const { C, M, S } = wire.errorFields(told!);
  assert.deepEqual([S, C, M], [
    "FATAL",
    "08P01",
    "expected password response, got message type 88",
  ]);
});

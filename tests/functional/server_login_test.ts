/**
 * How PgDoorman logs in at PostgreSQL: every method with a password of the config, passthrough of the client's md5 hash
 * or SCRAM key, addresses and sockets, and what a client is told when PostgreSQL refuses.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Config, Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { freePort } from "../support/ports.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { type LoginOptions, Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const PASSWORD = "server-side-secret";
const USERS = ["trusted", "cleartext", "hashed", "scrambled"] as const;
const METHODS = {
  trusted: "trust",
  cleartext: "password",
  hashed: "md5",
  scrambled: "scram-sha-256",
};

let postgres: Postgres;
let stored: Record<string, string>;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({
    settings: ["listen_addresses = '127.0.0.1'"],
    hba: USERS.map((user) => `host all ${user} 127.0.0.1/32 ${METHODS[user]}`),
  });
  await postgres.query(
    "SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD '" + PASSWORD + "';" +
      "SET password_encryption = 'scram-sha-256';" +
      ["trusted", "cleartext", "scrambled"]
        .map((user) => `CREATE ROLE ${user} LOGIN PASSWORD '${PASSWORD}';`).join(""),
  );
  const rows = await postgres.query<{ rolname: string; rolpassword: string }>(
    "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL",
  );
  stored = Object.fromEntries(rows.map(({ rolname, rolpassword }) => [rolname, rolpassword]));
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function poolWith(users: Config[], pool: Config = {}): Config {
  return {
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users: users.map((user) => ({ pool_size: 2, ...user })),
    ...pool,
  };
}

async function start(pools: Record<string, Config>, general: Config = {}): Promise<Doorman> {
  return await Doorman.start({
    args: ["-l", "trace"],
    allowLog: [/server login failed/, /checkout timeout/, /plain text|plaintext/i],
    config: { general, pools },
  });
}

/** Stops it, after a look for secrets in its log. */
async function judge(doorman: Doorman): Promise<void> {
  assert.equal(await doorman.stop(), 0);
  for (const secret of [PASSWORD, "another-secret", ...Object.values(stored)]) {
    assert.ok(!doorman.logs.includes(secret), `"${secret}" is in the log`);
  }
}

function at(doorman: Doorman, database: string, user: string): LoginOptions {
  return { port: doorman.port, database, user, password: PASSWORD };
}

async function refusal(options: LoginOptions): Promise<wire.ErrorFields> {
  try {
    (await WireClient.login(options)).close();
  } catch (error) {
    if (error instanceof Refused) return error.fields;
    throw error;
  }
  throw new Error(`${options.user} got in`);
}

Deno.test("a password in the config logs in by trust, cleartext, md5 and SCRAM", async () => {
  await using doorman = await start({
    app: poolWith(USERS.map((username) => ({ username, password: PASSWORD }))),
  });
  for (const user of USERS) {
    using client = await WireClient.login(at(doorman, "app", user));
    assert.equal(await client.value("SELECT current_user"), user);
  }
  await judge(doorman);
});

Deno.test("server_username and server_password take the place of the client's name and password", async () => {
  await using doorman = await start({
    app: poolWith(
      USERS.map((user) => ({
        username: `client_of_${user}`,
        password: "another-secret",
        server_username: user,
        server_password: PASSWORD,
      })),
    ),
  });
  for (const user of USERS) {
    using client = await WireClient.login({
      ...at(doorman, "app", `client_of_${user}`),
      password: "another-secret",
    });
    assert.equal(await client.value("SELECT current_user"), user);
  }
  await judge(doorman);
});

Deno.test("md5 passthrough: the hash of the config opens an md5 server, no password is needed", async () => {
  await using doorman = await start({
    app: poolWith([{ username: "hashed", password: stored.hashed! }]),
  });
  using client = await WireClient.login(at(doorman, "app", "hashed"));
  assert.equal(await client.value("SELECT current_user"), "hashed");
  await judge(doorman);
});

Deno.test("SCRAM passthrough: the client's own proof opens the server, for all clients after it, too", async () => {
  await using doorman = await start({
    app: poolWith([{ username: "scrambled", password: stored.scrambled!, min_pool_size: 2 }]),
  });
  using first = await WireClient.login(at(doorman, "app", "scrambled"));
  using second = await WireClient.login(at(doorman, "app", "scrambled"));
  await first.query("START TRANSACTION");
  await second.query("START TRANSACTION");
  for (const client of [first, second]) {
    assert.equal(await client.value("SELECT current_user"), "scrambled");
  }
  await judge(doorman);
});

Deno.test("SCRAM passthrough: a client that pg_hba trusts brings no key and is told what is missing", async () => {
  await using doorman = await start(
    { app: poolWith([{ username: "scrambled", password: stored.scrambled! }]) },
    { pg_hba: "local all all trust\nhost all all 127.0.0.1/32 trust" },
  );
  const fields = await refusal(at(doorman, "app", "scrambled"));
  assert.deepEqual([fields.S, fields.C], ["FATAL", "28000"]);
  assert.match(fields.M!, /no client has logged in yet/);
  await judge(doorman);
});

Deno.test("a verifier with another salt than PostgreSQL's is told as such, with what to do", async () => {
  await postgres.query(`ALTER ROLE scrambled PASSWORD '${PASSWORD}'`);
  await using doorman = await start({
    app: poolWith([{ username: "scrambled", password: stored.scrambled! }]),
  });
  const fields = await refusal(at(doorman, "app", "scrambled"));
  assert.equal(fields.C, "28P01");
  assert.match(fields.M!, /not the one in PostgreSQL.*pg_authid/);
  await judge(doorman);
});

Deno.test("an md5 hash can't answer a SCRAM server: the client is told which secret is missing", async () => {
  await using doorman = await start({
    app: poolWith([{
      username: "hashed",
      password: stored.hashed!,
    }, { username: "cleartext", password: stored.cleartext! }]),
  });
  const scram = await refusal(at(doorman, "app", "cleartext"));
  assert.equal(scram.C, "28000");
  assert.match(scram.M!, /a cleartext password of "cleartext"/);
  await judge(doorman);
});

Deno.test("PostgreSQL's refusal reaches the client with its own SQLSTATE: wrong password, no database, no role", async () => {
  await using doorman = await start({
    wrong: poolWith([{
      username: "scrambled",
      password: PASSWORD,
      server_username: "scrambled",
      server_password: "another-secret",
    }]),
    nowhere: poolWith([{ username: "trusted", password: PASSWORD }], {
      server_database: "nowhere",
    }),
    norole: poolWith([{ username: "nobody", password: PASSWORD }]),
  });
  for (
    const [database, user, code, text] of [
      ["wrong", "scrambled", "28P01", /password authentication failed for user "scrambled"/],
      ["nowhere", "trusted", "3D000", /database "nowhere" does not exist/],
      ["norole", "nobody", "28000", /role "nobody" does not exist/],
    ] as const
  ) {
    const started = performance.now();
    const fields = await refusal(at(doorman, database, user));
    assert.deepEqual([fields.S, fields.C], ["FATAL", code]);
    assert.match(fields.M!, text);
    assert.ok(performance.now() - started < 4000, "told at once, not after a wait");
  }
  await judge(doorman);
});

Deno.test("a password changed in PostgreSQL: sessions that need a new server get an ERROR and go on", async () => {
  await postgres.query(`CREATE ROLE changing LOGIN PASSWORD '${PASSWORD}'`);
  await using doorman = await start({
    app: poolWith([{
      username: "app",
      password: PASSWORD,
      server_username: "scrambled",
      server_password: PASSWORD,
    }]),
  });
  using client = await WireClient.login(at(doorman, "app", "app"));
  assert.equal(await client.value("SELECT 1"), "1");
  try {
    await postgres.query(
      "ALTER ROLE scrambled PASSWORD 'quite another';" +
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'scrambled'",
    );
    doorman.allowLog(/server connection closed/, /client lost its server/);
    await doorman.waitForLog(/server connection closed/);
    const answer = await client.query("SELECT 2");
    assert.equal(wire.letters(answer), "EZ");
    const fields = wire.errorFields(answer[0]!);
    assert.deepEqual([fields.S, fields.C], ["ERROR", "28P01"]);
  } finally {
    await postgres.query(`ALTER ROLE scrambled PASSWORD '${PASSWORD}'`);
  }
  await doorman.waitForLog(/server login failed/);
  const deadline = performance.now() + 5000;
  for (;;) {
    const answer = await client.query("SELECT 3");
    if (wire.letters(answer) === "TDCZ") break;
    assert.ok(performance.now() < deadline, "the pool did not recover");
  }
  await judge(doorman);
});

Deno.test("a host name is resolved by /etc/hosts; an unknown one is told", async () => {
  await using doorman = await start({
    app: poolWith([{ username: "trusted", password: PASSWORD }], { server_host: "localhost" }),
    lost: poolWith([{ username: "trusted", password: PASSWORD }], {
      server_host: "no-such-host.invalid",
      query_wait_timeout: "500ms",
    }),
  });
  using client = await WireClient.login(at(doorman, "app", "trusted"));
  assert.equal(await client.value("SELECT host(inet_server_addr())"), "127.0.0.1");
  const fields = await refusal(at(doorman, "lost", "trusted"));
  assert.equal(fields.C, "53300");
  assert.match(fields.M!, /no-such-host\.invalid/);
  await judge(doorman);
});

Deno.test({
  name: "the addresses of a host name are tried in turn until one answers",
  // A hosts file of its own needs a mount of its own.
  ignore: Deno.uid() !== 0,
  fn: async () => {
    const folder = await makeTestFolder("hosts");
    try {
      const hosts = join(folder, "hosts");
      // PostgreSQL listens on the last of these alone.
      await Deno.writeTextFile(hosts, "::1 many\n127.0.0.2 many\n127.0.0.3 many\n127.0.0.1 many\n");
      await using doorman = await Doorman.start({
        launcher: [
          "unshare",
          "-m",
          "sh",
          "-c",
          `mount --bind ${hosts} /etc/hosts; exec "$@"`,
          "sh",
        ],
        config: {
          pools: {
            app: poolWith([{ username: "trusted", password: PASSWORD }], { server_host: "many" }),
          },
        },
      });
      using client = await WireClient.login(at(doorman, "app", "trusted"));
      assert.equal(await client.value("SELECT host(inet_server_addr())"), "127.0.0.1");
    } finally {
      await removeFolder(folder);
    }
  },
});

Deno.test("server_host with a slash is the folder of PostgreSQL's unix socket", async () => {
  await using doorman = await start({
    app: poolWith([{ username: "trusted", password: PASSWORD }], {
      server_host: postgres.socketDir,
    }),
  });
  using client = await WireClient.login(at(doorman, "app", "trusted"));
  assert.equal(await client.value("SELECT inet_server_addr()"), null);
  // A cancel goes the same way.
  client.send(wire.query("SELECT pg_sleep(30)"));
  await doorman.waitForLog(/new server connection/);
  while (
    await postgres.psql(
      "SELECT count(*) FROM pg_stat_activity WHERE usename = 'trusted' AND state = 'active'",
    ) !== "1"
  );
  await client.cancel();
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
  await judge(doorman);
});

Deno.test("a server that takes the connection and says nothing is given up after connect_timeout", async () => {
  const port = freePort();
  const silent = Deno.listen({ hostname: "127.0.0.1", port });
  try {
    await using doorman = await start({
      app: poolWith([{ username: "trusted", password: PASSWORD }], {
        server_port: port,
        connect_timeout: 300,
        query_wait_timeout: "1s",
      }),
    });
    const started = performance.now();
    const fields = await refusal(at(doorman, "app", "trusted"));
    assert.deepEqual([fields.S, fields.C], ["FATAL", "53300"]);
    assert.match(fields.M!, /postgresql_login_timeout/);
    assert.ok(performance.now() - started < 3000);
    await judge(doorman);
  } finally {
    silent.close();
  }
});

Deno.test("startup_parameters reach PostgreSQL, and one that it refuses is told verbatim", async () => {
  await using doorman = await start({
    good: poolWith([{ username: "trusted", password: PASSWORD }], {
      startup_parameters: { work_mem: "123kB", statement_timeout: "77s" },
      application_name: "of the pool",
    }),
    bad: poolWith([{ username: "trusted", password: PASSWORD }], {
      startup_parameters: { work_mem: "much" },
    }),
  });
  using client = await WireClient.login(at(doorman, "good", "trusted"));
  assert.equal(await client.value("SHOW work_mem"), "123kB");
  // A client's own value works until it is reset, and is nobody else's.
  await client.query("SET statement_timeout = '5s'");
  assert.equal(await client.value("SHOW statement_timeout"), "5s");
  await client.query("RESET statement_timeout");
  assert.equal(await client.value("SHOW statement_timeout"), "77s");
  const fields = await refusal(at(doorman, "bad", "trusted"));
  assert.equal(fields.C, "22023");
  assert.match(fields.M!, /invalid value for parameter "work_mem": "much"/);
  await judge(doorman);
});

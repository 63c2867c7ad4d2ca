/**
 * auth_query: users whom PostgreSQL is asked for, passed through or under one role. What PostgreSQL was asked is what its
 * function has noted.
 */

import assert from "node:assert/strict";
import { askedFor, lookupOf, makeLookup } from "../support/auth_query.ts";
import { ADMIN, type Config, Doorman } from "../support/doorman.ts";
import { Authority } from "../support/certificates.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const ACCOUNTS = `
CREATE TABLE public.accounts (name text, password text);
GRANT SELECT ON public.accounts TO finder;
`;
const ROLES = "alice bob carol dave erin frank grace heidi ivan judy late mallory olivia peggy"
  .concat(" rupert sybil trent victor walter listed trusted clear")
  .split(" ");
const MD5_ROLES = ["md5er", "md5turned", "md5storm"];
const HBA = `
host all    md5er,md5turned,md5storm all md5
host all    mallory      all reject
host all    trusted,gone all trust
host all    clear        all password
host all    all          all md5
`;

let folder: string;
let postgres: Postgres;
let doorman: Doorman;

function pool(change: Config): Config {
  return {
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    ...change,
  };
}

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("auth-query");
  postgres = await Postgres.start({
    auth: "scram-sha-256",
    // Who looks up is let in by TLS alone.
    tls: { certificate: Authority.create(folder).issue({ name: "localhost" }) },
    hba: [
      "hostnossl all finder 127.0.0.1/32 reject",
      `host all ${MD5_ROLES} 127.0.0.1/32 md5`,
      "host all trusted 127.0.0.1/32 trust",
    ],
  });
  await makeLookup(postgres, ROLES);
  await postgres.query(
    ACCOUNTS + "ALTER ROLE late VALID UNTIL '2020-01-01';" +
      "SET password_encryption = md5;" +
      MD5_ROLES.map((name) => `CREATE ROLE ${name} LOGIN PASSWORD '${name}';`).join("\n") +
      `INSERT INTO pooler.own VALUES ('heidi', '{"work_mem": "7MB", "role": "postgres"}')`,
  );
  await postgres.query("CREATE DATABASE elsewhere");
  doorman = await Doorman.start({
    config: {
      general: {
        worker_threads: 2,
        pg_hba: HBA,
        idle_timeout: "50ms",
        retain_connections_time: "50ms",
      },
      pools: {
        app: pool({
          auth_query: lookupOf(),
          users: [{
            username: "listed",
            password: "another",
            server_username: "alice",
            server_password: "alice",
            pool_size: 1,
          }],
        }),
        shared: pool({
          auth_query: lookupOf({ server_user: "shared", server_password: "shared" }),
        }),
        twice: pool({
          auth_query: lookupOf({
            query: "SELECT 'a' AS passwd WHERE $1 <> '' UNION ALL SELECT 'b'",
          }),
        }),
        unqualified: pool({
          auth_query: lookupOf({ query: "SELECT password FROM accounts WHERE name = $1" }),
        }),
        kept: pool({ auth_query: lookupOf({ min_pool_size: 2 }) }),
        capped: pool({ auth_query: lookupOf({ max_dynamic_pools: 2 }) }),
        "*": { server_host: "127.0.0.1", server_port: postgres.port, auth_query: lookupOf() },
      },
    },
    allowLog: [
      /WARN .* login from /,
      /WARN .*auth_query of database "app", user "heidi": startup_parameters .*invalid_entry/,
      /ERROR .*auth_query of database "(twice|unqualified|app)"/,
      /ERROR .*\[finder@.*\] server login failed: 28000/,
      /ERROR .*\[rupert@nowhere\] server login failed: 3D000/,
      /WARN .*\[finder@.*\] .*FATAL 57P01/,
    ],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

async function login(
  database: string,
  user: string,
  password: string = user,
  parameters?: Record<string, string>,
): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, database, user, password, parameters });
}

async function refusal(
  database: string,
  user: string,
  password: string = user,
): Promise<wire.ErrorFields> {
  try {
    (await login(database, user, password)).close();
  } catch (error) {
    if (error instanceof Refused) return error.fields;
    throw error;
  }
  return assert.fail(`${user} was let in`);
}

const asked = (user: string) => askedFor(postgres, user);

/** Waits until the user gets in. */
async function entered(what: string, database: string, user: string): Promise<void> {
  await waitFor(what, 10_000, async () => {
    try {
      (await login(database, user)).close();
      return true;
    } catch {
      return undefined;
    }
  });
}

/** What the console answers. */
async function order(command: string): Promise<wire.Message[]> {
  using admin = await WireClient.login({
    port: doorman.port,
    database: "pgdoorman",
    user: ADMIN.user,
    password: ADMIN.password,
  });
  const messages = await admin.query(command);
  await admin.terminate();
  return messages;
}

/** SHOW AUTH_QUERY of a database. */
async function counts(database: string): Promise<Record<string, number>> {
  const messages = await order("SHOW AUTH_QUERY");
  const row = wire.recordsOf(messages).find((each) => each.database === database)!;
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)]));
}

Deno.test("auth_query: a user is passed through, and looked up once", async () => {
  for (let i = 0; i < 3; i++) {
    using client = await login("app", "alice");
    assert.equal(await client.value("SELECT current_user"), "alice");
    await client.terminate();
  }
  assert.equal(await asked("alice"), 1);
});

Deno.test("auth_query: md5 is passed through as its hash", async () => {
  using client = await login("app", "md5er");
  assert.equal(await client.value("SELECT current_user"), "md5er");
});

Deno.test("auth_query: under one role", async () => {
  using client = await login("shared", "bob");
  using other = await login("shared", "carol");
  assert.equal(await client.value("SELECT current_user"), "shared");
  assert.equal(await other.value("SELECT current_user"), "shared");
});

Deno.test("auth_query: wrong, unknown and expired are one answer, and few questions", async () => {
  const wrong = await refusal("app", "dave", "no");
  for (const user of ["nobody", "late"]) {
    for (let i = 0; i < 3; i++) {
      const fields = await refusal("app", user);
      assert.equal(fields.M!.replace(user, "dave"), wrong.M);
      assert.equal(fields.C, "28P01");
    }
    assert.equal(await asked(user), 1, user);
  }
});

Deno.test("auth_query: 500 at once are one question", async () => {
  const all = await Promise.all(
    Array.from({ length: 500 }, () => login("app", "md5storm")),
  );
  assert.equal(await asked("md5storm"), 1);
  for (const client of all) client.close();
});

Deno.test("auth_query: a new md5 password counts at once, the old one no more", async () => {
  (await login("app", "md5turned")).close();
  await postgres.query("SET password_encryption = md5; ALTER ROLE md5turned PASSWORD 'fresh'");
  using client = await login("app", "md5turned", "fresh");
  assert.equal(await client.value("SELECT current_user"), "md5turned");
  assert.equal((await refusal("app", "md5turned")).C, "28P01");
  assert.equal(await asked("md5turned"), 2, "the second failure is within min_interval");
});

Deno.test("auth_query: with a new SCRAM password the second attempt gets in, old clients go on", async () => {
  using old = await login("app", "erin");
  await old.query("BEGIN");
  await postgres.query("ALTER ROLE erin PASSWORD 'fresh'");
  assert.equal((await refusal("app", "erin", "fresh")).C, "28P01");
  using client = await login("app", "erin", "fresh");
  assert.equal(await client.value("SELECT current_user"), "erin");
  await old.query("COMMIT");
  assert.equal(await old.value("SELECT current_user"), "erin");
  assert.equal(await asked("erin"), 2);
});

Deno.test("auth_query: a password that comes in clear is looked at again with the new verifier", async () => {
  (await login("app", "clear")).close();
  await postgres.query("ALTER ROLE clear PASSWORD 'fresh'");
  using client = await login("app", "clear", "fresh");
  assert.equal(await client.value("SELECT current_user"), "clear");
  assert.equal(await asked("clear"), 2);
});

Deno.test("auth_query: pg_hba comes first", async () => {
  assert.equal((await refusal("app", "mallory")).C, "28000");
  assert.equal(await asked("mallory"), 0);
  using client = await login("app", "trusted", "whatever");
  assert.equal(await client.value("SELECT current_user"), "trusted");
  assert.equal((await refusal("app", "gone")).C, "28P01", "trusted, but nobody");
});

Deno.test("auth_query: a listed user is not looked up", async () => {
  using client = await login("app", "listed", "another");
  assert.equal(await client.value("SELECT current_user"), "alice");
  assert.equal((await refusal("app", "listed")).C, "28P01");
  assert.equal(await asked("listed"), 0);
});

Deno.test("auth_query: parameters of the user's own", async () => {
  using client = await login("app", "heidi", "heidi", { work_mem: "9MB" });
  assert.equal(await client.value("SHOW work_mem"), "7MB");
  assert.equal(await client.value("SELECT current_user"), "heidi");
});

Deno.test("auth_query: what can't be looked up is 58000, whatever path the client names", async () => {
  for (const database of ["twice", "unqualified"]) {
    const parameters = { search_path: "public", options: "-csearch_path=public" };
    await assert.rejects(login(database, "alice", "alice", parameters), /58000/);
    assert.equal((await counts(database)).executor_errors, 1);
  }
  assert.match(doorman.logs, /"unqualified".*42P01.*name the schema/);
});

Deno.test("auth_query: the connections that look up come back by themselves", async () => {
  (await login("app", "frank")).close();
  const kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'finder'";
  await postgres.query(kill);
  (await login("app", "grace")).close();
  await postgres.query(`ALTER ROLE finder NOLOGIN; ${kill}`);
  assert.equal((await refusal("app", "ivan")).C, "58000");
  (await login("app", "frank")).close();
  await postgres.query("ALTER ROLE finder LOGIN");
  await entered("ivan gets in", "app", "ivan");
});

Deno.test("auth_query: pools are bounded, and removed when nobody uses them", async () => {
  using judy = await login("capped", "judy");
  {
    using _olivia = await login("capped", "olivia");
    assert.equal((await refusal("capped", "peggy")).C, "53300");
  }
  assert.equal(await judy.value("SELECT current_user"), "judy");
  await entered("olivia's pool makes room", "capped", "peggy");
  judy.close();
  await waitFor(
    "all are gone",
    10_000,
    async () => (await counts("capped")).dynamic_pools_current === 0 || undefined,
  );
  const { dynamic_pools_created, dynamic_pools_destroyed } = await counts("capped");
  assert.deepEqual([dynamic_pools_created, dynamic_pools_destroyed], [3, 3]);
});

Deno.test("auth_query: connections are kept for users who have been there", async () => {
  (await login("kept", "victor")).close();
  const there = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'victor'";
  await waitFor("two connections", 10_000, async () => {
    return (await postgres.query<{ n: number }>(there))[0]!.n === 2 || undefined;
  });
  assert.equal((await counts("kept")).dynamic_pools_current, 1);
});

Deno.test("auth_query: DISABLE holds for users who come later, too", async () => {
  await order("DISABLE app");
  assert.equal((await refusal("app", "trent")).C, "55000");
  assert.equal(
    (await refusal("app", "trent", "wrong")).C,
    "28P01",
    "told to who has proven itself",
  );
  await order("ENABLE app");
  (await login("app", "trent")).close();
});

Deno.test("auth_query: any database that PostgreSQL has", async () => {
  using client = await login("elsewhere", "rupert");
  assert.equal(await client.value("SELECT current_database()"), "elsewhere");
  assert.equal((await refusal("nowhere", "rupert")).C, "3D000", "by PostgreSQL");
  assert.equal((await refusal("nowhere", "nobody-here")).C, "28P01");
  assert.equal((await refusal("x".repeat(64), "rupert")).C, "28P01", "PostgreSQL would cut it");
  assert.equal(await asked("rupert"), 1);
});

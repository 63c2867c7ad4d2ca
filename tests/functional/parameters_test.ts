/**
 * Settings of a session in transaction mode: what a client asked for at its start or set later is its own, whatever
 * server its queries run on, and nobody else's.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { hasDebianPostgres } from "../support/postgres_binaries.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query('CREATE SCHEMA one; CREATE SCHEMA two; CREATE SCHEMA "Odd, one"');
  doorman = await start(postgres);
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

/** One server for all, so that every query follows another client's. */
async function start(server: Postgres): Promise<Doorman> {
  return await Doorman.start({
    allowLog: [/WARN .* login from /],
    config: {
      pools: {
        app: poolOf(server, {
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        }),
        managed: poolOf(server, { startup_parameters: { TimeZone: "Asia/Tokyo" } }),
      },
    },
  });
}

async function login(
  parameters: Record<string, string> = {},
  database: string = "app",
  port: number = doorman.port,
): Promise<WireClient> {
  return await WireClient.login({ port, user: "postgres", database, parameters });
}

Deno.test("the login reports the parameters of PostgreSQL, with the client's own values", async () => {
  using client = await login({ application_name: "my app", TimeZone: "Europe/Paris" });
  const direct = await WireClient.login({ port: postgres.port, user: "postgres" });
  const expected = new Map(direct.parameters);
  direct.close();
  expected.set("application_name", "my app").set("TimeZone", "Europe/Paris");
  assert.deepEqual([...client.parameters].sort(), [...expected].sort());
});

Deno.test("application_name, DateStyle, TimeZone, client_encoding and search_path of the start are each client's own", async () => {
  const wanted: Record<string, string>[] = [
    {
      application_name: "first",
      DateStyle: "SQL, DMY",
      TimeZone: "Europe/Paris",
      client_encoding: "LATIN1",
      search_path: "one, public",
    },
    { application_name: "second", search_path: 'two, "Odd, one"' },
    {},
    { application_name: "it's \\ odd", TimeZone: "UTC", datestyle: "ISO, MDY" },
  ];
  const clients = [];
  try {
    for (const parameters of wanted) clients.push(await login(parameters));
    const expected = [
      ["first", "SQL, DMY", "Europe/Paris", "LATIN1", "one, public"],
      ["second", "ISO, MDY", "UTC", "UTF8", 'two, "Odd, one"'],
      ["pg_doorman", "ISO, MDY", "UTC", "UTF8", '"$user", public'],
      ["it's \\ odd", "ISO, MDY", "UTC", "UTF8", '"$user", public'],
    ];
    for (let round = 0; round < 3; round++) {
      for (const [i, client] of clients.entries()) {
        const rows = await client.rows(
          "SELECT current_setting('application_name'), current_setting('DateStyle'), " +
            "current_setting('TimeZone'), current_setting('client_encoding'), " +
            "current_setting('search_path')",
        );
        assert.deepEqual(rows, [expected[i]]);
      }
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("what a client sets later stays its own: TimeZone, application_name, search_path", async () => {
  using client = await login();
  using other = await login();
  await client.query("SET TimeZone = 'America/Lima'");
  await client.query("SET application_name = 'renamed'");
  await client.query("SET search_path = two");
  assert.equal(client.parameters.get("TimeZone"), "America/Lima");
  assert.deepEqual(
    await other.rows("SELECT current_setting('TimeZone'), current_setting('application_name')"),
    [["UTC", "pg_doorman"]],
  );
  assert.equal(await client.value("SHOW TimeZone"), "America/Lima");
  assert.equal(await client.value("SHOW application_name"), "renamed");
  assert.equal(await client.value("SHOW search_path"), "two");
  assert.equal(await other.value("SHOW search_path"), '"$user", public');
});

Deno.test("SET in a transaction that is rolled back is taken back for the client, too", async () => {
  using client = await login();
  using other = await login();
  await client.query("START TRANSACTION");
  await client.query("SET TimeZone = 'America/Lima'");
  await client.query("ROLLBACK");
  await other.query("SELECT 1");
  assert.equal(await client.value("SHOW TimeZone"), "UTC");
  await client.query("BEGIN; SET LOCAL TimeZone = 'America/Lima'; COMMIT");
  await other.query("SELECT 1");
  assert.equal(await client.value("SHOW TimeZone"), "UTC");
});

Deno.test("RESET and DISCARD ALL bring the client back to the server's values", async () => {
  using client = await login();
  using other = await login();
  for (const back of ["RESET TimeZone", "RESET ALL", "DISCARD ALL"]) {
    await client.query("SET TimeZone = 'America/Lima'");
    await other.query("SELECT 1");
    await client.query(back);
    assert.equal(client.parameters.get("TimeZone"), "UTC", back);
    await other.query("SELECT 1");
    assert.equal(await client.value("SHOW TimeZone"), "UTC", back);
  }
});

Deno.test("RESET and DISCARD ALL take a client back to what its StartupMessage asked for, as asyncpg's pool relies on", async () => {
  const asked = { TimeZone: "Europe/Paris", search_path: "one, public", statement_timeout: "66s" };
  using client = await login(asked);
  using other = await login();
  for (
    const back of [
      "RESET ALL",
      "DISCARD ALL",
      "RESET TimeZone",
      "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
    ]
  ) {
    await client.query("SET TimeZone = 'America/Lima'");
    await other.query("SELECT 1");
    await client.query(back);
    await other.query("SELECT 1");
    const answer = await client.query(
      "SELECT current_setting('TimeZone'), current_setting('search_path'), " +
        "current_setting('statement_timeout')",
    );
    assert.deepEqual(wire.rowsOf(answer), [Object.values(asked)], back);
    assert.equal(client.parameters.get("TimeZone"), "Europe/Paris", back);
  }
  // What is set after the RESET stays, also when it is the server's own value.
  await client.query("BEGIN; RESET TimeZone; COMMIT");
  await client.query("SET TimeZone = 'UTC'");
  await other.query("SELECT 1");
  assert.equal(await client.value("SHOW TimeZone"), "UTC");
});

Deno.test("options of the StartupMessage (PGOPTIONS) count as parameters", async () => {
  using client = await login({
    options: "-c work_mem=88kB --statement_timeout=66s -csearch_path=a,\\ b",
  });
  using other = await login();
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(
      await client.rows("SELECT current_setting('work_mem'), current_setting('statement_timeout')"),
      [["88kB", "66s"]],
    );
    assert.notEqual(await other.value("SHOW work_mem"), "88kB");
    assert.equal(await other.value("SHOW statement_timeout"), "0");
  }
});

Deno.test("a value that PostgreSQL refuses is refused at the login, with PostgreSQL's error, and is nobody else's", async () => {
  using other = await login();
  await assert.rejects(login({ work_mem: "nonsense" }), ({ fields }: Refused) => {
    assert.deepEqual([fields.S, fields.C], ["FATAL", "22023"]);
    assert.match(fields.M!, /invalid value for parameter "work_mem"/);
    return true;
  });
  assert.equal(await other.value("SELECT 1"), "1");
});

Deno.test("values that were changed at the server hold for new sessions once servers are new (RECONNECT)", async () => {
  await postgres.query("CREATE ROLE altered LOGIN");
  await using pooler = await Doorman.start({
    config: {
      pools: {
        app: poolOf(postgres, {
          users: [{
            username: "app",
            password: "app",
            server_username: "altered",
            pool_size: 1,
          }],
        }),
      },
    },
  });
  const options = { port: pooler.port, user: "app", database: "app" };
  using before = await WireClient.login(options);
  assert.equal(await before.value("SHOW search_path"), '"$user", public');
  await postgres.query(
    "ALTER ROLE altered SET search_path = one; ALTER ROLE altered SET TimeZone = 'Asia/Tokyo'",
  );
  using operator = await WireClient.login({
    port: pooler.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  await operator.query("RECONNECT");
  // The first query after it may come from an old session, or be a login.
  await before.query("SELECT 1");
  using after = await WireClient.login(options);
  assert.equal(await after.value("SHOW search_path"), "one");
  assert.equal(await after.value("SHOW TimeZone"), "Asia/Tokyo");
  assert.equal(after.parameters.get("TimeZone"), "Asia/Tokyo");
});

Deno.test("startup_parameters of the config beat what clients ask for", async () => {
  using client = await login({ TimeZone: "Europe/Paris" }, "managed");
  assert.equal(await client.value("SHOW TimeZone"), "Asia/Tokyo");
  assert.equal(client.parameters.get("TimeZone"), "Asia/Tokyo");
});

Deno.test("a client whose parameters the server has already costs no statement more", async () => {
  using client = await login({ TimeZone: "Europe/Paris" });
  await client.value("SELECT 1");
  const before = await calls();
  for (let i = 0; i < 10; i++) await client.query("SELECT 1");
  assert.equal(await calls() - before, 10);
});

/** Transactions that PostgreSQL has counted for the pool's server. */
async function calls(): Promise<number> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  const [row] = (await admin.rows("SHOW SERVERS")).filter((each) => each.includes("app"));
  const stats = (await admin.rows("SHOW STATS")).find(([database]) => database === "app")!;
  assert.ok(row);
  return Number(stats[3]);
}

Deno.test({
  name:
    "PostgreSQL 15, which does not report search_path: the one of the start is kept all the same",
  ignore: !(await hasDebianPostgres()),
  fn: async () => {
    await using old = await Postgres.start({ edition: "debian" });
    await using pooler = await start(old);
    using client = await login({ search_path: "pg_catalog, public" }, "app", pooler.port);
    using other = await login({}, "app", pooler.port);
    for (let i = 0; i < 3; i++) {
      assert.equal(await client.value("SHOW search_path"), "pg_catalog, public");
      assert.equal(await other.value("SHOW search_path"), '"$user", public');
      await other.query("SET work_mem = '99kB'");
    }
  },
});

Deno.test("read-only parameters in the StartupMessage are refused", async () => {
  for (const [name, code] of [["server_version", "55P02"], ["session_authorization", "22023"]]) {
    await assert.rejects(login({ [name!]: "1" }), ({ fields }: Refused) => fields.C === code);
  }
});

Deno.test("a role that the client may not take ends its login, and nothing of it stays on the server", async () => {
  using other = await login();
  await assert.rejects(
    login({ role: "no_such_role" }),
    ({ fields }: Refused) => fields.S === "FATAL" && fields.C === "22023",
  );
  assert.equal(await other.value("SELECT current_user"), "postgres");
});

/**
 * What the pooler believes of a server's parameters is what PostgreSQL says: after any cleaning, in any encoding, when
 * PostgreSQL's own values change, and when it refuses.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query(`
    CREATE ROLE r; CREATE ROLE app LOGIN PASSWORD 'app'; GRANT r TO app;
    CREATE ROLE evil; GRANT evil TO app;
    GRANT SET ON PARAMETER log_min_duration_statement TO evil`);
  await postgres.query(
    "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' " +
      "LC_COLLATE 'C' LC_CTYPE 'C'",
  );
  const users = [{ username: "app", password: "app", pool_size: 1 }];
  doorman = await Doorman.start({
    config: {
      pools: {
        app: poolOf(postgres, { users }),
        two: poolOf(postgres, { users: [{ ...users[0], pool_size: 2, min_pool_size: 2 }] }),
        operated: poolOf(postgres, { users, startup_parameters: { work_mem: "7MB" } }),
        bytes: poolOf(postgres, { users, server_database: "bytes" }),
      },
      general: { server_round_robin: true },
    },
    allowLog: [/cleanup failed/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  database = "app",
  parameters: Record<string, string> = {},
): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "app", database, parameters });
}

const show = (name: string) => `SELECT current_setting('${name}', true)`;

Deno.test("SET ROLE holds, whatever is cleaned behind it", async () => {
  using a = await login();
  for (
    const sql of ["LISTEN ch", "UNLISTEN *", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"]
  ) {
    await a.query("SET ROLE r");
    await a.query(sql);
    assert.equal(await a.value("SELECT current_user"), "r", sql);
    assert.equal(await a.value("SELECT current_user"), "r", sql);
  }
});

Deno.test("after any sequence a client has what it has set, and another one nothing of it", async () => {
  using a = await login();
  using b = await login();
  const steps: [sql: string, effect: Record<string, string>][] = [
    ["SET ROLE r", { role: "r" }],
    ["RESET ROLE", { role: "none" }],
    ["LISTEN one", {}],
    ["UNLISTEN one", {}],
    ["SET work_mem = '9MB'", { work_mem: "9MB" }],
    ["SET TimeZone = 'Asia/Tokyo'", { TimeZone: "Asia/Tokyo" }],
    ["DO $$begin perform 1; end$$", {}],
    ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", {}],
    ["CLOSE ALL", {}],
    ["PREPARE p AS SELECT 1", {}],
    ["DEALLOCATE ALL", {}],
    ["RESET ALL", { work_mem: "4MB", TimeZone: "default" }],
    ["DISCARD ALL", { work_mem: "4MB", TimeZone: "default", role: "none" }],
  ];
  const zone = (await b.value("SHOW TimeZone"))!;
  const wanted: Record<string, string> = { role: "none", work_mem: "4MB", TimeZone: zone };
  let seed = 20_240_901;
  for (let i = 0; i < 150; i++) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    const [sql, effect] = steps[(seed >>> 16) % steps.length]!;
    // What pins it is not given to anybody else.
    const pins = /^(DECLARE|PREPARE)/.test(sql);
    await a.query(sql);
    if (pins) await a.query(sql.startsWith("PREPARE") ? "DEALLOCATE ALL" : "CLOSE ALL");
    for (const [name, value] of Object.entries(effect)) {
      wanted[name] = value === "default" ? zone : value;
    }
    if (i % 3 === 0) {
      assert.equal(await b.value(show("role")), "none", sql);
      assert.equal(await b.value(show("work_mem")), "4MB", sql);
      assert.equal(await b.value("SHOW TimeZone"), zone, sql);
    }
    for (const [name, value] of Object.entries(wanted)) {
      assert.equal(await a.value(show(name)), value, `${name} after ${sql}`);
    }
  }
});

Deno.test("a parameter that another role has set: it costs a server, and no client", async () => {
  const a = await login();
  await a.query("SET ROLE evil; SET log_min_duration_statement = 12345; RESET ROLE");
  assert.equal(await a.value(show("log_min_duration_statement")), "12345ms");
  await a.terminate();
  for (let i = 0; i < 3; i++) {
    using b = await login();
    assert.equal(await b.value("SELECT 1"), "1");
    assert.notEqual(await b.value(show("log_min_duration_statement")), "12345ms");
  }
});

Deno.test("a right that is taken away: the server that can't be reset is replaced", async () => {
  using a = await login();
  await postgres.query("GRANT SET ON PARAMETER log_min_error_statement TO app");
  await a.query("SET log_min_error_statement = 'panic'");
  assert.equal(await a.value(show("log_min_error_statement")), "panic");
  await postgres.query("REVOKE SET ON PARAMETER log_min_error_statement FROM app");
  using b = await login();
  for (let i = 0; i < 3; i++) {
    assert.equal(await b.value(show("log_min_error_statement")), "error");
  }
});

Deno.test("values outside of ASCII are kept, whatever client_encoding is", async () => {
  // In hex, so that what is compared is not converted on its way.
  const hex = "SELECT encode(convert_to(current_setting('app.x'), 'UTF8'), 'hex')";
  const path = "SELECT encode(convert_to(current_setting('search_path'), 'UTF8'), 'hex')";
  for (const client_encoding of ["UTF8", "LATIN1", "SJIS", "GBK", "BIG5", "EUC_JP", "WIN1252"]) {
    using a = await login("app", { client_encoding });
    using b = await login();
    await a.query("SELECT set_config('app.x', U&'\\30BD\\8868' || chr(92) || '''', false) IS NULL");
    // PostgreSQL itself can't report what an encoding does not have.
    const european = client_encoding === "LATIN1" || client_encoding === "WIN1252";
    await a.query(`SET search_path = U&"${european ? "\\00e9" : "\\8868"}"`);
    await b.query("SELECT 1");
    assert.equal(await a.value(hex), "e382bde8a1a85c27", client_encoding);
    assert.equal(await a.value(path), european ? "22c3a922" : "22e8a1a822", client_encoding);
    await b.query("SELECT 1");
    assert.equal(await a.value(hex), "e382bde8a1a85c27", client_encoding);
  }
  using a = await login("app", { client_encoding: "LATIN1" });
  using b = await login();
  a.send(
    wire.message("Q", Uint8Array.from([..."SET app.x = 'M\xfcller'\0"], (c) => c.charCodeAt(0))),
  );
  await a.readUntil("Z");
  await b.query("SELECT 1");
  assert.equal(await a.value(hex), "4dc3bc6c6c6572");
});

Deno.test("in a database without an encoding bytes are kept as they are", async () => {
  using a = await login("bytes");
  using b = await login("bytes");
  const hex = "SELECT encode(convert_to(current_setting('app.x'), 'SQL_ASCII'), 'hex')";
  await a.query("SELECT set_config('app.x', convert_from('\\x61ffc3bc', 'SQL_ASCII'), false)");
  await b.query("SELECT 1");
  assert.equal(await a.value(hex), "61ffc3bc");
  await b.query("SELECT 1");
  assert.equal(await a.value(hex), "61ffc3bc");
});

Deno.test("what a client never set is the server's to say", async () => {
  using a = await login("two");
  using b = await login("two");
  using own = await login("two", { default_transaction_read_only: "off" });
  await a.query("SELECT 1");
  await b.query("SELECT 1");
  const write = "CREATE TABLE IF NOT EXISTS public.written (x int)";
  try {
    await postgres.query("ALTER SYSTEM SET default_transaction_read_only = on");
    await postgres.query("SELECT pg_reload_conf()");
    await new Promise((done) => setTimeout(done, 300));
    for (let i = 0; i < 6; i++) {
      for (const client of [a, b]) {
        assert.equal(await client.value(show("default_transaction_read_only")), "on");
        const replies = await client.ask(wire.query(write));
        assert.deepEqual(wire.errorCodes(replies), ["25006"]);
      }
    }
    assert.equal(await own.value(show("default_transaction_read_only")), "off");
    using late = await login("two");
    assert.equal(await late.value(show("default_transaction_read_only")), "on");
  } finally {
    await postgres.query(
      "SET default_transaction_read_only = off; " +
        "ALTER SYSTEM RESET default_transaction_read_only",
    ).catch(() => {});
    await postgres.query("SELECT pg_reload_conf()");
  }
});

Deno.test("a client's own value of what the operator has set works until it is reset", async () => {
  using a = await login("operated");
  using b = await login("operated");
  assert.equal(await a.value(show("work_mem")), "7MB");
  await a.query("SET work_mem = '9MB'");
  assert.equal(await b.value(show("work_mem")), "7MB");
  assert.equal(await a.value(show("work_mem")), "9MB");
  await a.query("RESET work_mem");
  assert.equal(await b.value(show("work_mem")), "7MB");
  assert.equal(await a.value(show("work_mem")), "7MB");
});

Deno.test("half a DateStyle is not put together with another client's other half", async () => {
  using a = await login();
  await a.query("SET DateStyle = 'German, DMY'");
  using b = await login("app", { DateStyle: "ISO" });
  assert.equal(await b.value("SHOW DateStyle"), "ISO, MDY");
  assert.equal(await a.value("SHOW DateStyle"), "German, DMY");
  await b.query("SET DateStyle = 'German'");
  assert.equal(await a.value("SHOW DateStyle"), "German, DMY");
  assert.match((await b.value("SHOW DateStyle"))!, /^German/);
});

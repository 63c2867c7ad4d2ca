import assert from "node:assert/strict";
import { columnsOf, parseCommands } from "./commands.ts";
import type { Command } from "./commands.ts";
import { Refusal } from "./refusal.ts";

function one(text: string): Command {
  const commands = parseCommands(text);
  assert.equal(commands.length, 1, text);
  return commands[0];
}

function refused(text: string, code: string, message: RegExp): void {
  assert.throws(
    () => parseCommands(text),
    (error) => error instanceof Refusal && error.code === code && message.test(error.message),
    text,
  );
}

Deno.test("commands: verbs and SHOWs in any case, with any blanks", () => {
  for (const text of ["SHOW POOLS", "show pools;", "  Show\n\tPoOlS ;\n", "/* x */ SHOW pools"]) {
    const command = one(text);
    assert.equal(command.kind === "show" && command.show.name, "pools", text);
  }
});

Deno.test("commands: SHOW passes over surplus words", () => {
  const command = one("SHOW POOLS of today");
  assert.equal(command.kind === "show" && command.show.name, "pools");
});

Deno.test("commands: a database is meant as written, else in lower case", () => {
  assert.deepEqual(one("PAUSE MyDb"), {
    kind: "pool",
    verb: "pause",
    database: ["MyDb", "mydb"],
  });
  assert.deepEqual(one('resume "My ""DB"""'), {
    kind: "pool",
    verb: "resume",
    database: ['My "DB"'],
  });
  assert.deepEqual(one("reconnect"), { kind: "pool", verb: "reconnect", database: undefined });
  assert.deepEqual(one("KILL a-b"), { kind: "pool", verb: "kill", database: ["a-b", "a-b"] });
});

Deno.test("commands: a word too many is refused where something would change", () => {
  refused("PAUSE a b", "42601", /syntax error at or near "b"/);
  refused("PAUSE 'a'", "42601", /syntax error/);
  refused("SHUTDOWN NOW", "42601", /NOW/);
  refused("SHUTDOWN WAIT_FOR_CLIENTS now", "42601", /now/);
  refused("RELOAD now", "42601", /now/);
});

Deno.test("commands: PgBouncer's own", () => {
  assert.deepEqual(one("shutdown wait_for_clients"), { kind: "shutdown", waitFor: "clients" });
  assert.deepEqual(one("SHUTDOWN WAIT_FOR_SERVERS"), { kind: "shutdown", waitFor: "servers" });
  assert.deepEqual(one("SHUTDOWN"), { kind: "shutdown", waitFor: "transactions" });
  const named = { kind: "pool", database: ["app", "app"] };
  assert.deepEqual(one("DISABLE app"), { ...named, verb: "disable" });
  assert.deepEqual(one("ENABLE app"), { ...named, verb: "enable" });
  assert.deepEqual(one("WAIT_CLOSE app"), { ...named, verb: "wait_close" });
  assert.deepEqual(one("WAIT_CLOSE"), { kind: "pool", database: undefined, verb: "wait_close" });
  for (const id of ["42", "#c42", "c42", "'#c42'", '"#C42"']) {
    assert.deepEqual(one(`KILL_CLIENT ${id}`), { kind: "kill_client", client: 42 }, id);
  }
});

Deno.test("commands: what of PgBouncer's is refused, and why", () => {
  for (const verb of ["DISABLE", "ENABLE"]) refused(verb, "42601", /needs a database/);
  for (const id of ["", "app", "0x7f", "42 43", "#42c", "12345678901"]) {
    refused(`KILL_CLIENT ${id}`, "42601", /needs the client_id/);
  }
  refused("SUSPEND", "0A000", /SUSPEND is not supported/);
});

Deno.test("commands: every shape of SET log_level", () => {
  const filters: [string, string][] = [
    ["SET log_level = 'debug'", "debug"],
    ["SET log_level='debug'", "debug"],
    ["SET log_level 'debug'", "debug"],
    ["SET log_level debug", "debug"],
    ["SET LOG_LEVEL TO debug", "debug"],
    ['SET log_level = "debug"', "debug"],
    ["SET SESSION log_level = info", "info"],
    ["SET log_level = ''", ""],
    ["SET log_level = warn,pg_doorman::pool=debug;", "warn,pg_doorman::pool=debug"],
    ["SET log_level = warn,  pg_doorman::pool=debug", "warn, pg_doorman::pool=debug"],
    ["SET log_level = 'warn,pg_doorman::pool=debug'", "warn,pg_doorman::pool=debug"],
  ];
  for (const [text, filter] of filters) {
    assert.deepEqual(one(text), { kind: "set_log_level", filter }, text);
  }
  refused("SET log_level", "42601", /needs a value/);
  refused("SET log_level =", "42601", /needs a value/);
});

Deno.test("commands: SET of what is not there", () => {
  refused("SET", "42601", /SET needs/);
  refused("SET x", "42601", /SET needs/);
  refused("SET pool_size = 5", "42601", /unknown parameter "POOL_SIZE"/);
});

Deno.test("commands: unknown ones give 58000 and show no more than a word", () => {
  refused("ALTER USER x PASSWORD 'secret'", "58000", /^unsupported query ALTER on the admin/);
  refused("'secret'", "58000", /^unsupported query on the admin database$/);
  refused("SHOW", "58000", /SHOW/);
  refused("SHOW FDS", "58000", /unsupported SHOW "FDS"/);
  refused("RESET pools", "58000", /RESET/);
  refused("RESET INTERNER now", "42601", /at or near "now"/);
  refused("SELECT * FROM t", "58000", /SELECT/);
  refused("COPY t FROM STDIN", "0A000", /COPY/);
  refused("ROLLBACK TO SAVEPOINT a", "58000", /ROLLBACK/);
  refused("COMMIT PREPARED 'x'", "58000", /COMMIT/);
  refused(`SHOW ${"x".repeat(5000)}`, "58000", /^.{0,120}$/);
});

Deno.test("commands: one unknown statement keeps the others from running", () => {
  refused("PAUSE; FOO", "58000", /FOO/);
});

Deno.test("commands: what drivers send by themselves", () => {
  const kinds: [string, Command["kind"]][] = [
    ["BEGIN", "begin"],
    ["BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", "begin"],
    ["START TRANSACTION", "begin"],
    ["COMMIT WORK", "commit"],
    ["END", "commit"],
    ["ROLLBACK TRANSACTION", "rollback"],
    ["ABORT", "rollback"],
    ["SET client_encoding TO 'UTF8'", "set"],
    ["SET extra_float_digits = 3", "set"],
    ["SET DateStyle = ISO, MDY", "set"],
    ["SET LOCAL statement_timeout = '5s'", "set"],
    ["SET TIME ZONE 'UTC'", "set"],
    ["SET NAMES 'utf8'", "set"],
    ["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "nothing"],
    ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "nothing"],
    ["RESET ALL", "reset"],
    ["RESET application_name", "reset"],
    ["DISCARD ALL", "discard_all"],
    ["DEALLOCATE PREPARE x", "deallocate"],
    ["CLOSE ALL", "nothing"],
    ["UNLISTEN *", "nothing"],
    ["SHOW transaction_isolation", "show_parameter"],
    ["SHOW TRANSACTION ISOLATION LEVEL", "show_parameter"],
    ["SHOW server_version", "show_parameter"],
    ["SELECT 1", "select"],
    ["select pg_catalog.version() AS v, 'x', current_user", "select"],
    ["SELECT pg_advisory_unlock_all()", "select"],
    [
      "select b.oid, b.typarray from pg_catalog.pg_type a left join pg_catalog.pg_type b on 1 = 1",
      "no_types",
    ],
  ];
  for (const [text, kind] of kinds) assert.equal(one(text).kind, kind, text);
});

Deno.test("commands: names of objects are no commands", () => {
  for (const text of ["SELECT constructor()", "SELECT __proto__", "SHOW constructor", "toString"]) {
    refused(text, "58000", /unsupported/);
  }
});

Deno.test("commands: only those with rows have columns", () => {
  assert.equal(columnsOf(one("PAUSE")), undefined);
  assert.equal(columnsOf(one("SET log_level = info")), undefined);
  assert.deepEqual(columnsOf(one("SHUTDOWN"))?.map((column) => column.name), ["success"]);
  assert.deepEqual(columnsOf(one("SHOW timezone"))?.map((column) => column.name), ["TimeZone"]);
});

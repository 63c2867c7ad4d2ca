import assert from "node:assert/strict";
import type { ConsoleRole } from "../config/settings.ts";
import type { AdminEnvironment } from "./environment.ts";
import { open, say } from "./testing/session.ts";
import { bind, describe, execute, parse, query, sync } from "./testing/wire.ts";

const never = () => assert.fail("it has reached the process");

/** Everything by which a console changes something outside of its session. */
const CHANGING: Partial<AdminEnvironment> = {
  command: never,
  kill: never,
  killClient: never,
  reload: never,
  shutdown: never,
  upgrade: never,
  setLogLevel: never,
  resetInterner: never,
};

const FOR_ADMINS = [
  "PAUSE",
  "PAUSE app",
  "RESUME",
  "RECONNECT app",
  "WAIT_CLOSE",
  "ENABLE app",
  "DISABLE app",
  "KILL app",
  "KILL_CLIENT 9",
  "RELOAD",
  "SHUTDOWN",
  "SHUTDOWN WAIT_FOR_CLIENTS",
  "SHUTDOWN WAIT_FOR_SERVERS",
  "UPGRADE",
  "RESET INTERNER",
  "SET log_level = 'debug'",
  // They have texts of queries.
  "SHOW PREPARED_STATEMENTS",
  "SHOW INTERNER 5",
];

const FOR_ALL = [
  "BEGIN",
  "COMMIT",
  "ROLLBACK",
  "SET application_name = 'x'",
  "RESET ALL",
  "SHOW application_name",
  "DEALLOCATE ALL",
  "DISCARD ALL",
  "SELECT 1",
];

/** The SQLSTATEs of the errors among answers. */
function codes(answers: readonly string[]): string[] {
  return answers.filter((answer) => answer.startsWith("E ")).map((answer) => answer.split(" ")[2]!);
}

/** The lines of SHOW HELP. */
async function help(): Promise<string[]> {
  const answers = await say(open().session, query("SHOW HELP"));
  return answers.filter((answer) => answer.startsWith("D ")).map((answer) => answer.slice(2));
}

/** Names of all SHOWs. */
async function shows(): Promise<string[]> {
  const line = (await help()).find((each) => each.includes("|"))!;
  return line.slice("SHOW ".length).split("|");
}

async function codesOf(sql: string, role: ConsoleRole): Promise<string[][]> {
  const simple = open(CHANGING, role);
  const extended = open(CHANGING, role);
  return [
    codes(await say(simple.session, query(sql))),
    codes(
      await say(
        extended.session,
        parse("", sql),
        describe("S", ""),
        bind("", ""),
        execute(""),
        sync,
      ),
    ),
  ];
}

Deno.test("roles: every command that changes something is kept from users who may only look", async () => {
  for (const sql of FOR_ADMINS) {
    assert.deepEqual(await codesOf(sql, "stats"), [["42501"], ["42501"]], sql);
    for (const found of (await codesOf(sql, "admin")).flat()) assert.notEqual(found, "42501", sql);
  }
  const tried = new Set([...FOR_ADMINS, "SHOW"].map((sql) => sql.split(" ")[0]));
  for (const line of await help()) assert.ok(tried.has(line.split(" ")[0]!), line);
});

Deno.test("roles: behind a command that is allowed, one that is not is kept as well", async () => {
  const { session } = open(CHANGING, "stats");
  assert.deepEqual(codes(await say(session, query("SHOW VERSION; PAUSE"))), ["42501"]);
  assert.deepEqual(codes(await say(session, query("BEGIN; RELOAD"))), ["42501"]);
  assert.deepEqual(codes(await say(session, query("ROLLBACK"))), []);
  assert.deepEqual(codes(await say(session, query("/* SHOW */ pause"))), ["42501"]);
});

Deno.test("roles: every SHOW and what drivers do by themselves is for all", async () => {
  const names = await shows();
  assert.ok(names.length > 15);
  const kept = new Set(FOR_ADMINS);
  const allowed = names.map((name) => `SHOW ${name}`).filter((sql) => !kept.has(sql));
  assert.equal(allowed.length, names.length - 1);
  for (const sql of [...allowed, ...FOR_ALL]) {
    assert.deepEqual(await codesOf(sql, "stats"), [[], []], sql);
  }
});

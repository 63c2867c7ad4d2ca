/**
 * Texts that are made for whoever reads them: patterns that go back over what they have read would take minutes, and all
 * clients of the worker with it. They are looked at once, from beginning to end, or not at all.
 */

import assert from "node:assert/strict";
import { Bystander } from "../support/bystander.ts";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const KB = 1000;
const MB = 1000 * KB;

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  doorman = await Doorman.start({
    config: {
      general: { worker_threads: 1 },
      pools: { app: poolOf(postgres, { users }) },
    },
    // A long value can't be followed.
    allowLog: [/client disconnected from/, /can't be told what it has left .*: too much/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

function repeat(text: string, bytes: number): string {
  return text.repeat(Math.ceil(bytes / text.length));
}

/** The text, and whether PostgreSQL takes it. Comments behind one another are short here: it takes minutes for them. */
const TEXTS: [what: string, text: string, taken?: boolean][] = [
  ["comments behind UNLISTEN", `UNLISTEN a;${"/**/".repeat(40)}select 1`, true],
  ["many comments behind UNLISTEN", `UNLISTEN a;${repeat("/**/", 10 * KB)}select 1`, true],
  ["many UNLISTENs", repeat("UNLISTEN a;/**/", 60 * KB), true],
  ["a long word as a value", `SET app.x='${repeat("a", 60 * KB)}'`, true],
  ["a longer one", `SET app.x='${repeat("a", MB)}'`, true],
  ["a word with dots", `SET app.x='${repeat("a.", 60 * KB)}'`, true],
  [
    "a token in set_config",
    `select set_config('app.token','${repeat("dG9r", 20 * KB)}',false)`,
    true,
  ],
  ["comments that begin", repeat(";/*", 120 * KB)],
  ["comments that begin, without end", repeat(";/*", 16 * MB)],
  ["comments in comments", repeat("/*", 10 * KB)],
  ["quotes", `select ${repeat("'", 16 * MB)}'`],
  ["dollar quotes", `select set_config ${repeat("$a$", 16 * MB)}`],
  ["double quotes", repeat('"', 16 * MB)],
  ["a name", `SET ${repeat("a", 16 * MB)}`],
  ["calls in calls", `select ${repeat("set_config(", MB)}`],
  ["defaults", `SET a = ${repeat("default ", 16 * MB)}`],
  ["dashes", repeat("--", 16 * MB), true],
  ["blanks", `SET LOCAL a = b${repeat(" ", 16 * MB)}`],
  ["blanks before", `${repeat(" ", 16 * MB)}DEALLOCATE a b`],
];

for (const [what, text, taken = false] of TEXTS) {
  Deno.test(`texts without end: ${what}`, async () => {
    await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
    using client = await WireClient.login({
      port: doorman.port,
      user: "postgres",
      database: "app",
    });
    client.patienceMs = 60_000;
    await client.query("LISTEN a");
    const simple = await client.query(text);
    if (taken) assert.deepEqual(wire.errorCodes(simple), [], what);
    else assert.equal(wire.errorCodes(simple).length, 1, what);
    const named = await client.ask(wire.parse("s", text), wire.SYNC);
    assert.match(wire.letters(named), /^[1EN]+Z$/);
    if (text.length <= MB) {
      const unnamed = await client.ask(wire.parse("", text), wire.SYNC);
      assert.match(wire.letters(unnamed), /^[1EN]+Z$/);
    }
    assert.equal(await client.value("SELECT 42"), "42");
  });
}

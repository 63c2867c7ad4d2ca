/**
 * What a StartupMessage sets, by its fields and by `options`: taken, spelled, reported and refused as at a direct
 * connection, and at the login.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE ROLE plain LOGIN PASSWORD 'plain'");
  const users = ["postgres", "plain"].map((name) => ({
    username: name,
    password: name,
    pool_size: 2,
  }));
  doorman = await Doorman.start({
    allowLog: [/WARN .* login from /],
    config: { pools: { app: poolOf(postgres, { users }) } },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

type Parameters = Record<string, string>;

const SHOWN = ["geqo", "work_mem", "search_path", "enable_seqscan", "DateStyle", "app.tenant"];

/** What a login says and what its session has, or what it is refused with. */
async function outcome(
  place: { port: number; database: string },
  user: string,
  parameters: Parameters,
): Promise<unknown> {
  let client: WireClient;
  try {
    client = await WireClient.login({
      ...place,
      user,
      parameters: { application_name: "mine", ...parameters },
    });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { C, M, D, H } = error.fields;
    // That hint is of the command that PostgreSQL takes the options for.
    return [C, M, D, H?.includes("--help") ? undefined : H].join("|");
  }
  using _ = client;
  const notices = client.loginMessages.filter(({ type }) => type === "N")
    .map((message) => wire.errorFields(message)).map(({ S, C, M }) => `${S} ${C} ${M}`);
  // A name with a dot that was once set stays there, without a value.
  const settings = SHOWN.map((name) => `nullif(current_setting('${name}', true), '')`);
  return {
    notices,
    reported: Object.fromEntries([...client.parameters].sort()),
    settings: (await client.rows(`SELECT ${settings.join(", ")}`))[0],
  };
}

/** Of what a login is refused with. */
function codeOf(outcome: unknown): string | undefined {
  return typeof outcome === "string" ? outcome.split("|")[0] : undefined;
}

/** `faults`: which of several faults is told is not looked at. */
async function compare(
  parameters: Parameters,
  { user = "postgres", faults = false } = {},
): Promise<unknown> {
  const pooled = await outcome({ port: doorman.port, database: "app" }, user, parameters);
  const direct = await outcome({ port: postgres.port, database: "postgres" }, user, parameters);
  const bothRefuse = typeof pooled === "string" && typeof direct === "string";
  if (faults && bothRefuse) return direct;
  assert.deepEqual(pooled, direct, JSON.stringify([user, parameters]));
  return direct;
}

Deno.test("values are reported as PostgreSQL spells them", async () => {
  const cases: Parameters[] = [
    {},
    { client_encoding: "euc_jp" },
    { client_encoding: "UTF-8", DateStyle: "iso" },
    { client_encoding: "'unicode'" },
    { datestyle: "german", TIMEZONE: "europe/paris", IntervalStyle: "ISO_8601" },
    { standard_conforming_strings: "FALSE", work_mem: "2048" },
    { "app.tenant": "jörg", search_path: 'a, "B"' },
    { options: "-c DateStyle=german", DateStyle: "sql" },
    { application_name: "n".repeat(70) },
    { application_name: "é".repeat(40) },
    { application_name: "tab\tand é" },
    { search_path: "s".repeat(9000), geqo: "off" },
  ];
  for (const parameters of cases) await compare(parameters);
  // From what was found out before.
  for (const parameters of cases) await compare(parameters);
});

Deno.test("what PostgreSQL refuses is refused at the login, with its SQLSTATE", async () => {
  const cases: [Parameters, string][] = [
    [{ no_such_parameter: "1" }, "42704"],
    [{ client_encoding: "klingon" }, "22023"],
    [{ DateStyle: "never" }, "22023"],
    [{ geqo: "x".repeat(9000) }, "22023"],
    [{ server_version: "9" }, "55P02"],
    [{ shared_buffers: "9" }, "55P02"],
    [{ role: "nobody" }, "22023"],
    [{ options: "geqo=off" }, "42601"],
    [{ options: "-c geqo" }, "42601"],
    [{ options: "-F" }, "55P02"],
    [{ options: "-c geqo=off -c geqo=maybe -c geqo=on" }, "22023"],
  ];
  for (const [parameters, code] of cases) assert.equal(codeOf(await compare(parameters)), code);
  assert.equal(codeOf(await compare({ options: "-O" }, { user: "plain" })), "42501");
});

Deno.test("what servers have had before changes nothing", async () => {
  for (let i = 0; i < 4; i++) {
    using other = await WireClient.login({
      port: doorman.port,
      user: "postgres",
      database: "app",
      parameters: { role: "plain", DateStyle: "german", "app.tenant": `${i}` },
    });
    assert.equal(await other.value("SELECT current_user"), "plain");
    await compare({ log_statement_stats: "on", work_mem: `${100 + i}kB` });
  }
});

Deno.test("options in any form are what they are at a direct connection", async () => {
  const settings = [
    "geqo=off",
    "geqo=maybe",
    "work-mem=8MB",
    "work_mem=99",
    "search_path=a\\ b,c",
    "search_path=a\\\\\\\\b",
    "DateStyle=german",
    "app.tenant=x=y",
    "app.tenant=",
    "=x",
    "nothing",
    "unknown=1",
  ];
  const setting = fc.constantFrom(...settings);
  const others = ["-e", "-fs", "-f h", "-S 64", "-tpa", "-t e", "-n", "-s", "-O", "-d 1"];
  others.push("-c", "-x", "--", "-", "word", "\\", "-fx", "-B 9", "-e-", "-ee", "\\-e");
  const word = fc.oneof(
    { weight: 6, arbitrary: setting.map((text) => `-c ${text}`) },
    { weight: 3, arbitrary: setting.map((text) => `-c${text}`) },
    { weight: 3, arbitrary: setting.map((text) => `--${text}`) },
    { weight: 2, arbitrary: setting.map((text) => `-ec${text}`) },
    fc.constantFrom(...others),
  );
  for (const text of settings) await compare({ options: `-c ${text}` });
  for (const text of others) await compare({ options: text });
  const blanks = fc.constantFrom(" ", "  ", "\t", "\n");
  const options = fc.array(fc.tuple(word, blanks), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.flat().join(""));
  await fc.assert(
    fc.asyncProperty(options, async (text) => {
      await compare({ options: text }, { faults: true });
    }),
    { numRuns: 150 },
  );
});

Deno.test("what PostgreSQL takes at the start of a connection alone, and what a pool can't keep, is refused", async () => {
  const app = { port: doorman.port, database: "app" };
  assert.equal(codeOf(await outcome(app, "postgres", { options: "-P" })), "55P02");
  assert.equal(codeOf(await outcome(app, "postgres", { session_authorization: "plain" })), "0A000");
});

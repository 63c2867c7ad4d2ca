/**
 * Sessions that change the schema, undo it, make temporary objects, set what a Parse reads, and prepare in between, at
 * random: each directly and through a pool of servers that all share, with the same answers. Everything is prepared anew
 * before it is used: what becomes of older statements is told by prepared_test.ts. Nothing is asked for at the start: what a
 * reset in a pipeline leads back to is another matter.
 *
 * `PREPARED_EPISODES` (60) says how long, `PREPARED_SEED` (5) with what.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import type { Message } from "../support/wire_messages.ts";

const EPISODES = Number(Deno.env.get("PREPARED_EPISODES") ?? 60);
const SEED = Number(Deno.env.get("PREPARED_SEED") ?? 5);

/** Numbers of a seed: xorshift. */
function numbers(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const SCHEMA = `
  CREATE SCHEMA s1; CREATE SCHEMA s2;
  CREATE TABLE s1.t(a int); CREATE TABLE s2.t(a text); CREATE TABLE public.t(a int);
  CREATE TYPE s1.mood AS ENUM ('x', 'y'); CREATE TYPE s2.mood AS ENUM ('y', 'x');
  CREATE TYPE public.mood AS ENUM ('x', 'y', 'z');`;

const CHANGES = [
  "ALTER TABLE t ALTER a TYPE text",
  "ALTER TABLE t ALTER a TYPE int USING a::int",
  "ALTER TABLE t ADD COLUMN IF NOT EXISTS b int DEFAULT 5",
  "ALTER TABLE t DROP COLUMN IF EXISTS b",
  "DROP TABLE IF EXISTS t; CREATE TABLE t(a text, c int)",
  "DROP TABLE t; CREATE TABLE t AS SELECT 1 AS a",
  "ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('y', 'w'); DROP TYPE mood_old",
  "CREATE TEMP TABLE t(a text, d text)",
  "CREATE TEMP TABLE t(a int) ON COMMIT DROP",
  "SELECT 'into' AS a, 7 AS e INTO TEMP t",
  "DROP TABLE IF EXISTS pg_temp.t",
];
const SETS = [
  "search_path = s1",
  "search_path = s2",
  "search_path = public",
  "TimeZone = 'Asia/Tokyo'",
  "TimeZone = 'UTC'",
  "DateStyle = 'ISO, DMY'",
  "DateStyle = 'ISO, MDY'",
  "statement_timeout = '20s'",
  "array_nulls = off",
  "app.tenant = '5'",
];
const USES: [sql: string, values: string[]][] = [
  ["INSERT INTO t(a) VALUES ($1)", ["007"]],
  ["SELECT * FROM t ORDER BY 1 LIMIT 3", []],
  ["SELECT a FROM t WHERE a = $1 LIMIT 1", ["7"]],
  ["SELECT $1::mood, 'y'::mood > 'x'::mood", ["y"]],
  ["SELECT extract(epoch FROM timestamptz '2024-01-01')::bigint, date '02/03/2024'", []],
  ["SELECT ('{NULL}'::text[])[1] IS NULL", []],
];

const Q = wire.query;
const S = wire.SYNC;

type Step = Uint8Array[];

function use(random: (below: number) => number): Step {
  const [sql, values] = USES[random(USES.length)]!;
  const name = `s${random(3)}`;
  return [
    wire.close("S", name),
    wire.parse(name, sql),
    wire.bind("", name, values),
    wire.execute(),
    S,
  ];
}

function setting(random: (below: number) => number, local: "" | "LOCAL "): Step {
  const set = SETS[random(SETS.length)]!;
  const [name, value] = set.split(" = ");
  switch (random(3)) {
    case 0:
      return [Q(`SET ${local}${set}`)];
    case 1:
      return [
        Q(`SELECT set_config('${name}', '${value!.replaceAll("'", "")}', ${
          local !== ""
        }) IS NOT NULL`),
      ];
    default:
      return [
        wire.parse("", `SET ${local}${set}`),
        wire.bind("", "", []),
        wire.execute(),
        S,
      ];
  }
}

/** What one client does before another's turn. */
function episode(random: (below: number) => number): Step[] {
  if (random(3) === 0) {
    const steps: Step[] = [];
    for (let n = random(4); n >= 0; n--) {
      const kind = random(12);
      if (kind === 0) steps.push([Q("DISCARD ALL")]);
      else if (kind === 1) steps.push([Q("DEALLOCATE ALL")]);
      else if (kind === 2) steps.push([Q(CHANGES[random(CHANGES.length)]!)]);
      else if (kind <= 4) steps.push(setting(random, ""));
      else steps.push(use(random));
    }
    return steps;
  }
  const steps: Step[] = [[Q("BEGIN")]];
  for (let n = 1 + random(6); n >= 0; n--) {
    const kind = random(10);
    if (kind <= 1) steps.push([Q(CHANGES[random(CHANGES.length)]!)]);
    else if (kind <= 3) steps.push(setting(random, random(3) > 0 ? "LOCAL " : ""));
    else steps.push(use(random));
  }
  steps.push([Q(random(2) === 0 ? "COMMIT" : "ROLLBACK")]);
  return steps;
}

function seen(messages: readonly Message[]): string[] {
  const told: string[] = [];
  for (const message of messages) {
    if (message.type === "E") told.push(`error ${wire.errorFields(message).C}`);
    else if (message.type === "D" || message.type === "C") {
      told.push(`${message.type} ${new TextDecoder().decode(message.body)}`);
    } else if ("123Z".includes(message.type)) told.push(message.type);
  }
  return told;
}

Deno.test("prepared: what is prepared is what PostgreSQL would make of it, whatever was changed, set or undone", async () => {
  await using postgres = await Postgres.start();
  await postgres.query("CREATE DATABASE alone");
  await postgres.query("CREATE DATABASE shared");
  for (const database of ["alone", "shared"]) await postgres.query(SCHEMA, database);
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  await using doorman = await Doorman.start({
    config: { pools: { shared: poolOf(postgres, { users, server_database: "shared" }) } },
  });
  const random = numbers(SEED);
  const open = async () => {
    const user = { user: "postgres" };
    return [
      await WireClient.login({ ...user, port: postgres.port, database: "alone" }),
      await WireClient.login({ ...user, port: doorman.port, database: "shared" }),
    ];
  };
  const pairs = [await open(), await open(), await open()];
  const log: string[] = [];
  try {
    for (let round = 0; round < EPISODES; round++) {
      const at = random(pairs.length);
      if (random(8) === 0) {
        for (const client of pairs[at]!) client[Symbol.dispose]();
        pairs[at] = await open();
      }
      const steps = episode(random);
      const pipelined = random(2) === 0;
      const answers: string[][] = [];
      for (const client of pairs[at]!) {
        const told: Message[] = [];
        if (pipelined) client.send(...steps.flat());
        for (const step of steps) {
          if (!pipelined) client.send(...step);
          told.push(...await client.readUntil("Z"));
        }
        answers.push(seen(told));
      }
      log.push(`${round}: client ${at}${pipelined ? " at once" : ""}: ` + readable(steps));
      assert.deepEqual(answers[1], answers[0], `seed ${SEED}\n${log.slice(-12).join("\n")}`);
    }
  } finally {
    for (const client of pairs.flat()) client[Symbol.dispose]();
  }
});

function readable(steps: Step[]): string {
  return steps.map((step) =>
    step.map((bytes) =>
      new TextDecoder().decode(bytes.subarray(5)).replaceAll(/[^ -~]+/g, " ").trim()
    ).filter((text) => text !== "").join(", ")
  ).join(" | ");
}

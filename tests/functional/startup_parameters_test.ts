/**
 * startup_parameters in their layers, and what it costs to give a server the parameters of the client that it meets: one
 * message with the differences, and none where there are none.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["log_statement = all"] });
  const users = [{ username: "postgres", password: "postgres", pool_size: 1 }];
  doorman = await Doorman.start({
    config: {
      general: { startup_parameters: { work_mem: "111kB", timezone: "Asia/Tokyo" } },
      pools: {
        general: poolOf(postgres, { users }),
        own: poolOf(postgres, { users, startup_parameters: { WORK_MEM: "222kB" } }),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  database: string,
  parameters: Record<string, string> = {},
): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database, parameters });
}

Deno.test("the pool's beat the general ones, the operator's beat the client's, RESET leads back to them", async () => {
  for (const [database, wanted] of [["general", "111kB"], ["own", "222kB"]] as const) {
    using client = await login(database, { work_mem: "999kB", TimeZone: "Europe/Paris" });
    assert.equal(client.parameters.get("TimeZone"), "Asia/Tokyo");
    assert.equal(await client.value("SHOW work_mem"), wanted);
    assert.equal(await client.value("SHOW timezone"), "Asia/Tokyo");
    await client.query("BEGIN; SET work_mem = '333kB'; RESET ALL; COMMIT");
    assert.equal(await client.value("SHOW work_mem"), wanted);
  }
});

/** What PostgreSQL is sent from an index of its log on, up to a text. */
async function statements(last: string, from: number): Promise<string[]> {
  await waitFor("the log", 5000, () => postgres.log.slice(from).includes(last) || undefined);
  return postgres.log.slice(from).split("\n")
    .map((line) => /LOG: {2}(?:statement|execute [^:]+): (.*)$/.exec(line)?.[1])
    .filter((statement) => statement !== undefined);
}

Deno.test("a server gets what differs for its client in one message, and nothing when nothing does", async () => {
  using one = await login("general", { application_name: "one", DateStyle: "SQL, DMY" });
  using two = await login("general", { application_name: "two", DateStyle: "SQL, DMY" });
  using three = await login("general", { application_name: "three", IntervalStyle: "iso_8601" });
  await one.query("SELECT 'begin'");
  const from = postgres.log.length;
  await one.query("SELECT 'same'");
  await two.query("SELECT 'second'");
  await three.query("SELECT 'third'");
  await three.query("SELECT 'last'");
  const [same, sync2, second, sync3, third, last, ...rest] = await statements("'last'", from);
  assert.deepEqual([same, second, third, last, rest], [
    "SELECT 'same'",
    "SELECT 'second'",
    "SELECT 'third'",
    "SELECT 'last'",
    [],
  ]);
  const names = (text: string) =>
    [...text.matchAll(/set_config\(E'(\w+)'/g)].map(([, name]) => name);
  assert.deepEqual(names(sync2!), ["application_name"]);
  assert.deepEqual(names(sync3!).sort(), ["IntervalStyle", "application_name"]);
  assert.match(sync3!, /^RESET "DateStyle"; SELECT/);
});

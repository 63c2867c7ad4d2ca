/**
 * `./denow task soak:auth_query`: what is promised of users who are looked up. 2,000 of them log in by SCRAM within a
 * minute, passed through and under one role, with one question each; 500 at once as one new user ask one. What
 * PostgreSQL was asked is what its function has noted.
 *
 * Prints the figures; exit status 1 when a promise was broken.
 */

import { print } from "../../tools/say.ts";
import { askedFor, lookupOf, makeLookup } from "../support/auth_query.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";

const USERS = 2000;
const AT_ONCE = 40;
const STORM = 500;
const MOST_MS = 60_000;

const users = Array.from({ length: USERS }, (_, n) => `user${n}`);
const broken: string[] = [];

await using postgres = await Postgres.start({
  auth: "scram-sha-256",
  settings: ["max_connections = 400"],
});
await makeLookup(postgres, [...users, "storm"]);

function pool(auth_query: Config): Config {
  return poolOf(postgres, { users: [], auth_query, idle_timeout: "200ms" });
}

await using doorman = await Doorman.start({
  config: {
    general: { worker_threads: 2, retain_connections_time: "100ms", retain_connections_max: 0 },
    pools: {
      each: pool(lookupOf({ max_dynamic_pools: USERS })),
      shared: pool(lookupOf({ server_user: "shared", server_password: "shared" })),
    },
  },
});

async function login(database: string, user: string): Promise<void> {
  const client = await WireClient.login({ port: doorman.port, database, user, password: user });
  await client.value("SELECT 1");
  await client.terminate();
}

/** How often PostgreSQL was asked since the last time. */
async function questions(): Promise<number> {
  const rows = await postgres.query<{ count: string }>(
    "WITH gone AS (DELETE FROM pooler.asked RETURNING 1) SELECT count(*) FROM gone",
  );
  return Number(rows[0]!.count);
}

function judge(what: string, verdict: "kept" | "broken"): void {
  print(`${verdict}: ${what}`);
  if (verdict === "broken") broken.push(what);
}

async function measure(database: string): Promise<void> {
  const began = performance.now();
  const left = users.values();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const user of left) await login(database, user);
  }));
  const tookMs = Math.round(performance.now() - began);
  const asked = await questions();
  judge(
    `${database}: ${USERS} users logged in within ${tookMs} ms, ${asked} questions`,
    tookMs < MOST_MS && asked === USERS ? "kept" : "broken",
  );
  await Promise.all(Array.from({ length: STORM }, () => login(database, "storm")));
  const stormed = await askedFor(postgres, "storm");
  await questions();
  judge(
    `${database}: ${STORM} logins at once as one user, ${stormed} questions`,
    stormed === 1 ? "kept" : "broken",
  );
}

for (const database of ["each", "shared"]) {
  try {
    await measure(database);
  } catch (error) {
    judge(`${database}: ${error}`, "broken");
  }
}
if (broken.length > 0) Deno.exitCode = 1;

/**
 * `./denow task soak:upgrade`: what is promised of binary upgrades, at full length. pgbench with 50 clients by each
 * protocol through ten upgrades in 60 s in both pool modes; 5,000 idle and 100 busy clients, and the same with 1 GB of
 * prepared statements; copies and results of 1 GB.
 *
 *     tests/soak/upgrade.ts [pgbench] [crowd] [state] [transfers]
 *
 * Prints the figures; exit status 1 when a promise was broken.
 */

import { print, say } from "../../tools/say.ts";
import { Postgres } from "../support/postgres.ts";
import { bench, crowd, type Large, longTransfers } from "../upgrade/load.ts";
import { poolOf, removeCopies, Service } from "../upgrade/support.ts";

const CLIENTS = 50;
const POOL_SIZE = 10;
const LONGEST_STALL_MS = 250;
const GONE_MS = 2000;

const asked = Deno.args.length > 0 ? Deno.args : ["pgbench", "crowd", "state", "transfers"];
const broken: string[] = [];

await using postgres = await Postgres.start({ settings: ["max_connections = 200"] });

function start(): Promise<Service> {
  return Service.start({
    config: {
      general: {
        max_connections: 8192,
        query_wait_timeout: "60s",
        shutdown_timeout: "60s",
        max_prepared_memory: "2GB",
      },
      pools: {
        app: poolOf(postgres, {}, { pool_size: POOL_SIZE }),
        session: poolOf(postgres, { pool_mode: "session" }, { pool_size: CLIENTS }),
      },
    },
  });
}

/** One part: what it returns is printed, what it throws is a broken promise. */
async function part(name: string, run: (service: Service) => Promise<unknown>): Promise<void> {
  say(`--- ${name}`);
  try {
    await using service = await start();
    print(JSON.stringify({ name, result: await run(service) ?? "ok" }));
  } catch (error) {
    broken.push(name);
    say(error instanceof Error ? error.stack ?? error.message : String(error));
  }
}

if (asked.includes("pgbench")) {
  for (const database of ["app", "session"]) {
    for (const protocol of ["simple", "extended", "prepared"]) {
      await part(`pgbench ${database} ${protocol}`, async (service) => {
        const { transactions, mostBackends, longestMs } = await bench(service, postgres, {
          database,
          protocol,
          clients: CLIENTS,
          seconds: 60,
          upgrades: 10,
          poolSize: database === "app" ? POOL_SIZE : CLIENTS,
        });
        return { transactions, mostBackends, longestMs };
      });
    }
  }
}
async function through(service: Service, large?: Large): Promise<unknown> {
  const seen = await crowd(service, 5000, 100, large);
  if (seen.longestMs >= LONGEST_STALL_MS) broken.push(`a client waited ${seen.longestMs} ms`);
  // So much takes its time, in which everybody is served.
  if (large === undefined && seen.goneMs >= GONE_MS) {
    broken.push(`the old process stayed for ${seen.goneMs} ms`);
  }
  if (seen.descriptorsMost > 2 * seen.descriptorsBefore + 64) broken.push("too many descriptors");
  return seen;
}

if (asked.includes("crowd")) {
  await part("5,000 idle and 100 busy clients", (service) => through(service));
}
for (const [clients, megabytes] of [[16, 60], [200, 5]]) {
  if (!asked.includes("state")) break;
  await part(
    `5,000 idle and 100 busy clients, ${clients} with ${megabytes} MB of statements`,
    (service) => through(service, { clients, bytes: megabytes * 1_000_000 }),
  );
}
if (asked.includes("transfers")) {
  await part("COPY in, COPY out and a result of 1 GB each", async (service) => {
    await longTransfers(service, postgres, 1000, 5);
  });
}
await removeCopies();
for (const what of broken) say(`BROKEN: ${what}`);
Deno.exitCode = broken.length > 0 ? 1 : 0;

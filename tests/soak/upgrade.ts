/**
 * `./denow task soak:upgrade`: what is promised of binary upgrades, at full length. pgbench with 50 clients by each
 * protocol through ten upgrades in 60 s in both pool modes; 5,000 idle and 100 busy clients, and the same with 1 GB of
 * prepared statements; copies and results of 1 GB.
 *
 *     tests/soak/upgrade.ts [pgbench] [crowd] [state] [transfers]
 *
 * Prints the figures; exit status 1 when a promise was broken.
 */

import { join } from "node:path";
import { print, say } from "../../tools/say.ts";
import { Authority } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { bench, crowd, type Large, longTransfers } from "../upgrade/load.ts";
import { poolOf, removeCopies, Service } from "../upgrade/support.ts";
import { measureHandshakes } from "./handshakes.ts";

const CLIENTS = 50;
const POOL_SIZE = 10;
const LONGEST_STALL_MS = 250;
const GONE_MS = 2000;

const asked = Deno.args.length > 0 ? Deno.args : [
  ...["pgbench", "crowd", "state", "transfers", "tls", "handshakes"],
];
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
async function part(
  name: string,
  run: (service: Service) => Promise<unknown>,
  begin = start,
): Promise<void> {
  say(`--- ${name}`);
  try {
    await using service = await begin();
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

/** With TLS on both sides; before each upgrade both have a new certificate. */
async function encrypted(): Promise<void> {
  const folder = await makeTestFolder("soak-tls");
  const authority = Authority.create(folder);
  const certificate = () => authority.issue({ name: "localhost" });
  await using server = await Postgres.start({
    tls: { certificate: certificate() },
    settings: ["max_connections = 200"],
  });
  const begin = () =>
    Service.start({
      tls: true,
      config: {
        general: {
          tls_mode: "require",
          server_tls_mode: "verify-full",
          server_tls_ca_cert: join(folder, "ca.crt"),
          query_wait_timeout: "60s",
          shutdown_timeout: "60s",
        },
        pools: {
          app: poolOf(server, {}, { pool_size: POOL_SIZE, min_pool_size: POOL_SIZE }),
        },
      },
    });
  await Deno.copyFile(authority.certificatePath, join(folder, "ca.crt"));
  const backends = () =>
    server.psql(
      "SELECT pid, backend_start, s.version FROM pg_stat_activity JOIN pg_stat_ssl s USING (pid) " +
        "WHERE usename IS NOT NULL AND backend_type = 'client backend' AND s.ssl ORDER BY pid",
    );
  const renew = async (service: Service) => {
    service.renewCertificate();
    await server.useCertificate(certificate());
    server.reload();
  };
  for (const protocol of ["simple", "extended", "prepared"]) {
    await part(`pgbench with TLS on both sides, ${protocol}`, async (service) => {
      const before = await waitFor("the pool's servers", 20_000, async () => {
        const found = await backends();
        return found.split("\n").length === POOL_SIZE ? found : undefined;
      });
      const { transactions, mostBackends, longestMs } = await bench(service, server, {
        database: "app",
        protocol,
        clients: CLIENTS,
        seconds: 60,
        upgrades: 10,
        poolSize: POOL_SIZE,
        prepare: () => renew(service),
      });
      if (await backends() !== before) throw new Error("PostgreSQL has other backends than before");
      return { transactions, mostBackends, longestMs };
    }, begin);
  }
  await part("COPY in, COPY out and a result of 1 GB each, with TLS on both sides", (service) => {
    return longTransfers(service, server, 1000, 5, () => renew(service));
  }, begin);
  await removeFolder(folder);
}

if (asked.includes("tls")) await encrypted();
if (asked.includes("handshakes")) {
  const begin = () =>
    Service.start({
      tls: true,
      config: { pools: { app: poolOf(postgres, {}, { pool_size: POOL_SIZE }) } },
    });
  await part("a hundred handshakes a second beside a busy pool", async (service) => {
    const seen = await measureHandshakes(service, { perSecond: 100, seconds: 10, rounds: 4 });
    if (seen.withMs > 2 * seen.withoutMs) broken.push("handshakes keep others waiting");
    return seen;
  }, begin);
}
await removeCopies();
for (const what of broken) say(`BROKEN: ${what}`);
Deno.exitCode = broken.length > 0 ? 1 : 0;

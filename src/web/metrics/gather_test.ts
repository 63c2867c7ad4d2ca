import assert from "node:assert/strict";
import { poolRow } from "../../admin/testing/fake_environment.ts";
import type { PoolRow } from "../../mail.ts";
import { createRecordLog } from "../../log/log.ts";
import { levelFilter } from "../../log/filter.ts";
import type { ConfiguredUser, Readiness, WebEnvironment } from "../environment.ts";
import { families } from "./families.ts";
import { expose } from "./exposition.ts";
import { Gathering, type MetricsSnapshot } from "./gather.ts";

/** A process with pools of a test's choice. */
class Process {
  pools: PoolRow[] = [];
  readiness: Readiness = "ready";
  rejections = [0, 0, 0, 0, 0, 0];
  lostLogLines = 0;
  mostPools = 0;
  readonly lines: string[] = [];
  readonly gathering: Gathering;

  constructor(before?: MetricsSnapshot) {
    const log = createRecordLog({
      filter: levelFilter("info"),
      emit: ({ message }) => this.lines.push(message),
    });
    const environment: WebEnvironment = {
      log,
      version: "1.2.3",
      readiness: () => this.readiness,
      pools: () => Promise.resolve(this.pools),
      counts: () =>
        Promise.resolve([{ total: 9, tls: 1, plain: 7, cancel: 1, clients: 3, worker: 0 }]),
      limits: () => Promise.resolve([]),
      authQueries: () => Promise.resolve([]),
      preparedMemory: () => Promise.resolve([]),
      interner: () => Promise.resolve([]),
      sockets: () => new Array<number>(34).fill(1),
      logLevel: () => "info",
      workersAnswer: () => Promise.reject(new Error("asked for health checks alone")),
      processCounts: () => ({
        rejections: this.rejections,
        namedEvictions: 0,
        anonymousEvictions: 0,
        lostLogLines: this.lostLogLines,
      }),
      configuredUsers: () =>
        this.pools.map(({ user, database, pool_mode }): ConfiguredUser => ({
          user,
          database,
          pool_mode,
        })),
      sever: () => {},
      mostPools: () => this.mostPools,
      residentBytes: () => 4096,
    };
    this.gathering = new Gathering(environment);
    if (before !== undefined) this.gathering.takeOver(structuredClone(before));
  }

  /** The series whose line begins so, by their line without the value. */
  async series(start: string): Promise<Record<string, number>> {
    const text = expose(families(await this.gathering.gather()), "text");
    const found: Record<string, number> = {};
    for (const line of text.split("\n")) {
      if (!line.startsWith(`pg_doorman_${start}`)) continue;
      const at = line.lastIndexOf(" ");
      found[line.slice("pg_doorman_".length, at)] = Number(line.slice(at + 1));
    }
    return found;
  }
}

function pool(user: string, queries: number, more: Partial<PoolRow> = {}): PoolRow {
  return {
    ...poolRow({ user, total: { query_count: queries, check_queries_run: queries } }),
    ...more,
  };
}

function queries(user: string, database = "app"): string {
  return `pools_queries_total{database="${database}",user="${user}"}`;
}

Deno.test("metrics: pools beyond the bound are one, and a line says so once", async () => {
  const process = new Process();
  process.mostPools = 2;
  process.pools = ["a", "b", "c", "d"].map((user, at) => pool(user, 10 ** at));
  const expected = { [queries("a")]: 1, [queries("b")]: 10, [queries("other", "other")]: 1100 };
  assert.deepEqual(await process.series("pools_queries_total{"), expected);
  assert.deepEqual(await process.series("pool_size"), {
    'pool_size{database="app",user="a"}': 20,
    'pool_size{database="app",user="b"}': 20,
    'pool_size{database="other",user="other"}': 40,
  });
  const users = await process.series("users_configured");
  assert.equal(users['users_configured{database="other",pool_mode="transaction",user="other"}'], 2);
  assert.equal(process.lines.length, 1);
  assert.match(process.lines[0]!, /4 pools, more than metrics_max_pools=2: 2 are summed up/);
});

Deno.test("metrics: who has series of his own keeps them, and others do not get them later", async () => {
  const process = new Process();
  process.mostPools = 2;
  process.pools = [pool("b", 1), pool("c", 2), pool("d", 4)];
  await process.series("");
  // One that comes first in the alphabet, and one that ends.
  process.pools = [pool("a", 8), pool("c", 2), pool("d", 5)];
  assert.deepEqual(await process.series("pools_queries_total{"), {
    [queries("a")]: 8,
    [queries("c")]: 2,
    [queries("other", "other")]: 5,
  });
});

Deno.test("metrics: sums do not fall when pools end, nor in the next process", async () => {
  const process = new Process();
  process.mostPools = 1;
  process.pools = [pool("a", 1), pool("b", 10), pool("c", 100)];
  process.rejections = [1, 0, 0, 2, 0, 0];
  process.lostLogLines = 5;
  process.gathering.countAnswer(200);
  process.gathering.countAnswer(404);
  const check = "pooler_check_query_backend_total";
  assert.deepEqual(await process.series(check), { [check]: 111 });
  process.pools = [pool("a", 1), pool("c", 100)];
  assert.deepEqual(await process.series(check), { [check]: 111 });
  assert.equal((await process.series("pools_queries_total{"))[queries("other", "other")], 110);

  // Pools that have moved already have not ended.
  process.readiness = "upgrading";
  process.pools = [];
  assert.equal((await process.series("pools_queries_total{"))[queries("other", "other")], 110);
  const next = new Process(process.gathering.snapshot());
  next.mostPools = 2;
  next.rejections = [1, 0, 0, 0, 0, 0];
  next.lostLogLines = 2;
  next.pools = [pool("a", 1), pool("c", 101)];
  assert.deepEqual(await next.series(check), { [check]: 112 });
  assert.deepEqual(await next.series("pools_queries_total{"), {
    [queries("a")]: 1,
    [queries("other", "other")]: 111,
  });
  const rejections = await next.series("listener_rejections_total");
  assert.equal(rejections['listener_rejections_total{reason="hba"}'], 2);
  assert.deepEqual(await next.series("log_lines_lost_total"), { log_lines_lost_total: 7 });
  assert.equal(rejections['listener_rejections_total{reason="protocol_error"}'], 2);
  assert.deepEqual(await next.series("web_requests_total"), {
    'web_requests_total{role="anonymous",status_class="2xx"}': 1,
    'web_requests_total{role="anonymous",status_class="4xx"}': 1,
  });
});

Deno.test("metrics: hits of servers that are gone count on", async () => {
  const process = new Process();
  const row = pool("a", 1, { prepared: { hits: 3, misses: 2 } });
  row.total.prepared_hits = 40;
  process.pools = [row];
  assert.deepEqual(await process.series("servers_prepared_hits"), {
    'servers_prepared_hits{database="app",user="a"}': 3,
    'servers_prepared_hits_total{database="app",user="a"}': 43,
  });
});

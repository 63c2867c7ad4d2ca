/**
 * The web listener of the executable: metrics by the names of upstream, health checks, and clients that want to do harm.
 * What PgDoorman counts is compared with what was done; through a reload and a binary upgrade no counter falls.
 */

import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { say } from "../../tools/say.ts";
import { Bystander, restingSockets } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { freePort } from "../support/ports.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { removeCopies, Service } from "../upgrade/support.ts";

/** Of a machine that is busy with other tests. */
const BUSY = /slow: scrape took/;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

/** Names and labels of all that there is, upstream's where it has it, by type; `le` of histograms is understood. */
const COUNTERS: Readonly<Record<string, string>> = {
  connections_total: "type",
  listener_rejections_total: "reason",
  pools_queries_total: "database user",
  pools_transactions_total: "database user",
  pools_bytes_total: "database direction user",
  pools_errors_total: "database sqlstate user",
  pool_scaling_total: "database type user",
  pool_coordinator_total: "database type",
  servers_prepared_hits_total: "database user",
  servers_prepared_misses_total: "database user",
  query_interner_evictions_total: "kind reason",
  pooler_check_query_backend_total: "",
  pooler_check_query_cache_total: "",
  log_lines_lost_total: "",
  web_auth_attempts_total: "role source",
  web_requests_total: "role status_class",
};
const GAUGES: Readonly<Record<string, string>> = {
  build_info: "version",
  users_configured: "database pool_mode user",
  log_level: "level",
  total_memory: "",
  sockets: "type",
  connection_count: "type",
  pools_clients: "database status user",
  pools_servers: "database status user",
  pool_size: "database user",
  pools_oldest_active_age_ms: "database user",
  pools_paused: "database user",
  pools_maxwait_microseconds: "database user",
  pools_transactions_total_time: "database user",
  pools_queries_total_time: "database user",
  pools_bytes: "database direction user",
  pools_queries_count: "database user",
  pools_transactions_count: "database user",
  pools_queries_percentile: "database percentile user",
  pools_transactions_percentile: "database percentile user",
  pools_wait_percentile: "database percentile user",
  pools_avg_wait_time: "database user",
  pool_scaling: "database type user",
  pool_coordinator: "database type",
  pool_prepared_cache_entries: "database user",
  pool_prepared_cache_bytes: "database user",
  clients_prepared_cache_entries: "database user",
  clients_prepared_cache_bytes: "database user",
  clients_prepared_named_entries: "database user",
  clients_prepared_anonymous_entries: "database user",
  servers_prepared_hits: "database user",
  servers_prepared_misses: "database user",
  query_interner_entries: "kind",
  query_interner_bytes: "kind",
};
const HISTOGRAMS: Readonly<Record<string, string>> = {
  pools_query_duration_seconds: "database user",
  pools_transaction_duration_seconds: "database user",
  pools_wait_duration_seconds: "database user",
};

/** What was scraped: series by their line without the value, and the types of families. */
interface Scraped {
  series: Map<string, number>;
  types: Map<string, string>;
  labels: Map<string, Set<string>>;
}

function parse(text: string): Scraped {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  const labels = new Map<string, Set<string>>();
  for (const line of text.split("\n")) {
    const type = /^# TYPE pg_doorman_(\S+) (\S+)$/.exec(line);
    if (type !== null) types.set(type[1]!, type[2]!);
    if (line === "" || line.startsWith("#")) continue;
    const found = /^pg_doorman_([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    assert.ok(found, line);
    const [, name, inBraces = "", value] = found;
    const pairs = [...inBraces.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)];
    assert.equal(pairs.map(([pair]) => pair).join(""), inBraces, line);
    const key = `${name}{${inBraces}}`;
    assert.ok(!series.has(key), `twice: ${line}`);
    assert.ok(Number.isFinite(Number(value)), line);
    series.set(key, Number(value));
    const family = types.has(name!) ? name! : name!.replace(/_(bucket|sum|count)$/, "");
    const known = labels.get(family) ?? new Set();
    labels.set(family, known);
    for (const [, label] of pairs) if (label !== "le") known.add(label!);
  }
  return { series, types, labels };
}

/** A port for the listener, and requests to it. */
class Site {
  readonly port = freePort();
  readonly config: Config = { enabled: true, host: "127.0.0.1", port: this.port };

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${path}`, {
      ...init,
      headers: { connection: "close", ...init.headers as Record<string, string> },
    });
  }

  async status(path: string, init: RequestInit = {}): Promise<number> {
    const response = await this.fetch(path, init);
    await response.body?.cancel();
    return response.status;
  }

  /** Waits for the workers: a client may connect before they accept. */
  async ready(): Promise<void> {
    await waitFor("/readyz", 20_000, async () => await this.status("/readyz") === 200 || undefined);
  }

  async scrape(): Promise<Scraped> {
    const response = await this.fetch("/metrics");
    assert.equal(response.status, 200);
    return parse(await response.text());
  }

  /** Scrapes that are taken apart are told apart: what was gathered is used again for a moment. */
  async later(): Promise<Scraped> {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return await this.scrape();
  }
}

const POOL = 'database="app",user="postgres"';

/** Values of the pool's series that matter here. */
function counted({ series }: Scraped) {
  const of = (name: string) => series.get(name) ?? NaN;
  return {
    queries: of(`pools_queries_total{${POOL}}`),
    transactions: of(`pools_transactions_total{${POOL}}`),
    durations: of(`pools_query_duration_seconds_count{${POOL}}`),
    xacts: of(`pools_transaction_duration_seconds_count{${POOL}}`),
    waits: of(`pools_wait_duration_seconds_count{${POOL}}`),
    syntax: of('pools_errors_total{database="app",sqlstate="other",user="postgres"}'),
    hba: of('listener_rejections_total{reason="hba"}'),
    connections: of('connections_total{type="total"}'),
  };
}

/** Every counter of `before` is there and has not fallen; web's own apart, which the scrape itself moves. */
function assertMonotonic(before: Scraped, after: Scraped): void {
  for (const [name, value] of before.series) {
    const family = name.slice(0, name.indexOf("{"));
    const stem = family.replace(/_(bucket|sum|count)$/, "");
    if (!(family in COUNTERS) && !(stem in HISTOGRAMS)) continue;
    const now = after.series.get(name);
    assert.ok(now !== undefined && now >= value, `${name}: ${value}, then ${now}`);
  }
}

Deno.test("web: off unless it is switched on", async () => {
  const site = new Site();
  await using _doorman = await Doorman.start({
    config: { web: { ...site.config, enabled: false }, pools: { app: poolOf(postgres) } },
  });
  await assert.rejects(site.fetch("/metrics"), /refused|connect/i);
});

Deno.test("web: a port that somebody else has ends the start with status 71", async () => {
  const site = new Site();
  using _taken = Deno.listen({ hostname: "127.0.0.1", port: site.port });
  const doorman = await Doorman.create({
    config: { web: site.config, pools: { app: poolOf(postgres) } },
    allowExit: [71],
  });
  await using _ = doorman;
  await assert.rejects(doorman.start(), /71/);
  assert.match(
    doorman.logs,
    new RegExp(`listen on 127.0.0.1:${site.port} for \\[web\\]: .*in use`),
  );
});

Deno.test("web: names, types and labels are upstream's, and values move with what is done", async () => {
  const site = new Site();
  await using doorman = await Doorman.start({
    config: {
      web: site.config,
      general: { pg_hba: { content: "host all refused all reject\nhost all all all md5" } },
      pools: {
        app: poolOf(postgres, {
          max_db_connections: 9,
          users: [
            { username: "postgres", password: "postgres", pool_size: 2 },
            { username: "refused", password: "refused", pool_size: 1 },
          ],
        }),
      },
    },
    allowLog: [BUSY, /refused/],
  });
  const before = await site.scrape();
  using client = await WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "app",
  });
  for (let i = 0; i < 5; i++) await client.query("SELECT 1");
  await client.query("BEGIN");
  await client.query("SELECT pg_sleep(0.02)");
  await client.query("COMMIT");
  await client.query("SELECT 1/0");
  await client.ask(wire.parse("s", "SELECT 1"), wire.bind("", "s"), wire.execute(), wire.SYNC);
  await assert.rejects(
    WireClient.login({ port: doorman.port, user: "refused", database: "app" }),
    /28000/,
  );
  const after = await site.later();

  const expected = new Map<string, [type: string, labels: string]>();
  for (
    const [type, table] of [["counter", COUNTERS], ["gauge", GAUGES], [
      "histogram",
      HISTOGRAMS,
    ]] as const
  ) {
    for (const [name, labels] of Object.entries(table)) expected.set(name, [type, labels]);
  }
  const found = [...after.types].map(([name, type]): [string, [string, string]] => [
    name,
    [type, [...after.labels.get(name) ?? []].sort().join(" ")],
  ]);
  const byName = ([a]: [string, unknown], [b]: [string, unknown]) => a < b ? -1 : 1;
  assert.deepEqual(found.sort(byName), [...expected].sort(byName));

  assertMonotonic(before, after);
  const [was, is] = [counted(before), counted(after)];
  // BEGIN is answered without PostgreSQL.
  assert.equal(is.queries - was.queries, 9);
  assert.equal(is.transactions - was.transactions, 8);
  assert.equal(is.durations - was.durations, 9);
  assert.equal(is.xacts - was.xacts, 8);
  assert.equal(is.waits - was.waits, 8);
  assert.equal(is.syntax - was.syntax, 1);
  assert.equal(is.hba - was.hba, 1);
  assert.equal(is.connections - was.connections, 2);
  const slow = `pools_transaction_duration_seconds_bucket{${POOL},le="0.01"}`;
  assert.ok(after.series.get(slow)! < is.xacts, "one transaction took longer");
  const sum = after.series.get(`pools_transaction_duration_seconds_sum{${POOL}}`)!;
  assert.ok(sum >= 0.02 && sum < 30, `${sum} seconds`);
  assert.equal(after.series.get('pools_clients{database="app",status="idle",user="postgres"}'), 1);
  assert.equal(after.series.get('pool_coordinator{database="app",type="max_connections"}'), 9);
});

Deno.test("web: formats and compression, read by promtool where it is installed", async () => {
  const site = new Site();
  await using _doorman = await Doorman.start({
    config: { web: site.config, pools: { app: poolOf(postgres) } },
    allowLog: [BUSY],
  });
  const text = await (await site.fetch("/metrics", { headers: { "accept-encoding": "identity" } }))
    .text();
  const open = await site.fetch("/metrics", {
    headers: { accept: "application/openmetrics-text", "accept-encoding": "identity" },
  });
  assert.match(open.headers.get("content-type")!, /^application\/openmetrics-text/);
  const openText = await open.text();
  assert.ok(openText.endsWith("# EOF\n"));
  const types = [...openText.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  assert.equal(new Set(types).size, types.length, "a family is told once");

  using conn = await Deno.connect({ hostname: "127.0.0.1", port: site.port });
  await conn.write(new TextEncoder().encode(
    "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
  ));
  const bytes = new Uint8Array(await new Response(conn.readable).arrayBuffer());
  const head = new TextDecoder("latin1").decode(bytes);
  const start = head.indexOf("\r\n\r\n") + 4;
  assert.match(head.slice(0, start), /Content-Encoding: gzip\r\n/);
  assert.match(gunzipSync(bytes.subarray(start)).toString(), /^# HELP pg_doorman_/);

  const promtool = Deno.env.get("PROMTOOL") ?? "promtool";
  let child: Deno.ChildProcess;
  try {
    const options = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    child = new Deno.Command(promtool, { args: ["check", "metrics"], ...options }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    say("promtool is not installed (Debian: prometheus): its check of the metrics is left out");
    return;
  }
  const input = child.stdin.getWriter();
  await input.write(new TextEncoder().encode(text));
  await input.close();
  const { stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  // Its taste in names is not upstream's; what can't be parsed is an error of another kind.
  const faults = said.split("\n").filter((line) => line !== "" && !TASTE.test(line));
  assert.deepEqual(faults, []);
});

/** Of names that are upstream's. */
const TASTE =
  /non-histogram and non-summary metrics should not have "_count" suffix|non-counter metrics should not have "_total" suffix|use base unit|should not contain abbreviated units|counter metrics should have "_total" suffix/;

Deno.test("web: no counter falls through a reload and a binary upgrade, and no scrape is refused", async () => {
  const site = new Site();
  const config = (more: Config = {}): Config => ({
    web: site.config,
    general: { shutdown_timeout: "5s" },
    pools: {
      app: poolOf(postgres, {
        users: [{ username: "postgres", password: "postgres", pool_size: 3 }],
      }),
      ...more,
    },
  });
  await using service = await Service.start({
    config: config({ gone: poolOf(postgres) }),
    allowLog: [BUSY],
  });
  using client = await service.login();
  for (let i = 0; i < 20; i++) await client.query("SELECT 1");
  await client.query("SELECT nonsense");
  let last = await site.later();
  const first = counted(last);

  let stop = false;
  let scrapes = 0;
  const scraping = (async () => {
    while (!stop) {
      const next = await site.scrape();
      assertMonotonic(last, next);
      last = next;
      scrapes++;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  scraping.catch(() => undefined);
  for (let round = 0; round < 3; round++) {
    await service.upgrade();
    await client.query("SELECT 1");
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  stop = true;
  await scraping;
  assert.ok(scrapes > 10);
  const end = counted(await site.later());
  assert.equal(end.queries, first.queries + 3);
  assert.equal(end.durations, first.durations + 3);
  assert.equal(end.syntax, first.syntax);
  assert.equal(await site.status("/readyz"), 200);
});

Deno.test("web: a pool that a reload takes out of the configuration takes its series along", async () => {
  const site = new Site();
  const config = (more: Config = {}): Config => ({
    web: site.config,
    pools: { app: poolOf(postgres), ...more },
  });
  await using doorman = await Doorman.start({
    config: config({ gone: poolOf(postgres) }),
    allowLog: [BUSY],
  });
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.query("SELECT 1");
  const before = await site.scrape();
  assert.equal(before.series.get('pool_size{database="gone",user="postgres"}'), 10);
  await doorman.writeConfig(config());
  doorman.signal("SIGHUP");
  await doorman.waitForLog(/configuration reloaded/);
  const after = await site.later();
  assert.ok(![...after.series.keys()].some((name) => name.includes("gone")));
  assert.equal(counted(after).queries, counted(before).queries);
});

Deno.test("web: pools beyond metrics_max_pools are summed up", async () => {
  const site = new Site();
  const names = ["a", "b", "c", "d"];
  await using doorman = await Doorman.start({
    config: {
      web: { ...site.config, metrics_max_pools: 2 },
      pools: Object.fromEntries(names.map((name) => [name, poolOf(postgres)])),
    },
    allowLog: [BUSY, /more than metrics_max_pools=2/],
  });
  for (const database of names) {
    using client = await WireClient.login({ port: doorman.port, user: "postgres", database });
    await client.query("SELECT 1");
  }
  const { series } = await site.scrape();
  const queries = [...series].filter(([name]) => name.startsWith("pools_queries_total{"));
  assert.deepEqual(queries.map(([, value]) => value).sort(), [1, 1, 2]);
  assert.equal(series.get('pools_queries_total{database="other",user="other"}'), 2);
  await site.later();
  assert.equal(doorman.logs.match(/metrics_max_pools/g)?.length, 1);
});

Deno.test("web: ready while clients are taken, alive until the end", async () => {
  const site = new Site();
  await using doorman = await Doorman.start({
    config: {
      web: site.config,
      general: { shutdown_timeout: "20s" },
      pools: { app: poolOf(postgres) },
    },
    allowLog: [BUSY],
  });
  await site.ready();
  assert.equal(await site.status("/healthz"), 200);
  assert.equal(await site.status("/readyz", { method: "HEAD" }), 200);
  assert.equal(await site.status("/readyz", { method: "POST", body: "x" }), 405);
  assert.equal(await site.status("/api/version"), 404);
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.query("BEGIN");
  await client.query("SELECT 1");
  using admin = await WireClient.login({
    port: doorman.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  await admin.query("SHUTDOWN");
  await waitFor("not ready", 5000, async () => await site.status("/readyz") === 503 || undefined);
  assert.equal(await site.status("/healthz"), 200);
  assert.equal(await site.status("/metrics"), 200);
  await client.query("COMMIT").catch(() => undefined);
  assert.equal(await doorman.waitForExit(), 0);
});

Deno.test("web: clients that want to do harm are bounded, and reach nobody else", async () => {
  const site = new Site();
  await using doorman = await Doorman.start({
    config: { web: site.config, pools: { app: poolOf(postgres) } },
    allowLog: [BUSY],
  });
  await site.ready();
  const rest = await restingSockets(doorman);
  const encoder = new TextEncoder();
  const conns: Deno.Conn[] = [];
  {
    await using bystander = await Bystander.start(doorman.port, "postgres", "app");
    const attack = async (text: string, times: number) => {
      for (let i = 0; i < times; i++) {
        const conn = await Deno.connect({ hostname: "127.0.0.1", port: site.port });
        conns.push(conn);
        await conn.write(encoder.encode(text)).catch(() => 0);
      }
    };
    // Heads without an end, and one without a bound; nothing at all; answers that nobody reads.
    await attack("GET /metrics HTTP/1.1\r\nHo", 150);
    await attack(`GET / HTTP/1.1\r\nHost: a\r\nA: ${"x".repeat(100_000)}`, 20);
    await attack("", 150);
    await attack("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200), 20);
    await attack("\0\xff".repeat(1000), 20);
    await attack("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", 20);
    assert.equal(await site.status("/readyz"), 200, "who asks is served");
    assert.equal(await site.status("/metrics"), 200);
    const open = await restingSockets(doorman);
    assert.ok(open < rest + 160, `${open} sockets, ${rest} before`);
    assert.ok(bystander.answers > 20);
  }
  for (const conn of conns) conn.close();
  await waitFor(
    "all sockets closed",
    20_000,
    async () => await restingSockets(doorman) <= rest + 3 || undefined,
  );
  const lines = doorman.logs.split("\n").filter((line) => /web::|method=/.test(line));
  assert.ok(lines.length < 60, `${lines.length} lines of the log`);
});

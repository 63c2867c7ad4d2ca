/**
 * What one scrape tells of, asked of the workers and merged. All that ask within a moment get the same: scrapes that come
 * at once, or without end, cost the workers as much as four a second.
 */

import { gatherPools } from "../../admin/show/gathered_pools.ts";
import { mergeLimits } from "../../admin/show/pool_coordinator.ts";
import { TCP_STATES, UNIX_STATES } from "../../admin/show/sockets.ts";
import type { LimitRow, PoolRow, PreparedMemoryRow } from "../../mail.ts";
import { addSums, noSums, type PoolSums } from "../../stats/counters.ts";
import type { ConfiguredUser, ProcessCounts, WebEnvironment } from "../environment.ts";
import type { Gathered, SocketCounts, UserCount, WebCounts } from "./families.ts";
import { OTHER, OtherPools, type OtherSnapshot } from "./other.ts";

const TARGET = "pg_doorman::web";
/** Walking the kernel's tables takes long where there are many sockets. */
const SOCKETS_MS = 15_000;

/** What travels to the next process, so that no counter falls. Absent parts are of a program that did not have them. */
export interface MetricsSnapshot {
  process: ProcessCounts;
  ended: PoolSums;
  other: OtherSnapshot;
  web: WebCounts;
}

type Web = { -readonly [Class in keyof WebCounts]: number };

export class Gathering {
  readonly #environment: WebEnvironment;
  readonly #others = new OtherPools();
  readonly #web: Web = { "1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, other: 0 };
  /** Of the processes before this one. */
  #before: ProcessCounts = {
    rejections: [],
    namedEvictions: 0,
    anonymousEvictions: 0,
    lostLogLines: 0,
  };
  /** Sums of pools that are gone. */
  #ended = noSums();
  #lastPools: ReadonlyMap<string, PoolRow> = new Map();
  #sockets: { counts: SocketCounts; atMs: number } | undefined;
  #warned = false;

  constructor(environment: WebEnvironment) {
    this.#environment = environment;
  }

  /** The web listener has answered. */
  countAnswer(status: number): void {
    const name = `${Math.floor(status / 100)}xx`;
    this.#web[name in this.#web ? name as keyof Web : "other"]++;
  }

  // ── over a binary upgrade ───────────────────────────────────────────────────────────────────────────────────────

  snapshot(): MetricsSnapshot {
    return {
      process: this.#process(),
      ended: this.#ended,
      other: this.#others.snapshot(),
      web: this.#web,
    };
  }

  takeOver({ process, ended, other, web }: MetricsSnapshot): void {
    this.#before = addCounts(this.#before, process);
    this.#ended = addSums(this.#ended, { ...noSums(), ...ended });
    this.#others.takeOver(other);
    for (const name of Object.keys(this.#web) as (keyof Web)[]) this.#web[name] += web[name];
  }

  #process(): ProcessCounts {
    return addCounts(this.#environment.processCounts(), this.#before);
  }

  // ── now ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async gather(): Promise<Gathered> {
    const environment = this.#environment;
    const [all, counts, limits, authQueries, memory, interner] = await Promise.all([
      gatherPools(environment),
      environment.counts(),
      environment.limits(),
      environment.authQueries(),
      environment.preparedMemory(),
      environment.interner(),
    ]);
    const most = environment.mostPools();
    const moving = environment.readiness() === "upgrading";
    const sums = this.#sumUp(all, moving);
    const { rows: pools, beyond } = this.#others.bound(all, { most, moving });
    if (beyond > 0 && !this.#warned) {
      this.#warned = true;
      environment.log.warn(
        TARGET,
        `metrics: ${all.length} pools, more than metrics_max_pools=${most}: ` +
          `${beyond} are summed up as database="other", user="other"`,
      );
    }
    return {
      version: environment.version,
      logLevel: environment.logLevel(),
      residentBytes: environment.residentBytes(),
      sockets: this.#countSockets(),
      users: this.#countUsers(environment.configuredUsers()),
      pools,
      memory: this.#mergeMemory(memory),
      limits: this.#boundLimits(mergeLimits(limits)),
      authQueries,
      interner,
      counts,
      process: this.#process(),
      sums,
      web: this.#web,
    };
  }

  /** For metrics without a pool's name: sums over all pools that there ever were. */
  #sumUp(rows: readonly PoolRow[], moving: boolean): Gathered["sums"] {
    const alive = new Map(rows.map((row) => [`${row.database}\0${row.user}`, row]));
    for (const [key, row] of this.#lastPools) {
      if (alive.has(key)) continue;
      if (moving) alive.set(key, row);
      else this.#ended = addSums(this.#ended, row.total);
    }
    this.#lastPools = alive;
    let { check_queries_run, check_queries_answered } = this.#ended;
    for (const { total } of alive.values()) {
      check_queries_run += total.check_queries_run;
      check_queries_answered += total.check_queries_answered;
    }
    return { check_queries_run, check_queries_answered };
  }

  #mergeMemory(rows: readonly PreparedMemoryRow[]): PreparedMemoryRow[] {
    const merged = new Map<string, PreparedMemoryRow>();
    for (const row of rows) {
      const called = { ...row, ...this.#others.calledAs(row) };
      const key = `${called.database}\0${called.user}`;
      const known = merged.get(key);
      merged.set(key, known === undefined ? called : addMemory(known, called));
    }
    return [...merged.values()];
  }

  #countUsers(users: readonly ConfiguredUser[]): UserCount[] {
    const counted = new Map<string, UserCount>();
    for (const user of users) {
      const called = { ...user, ...this.#others.calledAs(user) };
      const key = JSON.stringify(called);
      counted.set(key, { ...called, count: (counted.get(key)?.count ?? 0) + 1 });
    }
    return [...counted.values()];
  }

  #boundLimits(rows: readonly LimitRow[]): LimitRow[] {
    const bounded: LimitRow[] = [];
    let other: LimitRow | undefined;
    for (const row of rows) {
      if (this.#others.namesDatabase(row.database)) bounded.push(row);
      else other = other === undefined ? { ...row, database: OTHER } : addLimits(other, row);
    }
    return other === undefined ? bounded : [...bounded, other];
  }

  #countSockets(): SocketCounts {
    const nowMs = performance.now();
    if (this.#sockets === undefined || nowMs - this.#sockets.atMs > SOCKETS_MS) {
      this.#sockets = { counts: socketCounts(this.#environment.sockets()), atMs: nowMs };
    }
    return this.#sockets.counts;
  }
}

function addCounts(a: ProcessCounts, b: ProcessCounts): ProcessCounts {
  const length = Math.max(a.rejections.length, b.rejections.length);
  return {
    rejections: Array.from(
      { length },
      (_, at) => (a.rejections[at] ?? 0) + (b.rejections[at] ?? 0),
    ),
    namedEvictions: a.namedEvictions + b.namedEvictions,
    anonymousEvictions: a.anonymousEvictions + b.anonymousEvictions,
    // A program of before does not count them.
    lostLogLines: a.lostLogLines + (b.lostLogLines ?? 0),
  };
}

const MEMORY_SUMS = [
  "pool_prepared_count",
  "pool_prepared_bytes",
  "client_named_count",
  "client_named_bytes",
  "client_anonymous_count",
  "client_anonymous_bytes",
] as const;

function addMemory(a: PreparedMemoryRow, b: PreparedMemoryRow): PreparedMemoryRow {
  const sum = { ...a };
  for (const key of MEMORY_SUMS) sum[key] += b[key];
  return sum;
}

function addLimits(a: LimitRow, b: LimitRow): LimitRow {
  return {
    database: OTHER,
    max: a.max + b.max,
    current: a.current + b.current,
    reserve: a.reserve + b.reserve,
    reserveUsed: a.reserveUsed + b.reserveUsed,
    evictions: a.evictions + b.evictions,
    reserveGrants: a.reserveGrants + b.reserveGrants,
    exhaustions: a.exhaustions + b.exhaustions,
  };
}

/** From the columns of SHOW SOCKETS; of Unix sockets the streams alone. */
function socketCounts(counts: readonly number[]): SocketCounts {
  const sum = (from: number, length: number) =>
    counts.slice(from, from + length).reduce((all, count) => all + count, 0);
  const states = TCP_STATES.length;
  const streams = UNIX_STATES.indexOf("dgram");
  return {
    tcp: sum(0, states),
    tcp6: sum(states, states),
    unix: sum(2 * states, streams),
    unknown: counts[2 * states + UNIX_STATES.length] ?? 0,
  };
}

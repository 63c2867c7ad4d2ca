/**
 * What PostgreSQL has said of the users of one database (auth_query): remembered for a while, and asked for once however
 * many want to know. Plain data and a clock; who asks PostgreSQL is above. A user who is unknown is remembered apart, so
 * that names which somebody makes up push out nobody who exists.
 *
 * ```
 *   find ──known and fresh──────────────────────────▶ told at once
 *     │                                                   ▲
 *     └─not known──▶ under way ──answered─────────────────┤ to all who wait
 *                        ▲  └─failed: nothing is kept─────┘
 *   refetch ──(1)────────┘
 * ```
 * 1. After a failed proof: unless somebody has asked anew since the answer that failed, or less than `min_interval` ago. Of
 *    an unknown user it is not asked, only waited: the client can't tell.
 */

/** What a lookup came to. */
export type Looked<Found> =
  | { readonly kind: "found"; readonly found: Found }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly message: string };

/** What is remembered of a user. */
export type Remembered<Found> = Exclude<Looked<Found>, { kind: "failed" }>;

/** How long what holds; milliseconds. */
export interface LookupTimes {
  cache_ttl: number;
  cache_failure_ttl: number;
  min_interval: number;
}

/** Since the start. */
export interface LookupCounts {
  cache_hits: number;
  cache_misses: number;
  cache_refetches: number;
  cache_rate_limited: number;
  executor_queries: number;
  executor_errors: number;
}

/** What the cache works with. */
export interface LookupEnvironment<Found> {
  readonly times: LookupTimes;
  now(): number;
  /** Asks PostgreSQL; `done` is called once, perhaps before this returns. */
  ask(user: string, done: (looked: Looked<Found>) => void): void;
  /** Takes as long as PostgreSQL would. */
  pretend(done: () => void): void;
}

interface Entry<Found> {
  looked: Remembered<Found>;
  sinceMs: number;
  /** When it was asked for anew; of unknown users, when that would have been. */
  refetchedMs: number;
}

type Told<Found> = (looked: Looked<Found>) => void;

/** Gives up waiting; harmless when the answer has come. */
export type GiveUp = () => void;

/** PostgreSQL's longest name (`NAMEDATALEN`): it would cut a longer one, and find somebody else. */
const NAME_BYTES = 63;
const MOST_KNOWN = 50_000;
const MOST_UNKNOWN = 10_000;
const MISSING = { kind: "missing" } as const;
const nothing = () => {};

export class LookupCache<Found> {
  readonly counts: LookupCounts = {
    cache_hits: 0,
    cache_misses: 0,
    cache_refetches: 0,
    cache_rate_limited: 0,
    executor_queries: 0,
    executor_errors: 0,
  };
  readonly #environment: LookupEnvironment<Found>;
  #times: LookupTimes;
  readonly #known = new Map<string, Entry<Found>>();
  readonly #unknown = new Map<string, Entry<Found>>();
  /** Who waits for the answer that is under way, by user. */
  readonly #underWay = new Map<string, Set<Told<Found>>>();
  /** Answers to what was asked before a `clear` are told and not kept. */
  #epoch = 0;

  constructor(environment: LookupEnvironment<Found>) {
    this.#environment = environment;
    this.#times = environment.times;
  }

  /** Users that are remembered. */
  get size(): number {
    return this.#known.size + this.#unknown.size;
  }

  /** What is remembered of the user, or PostgreSQL's answer. `told` is called once, perhaps before this returns. */
  find(user: string, told: Told<Found>): GiveUp {
    if (isTooLong(user)) {
      told(MISSING);
      return nothing;
    }
    const entry = this.#fresh(user);
    if (entry === undefined) return this.#ask(user, "first", told);
    this.counts.cache_hits++;
    told(entry.looked);
    return nothing;
  }

  /** The user's proof does not fit `seen`: what PostgreSQL says now, or the same if it is not to be asked again so soon. */
  refetch(user: string, seen: Remembered<Found>, told: Told<Found>): GiveUp {
    const entry = this.#known.get(user) ?? this.#unknown.get(user);
    const newer = this.#fresh(user);
    if (newer !== undefined && !isSame(newer.looked, seen) && !this.#underWay.has(user)) {
      told(newer.looked);
      return nothing;
    }
    const sinceMs = this.#environment.now() - (entry?.refetchedMs ?? -Infinity);
    if (sinceMs < this.#times.min_interval) {
      this.counts.cache_rate_limited++;
      told(seen);
      return nothing;
    }
    return seen.kind === "missing" ? this.#wait(entry, seen, told) : this.#ask(user, "again", told);
  }

  #wait(entry: Entry<Found> | undefined, seen: Remembered<Found>, told: Told<Found>): GiveUp {
    if (entry !== undefined) entry.refetchedMs = this.#environment.now();
    let waits = true;
    this.#environment.pretend(() => {
      if (waits) told(seen);
    });
    return () => waits = false;
  }

  /** From now on. */
  setTimes(times: LookupTimes): void {
    this.#times = times;
  }

  /** Forgets everything that is known. */
  clear(): void {
    this.#epoch++;
    this.#known.clear();
    this.#unknown.clear();
  }

  #fresh(user: string): Entry<Found> | undefined {
    const { cache_ttl, cache_failure_ttl } = this.#times;
    const entry = this.#known.get(user) ?? this.#unknown.get(user);
    if (entry === undefined) return undefined;
    const ttl = entry.looked.kind === "found" ? cache_ttl : cache_failure_ttl;
    return this.#environment.now() - entry.sinceMs < ttl ? entry : undefined;
  }

  #ask(user: string, which: "first" | "again", told: Told<Found>): GiveUp {
    // An object of its own: the same function may wait twice.
    const waiter: Told<Found> = (looked) => told(looked);
    let waiting = this.#underWay.get(user);
    if (waiting === undefined) {
      waiting = new Set([waiter]);
      this.#underWay.set(user, waiting);
      this.counts[which === "again" ? "cache_refetches" : "cache_misses"]++;
      this.counts.executor_queries++;
      const epoch = this.#epoch;
      this.#environment.ask(user, (looked) => this.#answered(user, { which, looked, epoch }));
    } else waiting.add(waiter);
    const all = waiting;
    return () => all.delete(waiter);
  }

  #answered(
    user: string,
    { which, looked, epoch }: { which: "first" | "again"; looked: Looked<Found>; epoch: number },
  ): void {
    const waiting = this.#underWay.get(user) ?? new Set();
    this.#underWay.delete(user);
    if (looked.kind === "failed") {
      this.counts.executor_errors++;
      if (which === "first") this.counts.cache_misses--;
    } else if (epoch === this.#epoch) this.#keep(user, which, looked);
    for (const told of [...waiting]) {
      // One of those before it may have ended it.
      if (waiting.has(told)) told(looked);
    }
  }

  #keep(user: string, which: "first" | "again", looked: Remembered<Found>): void {
    const sinceMs = this.#environment.now();
    const before = this.#known.get(user) ?? this.#unknown.get(user);
    const refetchedMs = which === "again" ? sinceMs : before?.refetchedMs ?? -Infinity;
    this.#known.delete(user);
    this.#unknown.delete(user);
    const [kept, most] = looked.kind === "found"
      ? [this.#known, MOST_KNOWN] as const
      : [this.#unknown, MOST_UNKNOWN] as const;
    // The one that was asked for longest ago.
    if (kept.size >= most) kept.delete(kept.keys().next().value!);
    kept.set(user, { looked, sinceMs, refetchedMs });
  }
}

/** Pools remember what they were made by, too, without the answer that it came with. */
function isSame<Found>(a: Remembered<Found>, b: Remembered<Found>): boolean {
  return a === b || a.kind === "found" && b.kind === "found" && a.found === b.found;
}

function isTooLong(user: string): boolean {
  return user.length > NAME_BYTES || new TextEncoder().encode(user).length > NAME_BYTES;
}

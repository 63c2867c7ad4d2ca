/**
 * The users of one database (or of all that are not configured) whom PostgreSQL is asked for: what is known of them, and
 * what their pools are made of. One worker has it: the home of those pools.
 */

import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import {
  type GiveUp,
  type Looked,
  LookupCache,
  type LookupCounts,
  type Remembered,
} from "../../auth/lookup_cache.ts";
import { shapeOf } from "../../auth/mock_password.ts";
import type {
  AuthQuerySettings,
  PasswordShape,
  PoolSettings,
  ServerCredentials,
  StoredPassword,
} from "../../config/settings.ts";
import { MAX_STARTUP_PACKET_BYTES, startupPacketBytes } from "../../config/startup_parameters.ts";
import { oneLine } from "../../log/one_line.ts";
import type { Log } from "../../log/log.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { peerName } from "../../reasons.ts";
import type { DropReason, FoundUser } from "./answer.ts";
import { type ExecutingPool, Lookup } from "./executor.ts";

const TARGET = "pg_doorman::auth";
/** Shapes that a stranger's challenge is made like. */
const MOST_SHAPES = 8;

/** Since the start. */
export interface AuthQueryCounts extends LookupCounts {
  auth_success: number;
  auth_failure: number;
  dynamic_pools_created: number;
  dynamic_pools_destroyed: number;
}

/** What it works with. */
export interface AuthQueryEnvironment {
  readonly reactor: Pick<Reactor, "now" | "at">;
  readonly log: Pick<Log, "provoked" | "warn">;
  /** The pool of the connections that look up. */
  readonly executor: ExecutingPool;
}

export class AuthQuery {
  settings: AuthQuerySettings;
  /** It is gone from the configuration, or has moved to another worker. */
  ended = false;
  readonly executor: ExecutingPool;
  /** Parameters of users' own that were not used, by cause. */
  readonly dropped: Partial<Record<DropReason, number>> = {};
  readonly #cache: LookupCache<FoundUser>;
  readonly #environment: AuthQueryEnvironment;
  readonly #counts = {
    auth_success: 0,
    auth_failure: 0,
    dynamic_pools_created: 0,
    dynamic_pools_destroyed: 0,
  };
  readonly #shapes = new Map<string, PasswordShape>();
  /** Users who were warned about. */
  readonly #warned = new Set<string>();
  /** How long PostgreSQL took for its last answer. */
  #answerMs = 1;

  constructor(settings: AuthQuerySettings, environment: AuthQueryEnvironment) {
    this.settings = settings;
    this.executor = environment.executor;
    this.#environment = environment;
    const { reactor } = environment;
    this.#cache = new LookupCache({
      times: settings,
      now: () => reactor.now,
      ask: (user, done) => this.#ask(user, done),
      pretend: (done) => void reactor.at(reactor.now + this.#answerMs, done),
    });
  }

  get counts(): AuthQueryCounts {
    return { ...this.#cache.counts, ...this.#counts };
  }

  /** Users that are remembered. */
  get remembered(): number {
    return this.#cache.size;
  }

  /** Whether all users share one pool. */
  get shared(): boolean {
    return this.settings.template.user !== "";
  }

  /** How passwords of users here look: for those who are unknown. */
  get shapes(): PasswordShape[] {
    return [...this.#shapes.values()];
  }

  /** What PostgreSQL says, or has said, of a user; `told` may be called before this returns. */
  find(user: string, told: (looked: Looked<FoundUser>) => void): GiveUp {
    return this.#cache.find(user, told);
  }

  /** The user's proof does not fit what was `seen`. */
  refetch(
    user: string,
    seen: Remembered<FoundUser>,
    told: (looked: Looked<FoundUser>) => void,
  ): GiveUp {
    return this.#cache.refetch(user, seen, told);
  }

  count(what: keyof Omit<AuthQueryCounts, keyof LookupCounts>): void {
    this.#counts[what]++;
  }

  /** New settings: what was said by those of before is forgotten, unless only files for TLS have other contents. */
  apply(settings: AuthQuerySettings): void {
    const same = isDeepStrictEqual(withoutFiles(this.settings), withoutFiles(settings));
    this.settings = settings;
    if (same) return;
    this.#cache.setTimes(settings);
    this.#cache.clear();
    this.#shapes.clear();
    this.#warned.clear();
  }

  #ask(user: string, done: (looked: Looked<FoundUser>) => void): void {
    const { reactor } = this.#environment;
    const sinceMs = reactor.now;
    const execution = {
      reactor,
      pool: this.executor,
      query: this.settings.query,
      user,
      done: (looked: Looked<FoundUser>) => {
        if (looked.kind === "failed") this.#tellFailure(user, looked.message);
        else this.#answerMs = Math.max(1, reactor.now - sinceMs);
        if (looked.kind === "found") this.#note(user, looked.found);
        done(looked);
      },
    };
    new Lookup(execution).start();
  }

  #tellFailure(user: string, message: string): void {
    const { database } = this.settings;
    this.#environment.log.provoked(
      "error",
      TARGET,
      { kind: "auth_query", address: database },
      `auth_query of database "${database}" for user "${peerName(user)}" failed: ${
        oneLine(message)
      }`,
    );
  }

  #note(user: string, { password, parameters, dropped }: FoundUser): void {
    if (password.kind === "unsupported") {
      this.#warn(user, `${password.what} can't be used`);
      return;
    }
    const shape = shapeOf(password);
    const key = `${shape.kind} ${shape.iterations} ${shape.saltBytes}`;
    if (this.#shapes.size < MOST_SHAPES) this.#shapes.set(key, shape);
    for (const reason of dropped) this.#drop(user, reason);
    if (this.shared && parameters.length > 0) this.#drop(user, "dedicated_mode");
  }

  #drop(user: string, reason: DropReason): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
    this.#warn(user, `startup_parameters are not used, or not all of them: ${reason}`);
  }

  #warn(user: string, what: string): void {
    const key = `${user}\0${what}`;
    if (this.#warned.has(key) || this.#warned.size > 1000) return;
    this.#warned.add(key);
    const { database } = this.settings;
    this.#environment.log.warn(
      TARGET,
      `auth_query of database "${database}", user "${peerName(user)}": ${what}`,
    );
  }

  /** The settings of the pool that this user's clients share; a fault: no connection could be opened by them. */
  poolSettings(
    { database, user }: { database: string; user: string },
    found: FoundUser,
  ): PoolSettings | { fault: string } {
    const { template, user_limits } = this.settings;
    const own = {
      database,
      server_database: this.settings.database === database ? template.server_database : database,
    };
    if (this.shared) {
      const server_digest = digestOf(template.server_digest, own.server_database);
      return { ...template, ...own, server_digest };
    }
    const parameters = new Map([...template.startup_parameters, ...found.parameters]);
    const name = parameters.get("application_name");
    parameters.delete("application_name");
    const application_name = name ?? template.application_name;
    const packet = startupPacketBytes({
      user,
      database: own.server_database,
      applicationName: application_name,
      parameters,
    });
    if (packet > MAX_STARTUP_PACKET_BYTES) {
      this.#drop(user, "auth_query_overlay_oversize");
      return {
        fault: `the startup parameters take ${packet} bytes, ` +
          `more than the ${MAX_STARTUP_PACKET_BYTES} that PostgreSQL takes`,
      };
    }
    const credentials = credentialsOf(found.password);
    const startup_parameters = [...parameters].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return {
      ...template,
      ...own,
      ...user_limits.find(([name]) => name === user)?.[1],
      user,
      server_username: user,
      password: found.password,
      credentials,
      application_name,
      application_name_pinned: template.application_name_pinned || name !== undefined,
      startup_parameters,
      server_digest: digestOf(template.server_digest, own.server_database, user, credentials, [
        application_name,
        startup_parameters,
      ]),
    };
  }
}

function withoutFiles({ executor, template, ...others }: AuthQuerySettings): unknown {
  const both = [executor, template].map((pool) => ({ ...pool, server_tls: undefined }));
  return { ...others, both };
}

/** A user who is passed through logs in to PostgreSQL as it does here. */
function credentialsOf(password: StoredPassword): ServerCredentials {
  if (password.kind === "md5") return { kind: "md5", hash: password.hash };
  if (password.kind === "scram") {
    return { kind: "scram_passthrough", verifier: password.verifier };
  }
  return { kind: "none" };
}

function digestOf(...parts: unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

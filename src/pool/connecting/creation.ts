/**
 * Makes server connections for a pool: addresses, logins under way, the keys they need, and the pause after one has
 * failed. When to make one is the pool's decision; what becomes of it, too.
 */

import type { Timer } from "../../reactor/timers.ts";
import type { PoolSettings } from "../../config/settings.ts";
import { NEWEST_MINOR } from "../../protocol/startup.ts";
import type { LoginSecrets } from "../../server/authentication.ts";
import type { HandshakeCounts } from "../../server/encryption.ts";
import type { LoggedIn, LoginFailure } from "../../server/login.ts";
import { oneLine } from "../../log/one_line.ts";
import { parameterSet } from "../../server/parameters.ts";
import { newServerState, type ServerState, type ServerTlsNote } from "../../server/state.ts";
import type { PoolEnvironment } from "../environment.ts";
import { PoolLogin } from "./pool_login.ts";
import { spread } from "../lifetime.ts";

/** First pause after a failed login; doubles up to `MOST_RETRY_MS`. */
const FIRST_RETRY_MS = 50;
const MOST_RETRY_MS = 1000;
/** Salted passwords kept: PostgreSQL keeps a role's salt until its password changes. */
const MOST_SALTED = 8;
/** The first PostgreSQL that speaks protocol 3.2. */
const SPEAKS_3_2 = 18;

/** What a login comes to depends on. */
type LoginSettings = Pick<PoolSettings, "server_digest" | "server_tls">;

/** The pool that the connections are for. */
export interface CreatingPool {
  readonly settings: PoolSettings;
  readonly name: string;
  readonly waiting: number;
  readonly clientKey: Uint8Array | undefined;
  readonly traffic: HandshakeCounts;
  loggedIn(login: LoggedIn, epoch: number, settings: PoolSettings): void;
  loginFailed(failure: LoginFailure): void;
  /** The pause after a failure is over. */
  grow(): void;
}

export class Creation {
  /** Why the last login failed; `undefined` once one has succeeded. */
  lastFailure: LoginFailure | undefined = undefined;
  /** How long the last connection took to be opened, as far as known. */
  openMs = Infinity;
  readonly secrets: LoginSecrets;
  readonly #pool: CreatingPool;
  readonly #environment: PoolEnvironment;
  readonly #logins = new Set<PoolLogin>();
  readonly #salted = new Map<string, Uint8Array>();
  #retryTimer: Timer | undefined;
  #retryMs = 0;
  /** Minor version of the protocol to ask for; `undefined`: PostgreSQL's own version is not known yet. */
  #minor: number | undefined;

  constructor(pool: CreatingPool, environment: PoolEnvironment) {
    this.#pool = pool;
    this.#environment = environment;
    this.secrets = {
      newestMinor: () => this.#minor ?? 0,
      clientKey: () => pool.clientKey,
      derive: (password, salt, iterations, done) => this.#derive(password, salt, iterations, done),
      tls: environment,
      counts: pool.traffic,
    };
  }

  /** Connections under way. */
  get connecting(): number {
    return this.#logins.size;
  }

  /** Of these, those whose server's name is being resolved. */
  get resolving(): number {
    return this.#waitingFor("name");
  }

  /** Those whose password is being fetched. */
  get fetching(): number {
    return this.#waitingFor("password");
  }

  #waitingFor(what: PoolLogin["waitsFor"]): number {
    let count = 0;
    for (const { waitsFor } of this.#logins) if (waitsFor === what) count++;
    return count;
  }

  /** Whether a failure is so fresh that PostgreSQL is left alone. */
  get resting(): boolean {
    return this.#retryTimer !== undefined;
  }

  /** Starts one connection; `epoch` is what RECONNECT will be told by. `ended`: before the pool hears of it. */
  connect(epoch: number, ended?: (failure: LoginFailure | undefined) => void): void {
    const { settings } = this.#pool;
    const { reactor } = this.#environment;
    const sinceMs = reactor.now;
    const login = new PoolLogin(this.#environment, this.secrets);
    this.#logins.add(login);
    login.start(settings, (result) => {
      this.#logins.delete(login);
      const failed = result.kind === "failed";
      ended?.(failed ? result : undefined);
      if (failed) return this.#failed(result);
      this.#retryMs = 0;
      this.#learnVersion(result);
      this.openMs = reactor.now - sinceMs;
      this.lastFailure = undefined;
      this.#pool.loggedIn(result, epoch, settings);
    });
  }

  /** Not everything between here and PostgreSQL knows more than 3.0: it is asked for more where that is known to help. */
  #learnVersion({ minor, parameters }: LoggedIn): void {
    if (this.#minor === undefined) {
      const major = parseInt(parameters.get("server_version") ?? "");
      this.#minor = major >= SPEAKS_3_2 ? NEWEST_MINOR : 0;
    } else this.#minor = Math.min(this.#minor, minor);
  }

  #derive(
    password: string,
    salt: Uint8Array,
    iterations: number,
    done: (salted: Uint8Array | undefined) => void,
  ): void {
    const key = `${iterations}:${salt.join(",")}:${password}`;
    const known = this.#salted.get(key);
    if (known !== undefined) return done(known);
    this.#environment.derive(password, salt, iterations, (salted) => {
      if (this.#salted.size >= MOST_SALTED) this.#salted.clear();
      if (salted !== undefined) this.#salted.set(key, salted);
      done(salted);
    });
  }

  #failed(failure: LoginFailure): void {
    const { reactor, log } = this.#environment;
    const repeated = this.lastFailure?.message === failure.message;
    this.lastFailure = failure;
    this.#retryMs = failure.transient
      ? Math.min(MOST_RETRY_MS, Math.max(FIRST_RETRY_MS, this.#retryMs * 2))
      : MOST_RETRY_MS;
    // A server that is down fails at each attempt: once is news.
    log[repeated ? "debug" : "error"](
      "pg_doorman::pool",
      `[${this.#pool.name}] server login failed: ${failure.code}: ${
        oneLine(failure.message)
      }, next attempt in ${this.#retryMs} ms, waiting=${this.#pool.waiting}`,
    );
    this.#retryTimer?.cancel();
    this.#retryTimer = reactor.at(reactor.now + this.#retryMs, () => {
      this.#retryTimer = undefined;
      this.#pool.grow();
    });
    this.#pool.loginFailed(failure);
  }

  /** What failed before may have been due to settings that do not hold any more. */
  settingsChanged(before: LoginSettings, after: LoginSettings): void {
    const same = after.server_digest === before.server_digest &&
      after.server_tls.files.digest === before.server_tls.files.digest;
    if (!same) this.#forgetFailure();
  }

  #forgetFailure(): void {
    this.#minor = undefined;
    this.lastFailure = undefined;
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
  }

  /** Ends the pause without another attempt. */
  stopRetrying(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
  }

  /** Gives up what is under way. */
  close(): void {
    this.stopRetrying();
    for (const login of this.#logins) login.giveUp();
    this.#logins.clear();
  }
}

/** The state of a connection that has logged in by these settings. */
export function loggedInState(
  id: number,
  now: number,
  login: LoggedIn,
  settings: PoolSettings,
): ServerState {
  return {
    ...newServerState(id, now),
    pid: login.pid,
    secret: login.secret,
    address: login.address.bytes,
    addressText: login.address.text,
    tls: noteOf(login),
    lifetimeMs: spread(settings.server_lifetime),
    idleLimitMs: spread(settings.idle_timeout),
    digest: settings.server_digest,
    parameters: parameterSet(login.parameters),
    own: [],
  };
}

function noteOf({ tls }: LoggedIn): ServerTlsNote | undefined {
  if (tls === undefined) return undefined;
  const { settings, host } = tls;
  return { mode: settings.mode, direct: settings.direct, host };
}

/** What the ClientKey of a passthrough pool belongs to. */
export function verifierOf({ credentials }: PoolSettings): string {
  return credentials.kind === "scram_passthrough" ? credentials.verifier : "";
}

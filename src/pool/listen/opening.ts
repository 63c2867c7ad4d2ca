/**
 * How a listener gets its connection: its place under a limit, its login, the rest after one that failed, and another
 * attempt later for a replacement. When one is wanted the listener decides.
 *
 * ```
 *   open ─▶ place? ──▶ login ──▶ opened
 *             │no        │failed
 *             ▼          ▼
 *       clients keep their servers until there is a place, or hear of the failure; a replacement is tried again later
 * ```
 */

import type { PoolSettings } from "../../config/settings.ts";
import { oneLine } from "../../log/one_line.ts";
import type { Log } from "../../log/log.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Timer } from "../../reactor/timers.ts";
import type { LoggedIn, LoginFailure } from "../../server/login.ts";
import { startupFields } from "../../server/startup_fields.ts";

const TARGET = "pg_doorman::server";

/** After a failed login the next one is not tried before this. */
const REST_MS = 1000;
/** A replacement that failed is tried again. */
const RETRY_MS = 10_000;

/** A connection on its way; PoolLogin is one. */
export interface OpeningLogin {
  start(
    settings: PoolSettings,
    done: (result: LoggedIn | LoginFailure) => void,
    fields: readonly [string, string][],
  ): void;
  giveUp(): void;
}

/** What is needed of the listener. */
export interface OpeningListener {
  readonly name: string;
  readonly settings: PoolSettings;
  readonly paused: boolean;
  /** There is a connection, and nobody waits for the one that will take its place. */
  readonly replacing: boolean;
  newLogin(): OpeningLogin;
  opened(login: LoggedIn, settings: PoolSettings): void;
  /** There will be none for now. */
  unavailable(detail: string): void;
  /** Another attempt may be made. */
  work(): void;
}

/** What the listener has to do with others by. */
export interface OpeningParts {
  readonly reactor: Pick<Reactor, "now" | "at">;
  readonly log: Pick<Log, "warn">;
  readonly share: { take(): boolean; takeAhead(): boolean; count(): void };
}

export class Opening {
  readonly #listener: OpeningListener;
  readonly #parts: OpeningParts;
  #login: OpeningLogin | undefined = undefined;
  #restUntilMs = 0;
  #lastFailure = "";
  /** It was refused a place. */
  #crowded = false;
  #retryTimer: Timer | undefined = undefined;

  constructor(listener: OpeningListener, parts: OpeningParts) {
    this.#listener = listener;
    this.#parts = parts;
  }

  get underWay(): boolean {
    return this.#login !== undefined;
  }

  /** Begins, if that is possible now. */
  open(): void {
    const listener = this.#listener;
    const { reactor, share } = this.#parts;
    if (listener.paused || this.#retryTimer !== undefined) return;
    if (reactor.now < this.#restUntilMs) return listener.unavailable(this.#lastFailure);
    if (!(listener.replacing ? share.takeAhead() : share.take())) return this.#refused();
    this.#crowded = false;
    const { settings } = listener;
    const login = this.#login = listener.newLogin();
    login.start(settings, (result) => {
      this.#login = undefined;
      if (result.kind === "ready") listener.opened(result, settings);
      else this.#failed(`${result.code}: ${oneLine(result.message)}`);
    }, startupFields(settings, inUtf8(settings)));
    share.count();
  }

  /** It stands in the queue now; until it is served its clients keep their servers. */
  #refused(): void {
    if (this.#listener.replacing) this.retryLater();
    if (this.#crowded) return;
    this.#crowded = true;
    this.#parts.log.warn(
      TARGET,
      `[${this.#listener.name}] no connection that listens: ` +
        "no place under max_db_connections or max_user_connections",
    );
  }

  #failed(detail: string): void {
    const { log, reactor, share } = this.#parts;
    share.count();
    log.warn(TARGET, `[${this.#listener.name}] no connection that listens: ${detail}`);
    this.#lastFailure = detail;
    this.#restUntilMs = reactor.now + REST_MS;
    if (this.#listener.replacing) this.retryLater();
    else this.#listener.unavailable(detail);
  }

  /** A replacement has failed. */
  retryLater(): void {
    const { reactor } = this.#parts;
    this.#retryTimer ??= reactor.at(reactor.now + RETRY_MS, () => {
      this.#retryTimer = undefined;
      this.#listener.work();
    });
  }

  /** There is nothing to be replaced any more. */
  stopRetrying(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
  }

  giveUpLogin(): void {
    if (this.#login === undefined) return;
    this.#login.giveUp();
    this.#login = undefined;
    this.#parts.share.count();
  }

  /** What is under way is of no use any more. */
  stop(): void {
    this.stopRetrying();
    this.giveUpLogin();
  }

  /** By the settings of now it may be tried at once. */
  reset(): void {
    this.#restUntilMs = 0;
    this.stop();
  }
}

/** Notifications come in one encoding for all. */
function inUtf8({ startup_parameters }: PoolSettings): [string, string][] {
  const others = startup_parameters.filter(([name]) => name !== "client_encoding");
  return [...others, ["client_encoding", "UTF8"]];
}

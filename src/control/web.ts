/**
 * The web listener as a part of the process: when it is opened and closed, and what it asks of the rest, which is what
 * the admin console asks, and what metrics and health checks need beside that.
 *
 * In a binary upgrade the old process serves until the new one has everything. Before that the new one would tell of
 * counters that have not come yet.
 */

import { EXIT } from "../cli/args.ts";
import type { AdminEnvironment } from "../admin/environment.ts";
import type { Config } from "../config/types.ts";
import type { Log } from "../log/log.ts";
import type { CountsRow } from "../mail.ts";
import { readRejections } from "../stats/rejections.ts";
import { Shared } from "../stats/shared.ts";
import type { ConfiguredUser, Readiness, WebEnvironment } from "../web/environment.ts";
import { MOST_CONNECTIONS } from "../web/http/server.ts";
import { WebListener, WebListenError } from "../web/listener.ts";
import type { MetricsSnapshot } from "../web/metrics/gather.ts";
import { severConnections } from "../os/descriptors.ts";
import { ListenError } from "./service/listeners.ts";
import type { Supervisor } from "./supervisor.ts";

/** A worker that takes longer to answer does not serve its clients, either. */
const ANSWER_MS = 1000;
/** Clients that take nothing are got rid of so often. */
const SEVER_MS = 250;
/** So long the old process waits for the new one to have the port. */
const TAKEN_MS = 1000;

/** What the web listener reaches of the process. */
export interface WebHost {
  readonly log: Log;
  readonly admin: AdminEnvironment;
  readonly supervisor: Pick<Supervisor, "shared" | "workers" | "askInTime">;
  readonly shutdown: { readonly begun: boolean };
  readonly upgrade: { readonly phase: string };
  /** Workers accept. */
  accepting(): boolean;
  /** As it was loaded last. */
  config(): Config;
}

/** Descriptors that the listener may have open. */
export function webDescriptors({ web }: Config): number {
  return web.enabled ? MOST_CONNECTIONS + 1 : 0;
}

export class Web {
  readonly #host: WebHost;
  readonly #listener: WebListener;

  constructor(host: WebHost) {
    this.#host = host;
    this.#listener = new WebListener(webEnvironment(host));
  }

  /** Opens the listener, if it is wanted. Throws a `ListenError`. */
  open(): void {
    try {
      this.#listener.open(this.#host.config().web, "alone");
    } catch (error) {
      if (error instanceof WebListenError) throw new ListenError(error.message, EXIT.os, error);
      throw error;
    }
  }

  /** The new process of an upgrade: all has come, with what the old one's listener has counted, unless it knew none. */
  takeOver(metrics: unknown): void {
    if (metrics !== undefined) this.#listener.takeOver(metrics as MetricsSnapshot);
    try {
      this.#listener.open(this.#host.config().web, "with the process before");
    } catch (error) {
      if (!(error instanceof WebListenError)) throw error;
      // Clients that have moved here are not to lose what they have for want of metrics.
      this.#host.log.error("pg_doorman::web", error.message);
    }
  }

  /** For `takeOver` of the new process. */
  snapshot(): MetricsSnapshot {
    return this.#listener.snapshot();
  }

  /** The old process: `gone` resolves when the new one has all, and the port. Resolves when nobody is served here. */
  async leave(gone: Promise<unknown>): Promise<void> {
    if (!this.#listener.isOpen) return;
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, TAKEN_MS))]);
    await this.#listener.close();
  }
}

/** Whether clients that come to this process now are served. */
function readinessOf({ shutdown, upgrade, accepting }: WebHost): Readiness {
  if (shutdown.begun) return "draining";
  if (upgrade.phase === "moving") return "upgrading";
  return accepting() ? "ready" : "starting";
}

function webEnvironment(host: WebHost): WebEnvironment {
  const { log, admin, supervisor, config } = host;
  return {
    log,
    readiness: () => readinessOf(host),
    version: admin.version,
    pools: () => admin.pools(),
    counts: () => admin.counts(),
    limits: () => admin.limits(),
    authQueries: () => admin.authQueries(),
    preparedMemory: () => admin.preparedMemory(),
    interner: () => admin.interner(),
    sockets: () => admin.sockets(),
    logLevel: () => admin.logLevel(),
    async workersAnswer() {
      const rows = await supervisor.askInTime<CountsRow>("counts", ANSWER_MS);
      return rows.length === supervisor.workers;
    },
    processCounts() {
      const shared = new Int32Array(supervisor.shared);
      return {
        rejections: readRejections(shared),
        namedEvictions: Atomics.load(shared, Shared.NamedEvictions) >>> 0,
        anonymousEvictions: Atomics.load(shared, Shared.AnonymousEvictions) >>> 0,
        lostLogLines: admin.lostLogLines(),
      };
    },
    configuredUsers: () => configuredUsers(config()),
    sever: severer(),
    mostPools: () => config().web.metrics_max_pools,
    residentBytes: () => Deno.memoryUsage().rss,
  };
}

/** Collects connections for a moment: thousands of descriptors are looked at for each round. */
function severer(): WebEnvironment["sever"] {
  const peers = new Set<number>();
  return (localPort, peerPort) => {
    peers.add(peerPort);
    if (peers.size > 1) return;
    setTimeout(() => {
      severConnections(localPort, peers);
      peers.clear();
    }, SEVER_MS);
  };
}

function configuredUsers({ pools }: Config): ConfiguredUser[] {
  return Array.from(pools, ([database, pool]) =>
    pool.users.map(({ username, pool_mode }) => ({
      user: username,
      database,
      pool_mode: pool_mode ?? pool.pool_mode,
    }))).flat();
}

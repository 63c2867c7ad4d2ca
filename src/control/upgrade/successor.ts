/**
 * Binary upgrade, new process: takes the listening sockets and the frame socket that it was started with, tells the old
 * process when it is ready, and passes what comes to its workers. It answers `Taken` when the workers hold a batch whole,
 * and before they thaw it: until then nobody but the old process has touched these sessions, and from then on it does not
 * any more. `Thawed` follows, with those that could not be: they go back.
 */

import type { Fd } from "../../os/fd.ts";
import { duplicate } from "../../os/descriptors.ts";
import * as libc from "../../os/libc.ts";
import { type Frame, FrameKind, FrameSocket } from "../../handover/frames.ts";
import { compatible, SNAPSHOT_VERSION, type SnapshotVersion } from "../../handover/version.ts";
import { ANY_DATABASE } from "../../config/auth_query.ts";
import type { Settings } from "../../config/settings.ts";
import type { ConnectionCounts, FrozenItem } from "../../mail.ts";
import type { Log } from "../../log/log.ts";
import { withDefaults } from "../../handover/with_defaults.ts";
import { Shared } from "../../stats/shared.ts";
import {
  countMoved,
  newUpgradeTotals,
  upgradeFailed,
  type UpgradeTotals,
} from "../../stats/upgrades.ts";
import type { OpenListener } from "../service/listeners.ts";
import type { Program } from "../service/program.ts";
import type { Supervisor } from "../supervisor.ts";

/** Set for the new process: `Inherited` as JSON. */
export const UPGRADE_VARIABLE = "PG_DOORMAN_UPGRADE";

const TARGET = "pg_doorman::app";

/** What a new process finds in its environment. */
export interface Inherited {
  socket: number;
  listeners: OpenListener[];
  /** What to start with all of this, and be its launcher (new_process.ts). */
  launch?: Program;
}

/** What the two processes have to have in common before a client is served. Secrets. */
export interface CommonSecrets {
  mock: Uint8Array;
  salt: Uint8Array;
  /** Of plain passwords (`verifiersToHand`). Absent from a process of before it knew them. */
  verifiers?: Map<string, string>;
}

/** Old → new, first of all. */
export interface InitPayload extends SnapshotVersion {
  oldPid: number;
  /** It takes back what can't be thawed. Absent from a program of before that. */
  takesBack?: boolean;
  secrets: CommonSecrets;
  totals: UpgradeTotals;
}

/** New → old. */
export interface ReadyPayload {
  /** Absent from a program of before there were launchers. */
  pid?: number;
  /** Versions of snapshots that are understood: the process's own, and the old one's if they are compatible. */
  versions: number[];
  pools: { database: string; user: string }[];
  /** Databases with an auth_query, `*` among them: their pools are taken, too. Absent from a program of before them. */
  authQueries?: string[];
  /** Long byte arrays may come in a file of their own. Absent from a program of before that. */
  apart?: boolean;
  /** It takes connections with TLS. Absent from a program of before that. */
  tls?: boolean;
  /** After `Taken` it says what became of a batch by `Thawed`. Absent from a program of before that. */
  thaws?: boolean;
}

/** Old → new, when the old process accepts no more. */
export interface BeginPayload {
  lastClientId: number;
  lastServerId: number;
  lastStatementId: number;
  schemaGeneration: number;
  /** Pools whose servers will come. */
  pools: { database: string; user: string }[];
  /** Connections accepted so far. */
  counts: ConnectionCounts;
}

/** Old → new, last of all. */
export interface DonePayload {
  /** A reload was asked for meanwhile. */
  reload: boolean;
  totals: UpgradeTotals;
  /** Counts of its web listener. Absent from a program of before that. */
  metrics?: unknown;
}

/** Old → new: frozen things; the items' descriptors came with the frame, in their order. */
export interface BatchPayload {
  version: number;
  worker: number;
  batch: number;
  descriptors: number;
  items: FrozenItem[];
  /** The last descriptor is the file with the items' long byte arrays. */
  apart?: boolean;
  /** It takes its time, and those that follow need nothing of it. Absent from a program of before that. */
  large?: boolean;
}

/** New → old. */
export interface TakenPayload {
  worker: number;
  batch: number;
  refused: number[];
  /** Nothing of it was taken, for want of descriptors: later perhaps. */
  again: boolean;
}

/** New → old: the batch lives here, but for the items of these indexes, which were not touched. */
export interface ThawedPayload {
  worker: number;
  batch: number;
  failed: number[];
}

/** Either direction: a cancel request that belongs to the other process. */
export interface CancelPayload {
  processId: number;
  secret: Uint8Array;
}

/** Whether this process was started to take over, and by what; asks only once. */
export function inherited(): Inherited | undefined {
  const text = Deno.env.get(UPGRADE_VARIABLE);
  if (text === undefined) return undefined;
  Deno.env.delete(UPGRADE_VARIABLE);
  return JSON.parse(text) as Inherited;
}

const STATEMENT_ID_MARGIN = 1_000_000;

/** What one worker gets of a batch. */
interface Place {
  items: FrozenItem[];
  /** Theirs in the batch. */
  indexes: number[];
  blobs: Fd | undefined;
}

/** What the new process's workers are told. */
export type SuccessionWorkers = Pick<Supervisor, "shared" | "workers" | "send" | "broadcast">;

export class Succession {
  readonly listeners: OpenListener[];
  readonly init: InitPayload;
  /** The service's totals, with the upgrade that is under way. */
  readonly totals: UpgradeTotals;
  readonly #frames: FrameSocket;
  #next = 0;
  /** What workers were given to hold, by ticket: called with the indexes that they can't have. */
  readonly #holding = new Map<number, (refused: number[]) => void>();
  /** What workers thaw, by ticket: called with the indexes of clients that can't be. */
  readonly #thawing = new Map<number, (failed: number[]) => void>();
  #lastTicket = 0;
  /** What each of these tickets was given for: the worker, and how many items. */
  readonly #tickets = new Map<number, { home: number; items: number }>();
  /** Clients that have come and are not thawed, and the cancel requests that mean them. */
  readonly #inHand = new Set<number>();
  readonly #held: CancelPayload[] = [];
  /** While clients come. */
  #supervisor: SuccessionWorkers | undefined;

  private constructor(frames: FrameSocket, listeners: OpenListener[], init: InitPayload) {
    this.#frames = frames;
    this.listeners = listeners;
    this.init = init;
    this.totals = nextTotals(init.totals);
  }

  /** Hears the old process's first frame. Rejects when there is none. */
  static async open(found: Inherited): Promise<Succession> {
    const frames = new FrameSocket(found.socket as Fd);
    const frame = await frames.receive();
    if (frame?.kind !== FrameKind.Init) throw new Error("the process to be replaced is gone");
    return new Succession(frames, found.listeners, frame.payload as InitPayload);
  }

  /**
   * The workers run: from the old process's `Begin` on they accept. Resolves when nothing more will come, to whether a
   * reload was asked for meanwhile. `totals` are up to date then.
   */
  async take(
    options: {
      supervisor: SuccessionWorkers;
      settings: Pick<Settings, "pools" | "auth_queries">;
      log: Log;
      accepting: () => void;
      /** Nothing more will come; the old process waits until this has returned. */
      complete: (metrics: unknown) => void;
    },
  ): Promise<boolean> {
    const { supervisor, settings, log, accepting, complete } = options;
    const pools = settings.pools.map(({ database, user }) => ({ database, user }));
    const versions = [SNAPSHOT_VERSION];
    if (compatible(this.init)) versions.push(this.init.version);
    const authQueries = settings.auth_queries.map(({ database }) => database);
    const able = { apart: true, thaws: true, tls: true, authQueries };
    await this.#tell(FrameKind.Ready, { pid: Deno.pid, versions, pools, ...able });
    const begin = await this.#frames.receive();
    if (begin?.kind === FrameKind.Begin) {
      const payload = begin.payload as BeginPayload;
      const shared = new Int32Array(supervisor.shared);
      Atomics.add(shared, Shared.LastClientId, payload.lastClientId);
      Atomics.add(shared, Shared.LastServerId, payload.lastServerId);
      // The old process goes on numbering for the clients that it still has.
      Atomics.add(shared, Shared.LastStatementId, payload.lastStatementId + STATEMENT_ID_MARGIN);
      Atomics.add(shared, Shared.SchemaGeneration, payload.schemaGeneration);
      supervisor.broadcast({ kind: "expect", pools: payload.pools, counts: payload.counts });
    } else log.error(TARGET, "the old process ended before it handed over: serving without it");
    supervisor.broadcast({
      kind: "listen",
      listeners: this.listeners.map(({ fd, transport }) => ({ fd, transport })),
    });
    accepting();
    this.#supervisor = supervisor;
    const done = begin === undefined ? undefined : await this.#receive(options);
    this.#supervisor = undefined;
    if (done === undefined) upgradeFailed(this.totals, "old_process_ended");
    else this.#takeTotals(done.totals);
    supervisor.broadcast({ kind: "expect_over" });
    complete(done?.metrics);
    this.#frames.close();
    return done?.reload === true;
  }

  /** The old process's last word on them; what was refused here meanwhile it does not know. */
  #takeTotals(given: UpgradeTotals): void {
    const { refused, lost } = nextTotals(this.init.totals);
    const refusedHere = this.totals.refused - refused;
    const lostHere = this.totals.lost - lost;
    Object.assign(this.totals, nextTotals(given));
    this.totals.refused += refusedHere;
    this.totals.lost += lostHere;
  }

  /** Takes what comes until the old process's last word; `undefined` when it ended without. */
  async #receive(
    options: {
      supervisor: SuccessionWorkers;
      settings: Pick<Settings, "pools" | "auth_queries">;
      log: Log;
    },
  ): Promise<DonePayload | undefined> {
    const homes = homesOf(options.settings);
    let clients = 0;
    let servers = 0;
    const take = async (frame: Frame) => {
      for (const item of await this.#takeBatch(frame, homes, options.supervisor)) {
        if (item.type === "session") clients++;
        servers += item.fds.length - (item.type === "session" ? 1 : 0);
      }
    };
    // Each after those that it needs something of.
    let small = Promise.resolve();
    let all = Promise.resolve();
    for (;;) {
      const frame = await this.#frames.receive();
      if (frame === undefined || frame.kind === FrameKind.Done) {
        await all;
        const how = frame === undefined ? "the old process ended in the middle" : "complete";
        options.log[frame === undefined ? "warn" : "info"](
          TARGET,
          `hand-over from process ${this.init.oldPid} ${how}: took ${clients} clients, ` +
            `${servers} servers`,
        );
        if (frame !== undefined) return frame.payload as DonePayload;
        countMoved(this.totals, { clients, servers, bytes: 0 });
        return undefined;
      }
      if (frame.kind === FrameKind.Cancel) {
        const { processId, secret } = frame.payload as CancelPayload;
        options.supervisor.broadcast({ kind: "cancel", processId, secret });
      } else if (frame.kind === FrameKind.Batch) {
        const taken = small.then(() => take(frame));
        if ((frame.payload as BatchPayload).large !== true) small = taken;
        all = Promise.all([all, taken]).then(() => {});
      }
    }
  }

  /** Gives a batch to the workers, acknowledges what they hold, and has them thaw it. */
  async #takeBatch(
    frame: Frame,
    homes: HomeOf,
    supervisor: SuccessionWorkers,
  ): Promise<FrozenItem[]> {
    const payload = frame.payload as BatchPayload;
    const { worker, batch } = payload;
    const given = this.#distribute(frame, homes, supervisor);
    if (given === undefined) {
      await this.#tell(FrameKind.Taken, { worker, batch, refused: [], again: true });
      return [];
    }
    const { places, refused } = given;
    const ids = Array.from(
      places.values(),
      ({ items }) => items.flatMap((item) => item.type === "session" ? [clientId(item)] : []),
    ).flat();
    for (const id of ids) this.#inHand.add(id);
    const tickets = await Promise.all(Array.from(places, async ([home, place]) => {
      const { ticket, lacking } = await this.#hold(home, place, supervisor);
      for (const i of lacking) refused.push(place.indexes[i]);
      return { home, ticket, place };
    }));
    await this.#tell(FrameKind.Taken, { worker, batch, refused, again: false });
    const failures = await Promise.all(tickets.map(async ({ home, ticket, place }) => {
      const failed = await this.#thaw(home, ticket, supervisor);
      return failed.map((i) => place.indexes[i]);
    }));
    const failed = failures.flat();
    await this.#tell(FrameKind.Thawed, { worker, batch, failed });
    if (this.init.takesBack !== true) this.totals.lost += failed.length;
    for (const id of ids) this.#inHand.delete(id);
    for (const cancel of this.#held.splice(0)) {
      if (this.#inHand.has(cancel.processId)) this.#held.push(cancel);
      else supervisor.broadcast({ kind: "cancel", ...cancel });
    }
    return payload.items.filter((_, i) => !refused.includes(i) && !failed.includes(i));
  }

  /** Resolves when what the worker holds lives there, but for the clients of these indexes. */
  #thaw(home: number, ticket: number, supervisor: SuccessionWorkers): Promise<number[]> {
    // Its worker was lost in between, and what it held with it.
    if (!this.#tickets.has(ticket)) return Promise.resolve([]);
    return new Promise((resolve) => {
      this.#thawing.set(ticket, resolve);
      const returns = this.init.takesBack === true;
      supervisor.send(home, { kind: "thaw_held", ticket, returns });
    });
  }

  /** A worker has thawed what it held, but for these. */
  thawed(ticket: number, failed: number[]): void {
    this.#thawing.get(ticket)?.(failed);
    this.#thawing.delete(ticket);
    this.#tickets.delete(ticket);
  }

  /** The worker is lost: what it was to take, or had not all of thawed, goes back. */
  lost(worker: number): void {
    for (const [ticket, { home, items }] of this.#tickets) {
      if (home === worker) this.#refuseAll(ticket, items);
    }
  }

  #refuseAll(ticket: number, items: number): void {
    const all = Array.from({ length: items }, (_, i) => i);
    this.held(ticket, all);
    this.thawed(ticket, all);
  }

  /** What each worker gets of a batch; `undefined` for want of descriptors, and then all of them are closed. */
  #distribute(
    { payload, descriptors }: Frame,
    homes: HomeOf,
    supervisor: SuccessionWorkers,
  ): { places: Map<number, Place>; refused: number[] } | undefined {
    if (descriptors === undefined) return undefined;
    const batch = payload as BatchPayload;
    const places = new Map<number, Place>();
    const refused: number[] = [];
    let at = 0;
    batch.items.forEach((item, i) => {
      item.fds = descriptors.slice(at, at + item.fds.length);
      at += item.fds.length;
      const anywhere = item.type === "session" && item.user === "";
      const home = anywhere ? this.#next++ % supervisor.workers : homes(item);
      if (home === undefined || !this.#takes(batch)) {
        refused.push(i);
        for (const fd of item.fds) libc.close(fd as Fd);
        return;
      }
      const place = places.get(home) ?? { items: [], indexes: [], blobs: undefined };
      places.set(home, place);
      place.items.push(item);
      place.indexes.push(i);
    });
    if (batch.apart !== true) return { places, refused };
    const blobs = descriptors[at] as Fd;
    try {
      for (const place of places.values()) place.blobs = duplicate(blobs);
      return { places, refused };
    } catch {
      for (const { items, blobs } of places.values()) {
        for (const { fds } of items) for (const fd of fds) libc.close(fd as Fd);
        if (blobs !== undefined) libc.close(blobs);
      }
      return undefined;
    } finally {
      libc.close(blobs);
    }
  }

  /** Resolves when the worker has it, to what it can't have. */
  #hold(
    home: number,
    { items, blobs }: Place,
    supervisor: SuccessionWorkers,
  ): Promise<{ ticket: number; lacking: number[] }> {
    const ticket = ++this.#lastTicket;
    return new Promise((resolve) => {
      this.#tickets.set(ticket, { home, items: items.length });
      this.#holding.set(ticket, (lacking) => resolve({ ticket, lacking }));
      if (supervisor.send(home, { kind: "hold", ticket, items, blobs })) return;
      for (const { fds } of items) for (const fd of fds) libc.close(fd as Fd);
      if (blobs !== undefined) libc.close(blobs);
      this.#refuseAll(ticket, items.length);
    });
  }

  /** A worker holds what it was given, but for these. */
  held(ticket: number, refused: number[]): void {
    this.#holding.get(ticket)?.(refused);
    this.#holding.delete(ticket);
  }

  #takes({ version }: BatchPayload): boolean {
    return version === this.init.version && compatible(this.init);
  }

  /**
   * A CancelRequest that no worker here knew. Its client is with the old process, or between the two, where neither
   * would find it, or has been given to a worker in the meantime. Resolves when it is passed on.
   */
  async cancel(processId: number, secret: Uint8Array): Promise<void> {
    if (this.#inHand.has(processId)) {
      this.#held.push({ processId, secret });
      return;
    }
    this.#supervisor?.broadcast({ kind: "cancel", processId, secret });
    await this.#tell(FrameKind.Cancel, { processId, secret });
  }

  /** An old process that is gone needs to be told nothing: what it sent is ours all the same. */
  async #tell(
    kind: number,
    payload: ReadyPayload | TakenPayload | ThawedPayload | CancelPayload,
  ): Promise<void> {
    try {
      await this.#frames.send(kind, payload);
    } catch {
      return;
    }
  }
}

/** The process id of a session's key. */
function clientId({ session }: FrozenItem & { type: "session" }): number {
  return (session as { state: { id: number } }).state.id;
}

/** Totals of the old process, perhaps of another version, for this one. */
function nextTotals(given: UpgradeTotals): UpgradeTotals {
  const totals = withDefaults(newUpgradeTotals(), given);
  totals.generation++;
  return totals;
}

type HomeOf = (item: FrozenItem) => number | undefined;

/** Which worker an item of a pool belongs to. */
function homesOf({ pools, auth_queries }: Pick<Settings, "pools" | "auth_queries">): HomeOf {
  const configured = new Map(
    pools.map(({ database, user, home }) => [`${database}\0${user}`, home]),
  );
  const lookedUp = new Map(auth_queries.map(({ database, home }) => [database, home]));
  return ({ database, user }) =>
    configured.get(`${database}\0${user}`) ?? lookedUp.get(database) ?? lookedUp.get(ANY_DATABASE);
}

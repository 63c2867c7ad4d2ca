/**
 * The workers as the control plane sees them: starts them with their ports, passes mail, and gathers answers. It knows
 * nothing of what a worker does with a client.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../os/layout.ts";
import type {
  ControlToWorker,
  Envelope,
  ListenerMail,
  SettingsApplied,
  SettingsChange,
  WorkerCommand,
  WorkerQuestion,
  WorkerStart,
  WorkerToControl,
} from "../mail.ts";
import type { Settings } from "../config/settings.ts";
import type { LogFilter } from "../log/filter.ts";
import { Shared, SHARED_WORDS } from "../stats/shared.ts";
import { otherSlices, ownSlices } from "./settings_change.ts";

/** Everything that a worker sends but the answers to `ask` and `command`. */
export type WorkerMail = Exclude<WorkerToControl, { kind: "answer" | "ready" }>;

interface Member {
  wakeFd: Fd;
  port: MessagePort;
}

interface Gathering {
  missing: number;
  rows: unknown[];
  done: (rows: unknown[]) => void;
}

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

export class Supervisor {
  readonly shared = new SharedArrayBuffer(SHARED_WORDS * 4);
  readonly #members: Member[] = [];
  readonly #gathering = new Map<number, Gathering>();
  readonly #onMail: (mail: WorkerMail, worker: number) => void;
  #lastRequest = 0;
  #applied: Promise<unknown> = Promise.resolve();
  /** Heartbeats of the workers when they were last asked for one. */
  #pulse: number[] = [];

  constructor(onMail: (mail: WorkerMail, worker: number) => void) {
    this.#onMail = onMail;
  }

  /** Starts `workers` threads; resolves when all of them accept. */
  async start(
    options: {
      workers: number;
      listeners: ListenerMail[];
      settings: Settings;
      logFilter: LogFilter;
      /** Another process will send sessions and servers. */
      successor: boolean;
      /** Makes mock verifiers of unknown users; the same after a binary upgrade. */
      mockSecret: Uint8Array;
    },
  ): Promise<void> {
    const { workers, listeners, settings, logFilter, successor, mockSecret } = options;
    const wakeFds = Array.from({ length: workers }, newEventFd);
    const ports = pairUp(workers);
    const interfaces = Deno.networkInterfaces().map(({ address, netmask }) => ({
      address,
      netmask,
    }));
    const ready: Promise<void>[] = [];
    for (let index = 0; index < workers; index++) {
      const channel = new MessageChannel();
      this.#members.push({ wakeFd: wakeFds[index], port: channel.port1 });
      const start: WorkerStart = {
        mail: {
          kind: "start",
          index,
          workers,
          shared: this.shared,
          wakeFd: wakeFds[index],
          listeners,
          settings,
          logFilter,
          interfaces,
          successor,
          mockSecret,
        },
        control: channel.port2,
        peers: ports[index].map((port, peer) => ({ index: peer, wakeFd: wakeFds[peer], port }))
          .filter(({ port }) => port !== undefined) as WorkerStart["peers"],
      };
      ready.push(this.#startOne(start));
    }
    await Promise.all(ready);
  }

  #startOne(start: WorkerStart): Promise<void> {
    const { index } = start.mail;
    const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
    return new Promise((resolve, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`worker ${index}: ${event.message}`));
        this.#onMail({ kind: "fatal", message: event.message }, index);
      };
      this.#members[index].port.onmessage = (event: MessageEvent<WorkerToControl>) => {
        const mail = event.data;
        if (mail.kind === "ready") resolve();
        else if (mail.kind === "answer") this.#answered(mail.request, mail.rows);
        else this.#onMail(mail, index);
      };
      worker.postMessage(start, [start.control, ...start.peers.map(({ port }) => port)]);
    });
  }

  get workers(): number {
    return this.#members.length;
  }

  send(worker: number, mail: ControlToWorker): void {
    const member = this.#members[worker];
    const envelope: Envelope<ControlToWorker> = new Map([["mail", mail]]);
    member.port.postMessage(envelope);
    libc.write(member.wakeFd, ONE, 8);
  }

  broadcast(mail: ControlToWorker): void {
    for (let worker = 0; worker < this.#members.length; worker++) this.send(worker, mail);
  }

  /** Rows of all workers. */
  ask<T>(what: WorkerQuestion, most?: number): Promise<T[]> {
    return this.#gather((request) => ({ kind: "ask", request, what, most })) as Promise<T[]>;
  }

  /** Rows of the workers that answer within `ms`. */
  askInTime<T>(what: WorkerQuestion, ms: number): Promise<T[]> {
    const mail = (request: number): ControlToWorker => ({ kind: "ask", request, what });
    return this.#gather(mail, undefined, ms) as Promise<T[]>;
  }

  /** Resolves to the number of pools concerned, when all workers have obeyed, or after `ms`: the others do it later. */
  async command(command: WorkerCommand, ms?: number): Promise<number> {
    const mail = (request: number): ControlToWorker => ({ kind: "command", request, command });
    const counts = await this.#gather(mail, undefined, ms);
    return (counts as number[]).reduce((sum, count) => sum + count, 0);
  }

  /**
   * Tells the workers of new settings, each at its own pace: the next slice follows when the last one is applied.
   * Resolves to the longest time that a worker did nothing else.
   */
  apply(change: SettingsChange): Promise<number> {
    // Behind what a slow worker has not applied yet: older settings must not come after newer ones.
    const applied = this.#applied.then(() => this.#applyTo(change));
    this.#applied = applied;
    return applied;
  }

  async #applyTo(change: SettingsChange): Promise<number> {
    let longest = 0;
    for (const slicesFor of [ownSlices, otherSlices]) {
      const longests = await Promise.all(
        this.#members.map((_, worker) => this.#applySlices(slicesFor(change, worker), worker)),
      );
      longest = Math.max(longest, ...longests);
    }
    return longest;
  }

  async #applySlices(slices: SettingsChange[], worker: number): Promise<number> {
    let longest = 0;
    for (const slice of slices) {
      const [applied] = await this.#gather(
        (request) => ({ kind: "settings", request, change: slice }),
        worker,
      );
      longest = Math.max(longest, (applied as SettingsApplied).tookMs);
    }
    return longest;
  }

  /** Asks every worker for a sign of life; `silent` tells later who has not given one. */
  ping(): void {
    this.#pulse = this.heartbeats();
    this.broadcast({ kind: "ping" });
  }

  silent(): number[] {
    const before = this.#pulse;
    return this.heartbeats().flatMap((count, worker) => count === before[worker] ? [worker] : []);
  }

  /** How many signs of life each worker has given. */
  heartbeats(): number[] {
    const shared = new Int32Array(this.shared);
    return this.#members.map((_, worker) => Atomics.load(shared, Shared.Heartbeats + worker));
  }

  /** Answers of one worker, or of all. */
  #gather(
    mail: (request: number) => ControlToWorker,
    worker?: number,
    mostMs?: number,
  ): Promise<unknown[]> {
    const missing = worker === undefined ? this.#members.length : 1;
    if (missing === 0) return Promise.resolve([]);
    const request = ++this.#lastRequest;
    return new Promise((resolve) => {
      const late = mostMs === undefined ? undefined : setTimeout(() => {
        const gathering = this.#gathering.get(request)!;
        this.#gathering.delete(request);
        gathering.done(gathering.rows);
      }, mostMs);
      const done = (rows: unknown[]) => {
        clearTimeout(late);
        resolve(rows);
      };
      this.#gathering.set(request, { missing, rows: [], done });
      if (worker === undefined) this.broadcast(mail(request));
      else this.send(worker, mail(request));
    });
  }

  #answered(request: number, rows: unknown[]): void {
    const gathering = this.#gathering.get(request);
    if (gathering === undefined) return;
    for (const row of rows) gathering.rows.push(row);
    if (--gathering.missing > 0) return;
    this.#gathering.delete(request);
    gathering.done(gathering.rows);
  }
}

function newEventFd(): Fd {
  const fd = libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw new Error("eventfd: no descriptor left");
  return fd as Fd;
}

/** A port for each pair of workers: `ports[a][b]` talks with `ports[b][a]`. */
function pairUp(workers: number): (MessagePort | undefined)[][] {
  const ports = Array.from(
    { length: workers },
    () => new Array<MessagePort | undefined>(workers).fill(undefined),
  );
  for (let a = 0; a < workers; a++) {
    for (let b = a + 1; b < workers; b++) {
      const { port1, port2 } = new MessageChannel();
      ports[a][b] = port1;
      ports[b][a] = port2;
    }
  }
  return ports;
}

/**
 * The workers as the control plane sees them: starts them with their ports, passes mail, gathers answers, and puts another
 * thread in the place of one that is lost. It knows nothing of what a worker does with a client.
 */

import { FAILURE_WORDS } from "../auth/failures.ts";
import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK, RLIMIT_NOFILE } from "../os/layout.ts";
import type {
  ControlToWorker,
  Envelope,
  ListenerMail,
  SettingsApplied,
  SettingsChange,
  TriedLogin,
  WorkerCommand,
  WorkerQuestion,
  WorkerStart,
  WorkerToControl,
} from "../mail.ts";
import type { ClientTls, Settings } from "../config/settings.ts";
import type { LogFilter } from "../log/filter.ts";
import { beginLife, ofWorker, Own, SHARED_WORDS } from "../stats/shared.ts";
import { bury, busyWith, type Estate, remainsOf, sever } from "./lost_worker.ts";
import { StandingOrders } from "./standing_orders.ts";
import { otherSlices, ownSlices } from "./settings_change.ts";

/** Everything that a worker sends but the answers to `ask` and `command`. */
export type WorkerMail = Exclude<WorkerToControl, { kind: "answer" | "ready" | "died" }>;

/** What every thread of a worker starts with. */
export interface Circumstances {
  listeners: ListenerMail[];
  settings: Settings;
  logFilter: LogFilter;
  /** Another process sends, or will send, sessions and servers. */
  successor: boolean;
}

/** A worker that is lost, and what was closed with it. */
export interface Loss {
  /** Whose event it was dealing with, if that is known. */
  busyWith: string | undefined;
  connections: number;
}

/** What is told of threads of workers. */
export interface ThreadEvents {
  mail(mail: WorkerMail, worker: number): void;
  /** The thread has ended by an exception. */
  died(worker: number, message: string): void;
  /** A lost one still runs and can't be ended; `obstacle`: nor could it be put behind all others. */
  restless(worker: number, obstacle: string | undefined): void;
}

interface Member {
  wakeFd: Fd;
  /** Its ends, and the control plane's, of what it will be started with. */
  ends: { control: MessagePort; peers: (MessagePort | undefined)[] };
  port: MessagePort;
  thread: globalThis.Worker | undefined;
  life: number;
  /** Without a thread. */
  lost: boolean;
  /** With one that does not accept yet. */
  starting: boolean;
}

interface Gathering {
  /** Workers that have not answered. */
  missing: Set<number>;
  rows: unknown[];
  done: (rows: unknown[]) => void;
}

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
/** Descriptors whose way is known, where the limit of open files is higher. */
const MOST_GIVEN = 2 ** 20;

export class Supervisor {
  readonly shared = new SharedArrayBuffer(SHARED_WORDS * 4);
  readonly #members: Member[] = [];
  readonly #gathering = new Map<number, Gathering>();
  readonly #events: ThreadEvents;
  readonly #words = new Int32Array(this.shared);
  readonly #orders = new StandingOrders();
  readonly #failures = new SharedArrayBuffer(FAILURE_WORDS * 4);
  #given = new SharedArrayBuffer(0);
  #mockSecret = new Uint8Array(0);
  #clientTls: ClientTls | undefined = undefined;
  #listening: readonly ListenerMail[] = [];
  #lastLife = 0;
  #lastRequest = 0;
  #applied: Promise<unknown> = Promise.resolve();
  /** Heartbeats of the workers when they were last asked for one. */
  #pulse: number[] = [];

  constructor(events: ThreadEvents) {
    this.#events = events;
  }

  /** Starts `workers` threads; resolves when all of them accept. */
  async start(
    options: Circumstances & {
      workers: number;
      /** All of them: those that nobody is to accept on yet, too. */
      listening: readonly ListenerMail[];
      /** Makes mock verifiers of unknown users; the same after a binary upgrade. */
      mockSecret: Uint8Array<ArrayBuffer>;
      clientTls: ClientTls | undefined;
    },
  ): Promise<void> {
    const { workers } = options;
    this.#mockSecret = options.mockSecret;
    this.#clientTls = options.clientTls;
    this.#listening = options.listening;
    const most = Math.min(libc.getrlimit(RLIMIT_NOFILE).soft, MOST_GIVEN);
    this.#given = new SharedArrayBuffer(most * 4);
    const ports = pairUp(workers);
    for (const peers of ports) {
      const { port1, port2 } = new MessageChannel();
      this.#members.push({
        wakeFd: newEventFd(),
        ends: { control: port2, peers },
        port: port1,
        thread: undefined,
        life: ++this.#lastLife,
        lost: true,
        starting: false,
      });
    }
    await Promise.all(ports.map((_, index) => this.#startOne(index, options)));
  }

  /** Starts the thread of a worker; resolves when it accepts. */
  #startOne(index: number, circumstances: Circumstances): Promise<void> {
    const member = this.#members[index];
    const { port, ends } = member;
    member.lost = false;
    member.starting = true;
    beginLife(this.#words, index, member.life);
    const { listeners, settings, logFilter, successor } = circumstances;
    const start: WorkerStart = {
      mail: {
        kind: "start",
        index,
        workers: this.workers,
        shared: this.shared,
        wakeFd: member.wakeFd,
        life: member.life,
        given: this.#given,
        listeners,
        settings,
        logFilter,
        interfaces: Deno.networkInterfaces().map(({ address, netmask }) => ({ address, netmask })),
        successor,
        mockSecret: this.#mockSecret,
        failures: this.#failures,
        clientTls: this.#clientTls,
      },
      control: ends.control,
      peers: ends.peers.flatMap((port, peer) =>
        port === undefined ? [] : [{ index: peer, wakeFd: this.#members[peer].wakeFd, port }]
      ),
    };
    const thread = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
    member.thread = thread;
    return new Promise((resolve, reject) => {
      const died = (message: string) => {
        reject(new Error(`worker ${index}: ${message}`));
        if (member.thread === thread) this.#events.died(index, message);
      };
      thread.onerror = (event) => {
        event.preventDefault();
        died(event.message);
      };
      port.onmessage = (event: MessageEvent<WorkerToControl>) => {
        const mail = event.data;
        if (mail.kind === "ready") {
          member.starting = false;
          resolve();
        } else if (mail.kind === "died") died(mail.message);
        else if (mail.kind === "answer") this.#answered(index, mail.request, mail);
        else this.#events.mail(mail, index);
      };
      thread.postMessage(start, [start.control, ...start.peers.map(({ port }) => port)]);
    });
  }

  get workers(): number {
    return this.#members.length;
  }

  /** How many have a thread. */
  get serving(): number {
    return this.#members.filter(({ lost }) => !lost).length;
  }

  /** Whether the worker has a thread that accepts. */
  serves(worker: number): boolean {
    const { lost, starting } = this.#members[worker];
    return !lost && !starting;
  }

  /** Whether there is a thread that will get it. */
  send(worker: number, mail: ControlToWorker, ports: MessagePort[] = []): boolean {
    const { lost, port, wakeFd, life } = this.#members[worker];
    if (lost) return false;
    const envelope: Envelope<ControlToWorker> = new Map([["mail", mail]]);
    if (mail.kind === "hold") {
      const given = new Int32Array(this.#given);
      // The other process has them, too.
      for (const { fds } of mail.items) for (const fd of fds) given[fd] = -life;
    }
    port.postMessage(envelope, ports);
    libc.write(wakeFd, ONE, 8);
    return true;
  }

  // ── loss ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Its thread has ended or will never come round: whoever was connected by it is disconnected, nobody waits for it. */
  giveUp(worker: number): Loss {
    const member = this.#members[worker];
    const loss: Loss = { busyWith: busyWith(this.#words, worker), connections: 0 };
    const remains = remainsOf(this.#words, worker);
    const estate = this.#estate();
    member.lost = true;
    member.thread?.terminate();
    member.thread = undefined;
    // What it says from now on is nobody's.
    member.port.onmessage = null;
    member.port.close();
    // From here on it stops when it comes round.
    member.life = ++this.#lastLife;
    beginLife(this.#words, worker, member.life);
    this.#newPorts(worker);
    for (const request of [...this.#gathering.keys()]) {
      this.#answered(worker, request, { rows: [] });
    }
    loss.connections = sever(remains, estate);
    bury(remains, estate, { restless: (obstacle) => this.#events.restless(worker, obstacle) });
    return loss;
  }

  /** What the others send waits here for the next thread. */
  #newPorts(worker: number): void {
    const member = this.#members[worker];
    const control = new MessageChannel();
    member.port = control.port1;
    const peers = this.#members.map(({ lost, ends }, peer) => {
      if (peer === worker) return undefined;
      const { port1, port2 } = new MessageChannel();
      if (lost) ends.peers[worker] = port2;
      else this.send(peer, { kind: "peer_replaced", index: worker, port: port2 }, [port2]);
      return port1;
    });
    member.ends = { control: control.port2, peers };
  }

  /** Starts another thread for a worker that was given up; resolves when it accepts. */
  async replace(worker: number, circumstances: Circumstances): Promise<void> {
    const started = this.#startOne(worker, circumstances);
    // Answered to nobody.
    const request = 0;
    for (const command of this.#orders.all()) {
      this.send(worker, { kind: "command", request, command });
    }
    await started;
  }

  #estate(): Estate {
    return {
      shared: this.#words,
      given: new Int32Array(this.#given),
      kept: () =>
        new Set([
          ...this.#members.map(({ wakeFd }): number => wakeFd),
          ...this.#listening.map(({ fd }) => fd),
        ]),
    };
  }

  // ── mail ────────────────────────────────────────────────────────────────────────────────────────────────────────

  broadcast(mail: ControlToWorker): void {
    for (let worker = 0; worker < this.#members.length; worker++) this.send(worker, mail);
  }

  /** Rows of all workers. */
  ask<T>(what: WorkerQuestion, most?: number): Promise<T[]> {
    return this.#gather((request) => ({ kind: "ask", request, what, most })) as Promise<T[]>;
  }

  tryLogins(): Promise<TriedLogin[]> {
    return this.#gather((request) => ({ kind: "try_logins", request })) as Promise<TriedLogin[]>;
  }

  /** Rows of the workers that answer within `ms`. */
  askInTime<T>(what: WorkerQuestion, ms: number): Promise<T[]> {
    const mail = (request: number): ControlToWorker => ({ kind: "ask", request, what });
    return this.#gather(mail, undefined, ms) as Promise<T[]>;
  }

  /** Resolves to the number of pools concerned, when all workers have obeyed, or after `ms`: the others do it later. */
  async command(command: WorkerCommand, ms?: number): Promise<number> {
    this.#orders.given(command);
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
      // One that is lost meanwhile has nothing to say, and is started with new settings.
      longest = Math.max(longest, (applied as SettingsApplied | undefined)?.tookMs ?? 0);
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
    return this.heartbeats().flatMap((count, worker) =>
      count === before[worker] && !this.#members[worker].lost ? [worker] : []
    );
  }

  /** How many signs of life each worker has given. */
  heartbeats(): number[] {
    return this.#members.map((_, worker) =>
      Atomics.load(this.#words, ofWorker(worker, Own.Heartbeats))
    );
  }

  /** Answers of one worker, or of all. */
  #gather(
    mail: (request: number) => ControlToWorker,
    worker?: number,
    mostMs?: number,
  ): Promise<unknown[]> {
    const missing = new Set<number>();
    this.#members.forEach(({ lost }, index) => {
      if (!lost && (worker === undefined || worker === index)) missing.add(index);
    });
    if (missing.size === 0) return Promise.resolve([]);
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

  #answered(
    worker: number,
    request: number,
    { rows, more }: { rows: unknown[]; more?: boolean },
  ): void {
    const gathering = this.#gathering.get(request);
    if (gathering === undefined || !gathering.missing.has(worker)) return;
    for (const row of rows) gathering.rows.push(row);
    if (more) return;
    gathering.missing.delete(worker);
    if (gathering.missing.size > 0) return;
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

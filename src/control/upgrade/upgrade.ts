/**
 * Binary upgrade, old process: checks the program that now lies at its path, starts it with the listening sockets, and
 * when it is ready has the workers freeze everything and send it over. See docs/binary-upgrade.md.
 *
 * ```
 *   idle ─▶ validating ─▶ starting ─▶ moving ─▶ (exit)
 *     ▲         │             │          │
 *     └─────────┴─────────────┴──────────┘  the program fails, is not ready in time, or dies: serving on
 * ```
 */

import { setCloseOnExec } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import { socketPair } from "../../os/fd_passing.ts";
import * as libc from "../../os/libc.ts";
import { FrameKind, FrameSocket } from "../../handover/frames.ts";
import { OURS, SNAPSHOT_VERSION } from "../../handover/version.ts";
import type { CountsRow, WorkerToControl } from "../../mail.ts";
import type { Log } from "../../log/log.ts";
import { Shared } from "../../stats/shared.ts";
import {
  countMoved,
  upgradeBegun,
  upgradeCompleted,
  upgradeFailed,
  type UpgradeFault,
} from "../../stats/upgrades.ts";
import { NewProcess, type Start, StartError } from "./new_process.ts";
import { obstacleToMoving } from "./obstacle.ts";
import {
  clientsLeft,
  frozenOnes,
  LastHeard,
  lateOnes,
  leftText,
  movedText,
  total,
} from "./progress.ts";
import {
  type BatchPayload,
  type BeginPayload,
  type CancelPayload,
  type DonePayload,
  type Inherited,
  type InitPayload,
  type ReadyPayload,
  type TakenPayload,
  type ThawedPayload,
} from "./successor.ts";
import type { UpgradeEnvironment } from "./environment.ts";
import { validate } from "./validation.ts";

const TARGET = "pg_doorman::app";
const READY_MS = 10_000;
const LOOK_MS = 25;
/** A worker that does not answer by then hangs: the others' clients move without it. */
const ANSWER_MS = 1000;
/** A new process that takes nothing for so long is stuck, and so are the clients that wait in frames. */
const STUCK_MS = 5000;
/** After so long the log says what is still waited for, and again when that has changed. */
const REPORT_MS = 1000;
/** For the last words to leave the sockets. */
const LAST_WORDS_MS = 200;

export type Phase = "idle" | "validating" | "starting" | "moving";

/** The new process, as far as it is dealt with here. */
export type RunningProcess = Pick<NewProcess, "pid" | "gone" | "ready" | "kill" | "ended">;

export class Upgrade {
  readonly #environment: UpgradeEnvironment;
  readonly #run: (start: Start, log: Log) => RunningProcess;
  #phase: Phase = "idle";
  #frames: FrameSocket | undefined;
  #new: RunningProcess | undefined;
  /** Batches of which it is not known what became of them. */
  #underWay = 0;
  /** The new process says when a batch is thawed. */
  #thaws = false;
  /** When it last said anything. */
  #heardAt = 0;
  #heard = new LastHeard();
  #reloadWanted = false;
  /** It was killed for taking nothing. */
  #stuck = false;
  /** Ends the check of the program. */
  #stopValidation = new AbortController();

  constructor(
    environment: UpgradeEnvironment,
    run: (start: Start, log: Log) => RunningProcess = (start, log) => new NewProcess(start, log),
  ) {
    this.#environment = environment;
    this.#run = run;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Why an upgrade can't begin now, if so. */
  obstacle(): string | undefined {
    return this.#phase === "idle" ? undefined : `a binary upgrade is under way (${this.#phase})`;
  }

  /** Begins; what comes of it is in the log. */
  async begin(cause: string): Promise<void> {
    const { log, program, configFile, totals } = this.#environment;
    const obstacle = this.obstacle();
    if (obstacle !== undefined) {
      totals.refused++;
      log.warn(TARGET, `${cause}: refused, ${obstacle}`);
      return;
    }
    this.#phase = "validating";
    upgradeBegun(totals, Date.now());
    log.info(TARGET, `${cause}: binary upgrade, validating ${program.path} -t ${configFile}`);
    this.#stopValidation = new AbortController();
    const fault = await validate(this.#environment, this.#stopValidation.signal);
    if (fault !== undefined) {
      this.#abort("validation", fault);
      return;
    }
    log.info(TARGET, "binary upgrade: validation ok, starting the new process");
    this.#phase = "starting";
    try {
      await this.#start();
    } catch (error) {
      if (error instanceof StartError) this.#abort(error.fault, error.message);
      else this.#abort("not_started", `the new process can't be started: ${error}`);
    }
  }

  /** A reload was asked for: the new process may have read the configuration before, so it will read it again. */
  reloadAfterwards(): void {
    this.#reloadWanted = true;
  }

  /** A shutdown comes in between: a new process that does not serve yet goes, too. */
  abandon(): void {
    if (this.#phase === "starting") this.#kill();
    else if (this.#phase === "validating") this.#stopValidation.abort();
  }

  /** This process is about to exit: with the new one serving already, that one is the service. */
  leave(): void {
    if (this.#phase === "moving") this.#environment.handedOver(this.#new!.pid);
  }

  #abort(fault: UpgradeFault, why: string): void {
    const { log, totals } = this.#environment;
    upgradeFailed(totals, fault);
    for (const line of why.split("\n")) log.error(TARGET, `BINARY UPGRADE ABORTED: ${line}`);
    log.error(TARGET, "BINARY UPGRADE ABORTED: this process serves on unchanged");
    this.#frames?.close();
    this.#frames = undefined;
    this.#phase = "idle";
  }

  // ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #start(): Promise<void> {
    const { log, secrets, totals } = this.#environment;
    const startedAt = performance.now();
    const [ours, theirs] = socketPair();
    const frames = new FrameSocket(ours);
    this.#frames = frames;
    const fresh = this.#spawn(theirs);
    this.#new = fresh;
    this.#underWay = 0;
    this.#heard = new LastHeard();
    this.#reloadWanted = false;
    this.#stuck = false;
    const started = this.#environment.launched ? "starts the new one" : "started";
    log.info(TARGET, `binary upgrade: process ${fresh.pid} ${started}`);
    const init: InitPayload = {
      ...OURS,
      oldPid: Deno.pid,
      takesBack: true,
      secrets: secrets(),
      totals,
    };
    // One that has ended already is not ready, either; nor is one that does not read it.
    frames.send(FrameKind.Init, init).catch(() => {});
    const ready = await this.#ready(frames);
    if (typeof ready === "string") {
      this.#kill();
      const code = await fresh.ended();
      throw new StartError(
        ready,
        ready === "died"
          ? `process ${fresh.pid} ended before it was ready (status ${code})`
          : `process ${fresh.pid} was not ready within ${READY_MS} ms: killed`,
      );
    }
    await fresh.ready(ready.pid);
    totals.last.readyMs = Math.round(performance.now() - startedAt);
    log.info(
      TARGET,
      `binary upgrade: process ${fresh.pid} ready after ${totals.last.readyMs} ms`,
    );
    await this.#move(fresh.pid, frames, ready);
  }

  /** The new process gets the listening sockets and its end of the frame socket, and no other descriptor. */
  #spawn(theirs: Fd): RunningProcess {
    const { program, listeners, variables, passedOn, launched, log } = this.#environment;
    const open = listeners();
    const inherited: Inherited = { socket: theirs, listeners: open };
    const passed = [theirs, ...open.map(({ fd }) => fd as Fd), ...passedOn];
    try {
      for (const fd of passed) setCloseOnExec(fd, "off");
      return this.#run({ program, inherited, env: variables(), launched }, log);
    } finally {
      for (const fd of passed) setCloseOnExec(fd, "on");
      libc.close(theirs);
    }
  }

  /** What the new process says when it is ready, or why it does not. */
  #ready(frames: FrameSocket): Promise<ReadyPayload | "not_ready" | "died"> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve("not_ready"), READY_MS);
      frames.receive().then((frame) => {
        clearTimeout(timer);
        resolve(frame?.kind === FrameKind.Ready ? frame.payload as ReadyPayload : "died");
      });
    });
  }

  #kill(): void {
    this.#new?.kill();
  }

  // ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────────

  async #move(pid: number, frames: FrameSocket, ready: ReadyPayload): Promise<void> {
    const { log, supervisor } = this.#environment;
    this.#phase = "moving";
    this.#thaws = ready.thaws === true;
    const begunAt = performance.now();
    await supervisor.command({ name: "stop_accepting", database: undefined }, ANSWER_MS);
    const obstacle = await obstacleToMoving(ready, supervisor, ANSWER_MS);
    const whole = obstacle === undefined;
    const understood = obstacle?.moves !== "nothing";
    const { pools: theirs, authQueries = [] } = understood ? ready : { pools: [] };
    const known = new Set(theirs.map(({ database, user }) => `${database}\0${user}`));
    const pools = this.#environment.pools()
      .filter(({ database, user }) => known.has(`${database}\0${user}`));
    let lost = false;
    this.#heardAt = begunAt;
    const listening = this.#listen(frames).then(() => lost = true);
    await frames.send(FrameKind.Begin, await this.#beginning(whole ? pools : [])).catch(() => {});
    if (!whole) log.warn(TARGET, `binary upgrade: ${obstacle.why}`);
    const { apart = false, tls = false } = ready;
    supervisor.broadcast({ kind: "move", pools, authQueries, apart, tls, whole });
    const how = await this.#watch({ lost: () => lost, begunAt, understood });
    if (how === "lost") await this.#takeBack();
    else {
      await this.#finish(pid, frames, { begunAt, how, understood });
      this.#environment.exit(listening);
    }
  }

  async #beginning(pools: BeginPayload["pools"]): Promise<BeginPayload> {
    const { supervisor } = this.#environment;
    const shared = new Int32Array(supervisor.shared);
    const counts = { total: 0, tls: 0, plain: 0, cancel: 0 };
    for (const row of await supervisor.askInTime<CountsRow>("counts", ANSWER_MS)) {
      for (const kind of ["total", "tls", "plain", "cancel"] as const) counts[kind] += row[kind];
    }
    return {
      lastClientId: Atomics.load(shared, Shared.LastClientId),
      lastServerId: Atomics.load(shared, Shared.LastServerId),
      lastStatementId: Atomics.load(shared, Shared.LastStatementId),
      schemaGeneration: Atomics.load(shared, Shared.SchemaGeneration),
      pools,
      counts,
    };
  }

  /** Waits until nothing is left that will move by itself. */
  async #watch(
    { lost, begunAt, understood }: { lost: () => boolean; begunAt: number; understood: boolean },
  ): Promise<"lost" | "empty" | "timeout"> {
    const { log, supervisor, shutdownTimeoutMs } = this.#environment;
    // A session on its way between two workers is seen by neither: one look is not enough.
    let empty = 0;
    let reportAt = begunAt + REPORT_MS;
    let reported = "";
    let progressAt = begunAt;
    let moved = 0;
    for (;;) {
      if (lost()) return "lost";
      const rows = await this.#heard.ask(supervisor, ANSWER_MS);
      const left = clientsLeft(rows, understood);
      const late = lateOnes(rows);
      const silent = supervisor.serving - rows.length;
      empty = total(left) + late + silent === 0 ? empty + 1 : 0;
      if (empty === 2) return "empty";
      const now = performance.now();
      const { clients, servers } = this.#heard.moved();
      if (clients + servers !== moved) progressAt = now;
      moved = clients + servers;
      // Who is frozen can't be told goodbye, and comes back if the new process is stuck.
      const waits = this.#underWay > 0 || frozenOnes(rows) > 0 && now - progressAt < STUCK_MS;
      if (now > begunAt + shutdownTimeoutMs() && !waits) return "timeout";
      if (now > reportAt) {
        reportAt = now + REPORT_MS;
        const report = `${movedText({ clients, servers })}; waiting for ${
          leftText(left, late, silent)
        }`;
        if (report !== reported) log.info(TARGET, `binary upgrade: ${report}`);
        reported = report;
      }
      this.#watchForStuck(now);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  #watchForStuck(now: number): void {
    if (this.#underWay === 0 || this.#new!.gone) this.#heardAt = now;
    else if (now - this.#heardAt > STUCK_MS) {
      this.#environment.log.error(
        TARGET,
        `binary upgrade: the new process has taken nothing for ${STUCK_MS} ms: killing it`,
      );
      this.#heardAt = now;
      this.#stuck = true;
      this.#kill();
    }
  }

  async #finish(
    pid: number,
    frames: FrameSocket,
    { begunAt, how, understood }: {
      begunAt: number;
      how: "empty" | "timeout";
      understood: boolean;
    },
  ): Promise<void> {
    const { log, supervisor, totals, handedOver, metrics } = this.#environment;
    const rows = await this.#heard.ask(supervisor, ANSWER_MS);
    const moved = this.#heard.moved();
    const left = clientsLeft(rows, understood);
    // It has not answered for these.
    left.refused += frozenOnes(rows);
    const took = Math.round(performance.now() - begunAt);
    countMoved(totals, { ...moved, bytes: frames.sentBytes });
    upgradeCompleted(totals, left, took);
    if (how === "timeout") {
      const what = leftText(left, lateOnes(rows), supervisor.serving - rows.length);
      log.warn(TARGET, `binary upgrade: shutdown_timeout is over, left behind and closed: ${what}`);
      await supervisor.command({ name: "send_home", database: undefined }, ANSWER_MS);
      await new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS));
    }
    log.info(
      TARGET,
      `binary upgrade: done after ${took} ms, ${movedText(moved)} to process ${pid}, ` +
        `left behind ${total(left)}`,
    );
    // Before the new process speaks for the service itself.
    handedOver(pid);
    const done: DonePayload = { reload: this.#reloadWanted, totals, metrics: metrics() };
    await frames.send(FrameKind.Done, done).catch(() => {});
  }

  /** The new process died: what it has not taken comes back. */
  async #takeBack(): Promise<void> {
    const { supervisor, log, totals } = this.#environment;
    log.error(TARGET, "BINARY UPGRADE FAILED: the new process ended while clients were moving");
    await this.#heard.ask(supervisor, ANSWER_MS);
    const lost = this.#heard.moved();
    totals.lost += lost.clients;
    upgradeFailed(totals, this.#stuck ? "stuck" : "died");
    // One that talks nonsense lives on, and accepts.
    this.#kill();
    await this.#new?.ended();
    supervisor.broadcast({ kind: "move_failed" });
    supervisor.broadcast({
      kind: "listen",
      listeners: this.#environment.listeners().map(({ fd, transport }) => ({ fd, transport })),
    });
    this.#frames?.close();
    this.#frames = undefined;
    this.#phase = "idle";
    this.#environment.serveOn();
    log.error(
      TARGET,
      "BINARY UPGRADE FAILED: this process serves on with the clients it has; lost with the new " +
        `one: ${lost.clients} clients and ${lost.servers} servers`,
    );
  }

  /** Frames of the new process, until its end. */
  async #listen(frames: FrameSocket): Promise<void> {
    const { supervisor } = this.#environment;
    for (;;) {
      const frame = await frames.receive();
      if (frame === undefined) return;
      this.#heardAt = performance.now();
      if (frame.kind === FrameKind.Taken) this.#taken(frame.payload as TakenPayload);
      else if (frame.kind === FrameKind.Thawed) {
        this.#underWay--;
        const { worker, batch, failed } = frame.payload as ThawedPayload;
        supervisor.send(worker, { kind: "taken", batch, refused: failed });
      } else if (frame.kind === FrameKind.Cancel) {
        const { processId, secret } = frame.payload as CancelPayload;
        supervisor.broadcast({ kind: "cancel", processId, secret });
      }
    }
  }

  #taken({ worker, batch, refused, again }: TakenPayload): void {
    const { supervisor } = this.#environment;
    if (this.#thaws && !again) {
      supervisor.send(worker, { kind: "acknowledged", batch, refused });
      return;
    }
    this.#underWay--;
    if (again) supervisor.send(worker, { kind: "not_taken", batch });
    else supervisor.send(worker, { kind: "taken", batch, refused });
  }

  /** A worker has frozen a batch. What can't be sent stays here. */
  frozen(worker: number, mail: WorkerToControl & { kind: "frozen" }): void {
    const { batch, large, items, blobs } = mail;
    const descriptors = items.flatMap(({ fds }) => fds) as Fd[];
    if (blobs !== undefined) descriptors.push(blobs as Fd);
    const payload: BatchPayload = {
      version: SNAPSHOT_VERSION,
      worker,
      batch,
      descriptors: descriptors.length,
      items,
      apart: blobs !== undefined,
      large,
    };
    const close = () => blobs !== undefined && libc.close(blobs as Fd);
    let sent: Promise<void> | undefined;
    try {
      sent = this.#frames?.send(FrameKind.Batch, payload, descriptors);
    } catch (error) {
      const { log, supervisor } = this.#environment;
      log.error(TARGET, `binary upgrade: ${items.length} of worker ${worker} stay here: ${error}`);
      supervisor.send(worker, { kind: "taken", batch, refused: [...items.keys()] });
    }
    if (sent === undefined) {
      close();
      return;
    }
    this.#underWay++;
    // Without the new process everything comes back.
    sent.catch(() => this.#kill()).finally(close);
  }

  /** A CancelRequest that no worker here knows: its client may have moved. */
  cancel(processId: number, secret: Uint8Array): void {
    if (this.#phase !== "moving") return;
    this.#frames?.send(FrameKind.Cancel, { processId, secret }).catch(() => {});
  }
}

/**
 * The new process of a binary upgrade, in the old one's hands: its number, its end, and the way to end it.
 *
 * Under systemd it must not be the old process's child when it becomes the main one: systemd looks at that moment, and a
 * main process that is not its own child it ends by SIGKILL, at once, and does not miss when it dies. So a launcher stands
 * between: the same program, told to start itself once more. It leaves when the new process is ready, and systemd, or
 * whoever reaps orphans, is the parent from then on.
 *
 *     old process ── spawn ──▶ launcher ── spawn ──▶ new process
 *        │  SIGTERM ─────────────▶ │ ── SIGKILL ────────▶ │      until it is ready
 *        │ ◀────── its status ──── │ ◀─────── its end ─── │
 *        │  "go" ────────────────▶ exits 0                │      then
 *        │  SIGKILL ────────────────────────────────────▶ │
 */

import type { Log } from "../../log/log.ts";
import type { UpgradeFault } from "../../stats/upgrades.ts";
import { isAlive } from "../service/alive.ts";
import type { Program } from "../service/program.ts";
import { type Inherited, UPGRADE_VARIABLE } from "./successor.ts";

const TARGET = "pg_doorman::app";
/** What tells a launcher that it is not needed any more. */
const GO = "go";
/** A launcher that has not left by then is ended. */
const LEAVE_MS = 1000;
/** How often an orphan's end is looked for. */
const LOOK_MS = 10;

/** How the new process is started. */
export interface Start {
  program: Program;
  inherited: Inherited;
  env: Record<string, string>;
  /** By way of a launcher. */
  launched: boolean;
}

/** The new process does not get as far as to be ready. */
export class StartError extends Error {
  readonly fault: UpgradeFault;

  constructor(fault: UpgradeFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

export class NewProcess {
  /** The new process's; that of its launcher until it is ready. */
  pid: number;
  readonly #log: Log;
  readonly #child: Deno.ChildProcess;
  readonly #launched: boolean;
  #childIsGone = false;
  /** It is nobody's child here. */
  #released = false;

  constructor({ program, inherited, env, launched }: Start, log: Log) {
    this.#log = log;
    this.#launched = launched;
    this.#child = new Deno.Command(program.path, {
      args: [...program.prefix, ...Deno.args],
      env: {
        ...env,
        [UPGRADE_VARIABLE]: JSON.stringify(
          launched ? { ...inherited, launch: program } : inherited,
        ),
      },
      stdin: launched ? "piped" : "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    this.pid = this.#child.pid;
    this.#child.status.then(() => this.#childIsGone = true);
  }

  /** It is ready and has told its number; a program of before it did that is its own launcher. */
  async ready(pid: number | undefined): Promise<void> {
    if (!this.#launched) return;
    const orphan = pid !== undefined && pid !== this.#child.pid;
    if (orphan) {
      this.pid = pid;
      this.#released = true;
    }
    // One that is gone need not be told.
    await this.#say(GO).catch((error) => this.#log.debug(TARGET, `launcher: ${error}`));
    if (!orphan) return;
    this.#killLauncherIn(LEAVE_MS);
    await this.#child.status;
  }

  async #say(text: string): Promise<void> {
    const input = this.#child.stdin.getWriter();
    await input.write(new TextEncoder().encode(text));
    await input.close();
  }

  #killLauncherIn(ms: number): void {
    const late = setTimeout(() => this.#signal(this.#child.pid, "SIGKILL"), ms);
    this.#child.status.then(() => clearTimeout(late));
  }

  get gone(): boolean {
    return this.#released ? !isAlive(this.pid) : this.#childIsGone;
  }

  kill(): void {
    if (this.gone) return;
    if (this.#released || !this.#launched) {
      this.#signal(this.pid, "SIGKILL");
      return;
    }
    // A launcher takes its child along. Something else in its place may not listen.
    this.#signal(this.pid, "SIGTERM");
    this.#killLauncherIn(LEAVE_MS);
  }

  /** Waits for its end; the status is known of a child only. */
  async ended(): Promise<number | undefined> {
    if (!this.#released) return (await this.#child.status).code;
    while (isAlive(this.pid)) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    return undefined;
  }

  #signal(pid: number, signal: Deno.Signal): void {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      // It has ended by itself in this moment.
      this.#log.debug(TARGET, `kill: ${String(error)}`);
    }
  }
}

/** The launcher's whole life; resolves to its exit status. The inherited descriptors go on to its child. */
export async function launchNewProcess(program: Program, inherited: Inherited): Promise<number> {
  const started: { child?: Deno.ChildProcess } = {};
  Deno.addSignalListener("SIGTERM", () => {
    if (started.child === undefined) Deno.exit(1);
    started.child.kill("SIGKILL");
  });
  const child = new Deno.Command(program.path, {
    args: [...program.prefix, ...Deno.args],
    env: { [UPGRADE_VARIABLE]: JSON.stringify({ ...inherited, launch: undefined }) },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  started.child = child;
  const ended = child.status.then(({ code }) => code);
  const alone = new Response(Deno.stdin.readable).text().then(async (said) => {
    // The old process is gone. If it was shut down, a SIGTERM has been sent and may not have been heard yet.
    if (said !== GO) await new Promise((resolve) => setTimeout(resolve, LEAVE_MS));
    return 0;
  });
  return await Promise.race([ended, alone]);
}

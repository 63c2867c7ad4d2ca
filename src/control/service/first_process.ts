/**
 * The process that was started first stays, where its end would be everybody's: as the first one of a container (PID 1),
 * with which the kernel ends all others, or as the child of an init that leaves when its child does (tini, dumb-init, a
 * script, a unit of another type than notify). It serves nobody: it starts the program once more, passes signals on to
 * whoever serves, reaps what is left to it, and ends with the last one's status.
 *
 *     first process ── spawn ──▶ old process ── binary upgrade ──▶ new process
 *        │  SIGUSR2, … ─────────────▶ │                                │
 *        │ ◀── "it is me", "it is 4711" ┴──── on a socket of theirs ─────┘
 *        │  reaps, waits for the last one, exits with its status
 */

import { setCloseOnExec } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import { socketPair } from "../../os/fd_passing.ts";
import * as libc from "../../os/libc.ts";
import { adoptOrphans, waitForAny } from "../../os/orphans.ts";
import { isAlive } from "./alive.ts";
import { type Program, PROGRAM_VARIABLE } from "./program.ts";

/** Set for the process that serves: its end of the socket to the first process, which every successor inherits. */
const VARIABLE = "PG_DOORMAN_FIRST_PROCESS";
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"] as const;
/** In case that the kernel's word on an end is missed. */
const LOOK_MS = 1000;

/** Whether this process, which nobody has told to serve, has to stay while others serve. */
export function hasToStay(
  { pid, parentPid, env }: {
    pid: number;
    parentPid: number;
    env: (name: string) => string | undefined;
  },
): boolean {
  if (env(VARIABLE) !== undefined) return false;
  // systemd is told who serves; any other init takes our end for the service's.
  return pid === 1 || parentPid === 1 && env("NOTIFY_SOCKET") === undefined;
}

/** Who serves, among the processes that the first one was told of. */
export class Serving {
  readonly #pids = new Set<number>();
  /** Exit status of the last one that ended. */
  status = 0;

  /** The newest one is asked for what one process does. */
  get newest(): number | undefined {
    return [...this.#pids].at(-1);
  }

  get all(): Iterable<number> {
    return this.#pids;
  }

  get over(): boolean {
    return this.#pids.size === 0;
  }

  /** What was said on the socket, a number a line. */
  told(text: string): void {
    for (const line of text.split("\n")) {
      const pid = Number(line);
      if (line === "" || !Number.isSafeInteger(pid)) continue;
      this.#pids.delete(pid);
      this.#pids.add(pid);
    }
  }

  ended(pid: number, status: number): void {
    if (this.#pids.delete(pid)) this.status = status;
  }

  /** Forgets those that ended before they were known; not one whose status somebody else is about to tell. */
  forgetGone(awaited: number | undefined): void {
    for (const pid of this.#pids) if (pid !== awaited && !exists(pid)) this.#pids.delete(pid);
  }
}

/** The first process's whole life; resolves to its exit status. */
export function stayAsParent(program: Program): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const [ours, theirs] = socketPair();
  libc.fcntl(ours, F_SETFL, O_NONBLOCK);
  adoptOrphans();
  const serving = new Serving();
  let awaited: number | undefined;
  const look = () => {
    serving.told(readAll(ours));
    for (let one = waitForAny(); one !== undefined; one = waitForAny()) {
      serving.ended(one.pid, one.status);
    }
    // An old process names its successor right before its end.
    serving.told(readAll(ours));
    serving.forgetGone(awaited);
    if (serving.over) resolve(serving.status);
  };
  for (const signal of SIGNALS) {
    Deno.addSignalListener(signal, () => {
      look();
      // The end, and another configuration, are for all of them.
      const { newest, all } = serving;
      const whom = signal === "SIGTERM" || signal === "SIGHUP" ? [...all] : [newest];
      for (const pid of whom) if (pid !== undefined && isAlive(pid)) Deno.kill(pid, signal);
    });
  }
  Deno.addSignalListener("SIGCHLD", look);
  setCloseOnExec(theirs, "off");
  const child = new Deno.Command(program.path, {
    args: [...program.prefix, ...Deno.args],
    env: { [VARIABLE]: String(theirs), [PROGRAM_VARIABLE]: program.path },
    // A session of its own: what a terminal sends to all of them would reach it twice.
    detached: true,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  libc.close(theirs);
  serving.told(`${child.pid}\n`);
  awaited = child.pid;
  // Either the runtime reaps it or `look` does.
  child.status.then(({ code }) => serving.ended(child.pid, code), () => {}).finally(() => {
    awaited = undefined;
    look();
  });
  setInterval(look, LOOK_MS);
  return promise;
}

/** One that has ended and is not reaped does. */
function exists(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function readAll(socket: Fd): string {
  const bytes = new Uint8Array(4096);
  const n = libc.recv(socket, bytes, bytes.length);
  return n > 0 ? new TextDecoder().decode(bytes.subarray(0, n)) : "";
}

/** The way to the first process, if there is one that waits. */
export class FirstProcess {
  readonly fd: Fd;

  private constructor(fd: Fd) {
    this.fd = fd;
  }

  static find(env: (name: string) => string | undefined): FirstProcess | undefined {
    const text = env(VARIABLE);
    if (text === undefined) return undefined;
    const fd = Number(text) as Fd;
    setCloseOnExec(fd, "on");
    return new FirstProcess(fd);
  }

  /** This process serves from now on, or another one does. */
  announce(pid: number): void {
    const bytes = new TextEncoder().encode(`${pid}\n`);
    libc.sendNow(this.fd, bytes, bytes.length);
  }
}

/**
 * `--daemon`: a runtime with threads can't fork, so the launcher starts the program once more in a session of its own
 * and waits until that one serves or has failed. What the daemon logs until then comes out at the launcher; from
 * then on its standard streams lead nowhere.
 *
 *     launcher ── spawn: new session, in /, umask 027 ──▶ daemon
 *        │ ◀── standard error: log of the start ───────────  │
 *        │ ◀── standard output: "serving", then closed ────  │
 *     exits 0, or with the daemon's status
 */

import { fileURLToPath } from "node:url";
import { openDescriptors, setCloseOnExec } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { PROGRAM_VARIABLE } from "./program.ts";

/** Set for the daemon: where the launcher was started. */
const START_DIRECTORY = "PG_DOORMAN_DAEMON_START_DIRECTORY";
const SERVING = "serving\n";
const O_RDWR = 2;
const UMASK = 0o027;
/** So long the launcher waits for standard error to take the last lines. */
const LAST_LINES_MS = 2000;

/** If this process is the daemon: the directory that the operator started it in. Asks only once. */
export function daemonStartDirectory(): string | undefined {
  const directory = Deno.env.get(START_DIRECTORY);
  // A successor by binary upgrade is nobody's daemon-to-be.
  if (directory !== undefined) Deno.env.delete(START_DIRECTORY);
  return directory;
}

/** What the successor of a daemon has to find in its environment: it is no launcher. */
export function daemonVariables(startDirectory: string): Record<string, string> {
  return { [START_DIRECTORY]: startDirectory };
}

/** Starts the daemon; resolves to the exit status of the launcher. `inheritFd` stays open for the daemon. */
export async function launchDaemon(
  inheritFd: number | undefined,
  programPath: string,
): Promise<number> {
  for (const fd of openDescriptors()) {
    if (fd > 2) setCloseOnExec(fd, fd === inheritFd ? "off" : "on");
  }
  const program = Deno.build.standalone
    ? []
    : ["run", "-A", "--no-check", fileURLToPath(Deno.mainModule)];
  const daemon = new Deno.Command(Deno.execPath(), {
    args: [...program, ...Deno.args],
    cwd: "/",
    env: { [START_DIRECTORY]: Deno.cwd(), [PROGRAM_VARIABLE]: programPath },
    detached: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const copied = copyLog(daemon.stderr);
  const said = await new Response(daemon.stdout).text();
  const status = said === SERVING ? undefined : await daemon.status;
  await Promise.race([copied, new Promise((resolve) => setTimeout(resolve, LAST_LINES_MS))]);
  if (status === undefined) return 0;
  const { code } = status;
  return code === 0 ? 1 : code;
}

/** Passes the daemon's log on. If nobody takes it that is no failure of the daemon's. */
async function copyLog(from: ReadableStream<Uint8Array>): Promise<void> {
  const log = from.getReader();
  let taken = true;
  for (;;) {
    const { done, value } = await log.read();
    if (done) return;
    if (!taken) continue;
    taken = await writeAll(value).then(() => true, () => false);
  }
}

async function writeAll(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await Deno.stderr.write(bytes.subarray(at));
}

/** First thing that the daemon does. */
export function becomeDaemon(): void {
  libc.umask(UMASK);
}

/** Last thing of the daemon's start: tells the launcher that it serves, and lets go of it. */
export function letGoOfLauncher(): void {
  const nowhere = libc.open("/dev/null", O_RDWR, 0);
  if (nowhere < 0) throw new Error("open /dev/null: it can't be opened");
  const output = sameAs(1 as Fd);
  for (const fd of sameAs(2 as Fd)) redirect(fd, nowhere as Fd);
  Deno.stdout.writeSync(new TextEncoder().encode(SERVING));
  for (const fd of output) redirect(fd, nowhere as Fd);
  libc.close(nowhere as Fd);
}

/** All descriptors that are open on what `fd` is: the runtime keeps copies of the standard streams for each thread. */
function sameAs(fd: Fd): Fd[] {
  const target = targetOf(fd);
  return openDescriptors().filter((each) => targetOf(each) === target);
}

function targetOf(fd: Fd): string {
  return Deno.readLinkSync(`/proc/self/fd/${fd}`);
}

function redirect(fd: Fd, to: Fd): void {
  if (fd === to) return;
  libc.dup2(to, fd);
  if (fd > 2) setCloseOnExec(fd, "on");
}

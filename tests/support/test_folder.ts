/**
 * Temporary folders of servers under test, removed when the test is done; and, since a test run may be killed, those of
 * runs that are gone, together with the processes that they left: a process belongs to a folder if it runs in it.
 */

import { join } from "node:path";

const PREFIX = "pg_doorman-test-";
let swept = false;

function temporaryRoot(): string {
  return Deno.env.get("TMPDIR") || "/tmp";
}

function processExists(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Where a process runs, or nothing if it is gone or another user's. */
function workingFolder(pid: string): string {
  try {
    return Deno.readLinkSync(`/proc/${pid}/cwd`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return "";
    }
    // ESRCH, for a process that ended between the listing and the question, has no class of its own.
    if (error instanceof Error && /os error 3\b/.test(error.message)) return "";
    throw error;
  }
}

/** Kills every process that runs in a folder or below it. */
export function killProcessesIn(folder: string): void {
  for (const entry of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(entry.name)) continue;
    const cwd = workingFolder(entry.name);
    if (cwd !== folder && !cwd.startsWith(folder + "/")) continue;
    try {
      Deno.kill(Number(entry.name), "SIGKILL");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** False for another user's folder, and for one that another run has just removed. */
function isOurs(folder: string): boolean {
  try {
    return Deno.uid() === 0 || Deno.lstatSync(folder).uid === Deno.uid();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeLeftOvers(): Promise<void> {
  for await (const entry of Deno.readDir(temporaryRoot())) {
    if (!entry.isDirectory || !entry.name.startsWith(PREFIX)) continue;
    const owner = Number(entry.name.slice(PREFIX.length).split("-")[0]);
    if (processExists(owner)) continue;
    const folder = join(temporaryRoot(), entry.name);
    if (!isOurs(folder)) continue;
    killProcessesIn(folder);
    await removeFolder(folder);
  }
}

/** Makes a folder for one server under test. `kind` shows in its name. */
export async function makeTestFolder(kind: string): Promise<string> {
  if (!swept) {
    swept = true;
    await removeLeftOvers();
  }
  const folder = await Deno.makeTempDir({
    dir: temporaryRoot(),
    prefix: `${PREFIX}${Deno.pid}-${kind}-`,
  });
  // Servers may run under another user than the test.
  await Deno.chmod(folder, 0o755);
  return folder;
}

/** Removes a test folder. A dying process may still write to it, hence the tries. */
export async function removeFolder(folder: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await Deno.remove(folder, { recursive: true });
      return;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      if (attempt === 10) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20 * attempt));
    }
  }
}

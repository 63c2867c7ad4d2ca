/**
 * The program's own file, as an operator thinks of it: the name it was started by, made absolute at the start. A link
 * stays a link, since an upgrade may turn it to another file; after a rename over the running program the kernel's own
 * name of it ends in ` (deleted)` and is of no use.
 */

import { fileURLToPath } from "node:url";

/** How a new process of this program is started. */
export interface Program {
  path: string;
  /** What comes before the program's own arguments. */
  prefix: string[];
}

/** Set by a launcher for its daemon: the name that the launcher was started by. */
export const PROGRAM_VARIABLE = "PG_DOORMAN_PROGRAM";

/** Finds the program; to be called at the start, while file, directory and PATH are what they were. */
export function findProgram(): Program {
  if (!Deno.build.standalone) {
    const main = fileURLToPath(Deno.mainModule);
    return { path: Deno.execPath(), prefix: ["run", "-A", "--no-check", main] };
  }
  const told = Deno.env.get(PROGRAM_VARIABLE);
  Deno.env.delete(PROGRAM_VARIABLE);
  for (const path of told === undefined ? candidates() : [told]) {
    if (isThisProgram(path)) return { path, prefix: [] };
  }
  // Renamed over since it was started: the new file has the name that the kernel gives with this ending.
  return { path: Deno.execPath().replace(/ \(deleted\)$/, ""), prefix: [] };
}

function* candidates(): Iterable<string> {
  const [name] = Deno.readTextFileSync("/proc/self/cmdline").split("\0");
  if (name === undefined || name === "") return;
  if (name.startsWith("/")) yield name;
  else if (name.includes("/")) yield `${Deno.cwd()}/${name}`;
  else {
    for (const directory of (Deno.env.get("PATH") ?? "").split(":")) {
      yield directory.startsWith("/")
        ? `${directory}/${name}`
        : `${Deno.cwd()}/${directory}/${name}`;
    }
  }
}

/** argv[0] is whatever the caller made it: only a file that is the running one counts. */
function isThisProgram(path: string): boolean {
  try {
    const named = Deno.statSync(path);
    const running = Deno.statSync("/proc/self/exe");
    return named.ino === running.ino && named.dev === running.dev;
  } catch {
    return false;
  }
}

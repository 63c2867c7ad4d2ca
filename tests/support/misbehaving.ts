/**
 * The program from its sources, with workers that hang or throw when they are told to: every thread of it looks, before it
 * waits for events, whether a file with its number is there.
 */

import { join } from "node:path";
import config from "../../deno.json" with { type: "json" };
import { readIfThere } from "./detached_process.ts";

const LIBC = new URL("../../src/os/libc.ts", import.meta.url).href;
const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

/** What a thread can be told. */
export type Misdeed = "hang" | "throw";

export class Misbehaving {
  readonly #folder: string;
  /** Starts it, as the executable would be. */
  readonly program: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.program = join(folder, "pg_doorman");
  }

  /** Writes what it is started by. */
  static make(): Misbehaving {
    const made = new Misbehaving(Deno.makeTempDirSync({ prefix: "misbehaving-" }));
    made.#write("libc.ts", made.#libc());
    const here = `file://${made.#folder}/`;
    made.#write(
      "imports.json",
      JSON.stringify({
        imports: { ...config.imports, [LIBC]: `${here}libc.ts` },
        scopes: { [here]: { [LIBC]: LIBC } },
      }),
    );
    made.#write(
      "pg_doorman",
      `#!/bin/sh\nexec '${Deno.execPath()}' run --no-config --no-lock -A --no-check ` +
        `--import-map='${made.#folder}/imports.json' '${MAIN}' "$@"\n`,
    );
    Deno.chmodSync(made.program, 0o755);
    return made;
  }

  #libc(): string {
    return `export * from ${JSON.stringify(LIBC)};
import * as libc from ${JSON.stringify(LIBC)};
const file = ${JSON.stringify(`${this.#folder}/thread-`)} +
  Deno.readLinkSync("/proc/thread-self").split("/").at(-1);
function told() {
  try { return Deno.readTextFileSync(file); } catch { return ""; }
}
function wait(...call) {
  if (told() === "hang") while (told() === "hang") Math.sqrt(call.length);
  else if (told() === "throw") throw new Error("told to");
  return libc.epollWait(...call);
}
${"export"} { wait as epollWait };
`;
  }

  #write(name: string, text: string): void {
    Deno.writeTextFileSync(join(this.#folder, name), text);
  }

  /** Worker threads of the process, oldest first. */
  workers(pid: number): number[] {
    return [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => Number(name)).filter(
      // One that is about to end may be gone before its name is read.
      (thread) => readIfThere(`/proc/${pid}/task/${thread}/comm`)?.startsWith("worker-"),
    ).sort((a, b) => a - b);
  }

  tell(thread: number, misdeed: Misdeed): void {
    this.#write(`thread-${thread}`, misdeed);
  }

  /** It may go on. */
  relent(thread: number): void {
    Deno.removeSync(join(this.#folder, `thread-${thread}`));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

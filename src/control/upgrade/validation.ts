/** Whether the program that now lies at its path accepts the configuration: it is asked, by `-t`. */

import type { Program } from "../service/program.ts";
import { within } from "../within.ts";

const VALIDATION_MS = 10_000;
/** What it started itself may hold the pipes open; what it said itself is there by then. */
const LAST_WORDS_MS = 200;
/** A program that says more is none of ours. */
const MOST_SAID_BYTES = 65_536;

/** What is checked, and how long that may take. */
export interface Validation {
  readonly program: Program;
  readonly configFile: string;
  readonly directory: string;
  readonly limitMs?: number;
}

/** What stands against it, if anything; a stopped check says so. */
export async function validate(
  { program, configFile, directory, limitMs = VALIDATION_MS }: Validation,
  stop: AbortSignal,
): Promise<string | undefined> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program.path, {
      args: [...program.prefix, "-t", configFile],
      cwd: directory,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    // For want of descriptors or memory, say: nothing has been asked.
    return `the new binary can't be asked about the configuration: ${program.path}: ${
      error instanceof Error ? error.message : String(error)
    }`;
  }
  const said = [new Said(child.stderr), new Said(child.stdout)];
  const end = await endOf(child, stop, limitMs);
  if (end !== undefined && !end.success) {
    await within(LAST_WORDS_MS, Promise.all(said.map(({ whole }) => whole)));
  }
  for (const one of said) one.close();
  if (end === undefined) {
    return stop.aborted
      ? "the check of the new binary was stopped"
      : `the new binary has said nothing about the configuration within ${limitMs} ms: killed`;
  }
  if (end.success) return undefined;
  const text = said.map(({ text }) => text).join("").trim();
  return `the new binary does not accept the configuration: exit status ${end.code}` +
    (text === "" ? "" : `\n${text}`);
}

/** How it ended, or nothing: it was told to. */
async function endOf(
  child: Deno.ChildProcess,
  stop: AbortSignal,
  limitMs: number,
): Promise<Deno.CommandStatus | undefined> {
  const stopped = Promise.withResolvers<undefined>();
  stop.addEventListener("abort", () => stopped.resolve(undefined), { once: true });
  if (stop.aborted) stopped.resolve(undefined);
  const end = await within(limitMs, Promise.race([child.status, stopped.promise]));
  if (end === undefined) {
    child.kill("SIGKILL");
    await child.status;
  }
  return end;
}

/** What comes out of a pipe, for as long as somebody wants to know. */
class Said {
  text = "";
  /** Resolves when there will be no more. */
  readonly whole: Promise<void>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(pipe: ReadableStream<Uint8Array>) {
    this.#reader = pipe.getReader();
    this.whole = this.#read();
  }

  close(): void {
    void this.#reader.cancel();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let bytes = 0;
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return;
      // The rest is read and forgotten, so that nobody waits for room in the pipe.
      if (bytes < MOST_SAID_BYTES) {
        this.text += decoder.decode(value.subarray(0, MOST_SAID_BYTES - bytes), { stream: true });
      }
      bytes += value.length;
    }
  }
}

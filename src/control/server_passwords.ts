/**
 * Passwords towards PostgreSQL that workers have fetched: from a file, anew for each that asks, or by a command, whose
 * output is kept for its time. Whoever asks for what is being fetched already waits for the same.
 *
 * What must hold: nothing that a file or a command holds out is put into a fault. A password that PostgreSQL refuses has
 * its command run again, but a moment after its last run: where the new one is refused, too, there is no loop.
 */

import { Line } from "../auth/line.ts";
import { mintToken } from "../auth/token_minting.ts";
import { MOST_PASSWORD_BYTES, readPassword } from "../config/server_password.ts";
import type { PasswordSource } from "../config/settings.ts";
import type { FoundPassword } from "../mail.ts";
import { fromStartDirectory } from "./configuration.ts";
import { within } from "./within.ts";

/** A file that takes longer is on a file system that hangs, or a pipe that nobody writes to. */
const FILE_MS = 5_000;
/** Between two runs of a command whose password is of no use, or which fails. */
const PAUSE_MS = 1_000;
/** What a command started itself may hold its pipe open; what it said is there by then. */
const LAST_WORDS_MS = 200;
/** Commands at once; the others wait. */
const MOST_COMMANDS = 8;
/** A line end more, and one byte by which too much is told. */
const MOST_READ_BYTES = MOST_PASSWORD_BYTES + 3;

/** What the command of a source said last, or that it runs. */
interface Entry {
  running: Promise<FoundPassword> | undefined;
  found: FoundPassword | undefined;
  endedMs: number;
  ttlMs: number;
}

export class ServerPasswords {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #commands = new Line({
    atOnce: MOST_COMMANDS,
    waiting: Infinity,
    waitingBytes: Infinity,
  });

  constructor(now: () => number = () => performance.now(), pause = sleep) {
    this.#now = now;
    this.#pause = pause;
  }

  /** The password of a source; another than `refused`, if there is one. Does not reject. */
  async get(source: PasswordSource, refused?: string): Promise<FoundPassword> {
    const key = JSON.stringify(source);
    const known = this.#entries.get(key);
    if (known?.running !== undefined) return await known.running;
    if (known?.found !== undefined && this.#holds(known, refused)) return known.found;
    const restMs = known === undefined ? 0 : known.endedMs + PAUSE_MS - this.#now();
    this.#forget();
    const isFile = source.from !== "command";
    const running = source.from === "command"
      ? this.#run(source, restMs)
      : source.from === "token"
      ? mint(source)
      : readFile(source.file);
    const ttlMs = source.from === "command" ? source.ttlMs : 0;
    const entry: Entry = { running, found: undefined, endedMs: 0, ttlMs };
    this.#entries.set(key, entry);
    const found = await running;
    if (isFile) this.#entries.delete(key);
    else Object.assign(entry, { running: undefined, found, endedMs: this.#now() });
    return found;
  }

  #holds({ found, endedMs, ttlMs }: Entry, refused: string | undefined): boolean {
    if (found === undefined || "password" in found && found.password === refused) return false;
    return this.#now() - endedMs < ("error" in found ? PAUSE_MS : ttlMs);
  }

  /** What is past its time, and of sources that are not in the configuration any more. */
  #forget(): void {
    for (const [key, { running, endedMs, ttlMs }] of this.#entries) {
      if (running === undefined && this.#now() - endedMs >= ttlMs) this.#entries.delete(key);
    }
  }

  async #run(
    { command, timeoutMs }: PasswordSource & { from: "command" },
    restMs: number,
  ): Promise<FoundPassword> {
    if (restMs > 0) await this.#pause(restMs);
    const leave = await new Promise<() => void>((begin) => void this.#commands.enter(0, begin));
    try {
      return await runCommand(command, timeoutMs);
    } finally {
      leave();
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function readFile(name: string): Promise<FoundPassword> {
  const reading = async (): Promise<FoundPassword> => {
    try {
      using file = await Deno.open(fromStartDirectory(name));
      const said = new Said(file.readable.getReader());
      await said.whole;
      return said.password;
    } catch (error) {
      return { error: whyNot(error) };
    }
  };
  return await within(FILE_MS, reading()) ?? { error: `nothing came within ${FILE_MS} ms` };
}

/** The key is read for each token. */
async function mint({ file, role }: PasswordSource & { from: "token" }): Promise<FoundPassword> {
  const minting = async (): Promise<FoundPassword> => {
    try {
      const pem = await Deno.readTextFile(fromStartDirectory(file));
      const minted = await mintToken(pem, role, Date.now());
      return "token" in minted ? { password: minted.token } : { error: minted.fault };
    } catch (error) {
      return { error: whyNot(error) };
    }
  };
  return await within(FILE_MS, minting()) ?? { error: `nothing came within ${FILE_MS} ms` };
}

async function runCommand(command: readonly string[], limitMs: number): Promise<FoundPassword> {
  const [program, ...args] = command;
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(fromStartDirectory(program!), {
      args,
      stdin: "null",
      stdout: "piped",
      // It may tell secrets, and nobody bounds it.
      stderr: "null",
    }).spawn();
  } catch (error) {
    return { error: whyNot(error) };
  }
  const said = new Said(child.stdout.getReader());
  try {
    const end = await within(limitMs, child.status);
    if (end === undefined) {
      child.kill("SIGKILL");
      await child.status;
      return { error: `it took longer than ${limitMs} ms: killed` };
    }
    if (end.signal !== null) return { error: `it was ended by ${end.signal}` };
    if (!end.success) return { error: `exit status ${end.code}` };
    await within(LAST_WORDS_MS, said.whole);
    return said.password;
  } finally {
    said.close();
  }
}

/** What a stream holds out, up to one byte more than is taken. */
class Said {
  /** Resolves when there is no more that counts. */
  readonly whole: Promise<void>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #bytes = new Uint8Array(MOST_READ_BYTES);
  #length = 0;

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#reader = reader;
    this.whole = this.#read();
    // Told to who waits for it.
    this.whole.catch(() => undefined);
  }

  get password(): FoundPassword {
    const read = readPassword(this.#bytes.subarray(0, this.#length));
    return "fault" in read ? { error: read.fault } : read;
  }

  close(): void {
    this.#reader.cancel().catch(() => undefined);
  }

  async #read(): Promise<void> {
    while (this.#length < MOST_READ_BYTES) {
      const { done, value } = await this.#reader.read();
      if (done) return;
      const part = value.subarray(0, MOST_READ_BYTES - this.#length);
      this.#bytes.set(part, this.#length);
      this.#length += part.length;
    }
  }
}

/** The system's word for it. Texts of errors have names of files in them, which clients must not see. */
function whyNot(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "it may not be opened";
  const { code } = error as { code?: string };
  return code ?? "it can't be opened";
}

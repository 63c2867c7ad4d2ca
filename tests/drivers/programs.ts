/**
 * Programs of ours, one for each driver: fifty clients with the driver's default settings who check every answer. They run
 * in transaction mode on few servers, by themselves (shared_statements_test.ts) and through binary upgrades
 * (tests/upgrade/drivers_test.ts). All use a table `drivers_shared` and make tables of their own, one for each client.
 *
 * `PG_DOORMAN_TEST_PYTHON` names a Python that has the drivers which Debian's lacks (psycopg 3.2 or later),
 * `PG_DOORMAN_TEST_PGJDBC` pgjdbc's jar file if it is not where Debian has it, `PG_DOORMAN_TEST_RUST` a folder where the
 * program for tokio-postgres is built and kept: that takes minutes the first time, and is not done without. A program that
 * cannot run here is told, and its tests are left out.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { say } from "../../tools/say.ts";
import type { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { available, PYTHON as DEBIAN_PYTHON, run } from "./environment.ts";
import { CLIENTS, runNodePostgres, runPostgresJs } from "./node_programs.ts";

/** Where a program connects to, and how long it asks. */
export interface ProgramOptions {
  port: number;
  database: string;
  /** With TLS, verified in full: the file of whom to trust. */
  ca?: string;
  /** It goes on for a few rounds and then until this file is there; absent: for a number of rounds. */
  file?: string;
}

/** A program of ours for a driver. */
export interface Program {
  name: string;
  /** What the names of its clients' tables begin with. */
  tables: string;
  /** False: this machine lacks what it needs. */
  ready: boolean;
  /** Resolves when all of its clients have been answered rightly. */
  run(options: ProgramOptions): Promise<void>;
}

const PYTHON = Deno.env.get("PG_DOORMAN_TEST_PYTHON") ?? DEBIAN_PYTHON;
const PGJDBC = Deno.env.get("PG_DOORMAN_TEST_PGJDBC") ?? "/usr/share/java/postgresql.jar";
const RUST = Deno.env.get("PG_DOORMAN_TEST_RUST");
/** psycopg 3.1 takes a statement for prepared that an aborted pipeline was to prepare, on direct connections, too. */
const SOUND: Record<string, string> = {
  psycopg: "; assert psycopg.__version__ >= '3.2'",
};

function urlOf({ port, database, ca }: ProgramOptions): string {
  const tls = ca === undefined ? "" : `?sslmode=verify-full&sslrootcert=${ca}`;
  return `postgres://postgres:postgres@127.0.0.1:${port}/${database}${tls}`;
}

/** The same for drivers of Node.js. */
function optionsOf(options: ProgramOptions): { url: string; ssl?: { ca: string } } {
  const { ca, ...rest } = options;
  const url = urlOf(rest);
  return ca === undefined ? { url } : { url, ssl: { ca: Deno.readTextFileSync(ca) } };
}

function isOver({ file }: ProgramOptions): (() => boolean) | undefined {
  return file === undefined ? undefined : () => isThere(file);
}

function isThere(file: string): boolean {
  try {
    Deno.statSync(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function rightly(command: string, args: string[], { file }: ProgramOptions): Promise<void> {
  const said = await run(command, [...args, ...(file === undefined ? [] : [file])]);
  assert.equal(said, "all right\n");
}

/** Where programs are compiled to, once a process. */
let made: Promise<string> | undefined;

function makingFolder(): Promise<string> {
  return made ??= makeTestFolder("programs");
}

/** Removes what was compiled; for the last step of a test file. */
export async function removeCompiled(): Promise<void> {
  if (made !== undefined) await removeFolder(await made);
  made = undefined;
}

async function compiled(name: string, command: string, ...args: string[]): Promise<string> {
  const path = join(await makingFolder(), name);
  if (!isThere(path)) await run(command, args.map((arg) => arg.replace("{out}", path)));
  return path;
}

/** Cargo is there, its folder is named, and the program can be built: what it needs may have to be fetched. */
async function rustReady(): Promise<boolean> {
  if (RUST === undefined) {
    say("left out: tokio-postgres, for want of PG_DOORMAN_TEST_RUST");
    return false;
  }
  return await available("cargo", cargo("build"));
}

function cargo(command: string): string[] {
  return [
    ...[command, "-q", "--locked", "--target-dir", RUST!],
    ...["--manifest-path", new URL("tokio/Cargo.toml", import.meta.url).pathname],
  ];
}

async function libpqFlags(): Promise<string[]> {
  return (await run("pkg-config", ["--cflags", "--libs", "libpq"])).trim().split(/\s+/);
}

/** The table that all clients share. */
export async function makeSharedTable(postgres: Postgres): Promise<void> {
  await postgres.query(
    "CREATE TABLE drivers_shared (a int PRIMARY KEY, b int); " +
      `INSERT INTO drivers_shared SELECT n, 0 FROM generate_series(0, ${CLIENTS - 1}) n`,
  );
}

/** Those that this machine can run; what it lacks for others is told. */
export async function readyPrograms(): Promise<Program[]> {
  const programs = await findPrograms();
  for (const { name, ready } of programs) {
    if (!ready) say(`this machine lacks what ${name} needs: left out`);
  }
  return programs.filter(({ ready }) => ready);
}

/** Waits until all of them have ended; throws if one has told of something wrong, with its name. */
export async function endOfAll(
  runs: readonly { program: Pick<Program, "name">; result: Promise<void> }[],
): Promise<void> {
  const ends = await Promise.allSettled(runs.map(({ result }) => result));
  const wrong = ends.flatMap((end, i) =>
    end.status === "fulfilled" ? [] : [new Error(runs[i]!.program.name, { cause: end.reason })]
  );
  assert.deepEqual(wrong, []);
}

/** All programs, and whether this machine can run them. */
export async function findPrograms(): Promise<Program[]> {
  const python = await Promise.all(
    ["asyncpg", "psycopg", "psycopg2"].map(async (driver): Promise<Program> => ({
      name: driver,
      tables: driver,
      ready: await available(PYTHON, ["-c", `import ${driver}${SOUND[driver] ?? ""}`]),
      run: (options) => rightly(PYTHON, ["shared_statements.py", urlOf(options), driver], options),
    })),
  );
  return [
    ...python,
    {
      name: "pgx in all of its query modes",
      tables: "pgx",
      ready: await available("go", ["version"]),
      async run(options) {
        const path = await compiled("pgx", "go", "build", "-C", "pgx", "-o", "{out}", ".");
        await rightly(path, [urlOf(options)], options);
      },
    },
    {
      name: "pgjdbc",
      tables: "jdbc",
      ready: await available("java", ["-version"]) && await available("test", ["-r", PGJDBC]),
      async run(options) {
        const { port, database, ca } = options;
        const tls = ca === undefined ? "" : `&sslmode=verify-full&sslrootcert=${ca}`;
        const url =
          `jdbc:postgresql://127.0.0.1:${port}/${database}?user=postgres&password=postgres${tls}`;
        await rightly("java", ["-cp", PGJDBC, "Jdbc.java", url], options);
      },
    },
    {
      name: "libpq in pipeline mode",
      tables: "libpq",
      ready: await available("cc", ["--version"]) &&
        await available("pkg-config", ["--exists", "libpq"]),
      async run(options) {
        const flags = ["-O1", "-pthread", "-o", "{out}", "pipeline.c", ...await libpqFlags()];
        await rightly(await compiled("pipeline", "cc", ...flags), [urlOf(options)], options);
      },
    },
    {
      name: "tokio-postgres with rustls",
      tables: "tokio",
      ready: await rustReady(),
      async run(options) {
        const { port, database, ca = "-" } = options;
        const path = join(RUST!, "debug", "shared_statements");
        await rightly(path, [String(port), database, ca], options);
      },
    },
    {
      name: "node-postgres",
      tables: "node_pg",
      ready: true,
      run: (options) => runNodePostgres(optionsOf(options), isOver(options)),
    },
    {
      name: "postgres.js",
      tables: "postgres_js",
      ready: true,
      run: (options) => runPostgresJs(optionsOf(options), isOver(options)),
    },
  ];
}

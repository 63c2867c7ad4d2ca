/**
 * Standard error that takes nothing: full, closed, without a reader, or with one that does not read. Lines are lost and
 * counted; clients, upgrades and the end go on as if nothing had happened.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Doorman, poolOf } from "../support/doorman.ts";
import { readIfThere, waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";

let postgres: Postgres;
let folder: string;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  folder = await makeTestFolder("pipe");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** A named pipe with its two ends, which the test holds. */
class Pipe implements AsyncDisposable {
  readonly path: string;
  readonly #end: Deno.FsFile;
  #open = true;
  #reader: Deno.ChildProcess | undefined;

  private constructor(path: string) {
    this.path = path;
    // Opened for both, so that neither end waits for the other.
    this.#end = Deno.openSync(path, { read: true, write: true });
  }

  static async make(): Promise<Pipe> {
    const path = join(folder, crypto.randomUUID());
    const { success } = await new Deno.Command("mkfifo", { args: [path] }).output();
    assert.ok(success);
    return new Pipe(path);
  }

  /** From here on what comes is read into a file. */
  follow(): void {
    const script = 'exec cat <"$1" >"$1.read"';
    this.#reader = new Deno.Command("sh", { args: ["-c", script, "sh", this.path] }).spawn();
  }

  /** What was read so far. */
  get log(): string {
    return readIfThere(`${this.path}.read`) ?? "";
  }

  /** Lets go of both ends. */
  async close(): Promise<void> {
    if (this.#open) this.#end.close();
    this.#open = false;
    // Before it is waited for: without a writer its input has come to the end.
    await this.#reader?.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function start(stderr: string, args: string[] = []): Promise<Doorman> {
  return await Doorman.start({
    args: ["-l", "debug", ...args],
    launcher: ["sh", "-c", `exec "$@" 2>${stderr}`, "sh"],
    config: { pools: { app: poolOf(postgres) } },
  });
}

async function login(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

/** Makes the log some 3 MB longer, which is more than a pipe and what waits for it have room for. */
async function writeMuch(client: WireClient): Promise<void> {
  for (let i = 0; i < 1200; i++) await client.query("SELECT repeat('x', 2500)::int");
}

async function works(doorman: Doorman): Promise<void> {
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "1");
  await client.terminate();
}

for (const stderr of ["/dev/full", "&-"]) {
  Deno.test(`2>${stderr}: clients are served, and SIGTERM is the end`, async () => {
    await using doorman = await start(stderr);
    using client = await login(doorman);
    await client.query("SELECT 1/0");
    await works(doorman);
    assert.equal(await client.value("SELECT 2"), "2");
    assert.equal(await doorman.stop(), 0);
  });
}

Deno.test("a reader of the log that goes away takes nobody with it", async () => {
  await using pipe = await Pipe.make();
  await using doorman = await start(pipe.path);
  using client = await login(doorman);
  await pipe.close();
  await writeMuch(client);
  await works(doorman);
  assert.equal(await doorman.stop(), 0);
});

Deno.test("a reader of the log that does not read holds up nobody, neither at work nor at the end", async () => {
  await using pipe = await Pipe.make();
  await using doorman = await start(pipe.path);
  using client = await login(doorman);
  await writeMuch(client);
  await works(doorman);
  assert.equal(await client.value("SELECT 2"), "2");
  assert.equal(await doorman.stop(), 0);
});

Deno.test("when the log can be written again it says how many lines were lost, and all others are whole", async () => {
  await using pipe = await Pipe.make();
  await using doorman = await start(pipe.path);
  using client = await login(doorman);
  await writeMuch(client);
  pipe.follow();
  const said = await waitFor(
    "the line about lost lines",
    10_000,
    () => /ERROR .*: (\d+) lines of the log were lost: .*\(EAGAIN\)/.exec(pipe.log) ?? undefined,
  );
  await client.query("SELECT 1/0 AS afterwards");
  await waitFor(
    "a line of afterwards",
    5000,
    () => /division by zero.*\n/.exec(pipe.log) ?? undefined,
  );
  const lines = pipe.log.trimEnd().split("\n");
  for (const line of lines) assert.match(line, /^\d{4}-\S+Z +[A-Z]+ \S+:\d+: .*$/);
  const written = lines.filter((line) => /invalid input syntax/.test(line)).length;
  // Statistics, for one, come at their own time, and may be among the lost.
  const all = written + Number(said[1]);
  assert.ok(all >= 1200 && all < 1210, `${written} lines written, ${said[1]} lost`);
  await client.terminate();
});

Deno.test("a binary upgrade goes through while nobody reads the log", async () => {
  await using pipe = await Pipe.make();
  await using doorman = await start(pipe.path);
  using client = await login(doorman);
  await writeMuch(client);
  doorman.signal("SIGUSR2");
  assert.equal(await doorman.waitForExit(20_000), 0);
  assert.equal(await client.value("SELECT 3"), "3");
  await works(doorman);
});

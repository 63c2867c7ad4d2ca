/** `log_file`: the log goes on in a new file when the old one is moved away, and through a binary upgrade. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { readIfThere, waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function config(logFile: string): Config {
  return { general: { log_file: logFile }, pools: { app: poolOf(postgres) } };
}

async function lineIn(file: string, pattern: RegExp): Promise<void> {
  await waitFor(
    `${pattern} in ${file}`,
    10_000,
    () => pattern.test(readIfThere(file) ?? "") || undefined,
  );
}

Deno.test("log_file: SIGHUP opens it anew, and what was written before stays where it is", async () => {
  await using doorman = await Doorman.create({ config: "" });
  const file = join(doorman.dir, "own.log");
  await Deno.writeTextFile(file, "of before\n");
  await doorman.writeConfig(config("own.log"));
  await doorman.start();
  await lineIn(file, /^of before\n.*Accepting connections/s);
  assert.equal(doorman.logs, "", "nothing comes out on standard error");
  await Deno.rename(file, `${file}.1`);
  doorman.signal("SIGHUP");
  await lineIn(file, /configuration reloaded/);
  assert.equal(Deno.statSync(file).mode! & 0o777, 0o640);
  assert.match(Deno.readTextFileSync(`${file}.1`), /Accepting connections/);
  assert.doesNotMatch(Deno.readTextFileSync(`${file}.1`), /reloaded/);
  await doorman.stop();
  await lineIn(file, /SIGTERM received/);
});

Deno.test("log_file: a configuration that is rejected opens it anew, too", async () => {
  await using doorman = await Doorman.create({ config: "" });
  const file = join(doorman.dir, "own.log");
  await doorman.writeConfig(config(file));
  await doorman.start();
  await lineIn(file, /Accepting connections/);
  await Deno.rename(file, `${file}.1`);
  await doorman.writeConfig("[general]\nport = none\n");
  doorman.signal("SIGHUP");
  await lineIn(file, /configuration rejected/);
});

Deno.test("log_file: one that can't be opened ends the start; later the log goes on where it was", async () => {
  await using wrong = await Doorman.create({ config: config("/nowhere/own.log"), allowExit: [1] });
  await assert.rejects(wrong.start(), /log_file \/nowhere\/own.log: .*No such file/i);
  await using doorman = await Doorman.create({ config: "" });
  const folder = join(doorman.dir, "logs");
  await Deno.mkdir(folder);
  await doorman.writeConfig(config(join(folder, "own.log")));
  await doorman.start();
  await lineIn(join(folder, "own.log"), /Accepting connections/);
  const moved = `${folder}.moved`;
  await Deno.rename(folder, moved);
  doorman.signal("SIGHUP");
  await lineIn(
    join(moved, "own.log"),
    /log goes on in the file that it had.*configuration reloaded/s,
  );
});

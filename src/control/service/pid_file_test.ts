import assert from "node:assert/strict";
import { PidFile, PidFileError, removeIfThere } from "./pid_file.ts";

async function inFolder(test: (path: string, folder: string) => Promise<void> | void) {
  const folder = await Deno.makeTempDir({ prefix: "pid_file_" });
  try {
    await test(`${folder}/doorman.pid`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A number that no process has. */
async function endedPid(): Promise<number> {
  const child = new Deno.Command("true").spawn();
  await child.status;
  return child.pid;
}

Deno.test("pid file: names the process, alone in its folder, and goes with it", () =>
  inFolder((path, folder) => {
    const file = PidFile.claim(path);
    assert.equal(Deno.readTextFileSync(path), `${Deno.pid}\n`);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["doorman.pid"]);
    file.remove();
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    file.remove();
  }));

Deno.test("pid file: one of a process of this program that runs is refused and left alone", () =>
  inFolder((path, folder) => {
    Deno.writeTextFileSync(path, `${Deno.pid}\n`);
    assert.throws(() => PidFile.claim(path), (error) => {
      assert.ok(error instanceof PidFileError);
      assert.match(error.message, new RegExp(`belongs to process ${Deno.pid}, which runs`));
      return true;
    });
    assert.equal(Deno.readTextFileSync(path), `${Deno.pid}\n`);
    assert.equal([...Deno.readDirSync(folder)].length, 1);
  }));

Deno.test("pid file: what a process has left that is gone, or is another program, is taken over", () =>
  inFolder(async (path) => {
    // Process 1 is another program in every world that tests run in.
    for (const left of [`${await endedPid()}\n`, "1\n", "", "no number", "-5"]) {
      Deno.writeTextFileSync(path, left);
      PidFile.claim(path).remove();
    }
  }));

Deno.test("pid file: a successor's file is not removed by the one before", () =>
  inFolder(async (path) => {
    const file = PidFile.claim(path);
    const other = `${await endedPid()}\n`;
    Deno.writeTextFileSync(path, other);
    file.remove();
    assert.equal(Deno.readTextFileSync(path), other);
    const successor = PidFile.takeOver(path);
    assert.equal(Deno.readTextFileSync(path), `${Deno.pid}\n`);
    successor.remove();
    removeIfThere(path);
  }));

Deno.test("pid file: where it can't be written the error says so", () =>
  inFolder((path) => {
    assert.throws(
      () => PidFile.claim(`${path}/not/there`),
      /daemon_pid_file: write .*No such file/,
    );
  }));

Deno.test("pid file: links, pipes and folders under its names lead nowhere", () =>
  inFolder((path, folder) => {
    const theirs = `${folder}/theirs`;
    Deno.writeTextFileSync(theirs, "1\n");
    // The name of the unfinished file can be guessed.
    Deno.symlinkSync(theirs, `${path}.${Deno.pid}`);
    PidFile.claim(path).remove();
    Deno.symlinkSync(theirs, `${path}.${Deno.pid}`);
    PidFile.takeOver(path).remove();
    assert.equal(Deno.readTextFileSync(theirs), "1\n");
    Deno.symlinkSync(theirs, path);
    assert.throws(() => PidFile.claim(path), /daemon_pid_file: .* it is a symbolic link/);
    assert.equal(Deno.readTextFileSync(theirs), "1\n");
    Deno.removeSync(path);
    new Deno.Command("mkfifo", { args: [path] }).outputSync();
    assert.throws(() => PidFile.claim(path), /daemon_pid_file: .* it is no file/);
    Deno.removeSync(path);
    Deno.mkdirSync(path);
    assert.throws(() => PidFile.claim(path), /daemon_pid_file: .* it is no file/);
  }));

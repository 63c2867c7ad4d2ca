/**
 * The limit of open files: who gets in where it is too low for all, what is said of it, and whose descriptors go where.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, doormanExecutable, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import { removeCopies, Service } from "../upgrade/support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function configOf(general: Config = {}): Config {
  return { general, pools: { app: poolOf(postgres) } };
}

/** The soft and the hard limit of open files of a process. */
function limitsOf(pid: number): string[] {
  const limits = Deno.readTextFileSync(`/proc/${pid}/limits`);
  return /^Max open files +(\d+) +(\d+)/m.exec(limits)!.slice(1);
}

function nameOf(pid: number, fd: string): string {
  try {
    return Deno.readLinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    // It was closed in this moment.
    return "";
  }
}

function openFiles(pid: number): string[] {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => nameOf(pid, name));
}

Deno.test("more clients than descriptors: those who get in are served, the others are told at once", async () => {
  await using doorman = await Doorman.start({
    config: configOf({ worker_threads: 2 }),
    launcher: ["prlimit", "--nofile=256"],
    allowLog: [/the limit of open files is 256/, /made room/],
  });
  const users: WireClient[] = [];
  const told = new Set<string>();
  // All at once, and PostgreSQL has not been asked for any connection yet.
  await Promise.all(Array.from({ length: 400 }, async () => {
    try {
      const user = await WireClient.login({
        port: doorman.port,
        user: "postgres",
        database: "app",
      });
      users.push(user);
    } catch (error) {
      assert.ok(error instanceof Refused, String(error));
      told.add(`${error.fields.S} ${error.fields.C}`);
    }
  }));
  assert.deepEqual([...told], ["FATAL 53300"]);
  assert.ok(users.length > 140, `${users.length} got in`);
  for (const user of users) {
    assert.equal(await user.value("SELECT 1"), "1");
    user.close();
  }
  assert.match(doorman.logs, /WARN .*open files is 256: room for \d+ clients beside 11 server/);
  assert.doesNotMatch(doorman.logs, /too many open files/);
});

Deno.test("the limit of open files is raised as far as it goes", async () => {
  await using doorman = await Doorman.start({
    config: configOf({ max_connections: 100 }),
    launcher: ["prlimit", "--nofile=100:3000"],
  });
  assert.deepEqual(limitsOf(doorman.pid), ["3000", "3000"]);
  assert.doesNotMatch(doorman.logs, /limit of open files/);
});

Deno.test("where descriptors do not suffice for the workers a line says so, and the status is 71", async () => {
  await using doorman = await Doorman.create({ config: configOf({ worker_threads: 4 }) });
  for (const limit of [20, 30, 40, 60]) {
    const { code, stderr } = await new Deno.Command("prlimit", {
      args: [`--nofile=${limit}`, await doormanExecutable(), doorman.configPath],
    }).output();
    const said = new TextDecoder().decode(stderr);
    assert.equal(code, 71, said);
    const lines = said.trimEnd().split("\n").filter((line) => !/ INFO /.test(line));
    assert.equal(lines.length, 1, said);
    assert.match(
      lines[0]!,
      new RegExp(`^pg_doorman: the limit of open files is ${limit}, 4 workers need at least `),
    );
  }
});

Deno.test("a worker takes six descriptors", async () => {
  const counts: number[] = [];
  for (const workers of [1, 5]) {
    await using doorman = await Doorman.start({
      config: configOf({ worker_threads: workers }),
      args: ["-l", "debug"],
    });
    await doorman.waitForLog(/Accepting connections/);
    counts.push(doorman.fdCount());
    // Linux before 5.18 numbers no rings.
    const rings = openFiles(doorman.pid).filter((name) => name.includes("io_uring")).length;
    counts[counts.length - 1]! -= rings;
  }
  assert.equal((counts[1]! - counts[0]!) / 4, 6);
});

Deno.test("what the first process was started with goes to no successor", async () => {
  await using service = await Service.start({
    config: configOf(),
    call: ["bash", "-c", 'exec 7< /etc/hosts; exec "$@"', "bash", "{path}"],
  });
  // A lock of a wrapper's stays held.
  assert.ok(openFiles(service.pid).includes("/etc/hosts"));
  for (let i = 0; i < 2; i++) {
    await service.upgrade();
    assert.ok(!openFiles(service.pid).includes("/etc/hosts"));
  }
  using client = await service.login();
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("an upgrade for which there are no descriptors says so", async () => {
  await using service = await Service.start({
    config: configOf(),
    allowLog: [/BINARY UPGRADE ABORTED/],
  });
  const limit = (files: number) =>
    new Deno.Command("prlimit", { args: [`--pid=${service.pid}`, `--nofile=${files}:20000`] })
      .output();
  // All numbers below are taken, and what is open stays so.
  await limit(8);
  const said = await service.failedUpgrade();
  assert.match(said, /ABORTED: the new binary can't be asked .*[Tt]oo many open files/);
  assert.doesNotMatch(said, /does not accept/);
  await limit(20000);
  await service.upgrade();
});

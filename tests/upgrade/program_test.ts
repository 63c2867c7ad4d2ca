/** Which file an upgrade starts, how, and what happens when that file or the configuration is no good. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function config() {
  return { pools: { app: poolOf(postgres) } };
}

function programOf(pid: number): string {
  return Deno.readLinkSync(`/proc/${pid}/exe`);
}

function commandOf(pid: number): string[] {
  return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
}

Deno.test("upgrade: the file that was renamed over the running program is started, with the options as given", async () => {
  await using service = await Service.start({
    config: config(),
    args: ["--log-level", "debug", "{dir}/pg_doorman.toml"],
  });
  using client = await service.login();
  const backend = await client.value("SELECT pg_backend_pid()");
  const first = service.pid;
  const command = commandOf(first);
  for (let i = 0; i < 2; i++) {
    const before = service.pid;
    const { clients, servers } = await service.upgrade();
    assert.deepEqual([clients, servers], [1, 1]);
    assert.notEqual(service.pid, before);
    assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
    // Started by the same name, which is now another file.
    assert.equal(programOf(service.pid), service.program);
    assert.deepEqual(commandOf(service.pid), command);
  }
  const environment = Deno.readTextFileSync(`/proc/${service.pid}/environ`);
  assert.ok(environment.includes("PG_DOORMAN_UPGRADE="), "the first environment tells");
  assert.match(service.logs, /validation ok/);
});

Deno.test("upgrade: a link as the program's name is followed anew", async () => {
  await using service = await Service.create({ config: config(), call: ["{dir}/current"] });
  const versions = ["1", "2"].map((name) => join(service.dir, `pg_doorman-${name}`));
  for (const version of versions) await service.replaceProgram(version);
  const link = join(service.dir, "current");
  await Deno.symlink(versions[0]!, link);
  await service.start();
  assert.equal(programOf(service.pid), versions[0]);
  await service.upgrade(async () => {
    await Deno.symlink(versions[1]!, `${link}.new`);
    await Deno.rename(`${link}.new`, link);
  });
  assert.equal(programOf(service.pid), versions[1]);
});

Deno.test("upgrade: a relative path and a relative configuration count from where it was started", async () => {
  await using service = await Service.start({
    config: config(),
    call: ["./bin/pg_doorman"],
    args: ["pg_doorman.toml"],
  });
  using client = await service.login();
  for (let i = 0; i < 2; i++) await service.upgrade();
  assert.equal(programOf(service.pid), service.program);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: found by PATH, it is the same file although PATH has another one by now", async () => {
  await using service = await Service.create({
    config: config(),
    call: ["pg_doorman"],
    env: { PATH: "{dir}/first:{dir}/bin:/usr/bin:/bin" },
  });
  await Deno.mkdir(join(service.dir, "first"));
  await service.start();
  await Deno.writeTextFile(join(service.dir, "first", "pg_doorman"), "#!/bin/sh\nexit 1\n", {
    mode: 0o755,
  });
  for (let i = 0; i < 2; i++) await service.upgrade();
  assert.equal(programOf(service.pid), service.program);
});

Deno.test("upgrade: called by a name that is no file's, it finds itself, renamed over or not", async () => {
  await using service = await Service.start({
    config: config(),
    call: ["bash", "-c", 'exec -a something "$@"', "bash", "{path}"],
  });
  for (let i = 0; i < 2; i++) await service.upgrade();
  assert.equal(programOf(service.pid), service.program);
});

Deno.test("upgrade: a configuration that is no good stops it before anything is started", async () => {
  await using service = await Service.start({
    config: config(),
    allowLog: [/BINARY UPGRADE ABORTED/],
  });
  using client = await service.login();
  await client.query("START TRANSACTION");
  const good = await Deno.readTextFile(service.configPath);
  await service.writeConfigText(good.replace("pool_size = 5", 'pool_size = "many"'));
  const said = await service.failedUpgrade();
  assert.match(said, /does not accept the configuration: exit status \d+/);
  assert.match(said, /pool_size/);
  assert.doesNotMatch(said, /process \d+ started/);
  assert.equal(await client.value("SELECT 1"), "1");
  using another = await service.login();
  assert.equal(await another.value("SELECT 1"), "1");
  await service.writeConfigText(good);
  await service.upgrade();
  assert.equal((await client.query("COMMIT")).at(-1)!.body[0], 0x49);
});

Deno.test("upgrade: a program that is gone, is none, refuses, or crashes changes nothing", async () => {
  await using service = await Service.start({
    config: config(),
    allowLog: [/BINARY UPGRADE ABORTED/],
  });
  using client = await service.login();
  await client.query("START TRANSACTION");
  const descriptors = [...service.descriptors().values()];
  await Deno.remove(service.program);
  assert.match(await service.failedUpgrade(), /No such file/);
  await service.replaceByScript("this is no program\n");
  assert.match(await service.failedUpgrade(), /ABORTED/);
  await service.replaceByScript('#!/bin/sh\necho "not this one" >&2; exit 3\n');
  assert.match(await service.failedUpgrade(), /exit status 3[^]*not this one/);
  // Fine with -t, and gone when it is started.
  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] || kill -SEGV $$\n');
  assert.match(
    await service.failedUpgrade(),
    /process \d+ ended before it was ready \(status 139\)/,
  );
  assert.deepEqual(service.children(), []);
  // The runtime has some for a moment only, when it starts a process: what counts is that no other one stays.
  let more: string[] = [];
  await waitFor("the descriptors of before", 2000, () => {
    const before = [...descriptors];
    more = [...service.descriptors().values()].filter((what) => {
      const at = before.indexOf(what);
      if (at >= 0) before.splice(at, 1);
      return at < 0;
    });
    return more.length === 0 || undefined;
  }).catch((error) => assert.fail(`${error.message}: ${more.join(", ")}`));
  assert.equal(await client.value("SELECT 1"), "1");
  await service.upgrade();
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: a new process that is never ready is killed and reaped", async () => {
  await using service = await Service.start({
    config: config(),
    allowLog: [/BINARY UPGRADE ABORTED/],
  });
  using client = await service.login();
  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] || exec sleep 60\n');
  const failed = service.failedUpgrade();
  await service.waitForLog(/process \d+ started/);
  // Served meanwhile, and a second request is refused.
  for (let i = 0; i < 5; i++) {
    using another = await service.login();
    assert.equal(await another.value("SELECT 1"), "1");
  }
  service.allowLog(/SIGUSR2 received: refused, a binary upgrade is under way \(starting\)/);
  service.signal("SIGUSR2");
  await service.waitForLog(/refused, a binary upgrade is under way \(starting\)/);
  await failed;
  assert.deepEqual(service.children(), []);
  assert.equal(await client.value("SELECT 1"), "1");
  await service.upgrade();
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: the new process gets the listening sockets, the frame socket, and no other descriptor", async () => {
  await using service = await Service.start({
    config: { general: { unix_socket_dir: "{dir}" }, ...config() },
    allowLog: [/BINARY UPGRADE ABORTED/],
    // What whoever runs the tests has left open would be passed on, too.
    call: [
      "bash",
      "-c",
      'for fd in /proc/$$/fd/*; do n=${fd##*/}; [ $n -gt 2 ] && eval "exec $n>&-"; done; exec "$@"',
      "bash",
      "{path}",
    ],
  });
  using client = await service.login();
  await client.query("START TRANSACTION");
  await service.replaceByScript(
    '#!/bin/sh\n[ "$1" = -t ] && exit 0\n' +
      `printenv PG_DOORMAN_UPGRADE > ${service.dir}/told\n` +
      `exec find /proc/self/fd -mindepth 1 -fprintf ${service.dir}/open '%f %l\\n'\n`,
  );
  await service.failedUpgrade();
  const told = JSON.parse(await Deno.readTextFile(join(service.dir, "told")));
  const meant = new Set(
    [0, 1, 2, told.socket, ...told.listeners.map(({ fd }: { fd: number }) => fd)],
  );
  assert.equal(meant.size, 6);
  const open = (await Deno.readTextFile(join(service.dir, "open"))).trim().split("\n");
  const unmeant = open.filter((line) => {
    const [fd, what] = line.split(" ");
    // What the lister itself has open.
    return !meant.has(Number(fd)) && !what!.startsWith(service.dir) && !what!.startsWith("/proc/");
  });
  assert.deepEqual(unmeant, []);
  await service.upgrade();
  // And the real one lets go of the frame socket when it is through.
  const fresh = service.descriptors().size;
  await service.upgrade();
  assert.ok(
    service.descriptors().size <= fresh + 1,
    `${service.descriptors().size} after ${fresh}`,
  );
});

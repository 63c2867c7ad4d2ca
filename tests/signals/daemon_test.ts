/** `--daemon`: the launcher's answer, what the daemon leaves behind of its origin, and its PID file. */

import assert from "node:assert/strict";
import { isRunning, readIfThere, waitFor } from "../support/detached_process.ts";
import { doormanExecutable, isListening } from "../support/doorman.ts";
import { freePort } from "../support/ports.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";

/** A folder with a config for a daemon, which is killed with it. */
class Place {
  readonly dir: string;
  readonly port: number;

  private constructor(dir: string, port: number) {
    this.dir = dir;
    this.port = port;
  }

  static async make(general = ""): Promise<Place> {
    const place = new Place(await makeTestFolder("daemon"), freePort());
    place.write(general);
    return place;
  }

  write(general = ""): void {
    Deno.writeTextFileSync(
      `${this.dir}/doorman.toml`,
      `[general]\nhost = "127.0.0.1"\nport = ${this.port}\nworker_threads = 2\n` +
        `admin_username = "admin"\nadmin_password = "admin-secret"\n` +
        `daemon_pid_file = "doorman.pid"\n${general}\n[pools.app]\nserver_host = "127.0.0.1"\n` +
        `server_port = 1\nusers = [{ username = "u", password = "p", pool_size = 1 }]\n`,
    );
  }

  /** Runs the launcher in the folder, with a relative name of the config. */
  async launch(
    env: Record<string, string> = {},
    launcher: string[] = [],
  ): Promise<{ code: number; stderr: string }> {
    const { code, stderr } = await new Deno.Command("env", {
      args: [
        ...["-u", "NOTIFY_SOCKET", "-u", "DAEMON"],
        ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
        ...[...launcher, await doormanExecutable(), "--daemon", "doorman.toml"],
      ],
      cwd: this.dir,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  }

  get pidFile(): string {
    return `${this.dir}/doorman.pid`;
  }

  get pid(): number {
    return Number(readIfThere(this.pidFile) ?? 0);
  }

  async stop(): Promise<void> {
    const { pid } = this;
    Deno.kill(pid, "SIGTERM");
    await waitFor("end of the daemon", 3000, () => !isRunning(pid) || undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid } = this;
    if (pid > 0 && isRunning(pid)) Deno.kill(pid, "SIGKILL");
    await removeFolder(this.dir);
  }
}

function statusField(pid: number, name: string): string {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)![1]!;
}

Deno.test("--daemon: the launcher returns 0 when the daemon serves", async () => {
  await using place = await Place.make();
  const { code, stderr } = await place.launch();
  assert.equal(code, 0, stderr);
  assert.ok(isListening(place.port), "at once");
  assert.match(stderr, /Accepting connections/, "the log of the start comes out at the launcher");
  assert.ok(isRunning(place.pid));
  using admin = await WireClient.login({
    port: place.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  assert.match((await admin.value("SHOW VERSION"))!, /PgDoorman|\d/);
});

Deno.test("--daemon: session, working directory, umask, standard streams and descriptors of its own", async () => {
  await using place = await Place.make();
  assert.equal((await place.launch()).code, 0);
  const { pid } = place;
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  assert.equal(Number(fields[3]), pid, "session");
  assert.equal(Number(fields[4]), 0, "no terminal");
  assert.equal(Deno.readLinkSync(`/proc/${pid}/cwd`), "/");
  assert.equal(statusField(pid, "Umask"), "0027");
  for (const fd of [0, 1, 2]) {
    assert.equal(Deno.readLinkSync(`/proc/${pid}/fd/${fd}`), "/dev/null", `descriptor ${fd}`);
  }
  assert.equal(Deno.statSync(place.pidFile).mode! & 0o777, 0o640);
});

Deno.test("--daemon: SIGHUP finds the config that was named relative to the launcher's directory", async () => {
  await using place = await Place.make();
  assert.equal((await place.launch()).code, 0);
  place.write('query_wait_timeout = "4321ms"');
  Deno.kill(place.pid, "SIGHUP");
  using admin = await WireClient.login({
    port: place.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  await waitFor("the new value", 3000, async () => {
    const rows = await admin.rows("SHOW CONFIG");
    const row = rows.find(([key]) => key === "query_wait_timeout")!;
    return /^(4321|4321ms)$/.test(row[1]!) || undefined;
  });
});

Deno.test("--daemon: the launcher returns the daemon's failure with its error and status", async () => {
  await using place = await Place.make();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: place.port });
  try {
    const { code, stderr } = await place.launch();
    assert.equal(code, 1);
    assert.match(stderr, /listen on 127\.0\.0\.1:\d+: Address already in use/);
    assert.equal(readIfThere(place.pidFile), undefined, "nothing is left");
  } finally {
    taken.close();
  }
  Deno.writeTextFileSync(`${place.dir}/doorman.toml`, "[general]\nport = 0\n");
  const wrong = await place.launch();
  assert.equal(wrong.code, 78);
  assert.match(wrong.stderr, /Config parse error/);
});

Deno.test("--daemon: PID file: a live one is refused", async () => {
  await using place = await Place.make();
  assert.equal((await place.launch()).code, 0);
  const { pid } = place;
  const { code, stderr } = await place.launch();
  assert.equal(code, 71);
  assert.match(stderr, new RegExp(`belongs to process ${pid}, which runs`));
  assert.equal(place.pid, pid);
  assert.ok(isRunning(pid));
});

Deno.test("--daemon: PID file: a stale one is taken over, and the file goes with the daemon", async () => {
  await using place = await Place.make();
  // This test's own id: a process that runs and is no pg_doorman.
  Deno.writeTextFileSync(place.pidFile, `${Deno.pid}\n`);
  assert.equal((await place.launch()).code, 0);
  assert.notEqual(place.pid, Deno.pid);
  await place.stop();
  assert.equal(readIfThere(place.pidFile), undefined, "removed at exit");
  Deno.writeTextFileSync(place.pidFile, "4194303\n");
  assert.equal((await place.launch()).code, 0, "of a process that is gone");
  Deno.kill(place.pid, "SIGKILL");
  await waitFor("it is dead", 3000, () => !isRunning(place.pid) || undefined);
  assert.equal((await place.launch()).code, 0, "of one that was killed");
  Deno.writeTextFileSync(`${place.dir}/successor`, "1\n");
  const { pid } = place;
  Deno.renameSync(`${place.dir}/successor`, place.pidFile);
  Deno.kill(pid, "SIGTERM");
  await waitFor("end of the daemon", 3000, () => !isRunning(pid) || undefined);
  assert.equal(Deno.readTextFileSync(place.pidFile), "1\n", "a successor's file is not removed");
  Deno.writeTextFileSync(place.pidFile, "0\n");
});

for (const signal of ["SIGUSR2", "SIGINT"] as const) {
  Deno.test(`--daemon: ${signal} is a binary upgrade, and the PID file follows`, async () => {
    await using place = await Place.make();
    assert.equal((await place.launch()).code, 0);
    const { pid } = place;
    Deno.kill(pid, signal);
    await waitFor(
      "the PID file names another",
      10_000,
      () => place.pid !== pid && place.pid > 0 || undefined,
    );
    await waitFor("the old process is gone", 5000, () => !isRunning(pid) || undefined);
    assert.ok(isRunning(place.pid) && isListening(place.port));
    assert.equal(Deno.readLinkSync(`/proc/${place.pid}/fd/2`), "/dev/null");
    await place.stop();
    assert.equal(readIfThere(place.pidFile), undefined);
  });
}

Deno.test("--daemon under Type=notify is refused", async () => {
  await using place = await Place.make();
  const { code, stderr } = await place.launch({ NOTIFY_SOCKET: `${place.dir}/notify` });
  assert.equal(code, 2);
  assert.match(stderr, /--daemon does not go with systemd's Type=notify/);
  assert.ok(!isListening(place.port));
});

for (
  const [what, script] of [
    ["is full", 'exec "$@" 2>/dev/full'],
    ["is closed", 'exec "$@" 2>&-'],
    ["has no reader any more", 'exec "$@" 2> >(true)'],
    [
      "is a pipe that nobody reads",
      'mkfifo full; exec 3<>full; head -c 65536 /dev/zero >&3; exec "$@" 2>full',
    ],
  ] as const
) {
  Deno.test(`--daemon: the launcher's standard error ${what}: the daemon serves, and ends`, async () => {
    await using place = await Place.make();
    const { code } = await place.launch({}, ["bash", "-c", script, "bash"]);
    assert.equal(code, 0);
    assert.ok(isListening(place.port));
    await place.stop();
  });
}

Deno.test("--daemon: with log_file the log goes on, in a new file after SIGHUP, and in the next process", async () => {
  await using place = await Place.make('log_file = "doorman.log"');
  const { code, stderr } = await place.launch();
  assert.equal(code, 0, stderr);
  const file = `${place.dir}/doorman.log`;
  const log = () => readIfThere(file) ?? "";
  assert.match(log(), /Accepting connections/);
  assert.doesNotMatch(log(), /the log of this process ends here/);
  Deno.renameSync(file, `${file}.1`);
  const old = place.pid;
  Deno.kill(old, "SIGHUP");
  await waitFor(
    "reload in the new file",
    5000,
    () => /configuration reloaded/.test(log()) || undefined,
  );
  Deno.kill(old, "SIGUSR2");
  await waitFor(
    "the next process",
    20_000,
    () => place.pid !== old && !isRunning(old) || undefined,
  );
  await place.stop();
  assert.match(log(), /binary upgrade: done .*hand-over from process .*SIGTERM received/s);
});

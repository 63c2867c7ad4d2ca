/** What the service manager is told, by a socket that stands in for systemd's. */

import assert from "node:assert/strict";
import { DetachedProcess, waitFor } from "../support/detached_process.ts";
import { type Config, Doorman } from "../support/doorman.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

/** Writes down every datagram that arrives at a socket, a line each. */
const LISTENER = `
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(repr(s.recv(4096).decode()), flush=True)
`;

class Manager {
  readonly socket: string;
  readonly dir: string;
  readonly #process: DetachedProcess;

  private constructor(socket: string, dir: string, process: DetachedProcess) {
    this.socket = socket;
    this.dir = dir;
    this.#process = process;
  }

  static async start(kind: "path" | "abstract"): Promise<Manager> {
    const dir = await makeTestFolder("notify");
    const socket = kind === "path" ? `${dir}/notify` : `@pg_doorman-test-${crypto.randomUUID()}`;
    const process = await DetachedProcess.launch({
      command: "python3",
      args: ["-c", LISTENER, socket],
      folder: dir,
      name: "manager",
    });
    const manager = new Manager(socket, dir, process);
    await waitFor("the socket", 5000, () => process.log.includes("bound") || undefined);
    return manager;
  }

  /** Messages so far; each is the list of its lines. */
  get messages(): string[][] {
    return this.#process.log.split("\n").slice(1).filter((line) => line !== "")
      .map((line) => line.slice(1, -1).split("\\n"));
  }

  async waitForMessage(line: string | RegExp, from = 0): Promise<string[]> {
    return await waitFor(
      `message ${line}`,
      5000,
      () =>
        this.messages.slice(from).find((message) =>
          message.some((each) => typeof line === "string" ? each === line : line.test(each))
        ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.signal("SIGKILL");
    await this.#process.waitForExit(3000);
    await removeFolder(this.dir);
  }
}

const CONFIG: Config = {
  general: { worker_threads: 2 },
  pools: {
    app: {
      server_host: "127.0.0.1",
      server_port: 1,
      users: [{ username: "u", password: "p", pool_size: 1 }],
    },
  },
};

for (const kind of ["path", "abstract"] as const) {
  Deno.test(`sd_notify, ${kind} socket: READY, RELOADING, STOPPING, STATUS`, async () => {
    await using manager = await Manager.start(kind);
    await using doorman = await Doorman.start({
      config: CONFIG,
      env: { NOTIFY_SOCKET: manager.socket },
      allowLog: [/rejected|config:0|reload\.ts/],
    });
    const ready = await manager.waitForMessage("READY=1");
    assert.ok(ready.includes(`STATUS=serving 1 pools on 127.0.0.1:${doorman.port}`), `${ready}`);
    assert.match(doorman.logs, /Accepting connections/, "not before it serves");
    assert.equal(manager.messages.length, 1);

    doorman.signal("SIGHUP");
    const reloading = await manager.waitForMessage("RELOADING=1", 1);
    assert.ok(reloading.some((line) => /^MONOTONIC_USEC=\d+$/.test(line)));
    await manager.waitForMessage("READY=1", 2);
    assert.equal(manager.messages.length, 3);

    await doorman.writeConfig("nonsense");
    doorman.signal("SIGHUP");
    await manager.waitForMessage(/^STATUS=.*last reload was rejected/, 3);

    await doorman.stop();
    const stopping = manager.messages.at(-1)!;
    assert.equal(stopping[0], "STOPPING=1");
  });
}

Deno.test("sd_notify: nothing without NOTIFY_SOCKET, an error in the log without a listener", async () => {
  await using quiet = await Doorman.start({ config: CONFIG });
  await quiet.waitForLog(/Accepting connections/);
  assert.doesNotMatch(quiet.logs, /systemd/);
  await using loud = await Doorman.start({
    config: CONFIG,
    env: { NOTIFY_SOCKET: "/nonexistent/notify" },
    allowLog: [/systemd/],
  });
  await loud.waitForLog(/notify READY=1: /);
  assert.ok(loud.running, "it serves on");
});

Deno.test("sd_notify: WATCHDOG=1 while every worker answers, withheld when one hangs", async () => {
  await using manager = await Manager.start("path");
  await using doorman = await Doorman.start({
    config: CONFIG,
    env: { NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: "400000" },
    allowLog: [/watchdog: no answer from worker \d/],
  });
  const beats = () => manager.messages.filter(([line]) => line === "WATCHDOG=1").length;
  await waitFor("five beats", 3000, () => beats() >= 5 || undefined);
  const stopper = await DetachedProcess.launch({
    command: "python3",
    args: ["-c", STOP_THREAD, String(doorman.pid)],
    folder: manager.dir,
    name: "stopper",
  });
  await waitFor("a worker stands still", 5000, () => {
    if (!stopper.running) throw new Error(stopper.log);
    return stopper.log.includes("stopped") || undefined;
  });
  await doorman.waitForLog(/watchdog: no answer from worker \d/);
  const before = beats();
  await new Promise((done) => setTimeout(done, 700));
  assert.equal(beats(), before, "systemd is left to think the worst");
  stopper.signal("SIGKILL");
  await stopper.waitForExit(3000);
  await waitFor("beats again", 3000, () => beats() > before || undefined);
});

/** Stops one worker's thread as a debugger does; the others run on. */
const STOP_THREAD = `
import ctypes, os, sys, time
libc = ctypes.CDLL("libc.so.6", use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
names = {}
for tid in os.listdir("/proc/%d/task" % pid):
    names[int(tid)] = open("/proc/%d/task/%s/comm" % (pid, tid)).read().strip()
workers = [tid for tid, name in names.items() if name.startswith("worker-")]
if not workers: raise SystemExit("no worker among %s" % names)
if libc.ptrace(0x4206, workers[0], None, None) != 0: raise SystemExit("seize: %d" % ctypes.get_errno())
if libc.ptrace(0x4207, workers[0], None, None) != 0: raise SystemExit("interrupt: %d" % ctypes.get_errno())
print("stopped", flush=True)
time.sleep(60)
`;

Deno.test("sd_notify: a watchdog that is meant for another process is not answered", async () => {
  await using manager = await Manager.start("path");
  await using _doorman = await Doorman.start({
    config: CONFIG,
    env: { NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: "200000", WATCHDOG_PID: "1" },
  });
  await manager.waitForMessage("READY=1");
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(manager.messages.length, 1);
});

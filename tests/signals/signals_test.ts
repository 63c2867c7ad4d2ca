/** SIGTERM, SIGINT, SIGUSR2 and their order: what an operator's `kill` does. */

import assert from "node:assert/strict";
import { DetachedProcess, waitFor } from "../support/detached_process.ts";
import { Doorman, doormanExecutable, isListening, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** Ctrl+C needs a terminal, which tests do not have; the variable says that there is one. */
const AT_A_TERMINAL = { PG_DOORMAN_CI_SHUTDOWN_ONLY: "1" };

async function start(
  more: {
    env?: Record<string, string>;
    allowLog?: RegExp[];
    pool_mode?: string;
    timeout?: string;
  } = {},
): Promise<Doorman> {
  const { env, allowLog, pool_mode = "transaction", timeout = "10s" } = more;
  const doorman = await Doorman.start({
    config: {
      general: { shutdown_timeout: timeout, unix_socket_dir: "." },
      pools: { app: poolOf(postgres, { pool_mode }) },
    },
    env,
    allowLog,
  });
  // A worker that still starts tells nobody how many clients it has.
  await doorman.waitForLog(/Accepting connections/);
  return doorman;
}

function login(doorman: Doorman): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

async function lastWords(client: WireClient): Promise<string | undefined> {
  const error = (await client.readToEnd()).find(({ type }) => type === "E");
  return error === undefined ? undefined : wire.errorFields(error).C;
}

Deno.test("SIGTERM: logs how many clients are in transactions, exits at once with status 0", async () => {
  await using doorman = await start();
  using idle = await login(doorman);
  using first = await login(doorman);
  using second = await login(doorman);
  await first.query("START TRANSACTION");
  second.send(wire.query("SELECT pg_sleep(20)"));
  await idle.query("SELECT 1");
  const started = performance.now();
  assert.equal(await doorman.stop("SIGTERM"), 0);
  assert.ok(performance.now() - started < 5000, `took ${performance.now() - started} ms`);
  assert.match(
    doorman.logs,
    /SIGTERM received: exiting with 3 clients, 2 of them in a transaction/,
  );
});

Deno.test("SIGINT with a terminal: shutdown only: idle clients go, transactions end first", async () => {
  await using doorman = await start({ env: AT_A_TERMINAL });
  using idle = await login(doorman);
  using busy = await login(doorman);
  await busy.query("START TRANSACTION");
  doorman.signal("SIGINT");
  assert.equal(await lastWords(idle), "58006");
  await waitFor("nobody can connect", 2000, () => !isListening(doorman.port) || undefined);
  assert.ok(doorman.running);
  assert.equal(await busy.value("SELECT 5"), "5");
  await busy.query("COMMIT");
  busy.send(wire.query("SELECT 6"));
  assert.equal(await lastWords(busy), "58006");
  assert.equal(await doorman.waitForExit(), 0);
  assert.match(
    doorman.logs,
    /SIGINT received: shutting down, 2 clients, 1 of them in a transaction/,
  );
  assert.match(doorman.logs, /all clients have left: exiting/);
});

Deno.test("SIGINT with a terminal: a busy client of session mode goes after its transaction", async () => {
  await using doorman = await start({ env: AT_A_TERMINAL, pool_mode: "session" });
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  doorman.signal("SIGINT");
  await doorman.waitForLog(/shutting down, 1 clients, 1 of them in a transaction/);
  await client.query("COMMIT");
  client.send(wire.query("SELECT 6"));
  assert.equal(await lastWords(client), "58006");
  assert.equal(await doorman.waitForExit(), 0);
});

Deno.test("SIGINT with a terminal: who ends what it does is told with that end, and nobody is waited for", async () => {
  for (const pool_mode of ["transaction", "session"]) {
    await using doorman = await start({ env: AT_A_TERMINAL, pool_mode });
    using inside = await login(doorman);
    await inside.query("START TRANSACTION");
    using failed = await login(doorman);
    await failed.query("START TRANSACTION");
    await failed.query("SELECT 1/0");
    using deferred = await login(doorman);
    await deferred.query("BEGIN");
    using running = await login(doorman);
    running.send(wire.query("SELECT pg_sleep(1)"));
    using batch = await login(doorman);
    batch.send(wire.extended("SELECT pg_sleep(1)"), wire.SYNC);
    await inside.query("SELECT pg_sleep(0.1)");
    doorman.signal("SIGINT");
    await doorman.waitForLog(/SIGINT received: shutting down/);
    await inside.query("COMMIT");
    await failed.query("ROLLBACK");
    await deferred.query("COMMIT");
    for (const client of [inside, failed, deferred]) {
      assert.equal(await lastWords(client), "58006", pool_mode);
    }
    for (const client of [running, batch]) {
      assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), []);
      assert.equal(await lastWords(client), "58006", pool_mode);
    }
    assert.equal(await doorman.waitForExit(), 0);
  }
});

Deno.test("SIGINT with a terminal: after shutdown_timeout whoever is left is cut off", async () => {
  await using doorman = await start({
    env: AT_A_TERMINAL,
    timeout: "300ms",
    allowLog: [/shutdown_timeout is over/],
  });
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  const started = performance.now();
  assert.equal(await doorman.stop("SIGINT"), 0);
  const took = performance.now() - started;
  assert.ok(took > 250 && took < 8000, `took ${took} ms`);
  assert.match(doorman.logs, /shutdown_timeout is over: exiting with 1 clients, 1 of them/);
});

for (const second of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`${second} during a shutdown exits immediately`, async () => {
    await using doorman = await start({ env: AT_A_TERMINAL });
    using client = await login(doorman);
    await client.query("START TRANSACTION");
    doorman.signal("SIGINT");
    await doorman.waitForLog(/shutting down, 1 clients/);
    const started = performance.now();
    assert.equal(await doorman.stop(second), 0);
    assert.ok(performance.now() - started < 5000);
  });
}

Deno.test("SHUTDOWN of the console: answered, then as Ctrl+C at a terminal", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  using admin = await WireClient.login({
    port: doorman.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  assert.equal(await admin.value("SHUTDOWN"), "t");
  await doorman.waitForLog(/SHUTDOWN: shutting down, 1 clients, 1 of them in a transaction/);
  await client.query("COMMIT");
  client.close();
  assert.equal(await doorman.waitForExit(), 0);
});

Deno.test("the unix socket's file goes with the process, unless it is another's by now", async () => {
  await using doorman = await start();
  const path = `${doorman.dir}/.s.PGSQL.${doorman.port}`;
  assert.ok(Deno.lstatSync(path).isSocket);
  await doorman.stop();
  assert.throws(() => Deno.lstatSync(path), Deno.errors.NotFound);
  await doorman.start();
  Deno.removeSync(path);
  Deno.writeTextFileSync(path, "a successor's");
  await doorman.stop();
  assert.equal(Deno.readTextFileSync(path), "a successor's");
});

Deno.test("SIGTERM with 10,000 clients takes well under a second", async () => {
  const clients = 10_000;
  await using doorman = await Doorman.start({
    config: {
      general: { max_connections: clients + 100, pg_hba: "host all all 127.0.0.1/32 trust\n" },
      pools: { app: poolOf(postgres) },
    },
    launcher: ["prlimit", `--nofile=${2 * clients}`],
  });
  const holder = await DetachedProcess.launch({
    command: "python3",
    args: ["-c", HOLD_CLIENTS, String(doorman.port), String(clients)],
    folder: doorman.dir,
    name: "clients",
  });
  await waitFor("all clients are logged in", 60_000, () => {
    if (!holder.running) throw new Error(holder.log);
    return holder.log.includes("all in") || undefined;
  });
  const started = performance.now();
  assert.equal(await doorman.stop("SIGTERM"), 0);
  const took = performance.now() - started;
  assert.ok(took < 5000, `took ${took} ms`);
  assert.match(doorman.logs, /exiting with 10000 clients, 0 of them in a transaction/);
  assert.equal(await holder.waitForExit(30_000), 0, "every client sees the end");
});

/** Logs that many clients in (the pool trusts them by pg_hba) and waits until every connection has ended. */
const HOLD_CLIENTS = `
import resource, select, socket, struct, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * count, 2 * count))
body = struct.pack("!i", 196608) + b"user\\0postgres\\0database\\0app\\0\\0"
startup = struct.pack("!i", len(body) + 4) + body
poll = select.epoll()
clients = {}
def drain(s):
    s.settimeout(20)
    got = b""
    while not got.endswith(b"Z\\0\\0\\0\\5I"):
        more = s.recv(4096)
        if not more: raise SystemExit("a login failed: %r" % got)
        got += more
batch = []
for i in range(count):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(startup)
    batch.append(s)
    if len(batch) == 100 or i == count - 1:
        for c in batch:
            drain(c)
            clients[c.fileno()] = c
            poll.register(c.fileno(), select.EPOLLIN)
        batch = []
print("all in", flush=True)
while clients:
    for fd, _ in poll.poll(20):
        poll.unregister(fd)
        clients.pop(fd).close()
`;

Deno.test("SIGTERM while the passwords of many pools are prepared ends the start", async () => {
  const pools = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`db${i}`, {
    server_host: "127.0.0.1",
    server_port: 1,
    users: [{ username: "u", password: `secret ${i}`, pool_size: 1 }],
  }]));
  await using doorman = await Doorman.create({ config: { pools } });
  const launched = await DetachedProcess.launch({
    command: await doormanExecutable(),
    args: [doorman.configPath],
    folder: doorman.dir,
    name: "early",
  });
  await waitFor("SIGTERM is caught", 5000, () => {
    const status = Deno.readTextFileSync(`/proc/${launched.pid}/status`);
    const caught = BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(status)![1]}`);
    return (caught >> 14n & 1n) === 1n || undefined;
  });
  await new Promise((done) => setTimeout(done, 50));
  launched.signal("SIGTERM");
  assert.equal(await launched.waitForExit(3000), 0);
  assert.equal(launched.log, "", "nothing had begun");
});

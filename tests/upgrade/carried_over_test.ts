/**
 * What a binary upgrade must not lose beside sockets: named statements with their parameters and the limit of their
 * list, the client's key that opens SCRAM servers, numbers that nobody else may get; and a new process that is short of
 * descriptors.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { type Config } from "../support/doorman.ts";
import { removeCopies, Service } from "./support.ts";

let postgres: Postgres;
let service: Service;
/** Where the password of `changing` is. */
let secret: string;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({
    settings: ["max_connections = 60"],
    hba: ["keeper", "changing"].map((user) => `host all ${user} 127.0.0.1/32 scram-sha-256`),
  });
  await postgres.query("CREATE ROLE keeper LOGIN PASSWORD 'kept-secret'");
  await postgres.query("CREATE ROLE changing LOGIN PASSWORD 'of-today'");
  secret = await postgres.writeFile("secret", "of-today\n");
  const verifier = await postgres.psql(
    "SELECT rolpassword FROM pg_authid WHERE rolname = 'keeper'",
  );
  const pool = (users: Config[], more: Config = {}): Config => ({
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users,
    ...more,
  });
  service = await Service.start({
    config: {
      general: { shutdown_timeout: "5s", query_wait_timeout: "5s" },
      pools: {
        app: pool([{ username: "postgres", password: "postgres", pool_size: 2 }], {
          server_prepared_statements_cache_size: 2,
        }),
        changing: pool([{ username: "changing", password: "changing", pool_size: 2 }], {
          server_password_file: secret,
        }),
        shared: pool(
          ["alice", "bob"].map((username) => ({ username, password: `of-${username}` })),
          { server_username: "postgres", shared_pool_size: 2 },
        ),
        scram: pool([{ username: "keeper", password: verifier, pool_size: 3 }]),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

const S = wire.SYNC;

function use(client: WireClient, name: string, ...values: string[]): Promise<wire.Message[]> {
  return client.ask(wire.bind("", name, values), wire.execute(), S);
}

Deno.test("upgrade: named statements with parameters in transaction mode, their limit, and DEALLOCATE ALL", async () => {
  using client = await service.login();
  using other = await service.login();
  for (const name of ["a", "b", "c", "d"]) {
    await client.ask(wire.parse(name, `SELECT '${name}', $1::int + 1`, [23]), S);
    await other.ask(wire.parse(name, `SELECT 'other ${name}', $1::text`), S);
  }
  await client.ask(wire.parse("", "SELECT 'unnamed', $1::text"), S);
  for (let round = 0; round < 2; round++) {
    await service.upgrade();
    assert.deepEqual(wire.rowsOf(await use(client, "", `${round}`)), [["unnamed", `${round}`]]);
    for (const name of ["d", "a", "c", "b"]) {
      assert.deepEqual(wire.rowsOf(await use(client, name, "41")), [[name, "42"]]);
      assert.deepEqual(wire.rowsOf(await use(other, name, "x")), [[`other ${name}`, "x"]]);
    }
    const kept = await client.value("SELECT count(*) FROM pg_prepared_statements");
    assert.ok(Number(kept) <= 2, `${kept} statements on a server that keeps two`);
    await client.ask(wire.parse("", "SELECT 'unnamed', $1::text"), S);
  }
  await client.query("DEALLOCATE ALL");
  assert.deepEqual(wire.errorCodes(await use(client, "a", "41")), ["26000"]);
  assert.deepEqual(wire.rowsOf(await use(other, "a", "x")), [["other a", "x"]]);
  await client.ask(wire.parse("a", "SELECT 'new'"), S);
  assert.deepEqual(wire.rowsOf(await use(client, "a")), [["new"]]);
});

Deno.test("upgrade: the key that a client's login brought opens SCRAM servers in the new process", async () => {
  const options = { user: "keeper", password: "kept-secret", database: "scram" };
  using first = await service.login(options);
  await first.query("START TRANSACTION");
  await first.query("SELECT 1");
  await service.upgrade();
  // Logged in before; the one server is taken, so that another has to be opened now.
  using second = await service.login(options);
  assert.equal(await second.value("SELECT current_user"), "keeper");
  await second.query("START TRANSACTION");
  await second.query("SELECT 1");
  await service.upgrade();
  using admin = await service.console();
  await first.query("COMMIT");
  await second.query("COMMIT");
  await admin.query("RECONNECT scram");
  // No login since the last upgrade: only the key that was moved can open these.
  assert.equal(await first.value("SELECT current_user"), "keeper");
  assert.equal(await second.value("SELECT current_user"), "keeper");
});

Deno.test("upgrade: newcomers get no number that a client that has moved has", async () => {
  const clients: WireClient[] = [];
  try {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 12; i++) clients.push(await service.login());
      await service.upgrade();
    }
    for (let i = 0; i < 12; i++) clients.push(await service.login());
    assert.equal(new Set(clients.map(({ pid }) => pid)).size, 48);
    using admin = await service.console();
    const ids = (await admin.rows("SHOW CLIENTS")).map(([id]) => id);
    assert.equal(ids.length, 49);
    assert.equal(new Set(ids).size, 49);
    // A cancel finds the one that it is for.
    const [one, another] = [clients[3]!, clients[40]!];
    for (const client of [one, another]) client.send(wire.query("SELECT pg_sleep(1)"));
    const asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    await waitFor("both sleep", 5000, async () => await postgres.psql(asleep) === "2" || undefined);
    await one.cancel();
    assert.deepEqual(wire.errorCodes(await one.readUntil("Z")), ["57014"]);
    assert.deepEqual(wire.errorCodes(await another.readUntil("Z")), []);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("upgrade: with hardly a descriptor to spare everybody moves, and nothing spins", async () => {
  await using narrow = await Service.start({
    allowLog: [/the limit of open files is \d+: room for/],
    config: {
      general: { shutdown_timeout: "10s", worker_threads: 2 },
      pools: {
        app: {
          server_host: "127.0.0.1",
          server_port: postgres.port,
          server_database: "postgres",
          users: [{ username: "postgres", password: "postgres", pool_size: 2 }],
        },
      },
    },
  });
  const clients = await Promise.all(Array.from({ length: 80 }, () => narrow.login()));
  try {
    for (const client of clients) await client.query("SELECT 1");
    // Enough for what there is and the socket to the new process, not for a second copy of it all.
    const limit = narrow.descriptors().size + 16;
    const { success } = await new Deno.Command("prlimit", {
      args: [`--pid=${narrow.pid}`, `--nofile=${limit}`],
    }).output();
    assert.ok(success);
    const { left, clients: moved, doneMs } = await narrow.upgrade();
    assert.deepEqual([left, moved], [0, 80]);
    assert.ok(doneMs < 5000, `${doneMs} ms`);
    for (const [i, client] of clients.entries()) {
      assert.equal(await client.value(`SELECT ${i}`), String(i));
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("upgrade: a password towards PostgreSQL that has changed since is fetched by the new process", async () => {
  using client = await service.login({ database: "changing", user: "changing" });
  const pid = await client.value("SELECT pg_backend_pid()");
  await service.upgrade();
  assert.equal(await client.value("SELECT pg_backend_pid()"), pid);
  await postgres.query("ALTER ROLE changing PASSWORD 'of-tomorrow'");
  await Deno.writeTextFile(secret, "of-tomorrow");
  await client.query("BEGIN");
  await client.query("SELECT 1");
  using other = await service.login({ database: "changing", user: "changing" });
  assert.notEqual(await other.value("SELECT pg_backend_pid()"), pid);
  await client.query("COMMIT");
});

Deno.test("upgrade: users who share a pool move with it, in a transaction, waiting and at rest", async () => {
  const [alice, bob, waiting, resting] = await Promise.all(
    ["alice", "bob", "alice", "bob"].map((user) =>
      service.login({ database: "shared", user, password: `of-${user}` })
    ),
  ) as [WireClient, WireClient, WireClient, WireClient];
  await resting.query("SET application_name = 'rests'");
  for (const client of [alice, bob]) {
    await client.query("BEGIN");
    await client.query("SELECT 1");
  }
  waiting.send(wire.query("SELECT 'served'"));
  const pids = await Promise.all([alice, bob].map((one) => one.value("SELECT pg_backend_pid()")));
  await service.upgrade();
  assert.deepEqual(
    await Promise.all([alice, bob].map((one) => one.value("SELECT pg_backend_pid()"))),
    pids,
  );
  await alice.query("COMMIT");
  assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["served"]]);
  assert.equal(await resting.value("SHOW application_name"), "rests");
  await bob.query("COMMIT");
  for (const client of [alice, bob, waiting, resting]) client.close();
});

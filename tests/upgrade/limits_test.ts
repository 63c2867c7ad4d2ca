/** Limits over several pools in a binary upgrade: what moved counts, what was counted stays, who waits goes on waiting. */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { show } from "../reload/support.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

Deno.test.afterAll(removeCopies);

Deno.test("upgrade: max_db_connections holds, with its reserve, its counts and those who wait", async () => {
  await using postgres = await Postgres.start();
  const users = ["alice", "bob", "carol", "dave"];
  for (const user of users) await postgres.query(`CREATE ROLE ${user} LOGIN`);
  await using service = await Service.start({
    config: {
      general: { worker_threads: 2, query_wait_timeout: "20s" },
      pools: {
        app: poolOf(postgres, {
          max_db_connections: 2,
          reserve_pool_size: 1,
          reserve_pool_timeout: 20_000,
          min_connection_lifetime: 0,
          users: users.map((username) => ({ username, password: username, pool_size: 2 })),
        }),
      },
    },
  });
  const login = (user: string) => service.login({ user, password: user });
  const clients: WireClient[] = [];
  const counts = async () => {
    using admin = await service.console();
    const [row] = await show(admin, "POOL_COORDINATOR");
    return [row!.current, row!.reserve_used, row!.evictions, row!.reserve_acq].map(Number);
  };
  try {
    for (const user of ["alice", "bob", "carol"]) {
      const client = await login(user);
      clients.push(client);
      await client.query(user === "alice" ? "SELECT 1" : "BEGIN; SELECT 1");
    }
    const more = await login("bob");
    clients.push(more);
    // alice's idle one makes room.
    await more.query("BEGIN; SELECT 1");
    assert.deepEqual(await counts(), [3, 1, 1, 1]);
    let answered = false;
    const waiting = login("dave").then((client) => {
      clients.push(client);
      answered = true;
      return client.value("SELECT 'in the end'");
    });
    for (let i = 0; i < 2; i++) {
      await service.upgrade();
      assert.deepEqual(await counts(), [3, 1, 1, 1]);
    }
    assert.ok(!answered);
    const third = await login("alice");
    clients.push(third);
    third.send(wire.query("SELECT 'after dave'"));
    await clients[1]!.query("COMMIT");
    assert.equal(await waiting, "in the end");
    assert.deepEqual(wire.rowsOf(await third.readUntil("Z")), [["after dave"]]);
    await waitFor("no more than allowed", 5000, async () => (await counts())[0]! <= 3 || undefined);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("upgrade: clients that move keep their places of max_connections, and give them back", async () => {
  await using postgres = await Postgres.start();
  await using service = await Service.start({
    config: {
      general: { worker_threads: 2, max_connections: 4 },
      pools: { app: poolOf(postgres), app_too: poolOf(postgres) },
    },
    allowLog: [/too many clients/, /made room/],
  });
  const silent: WireClient[] = [];
  let clients: WireClient[] = [];
  try {
    for (let i = 0; i < 8; i++) silent.push(await WireClient.open(service));
    for (let round = 0; round < 3; round++) {
      clients = [];
      for (let i = 0; i < 4; i++) clients.push(await service.login());
      await assert.rejects(service.login(), /53300/);
      await service.upgrade();
      await assert.rejects(service.login(), /53300/);
      for (const client of clients) assert.equal(await client.value("SELECT 1"), "1");
      for (const client of clients) await client.terminate();
      await waitFor("all have left", 5000, async () => {
        try {
          (await service.login()).close();
          return true;
        } catch (error) {
          assert.match(String(error), /53300/);
          return undefined;
        }
      });
    }
    clients = [];
    for (let i = 0; i < 4; i++) {
      clients.push(await waitFor("a place", 5000, () => service.login().catch(() => undefined)));
    }
    for (const client of silent) {
      assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["53300"]);
    }
  } finally {
    for (const client of [...clients, ...silent]) client.close();
  }
});

Deno.test("upgrade: while a reload moves pools between workers, no client is lost", async () => {
  await using postgres = await Postgres.start();
  const users = ["alice", "bob", "carol"];
  for (const user of users) await postgres.query(`CREATE ROLE ${user} LOGIN`);
  const config = (max_user_connections: number) => ({
    general: { worker_threads: 4, query_wait_timeout: "20s", max_user_connections },
    pools: Object.fromEntries(["x", "y", "z"].map((database) => [
      database,
      poolOf(postgres, {
        users: users.map((username) => ({ username, password: username, pool_size: 2 })),
      }),
    ])),
  });
  await using service = await Service.start({ config: config(0) });
  const running = new AbortController();
  let transactions = 0;
  const work = ["x", "y", "z"].flatMap((database) =>
    users.flatMap((user) =>
      [1, 2, 3].map(async (which) => {
        using client = await service.login({ user, password: user, database });
        while (!running.signal.aborted) {
          const sql = `BEGIN; SELECT current_user, ${which}; SELECT pg_sleep(0.002); COMMIT`;
          assert.deepEqual(wire.rowsOf(await client.query(sql)), [[user, String(which)], [""]]);
          transactions++;
        }
        await client.terminate();
      })
    )
  );
  await waitFor("load", 10_000, () => transactions > 100 || undefined);
  await service.writeConfig(config(3));
  const from = service.logs.length;
  service.signal("SIGHUP");
  await service.waitForLog(/moves to worker/, 10_000, from);
  await service.upgrade();
  const before = transactions;
  await waitFor("it goes on", 10_000, () => transactions > before + 100 || undefined);
  running.abort();
  await Promise.all(work);
});

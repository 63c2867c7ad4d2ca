/** How a reload behaves as a whole: at once or not at all, one at a time, the last one counts, nothing else suffers. */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { configOf, consoleOf, login, refusal, reload, show, startDoorman } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 100"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const REJECTED = /configuration rejected|general\.port|ERROR.*(config:0|reload\.ts)/;

Deno.test("reload: an invalid file changes nothing, and RELOAD returns the faults", async () => {
  await using doorman = await startDoorman(configOf(postgres), { allowLog: [REJECTED] });
  using admin = await consoleOf(doorman);
  const config = await Deno.readTextFile(doorman.configPath);
  const wrong = `${config}\n[pools.fresh]\nserver_host = "x"\nserver_port = 0\nusers = []\n`;
  const log = await reload(doorman, wrong.replace("pool_size = 3", "pool_size = 1"));
  assert.match(log, /configuration rejected, nothing has changed: \d+ fault/);
  assert.match(log, /server_port/);
  const error = (await admin.query("RELOAD")).find(({ type }) => type === "E")!;
  const fields = wire.errorFields(error);
  assert.equal(fields.C, "F0000");
  assert.match(fields.D!, /server_port/);
  assert.equal((await show(admin, "POOLS")).length, 1, "the console goes on, one pool is there");
  assert.equal((await show(admin, "POOLS"))[0]!.pool_size, "3");
  await doorman.writeConfig("this is no config");
  assert.match(await reload(doorman), /configuration rejected/);
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "1");
  await reload(doorman, configOf(postgres, { user: { pool_size: 2 } }));
  assert.equal((await show(admin, "POOLS"))[0]!.pool_size, "2", "the next valid file is applied");
});

Deno.test("reload: a file that has gone is a fault, not the end", async () => {
  await using doorman = await startDoorman(configOf(postgres), { allowLog: [REJECTED] });
  await Deno.rename(doorman.configPath, `${doorman.configPath}.away`);
  assert.match(await reload(doorman), /configuration rejected/);
  await Deno.rename(`${doorman.configPath}.away`, doorman.configPath);
  assert.match(await reload(doorman), /nothing has changed/);
});

Deno.test("reload: RELOAD says what has changed", async () => {
  await using doorman = await startDoorman(configOf(postgres));
  await doorman.writeConfig(configOf(postgres, { user: { pool_size: 9 } }));
  using admin = await consoleOf(doorman);
  const messages = await admin.query("RELOAD");
  const notice = wire.errorFields(messages.find(({ type }) => type === "N")!);
  assert.equal(notice.M, "1 pool changed; pools.app.users.postgres.pool_size");
  assert.equal((await show(admin, "POOLS"))[0]!.pool_size, "9", "done when it is answered");
});

Deno.test("reload: 100 SIGHUPs in a row: the last config is the live one", async () => {
  await using doorman = await startDoorman(configOf(postgres));
  using admin = await consoleOf(doorman);
  for (let size = 1; size <= 100; size++) {
    await doorman.writeConfig(configOf(postgres, { user: { pool_size: size } }));
    doorman.signal("SIGHUP");
  }
  await waitFor(
    "the last config is live",
    5000,
    async () => (await show(admin, "POOLS"))[0]!.pool_size === "100" || undefined,
  );
  const lines = doorman.logs.split("\n").filter((line) => /reading the|reloaded in/.test(line));
  for (const [i, line] of lines.entries()) {
    assert.match(line, i % 2 === 0 ? /reading the/ : /reloaded in/, "never two at a time");
  }
});

Deno.test("reload: unchanged pools are not touched: servers, counters, PAUSE", async () => {
  const config = (size: number): Config => ({
    pools: {
      app: poolOf(postgres),
      other: poolOf(postgres, {
        users: [{ username: "postgres", password: "postgres", pool_size: size }],
      }),
    },
  });
  await using doorman = await startDoorman(config(2));
  using client = await login(doorman);
  const pid = await client.value("SELECT pg_backend_pid()");
  using admin = await consoleOf(doorman);
  await admin.query("PAUSE app");
  await reload(doorman, config(3));
  const app = (await show(admin, "POOLS")).find(({ database }) => database === "app")!;
  assert.equal(app.paused, "1");
  await admin.query("RESUME app");
  assert.equal(await client.value("SELECT pg_backend_pid()"), pid);
  const stats = (await show(admin, "STATS")).find(({ database }) => database === "app")!;
  assert.equal(stats.total_xact_count, "2");
});

Deno.test("reload: a login that is under way when its pool goes ends well", async () => {
  const both: Config = { pools: { app: poolOf(postgres), gone: poolOf(postgres) } };
  await using doorman = await startDoorman(both, { allowLog: [/login from/] });
  using admin = await consoleOf(doorman);
  await admin.query("PAUSE gone");
  // No server has told the parameters yet: the login waits for one.
  const logins = [login(doorman, { database: "gone" }), login(doorman, { database: "gone" })];
  const outcomes = Promise.allSettled(logins);
  await waitFor(
    "both wait",
    2000,
    async () =>
      (await show(admin, "POOLS")).find(({ database }) => database === "gone")?.cl_waiting !==
        undefined ||
      undefined,
  );
  await reload(doorman, { pools: { app: poolOf(postgres) } });
  await admin.query("RESUME gone");
  for (const outcome of await outcomes) {
    assert.equal(outcome.status, "fulfilled");
    const client = (outcome as PromiseFulfilledResult<WireClient>).value;
    assert.equal(await client.value("SELECT 1"), "1");
    await client.terminate();
  }
  await doorman.waitForLog(/\[postgres@gone\] retired pool ended/);
});

Deno.test("reload: a database with no pool left is unknown to the console, too", async () => {
  const both: Config = { pools: { app: poolOf(postgres), gone: poolOf(postgres) } };
  await using doorman = await startDoorman(both);
  await reload(doorman, { pools: { app: poolOf(postgres) } });
  using admin = await consoleOf(doorman);
  assert.equal((await refusal(admin.rows("KILL gone"))).C, "3D000");
});

Deno.test("reload: SIGHUP before the process serves is not lost", async () => {
  await using doorman = await startDoorman(configOf(postgres));
  await doorman.stop();
  const from = doorman.logs.length;
  const started = doorman.start();
  const [, pid] = await doorman.waitForLog(/PgDoorman \S+, process (\d+)/, 5000, from);
  assert.doesNotMatch(doorman.logs.slice(from), /Accepting connections/, "too late to test");
  Deno.kill(Number(pid), "SIGHUP");
  await started;
  await doorman.waitForLog(
    /SIGHUP received during the start[^]*configuration reloaded/,
    5000,
    from,
  );
});

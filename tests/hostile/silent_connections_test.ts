/**
 * Connections that never log in, by the hundred: they hold no place of `max_connections`, are bounded themselves, and
 * those that are silent make room for others.
 */

import assert from "node:assert/strict";
import { Bystander, restingSockets, socketCount } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

/** Connections beyond this many, or the double of `max_connections`, are refused as they come. */
const BEYOND = 100;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function start(general: Config): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  const pool = poolOf(postgres, { users });
  return await Doorman.start({
    // A worker accepts only if it has a pool.
    config: { general, pools: { app: pool, app_too: pool } },
    allowLog: [
      /made room/,
      /too many clients/,
      /accept: too many open files/,
      /invalid message length/,
    ],
  });
}

function login(doorman: Doorman): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

async function open(doorman: Doorman, count: number): Promise<WireClient[]> {
  const clients: WireClient[] = [];
  for (let i = 0; i < count; i++) clients.push(await WireClient.open({ port: doorman.port }));
  return clients;
}

const STARTUP = wire.startup({ user: "postgres", database: "app" });

for (const workers of [1, 2]) {
  Deno.test(`users log in while others connect and stay silent, ${workers} workers`, async () => {
    await using doorman = await start({ max_connections: 10, worker_threads: workers });
    await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
    const silent = await open(doorman, 30);
    // A third has sent its StartupMessage and keeps its password to itself, a third is in the middle of it.
    silent.forEach((client, i) => {
      if (i % 3 === 1) client.send(STARTUP);
      else if (i % 3 === 2) client.send(STARTUP.subarray(0, 9));
    });
    const users: WireClient[] = [];
    for (let i = 0; i < 9; i++) users.push(await login(doorman));
    // Those who are in leave no room: the next one is told so at once, as ever.
    await assert.rejects(login(doorman), /FATAL 53300: sorry, too many clients already/);
    for (const client of silent) {
      const error = wire.errorFields((await client.readToEnd()).at(-1)!);
      assert.deepEqual([error.S, error.C], ["FATAL", "53300"]);
      assert.match(error.M!, /log-in/);
      client.close();
    }
    for (const user of users) {
      assert.equal(await user.value("SELECT 1"), "1");
      user.close();
    }
    await doorman.waitForLog(/WARN .*made room: ended \d+ log-ins/);
    const lines = doorman.logs.split("\n").filter((line) => line.includes("made room"));
    assert.ok(lines.length <= 2 * workers, lines.join("\n"));
  });
}

Deno.test("the longest silent log-in goes first, and no more of them than are in the way", async () => {
  await using doorman = await start({ max_connections: 10, worker_threads: 1 });
  const silent = await open(doorman, 8);
  // Long enough for each to be silent for too long, were there others who want its place.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  // A step of the log-in is no silence.
  silent[0]!.send(STARTUP);
  await silent[0]!.readUntil("R");
  const users = [await login(doorman), await login(doorman), await login(doorman)];
  // One is too many. The second has been silent for longest now.
  assert.equal(wire.errorFields((await silent[1]!.readToEnd()).at(-1)!).C, "53300");
  for (const [i, client] of silent.entries()) {
    if (i !== 1) assert.ok(await client.silent(i === 0 ? 700 : 50), `${i}`);
  }
  for (const client of [...silent, ...users]) client.close();
});

Deno.test("a log-in that takes its time is let through when nobody needs its place", async () => {
  await using doorman = await start({ max_connections: 3, client_login_timeout: "20s" });
  using slow = await WireClient.open({ port: doorman.port });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await slow.logIn({ user: "postgres", database: "app" });
  assert.equal(await slow.value("SELECT 1"), "1");
});

Deno.test("many log-ins at once: as many get in as there are places, the others are refused", async () => {
  const places = 40;
  await using doorman = await start({ max_connections: places, worker_threads: 2 });
  const outcomes = await Promise.all(
    Array.from({ length: 3 * places }, async () => {
      try {
        return await login(doorman);
      } catch (error) {
        assert.ok(error instanceof Refused, String(error));
        return `${error.fields.C} ${error.fields.M}`;
      }
    }),
  );
  const users = outcomes.filter((outcome) => typeof outcome !== "string");
  const refused = outcomes.filter((outcome) => typeof outcome === "string");
  // On a busy machine a client here may take longer for its answer than one that is silent may.
  const silent = refused.filter((text) => /^53300 .*silent for too long/.test(text));
  const full = refused.filter((text) => text === "53300 sorry, too many clients already");
  assert.equal(full.length + silent.length, refused.length, String(refused));
  assert.ok(users.length <= places && users.length + silent.length >= places);
  for (const user of users) {
    assert.equal(await user.value("SELECT 1"), "1");
    user.close();
  }
});

Deno.test("silent connections are bounded, and what is refused is told why", async () => {
  await using doorman = await start({
    max_connections: 20,
    backlog: 1000,
    client_login_timeout: "5m",
  });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const memoryKb = doorman.rssKb();
  const crowd = await open(doorman, 400);
  const told = await crowd.at(-1)!.readToEnd();
  assert.deepEqual(wire.errorCodes(told), ["53300"]);
  assert.ok(socketCount(doorman) <= before + 20 + BEYOND, `${socketCount(doorman) - before} more`);
  // Within the second after which they count as silent there is room again.
  using user = await waitFor("a place", 5000, async () => {
    try {
      return await login(doorman);
    } catch (error) {
      assert.match(String(error), /53300|closed|reset/i);
      return undefined;
    }
  });
  assert.equal(await user.value("SELECT 1"), "1");
  await waitFor(
    "silent ones are gone",
    5000,
    () => socketCount(doorman) <= before + 21 || undefined,
  );
  assert.ok(doorman.rssKb() - memoryKb < 30_000, `${doorman.rssKb() - memoryKb} KB`);
  for (const client of crowd) client.close();
});

Deno.test("silent connections that take all descriptors make room, too", async () => {
  await using doorman = await start({ client_login_timeout: "5m" });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  await restingSockets(doorman);
  const { success } = await new Deno.Command("prlimit", {
    args: [`--pid=${doorman.pid}`, `--nofile=${doorman.fdCount() + 12}`],
  }).output();
  assert.ok(success);
  const crowd = await open(doorman, 60);
  await doorman.waitForLog(/accept: too many open files/);
  using user = await login(doorman);
  assert.equal(await user.value("SELECT 1"), "1");
  for (const client of crowd) client.close();
});

Deno.test("places are given back, however a client leaves", async () => {
  await using doorman = await start({ max_connections: 6, worker_threads: 2 });
  for (let round = 0; round < 5; round++) {
    const users: WireClient[] = [];
    for (let i = 0; i < 6; i++) {
      users.push(
        await waitFor("a place", 3000, async () => {
          try {
            return await login(doorman);
          } catch (error) {
            assert.match(String(error), /53300/);
            return undefined;
          }
        }),
      );
    }
    await assert.rejects(login(doorman), /53300/);
    await users[0]!.terminate();
    users[1]!.send(wire.query("SELECT pg_sleep(60)"));
    await users[1]!.flushed();
    users[1]!.close();
    // What is no message of the protocol ends the session with last words.
    users[2]!.send(Uint8Array.of(0x51, 0, 0, 0, 0));
    assert.deepEqual(wire.errorCodes(await users[2]!.readToEnd()), ["08P01"]);
    for (const user of users) user.close();
  }
});

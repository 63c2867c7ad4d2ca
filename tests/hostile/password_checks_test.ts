/**
 * Passwords in clear against SCRAM verifiers: the work of checking them is on another thread than clients who have
 * logged in, and bounded in what it takes and in what waits for it.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
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

/** A check against it takes seconds. */
const HEAVY = `SCRAM-SHA-256$10000000:${"A".repeat(22)}==$${"B".repeat(43)}=:${"B".repeat(43)}=`;

async function start(): Promise<Doorman> {
  const user = { server_username: "postgres", server_password: "postgres", pool_size: 2 };
  return await Doorman.start({
    config: {
      general: {
        worker_threads: 1,
        pg_hba:
          "host all heavy all password\nhost all plain all password\nhost all all all trust\n",
      },
      pools: {
        app: poolOf(postgres, {
          users: [
            { ...user, username: "heavy", password: HEAVY },
            { ...user, username: "plain", password: "secret of plain" },
            { ...user, username: "postgres", password: "postgres" },
          ],
        }),
      },
    },
    allowLog: [/login from/],
  });
}

/** A client that has sent its password. */
async function attack(doorman: Doorman, password: string): Promise<WireClient> {
  const client = await WireClient.open({ port: doorman.port });
  client.send(wire.startup({ user: "heavy", database: "app" }));
  await client.read();
  client.send(wire.message("p", wire.cstring(password)));
  return client;
}

Deno.test("while passwords are checked all other clients are served", async () => {
  await using doorman = await start();
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.value("SELECT 1");
  using attacker = await attack(doorman, "a guess");
  using waiting = await attack(doorman, "another guess");
  let refused = false;
  const answers = Promise.all(
    [attacker, waiting].map((each) => each.read().then(() => refused = true, () => {})),
  );
  for (let i = 0; i < 20; i++) assert.equal(await client.value("SELECT 1"), "1");
  using another = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  assert.equal(await another.value("SELECT 2"), "2");
  assert.ok(!refused, "the checks were over before: they took no time");
  attacker[Symbol.dispose]();
  waiting[Symbol.dispose]();
  await answers;
  assert.equal(await doorman.stop(), 0);
});

Deno.test("a hundred clients that log in at once with passwords in clear all get in", async () => {
  await using doorman = await start();
  const clients = await Promise.all(Array.from({ length: 100 }, () =>
    WireClient.login({
      port: doorman.port,
      user: "plain",
      database: "app",
      password: "secret of plain",
    })));
  for (const client of clients) client[Symbol.dispose]();
  await assert.rejects(
    WireClient.login({ port: doorman.port, user: "plain", database: "app", password: "wrong" }),
    /28P01|password authentication failed/,
  );
});

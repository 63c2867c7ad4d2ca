/** What docs/differences.md says of a session through the pooler, against one that is direct. */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  doorman = await Doorman.start({
    config: {
      pools: { app: poolOf(postgres), session: poolOf(postgres, { pool_mode: "session" }) },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

type Ask<T> = (client: WireClient) => Promise<T>;

/** What comes of it in transaction mode, in session mode and directly. */
async function everywhere<T>(ask: Ask<T>): Promise<[transaction: T, session: T, direct: T]> {
  const places = [
    { port: doorman.port, database: "app" },
    { port: doorman.port, database: "session" },
    { port: postgres.port, database: "postgres" },
  ];
  const answers: T[] = [];
  for (const place of places) {
    using client = await WireClient.login({ ...place, user: "postgres" });
    answers.push(await ask(client));
  }
  return answers as [T, T, T];
}

function codes(ask: Ask<wire.Message[]>): Promise<[string[], string[], string[]]> {
  return everywhere(async (client) => wire.errorCodes(await ask(client)));
}

const S = wire.SYNC;

async function prepared(client: WireClient): Promise<WireClient> {
  await client.ask(wire.parse("mine", "SELECT 1"), S);
  await client.ask(wire.bind("", "mine", []), wire.execute(), S);
  return client;
}

Deno.test("differences: none where a name in use is given to another statement", async () => {
  const again = async (client: WireClient) =>
    await (await prepared(client)).ask(wire.parse("mine", "SELECT 2"), S);
  assert.deepEqual(await codes(again), [["42P05"], ["42P05"], ["42P05"]]);
});

Deno.test("differences: SQL does not know a statement of the protocol by its client's name", async () => {
  const execute = async (client: WireClient) => (await prepared(client)).query("EXECUTE mine");
  assert.deepEqual(await codes(execute), [["26000"], [], []]);
  const names = await everywhere(async (client) =>
    (await (await prepared(client)).rows("SELECT name FROM pg_prepared_statements")).flat()
  );
  assert.match(String(names[0][0]), /^DOORMAN_\d+$/);
  assert.deepEqual(names.slice(1), [["mine"], ["mine"]]);
});

Deno.test("differences: none where a statement is dropped that nobody has, or has been dropped", async () => {
  const unknown = await codes((client) => client.query("DEALLOCATE nothing"));
  assert.deepEqual(unknown, [["26000"], ["26000"], ["26000"]]);
  const dropped = await codes(async (client) => {
    await (await prepared(client)).query("DEALLOCATE mine");
    return await client.ask(wire.bind("", "mine", []), wire.execute(), S);
  });
  assert.deepEqual(dropped, [["26000"], ["26000"], ["26000"]]);
});

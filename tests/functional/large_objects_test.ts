/**
 * Large objects as libpq and pgjdbc use them: FunctionCall messages with binary arguments ("Function Call"), each an
 * answer of its own. The same script directly and through pools of both modes gives the same bytes.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import type { Message } from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;
/** Oids of the functions by name, the first where there are several. */
const FUNCTIONS = new Map<string, number>();
const [WRITE, READ] = [0x20000, 0x40000];

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  const rows = await postgres.query<{ proname: string; oid: number }>(
    "SELECT proname, oid FROM pg_proc WHERE proname ~ '^lo_|^loread$|^lowrite$' " +
      "AND pronamespace = 'pg_catalog'::regnamespace ORDER BY oid DESC",
  );
  for (const { proname, oid } of rows) FUNCTIONS.set(proname, oid);
  const pool = (pool_mode: string) =>
    poolOf(postgres, {
      pool_mode,
      users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
    });
  doorman = await Doorman.start({
    config: { pools: { transaction: pool("transaction"), session: pool("session") } },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

type Argument = number | Uint8Array;

function call(name: string, ...args: Argument[]): Uint8Array {
  const values = args.flatMap((arg) => {
    const bytes = typeof arg === "number" ? wire.int32(arg) : arg;
    return [wire.int32(bytes.length), bytes];
  });
  return wire.message(
    "F",
    wire.int32(FUNCTIONS.get(name)!),
    wire.int16(1, 1, args.length),
    ...values,
    wire.int16(1),
  );
}

/** Calls a function and returns its answer's messages. */
async function answer(client: WireClient, name: string, ...args: Argument[]): Promise<Message[]> {
  return await client.ask(call(name, ...args));
}

function valueOf([first]: Message[]): Uint8Array {
  assert.equal(first!.type, "V", first!.type === "E" ? wire.errorFields(first!).M : "");
  return first!.body.subarray(4);
}

function numberOf(messages: Message[]): number {
  const bytes = valueOf(messages);
  return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0);
}

/** Everything that was answered, with the object's own oid replaced. */
async function session(client: WireClient, between: () => Promise<void>): Promise<string[]> {
  const told: string[] = [];
  const tell = (messages: Message[]) => {
    told.push(messages.map(({ type, body }) => `${type}${body.toHex()}`).join(" "));
    return messages;
  };
  const data = crypto.getRandomValues(new Uint8Array(60_000));
  const object = numberOf(await answer(client, "lo_creat", WRITE | READ));
  await between();
  tell(await client.query("BEGIN"));
  let fd = numberOf(tell(await answer(client, "lo_open", object, WRITE | READ)));
  for (let at = 0; at < data.length; at += 20_000) {
    tell(await answer(client, "lowrite", fd, data.subarray(at, at + 20_000)));
  }
  assert.equal(numberOf(tell(await answer(client, "lo_tell", fd))), data.length);
  tell(await answer(client, "lo_lseek", fd, 0, 0));
  // Several calls in one write, and one that fails at the end: its transaction is over.
  client.send(call("loread", fd, 50_000), call("loread", fd, 50_000), call("lo_close", fd));
  const read = [
    await client.readUntil("Z"),
    await client.readUntil("Z"),
  ].map(valueOf);
  tell(await client.readUntil("Z"));
  assert.deepEqual(new Uint8Array([...read[0]!, ...read[1]!]), data);
  tell(await client.query("COMMIT"));
  await between();
  // Outside of a transaction a descriptor is gone with its call.
  fd = numberOf(tell(await answer(client, "lo_open", object, READ)));
  const gone = await answer(client, "loread", fd, 10);
  assert.deepEqual(wire.errorCodes(gone), ["42704"]);
  told.push(wire.letters(gone));
  await between();
  tell(await client.query("BEGIN"));
  const failed = await answer(client, "lo_open", 1, READ);
  assert.deepEqual(wire.errorCodes(failed), ["42704"]);
  tell([failed.at(-1)!]);
  const skipped = await answer(client, "lo_unlink", object);
  assert.deepEqual(wire.errorCodes(skipped), ["25P02"]);
  tell(await client.query("ROLLBACK"));
  tell(await answer(client, "lo_unlink", object));
  await between();
  const again = await answer(client, "lo_unlink", object);
  assert.deepEqual(wire.errorCodes(again), ["42704"]);
  told.push(wire.letters(again));
  return told;
}

for (const mode of ["transaction", "session"]) {
  Deno.test(`large objects: FunctionCall messages in ${mode} mode are answered as directly`, async () => {
    using direct = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    const wanted = await session(direct, () => Promise.resolve());
    const place = { port: doorman.port, user: "postgres", database: mode };
    using client = await WireClient.login(place);
    // The only server goes to somebody else wherever it can.
    const other = mode === "transaction" ? await WireClient.login(place) : undefined;
    const between = async () => {
      assert.equal(await other?.value("SELECT 1") ?? "1", "1");
    };
    try {
      assert.deepEqual(await session(client, between), wanted);
    } finally {
      other?.close();
    }
  });
}

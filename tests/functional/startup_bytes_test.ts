/**
 * Bytes of a StartupMessage that are not ASCII, in databases of several encodings: a parameter has the value that it has at
 * a direct connection, on whatever server connection the client is.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const ENCODINGS: Record<string, string> = {
  utf: "UTF8",
  latin: "LATIN1",
  japanese: "EUC_JP",
  bytes: "SQL_ASCII",
};

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  for (const [name, encoding] of Object.entries(ENCODINGS)) {
    await postgres.query(
      `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' ` +
        "LC_COLLATE 'C' LC_CTYPE 'C'",
    );
  }
  const users = [{ username: "postgres", password: "postgres", pool_size: 1 }];
  const pools = Object.keys(ENCODINGS).map((server_database) => [
    server_database,
    poolOf(postgres, { server_database, users }),
  ]);
  doorman = await Doorman.start({
    config: {
      general: { pg_hba: { content: "host all all 127.0.0.1/32 trust" } },
      pools: Object.fromEntries(pools),
    },
    allowLog: [/login from/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

/** `é` of a text is the byte E9, `あ` two bytes of EUC_JP, `ß` two bytes of UTF-8. */
function bytesOf(text: string): Uint8Array {
  const special: Record<string, number[]> = { é: [0xe9], あ: [0xa4, 0xa2], ß: [0xc3, 0x9f] };
  return Uint8Array.from(
    [...text].flatMap((letter) => special[letter] ?? [letter.charCodeAt(0)]),
  );
}

async function open(port: number, database: string, fields: string[]): Promise<WireClient> {
  const client = await WireClient.open({ port });
  const all = ["user", "postgres", "database", database, ...fields];
  const strings = all.map((field) => wire.join([bytesOf(field), Uint8Array.of(0)]));
  client.send(wire.packet(3 << 16, ...strings, Uint8Array.of(0)));
  return client;
}

/** What such a client is shown, byte by byte, before and after another client has had the server; or its SQLSTATE. */
async function shown(
  port: number,
  database: string,
  fields: string[],
  name: string,
): Promise<string[]> {
  using client = await open(port, database, fields);
  const [first, ...welcome] = await client.readUntil("Z").catch(() => []);
  if (first === undefined) return ["refused"];
  assert.equal(welcome.at(-1)?.type, "Z");
  const values: string[] = [];
  for (let i = 0; i < 2; i++) {
    const row = (await client.ask(wire.query(`SHOW ${name}`))).find(({ type }) => type === "D");
    values.push(Array.from(row!.body.subarray(6), (byte) => String.fromCharCode(byte)).join(""));
    using other = await open(port, database, []);
    await other.readUntil("Z");
    await other.query("SELECT 1");
  }
  return values;
}

Deno.test("values of a StartupMessage are in the database's encoding, as at a direct connection", async () => {
  const cases: [database: string, name: string, value: string, more?: string[]][] = [];
  for (const [database, encoding] of Object.entries(ENCODINGS)) {
    const texts = { utf: ["aßb"], latin: ["aéb", "aßb"], japanese: ["aあb"], bytes: ["aéb"] };
    const more = ["client_encoding", encoding];
    for (const value of texts[database as keyof typeof texts]) {
      for (const name of ["search_path", "app.x"]) cases.push([database, name, value, more]);
    }
    cases.push([database, "application_name", "aéb"], [database, "application_name", "ß\x07"]);
  }
  for (const [database, name, value, more = []] of cases) {
    for (const fields of [[name, value], ["options", `-c ${name}=${value}`]]) {
      const what = JSON.stringify([database, fields]);
      const direct = await shown(postgres.port, database, [...fields, ...more], name);
      assert.equal(direct[0], direct[1]);
      assert.deepEqual(
        await shown(doorman.port, database, [...fields, ...more], name),
        direct,
        what,
      );
    }
  }
});

Deno.test("bytes that are no text of the database's encoding are refused, and leave nothing", async () => {
  for (const [database, value] of [["utf", "aéb"], ["japanese", "aéb"]] as const) {
    using client = await open(doorman.port, database, ["search_path", value]);
    assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["22021"], database);
    assert.deepEqual(await shown(doorman.port, database, [], "search_path"), [
      '"$user", public',
      '"$user", public',
    ]);
  }
});

/**
 * Minor versions of protocol 3, towards clients and servers: what is agreed upon, and keys of cancel requests as long as
 * each version has them.
 */

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { waitFor } from "../support/detached_process.ts";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { findBinaries } from "../support/postgres_binaries.ts";
import { WireServer } from "../support/wire_server.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  doorman = await Doorman.start({
    config: { general: { worker_threads: 2 }, pools: { app: poolOf(postgres) } },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  place: { port: number },
  database: string,
  minor: number,
  parameters: Record<string, string> = {},
): Promise<WireClient> {
  return await WireClient.login({ ...place, user: "postgres", database, minor, parameters });
}

/** NegotiateProtocolVersion as it came, and the length of the key. */
function agreed({ loginMessages, secret }: WireClient): [number[] | undefined, number] {
  const at = loginMessages.findIndex(({ type }) => type === "v");
  // Before authentication, so that a client that does not go on says nothing of its user.
  assert.ok(at <= 0, wire.letters(loginMessages));
  return [at < 0 ? undefined : [...loginMessages[at]!.body], secret.length];
}

Deno.test("each version and option is answered as PostgreSQL answers it", async () => {
  const cases: [number, Record<string, string>][] = [
    [0, {}],
    [1, {}],
    [2, {}],
    [3, {}],
    [9999, {}],
    [0, { "_pq_.x": "1" }],
    [2, { "_pq_.x": "1", "_pq_.y": "" }],
    [9, { "_pq_.x": "1" }],
  ];
  for (const [minor, parameters] of cases) {
    using pooled = await login(doorman, "app", minor, parameters);
    using direct = await login(postgres, "postgres", minor, parameters);
    assert.deepEqual(agreed(pooled), agreed(direct), JSON.stringify([minor, parameters]));
    assert.equal(await pooled.value("SELECT 1"), "1");
  }
});

Deno.test("a long key cancels, another one of its length does not", async () => {
  using client = await login(doorman, "app", 2);
  client.send(wire.query("SELECT pg_sleep(60)"));
  await waitFor(
    "the query runs",
    5000,
    async () =>
      await postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ===
        "1" || undefined,
  );
  const wrong = client.secret.slice();
  wrong[31]! ^= 1;
  for (const key of [wrong, client.secret.slice(0, 4), client.secret.slice(0, 31)]) {
    await client.cancel(key);
  }
  assert.ok(await client.silent(200));
  await client.cancel();
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
});

Deno.test("libpq of PostgreSQL 18 logs in with each of its versions, and cancels", async () => {
  const { bin } = await findBinaries("embedded");
  const libpq = Deno.dlopen(join(dirname(bin), "lib", "libpq.so.5"), {
    PQconnectdb: { parameters: ["buffer"], result: "pointer", nonblocking: true },
    PQfullProtocolVersion: { parameters: ["pointer"], result: "i32" },
    PQerrorMessage: { parameters: ["pointer"], result: "pointer" },
    PQsendQuery: { parameters: ["pointer", "buffer"], result: "i32" },
    PQgetResult: { parameters: ["pointer"], result: "pointer", nonblocking: true },
    PQresultErrorField: { parameters: ["pointer", "i32"], result: "pointer" },
    PQcancelCreate: { parameters: ["pointer"], result: "pointer" },
    PQcancelBlocking: { parameters: ["pointer"], result: "i32", nonblocking: true },
    PQcancelFinish: { parameters: ["pointer"], result: "void" },
    PQfinish: { parameters: ["pointer"], result: "void" },
  });
  const call = libpq.symbols;
  const text = (pointer: Deno.PointerValue) =>
    pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
  for (const [wanted, spoken] of [["3.0", 30000], ["3.2", 30002], ["latest", 30002]] as const) {
    const connection = await call.PQconnectdb(wire.cstring(
      `host=127.0.0.1 port=${doorman.port} user=postgres password=postgres dbname=app ` +
        `sslmode=disable gssencmode=disable max_protocol_version=${wanted}`,
    ));
    assert.equal(text(call.PQerrorMessage(connection)), "");
    assert.equal(call.PQfullProtocolVersion(connection), spoken);
    assert.equal(call.PQsendQuery(connection, wire.cstring("SELECT pg_sleep(60)")), 1);
    await waitFor(
      "the query runs",
      5000,
      async () =>
        await postgres.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
          ) ===
          "1" || undefined,
    );
    const cancel = call.PQcancelCreate(connection);
    assert.equal(await call.PQcancelBlocking(cancel), 1);
    call.PQcancelFinish(cancel);
    const sqlstate = text(
      call.PQresultErrorField(await call.PQgetResult(connection), "C".charCodeAt(0)),
    );
    assert.equal(sqlstate, "57014");
    call.PQfinish(connection);
  }
  libpq.close();
});

Deno.test("a server that is known to speak 3.2 is asked for it, and canceled by its long key", async () => {
  const secret = crypto.getRandomValues(new Uint8Array(256));
  const versions: number[] = [];
  const { promise: canceled, resolve: cancels } = Promise.withResolvers<Uint8Array>();
  await using server = new WireServer(async (peer) => {
    const packet = await peer.startup();
    const version = new DataView(packet.buffer, packet.byteOffset).getInt32(4);
    if (version === 80877102) {
      cancels(packet);
      return peer.hangUp();
    }
    versions.push(version);
    await peer.send(
      wire.message("R", wire.int32(0)),
      wire.message("S", wire.cstring("server_version"), wire.cstring("18.1 (Debian 18.1-1)")),
      wire.message("S", wire.cstring("client_encoding"), wire.cstring("UTF8")),
      wire.message("K", wire.int32(4711), version === 196610 ? secret : wire.int32(1)),
      wire.message("Z", wire.text("I")),
    );
    for (;;) {
      const sql = wire.strings(await peer.read())[0]!;
      if (sql !== "SLEEP") await peer.answer("1");
      else {
        await canceled;
        await peer.answer("canceled");
      }
    }
  });
  await using own = await Doorman.start({
    config: {
      pools: {
        app: {
          server_host: "127.0.0.1",
          server_port: server.port,
          users: [{ username: "postgres", password: "postgres", pool_size: 2 }],
        },
      },
    },
  });
  using first = await login(own, "app", 0);
  first.send(wire.query("SLEEP"));
  using second = await login(own, "app", 0);
  second.send(wire.query("SLEEP"));
  await waitFor("two servers", 5000, () => versions.length === 2 || undefined);
  assert.deepEqual(versions, [196608, 196610]);
  await second.cancel();
  assert.deepEqual(await canceled, wire.cancelRequest(4711, secret));
  await first.readUntil("Z");
  await second.readUntil("Z");
});

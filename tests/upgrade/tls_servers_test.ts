/**
 * Servers with TLS move like others, whatever they are in the middle of: PostgreSQL sees no new connection, and no byte is
 * lost, however a record was cut.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Authority } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { Proxy } from "../support/proxy.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import type { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let folder: string;
let first: Authority;
let second: Authority;
let postgres: Postgres;
let ca: string;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("tls-upgrades");
  first = Authority.create(folder, "First");
  second = Authority.create(folder, "Second");
  ca = join(folder, "ca.pem");
  postgres = await Postgres.start({
    tls: { certificate: first.issue({ name: "localhost" }) },
    settings: ["max_connections = 60"],
  });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
  await removeFolder(folder);
});

async function start(port: number = postgres.port): Promise<Service> {
  await Deno.writeFile(ca, first.certificate);
  return await Service.start({
    config: {
      general: {
        server_tls_mode: "verify-full",
        server_tls_ca_cert: ca,
        query_wait_timeout: "20s",
        shutdown_timeout: "20s",
      },
      pools: {
        app: poolOf(postgres, { server_port: port }, { pool_size: 12 }),
        session: poolOf(postgres, { server_port: port, pool_mode: "session" }),
      },
    },
  });
}

/** Backends and when they were started: what must be the same afterwards. */
function backends(): Promise<string> {
  return postgres.psql(
    "SELECT pid, backend_start, s.version FROM pg_stat_activity JOIN pg_stat_ssl s USING (pid) " +
      "WHERE backend_type = 'client backend' " +
      "AND application_name <> current_setting('application_name') ORDER BY pid",
  );
}

async function sleeping(count: number): Promise<void> {
  await waitFor(
    `${count} sleep`,
    5000,
    async () =>
      await postgres.psql(
          "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        ) === String(count) || undefined,
  );
}

const ROWS = 3000;
/** A row that makes records end anywhere. */
const row = (n: number) => `${n}:${"abcdefghij".repeat(n % 700)}`;

Deno.test("tls servers: five upgrades in the middle of results, copies, transactions and notifications; no reconnect", async () => {
  await using service = await start();
  using idle = await service.login();
  await idle.query("SELECT 1");
  using busy = await service.login();
  await busy.query("START TRANSACTION");
  await busy.query("CREATE TABLE IF NOT EXISTS sent (line text); TRUNCATE sent");
  await busy.query("COMMIT");
  await busy.query("START TRANSACTION");
  using session = await service.login({ database: "session" });
  await session.query("CREATE TEMP TABLE mine AS SELECT 3 AS n; LISTEN news");
  using slow = await service.login();
  slow.send(wire.query(
    "SELECT n, n || ':' || repeat('abcdefghij', n % 700) " +
      `FROM generate_series(1, ${ROWS}) n`,
  ));
  const received: wire.Message[] = [await slow.read()];
  using copying = await service.login();
  copying.send(wire.query("COPY sent FROM STDIN"));
  await copying.readUntil("G");
  using waiting = await service.login();
  waiting.send(wire.query("SELECT pg_sleep(12), 'slept'"));
  await sleeping(1);
  // A server that rests.
  await idle.query("SELECT 1");
  const before = await backends();
  let copied = 0;
  for (let round = 0; round < 5; round++) {
    // Half a message is with PostgreSQL, perhaps, or with the pooler.
    const text = Array.from({ length: 200 }, () => row(++copied)).join("\n") + "\n";
    const message = wire.message("d", wire.text(text));
    const cut = 100 + round * 50_000;
    copying.send(message.subarray(0, cut));
    await copying.flushed();
    const { left } = await service.upgrade();
    assert.equal(left, 0);
    copying.send(message.subarray(cut));
    for (let n = 0; n < 400; n++) received.push(await slow.read());
    await busy.query(`SELECT ${round}`);
    assert.equal(await session.value("SELECT n FROM mine"), "3");
    assert.equal(await idle.value("SELECT 42"), "42");
    await service.started(round + 2);
  }
  copying.send(wire.message("c"));
  await copying.readUntil("Z");
  received.push(...await slow.readUntil("Z"));
  const rows = wire.rowsOf(received);
  assert.equal(rows.length, ROWS);
  rows.forEach(([n, value], i) => assert.deepEqual([n, value], [String(i + 1), row(i + 1)]));
  assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["", "slept"]]);
  assert.equal((await busy.query("COMMIT")).at(-1)!.body[0], 0x49);
  await postgres.query("NOTIFY news, 'still there'");
  assert.equal((await session.read()).type, "A");
  assert.equal(await backends(), before);
  assert.match(before, /\|TLSv1\.3/);
  assert.doesNotMatch(before, /\|$/m);
  const lines =
    (await postgres.psql("SELECT line FROM sent ORDER BY split_part(line, ':', 1)::int")).split(
      "\n",
    );
  assert.equal(lines.length, copied);
  lines.forEach((line, i) => assert.equal(line, row(i + 1)));
  using admin = await service.console();
  for (const one of await admin.rows("SHOW SERVERS")) {
    assert.deepEqual([one[5], one.at(-2)], ["true", "TLSv1.3"]);
  }
});

Deno.test("tls servers: a cancel request finds the server of before, over TLS", async () => {
  await using proxy = new Proxy(postgres.port);
  await using service = await start(proxy.port);
  using client: WireClient = await service.login();
  client.send(wire.query("SELECT pg_sleep(60)"));
  await sleeping(1);
  await service.upgrade();
  const from = proxy.firsts.length;
  await client.cancel();
  const error = (await client.readUntil("Z")).find(({ type }) => type === "E");
  assert.equal(wire.errorFields(error!).C, "57014");
  assert.deepEqual(proxy.firsts.slice(from).map((bytes) => bytes.toHex()), ["0000000804d2162f"]);
});

Deno.test("tls servers: with other certificates on both sides the open ones live on, and new ones are checked by them", async () => {
  await using service = await start();
  service.allowLog(/server login failed/);
  using busy = await service.login();
  await busy.query("START TRANSACTION");
  const backend = await busy.value("SELECT pg_backend_pid()");
  await postgres.useCertificate(second.issue({ name: "localhost" }));
  postgres.reload();
  await Deno.writeFile(ca, second.certificate);
  await service.upgrade();
  assert.equal(await busy.value("SELECT pg_backend_pid()"), backend);
  using other = await service.login();
  assert.notEqual(await other.value("SELECT pg_backend_pid()"), backend);
  await busy.query("COMMIT");
  assert.equal(await busy.value("SELECT 1"), "1");
});

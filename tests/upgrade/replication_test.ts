/** Replication streams move to the new process in mid-stream: same walsender, nothing lost, nothing twice. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { hasDebianPostgres } from "../support/postgres_binaries.ts";
import { copyData, endOfStream, logicalStream, statusUpdate } from "../support/replication.ts";
import * as wire from "../support/wire_messages.ts";
import { available } from "../drivers/environment.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const program = hasDebianPostgres() && await available("pg_recvlogical", ["--version"]);
const SETTINGS = ["wal_level = logical", "max_wal_senders = 20", "max_replication_slots = 20"];

Deno.test.afterAll(() => removeCopies());

function start(postgres: Postgres): Promise<Service> {
  return Service.start({
    config: {
      general: { shutdown_timeout: "10s" },
      pools: { app: poolOf(postgres), replication: poolOf(postgres) },
    },
  });
}

/** Process ids of the walsenders. */
function senders(postgres: Postgres): Promise<string> {
  return postgres.psql(
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' ORDER BY pid",
  );
}

Deno.test("upgrade: a stream goes on in both directions, with bytes that its receiver has not taken", async () => {
  const size = 100_000;
  const count = 300;
  await using postgres = await Postgres.start({ settings: SETTINGS });
  await postgres.query("CREATE PUBLICATION everything");
  await using service = await start(postgres);
  using client = await service.login({ parameters: { replication: "database" } });
  await logicalStream(client, "moving");
  using physical = await service.login({
    database: "replication",
    parameters: { replication: "true" },
  });
  const before = await senders(postgres);
  assert.equal(before.split("\n").length, 2);
  await postgres.query(
    "SELECT pg_logical_emit_message(false, 'test', i || ' ' || repeat('x', " +
      `${size})) FROM generate_series(1, ${count}) i`,
  );
  const numbers: number[] = [];
  const collect = (most: number) =>
    copyData(client, (body) => {
      // A message that is not transactional: letters, flags, position, prefix, length, content.
      const text = new TextDecoder("latin1").decode(body.subarray(0, 80));
      const number = /test\0[^]{4}(\d+) x/.exec(text)?.[1];
      if (number !== undefined) {
        assert.ok(body.length > size);
        numbers.push(Number(number));
      }
      return numbers.length === most;
    });
  for (const most of [1, 100, 200]) {
    await collect(most);
    const { left, clients, servers } = await service.upgrade();
    assert.deepEqual([left, clients, servers], [0, 2, 2]);
  }
  await collect(count);
  assert.deepEqual(numbers, Array.from({ length: count }, (_, i) => i + 1));
  client.send(statusUpdate(0x7fff_ffffn));
  await copyData(client, (body) => body[0] === 0x6b);
  assert.equal(await senders(postgres), before);
  assert.match(await endOfStream(client), /^[d*]*c[d*]*CC?Z$/);
  assert.equal(await client.value("SELECT 4"), "4");
  assert.equal((await physical.rows("IDENTIFY_SYSTEM")).length, 1);
  // The limit knows of those that came.
  using admin = await service.console();
  const kinds = (await admin.rows("SHOW SERVERS")).flat();
  for (const kind of ["logical", "physical"]) assert.ok(kinds.includes(kind), kind);
});

Deno.test("upgrade: a stream that came is known as one: a shutdown does not wait for it", async () => {
  await using postgres = await Postgres.start({ settings: SETTINGS });
  await postgres.query("CREATE PUBLICATION everything");
  await using service = await start(postgres);
  using client = await service.login({ parameters: { replication: "database" } });
  await logicalStream(client, "moving");
  await service.upgrade();
  using admin = await service.console();
  service.endExpected = true;
  await admin.query("SHUTDOWN");
  assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["58006"]);
  client.close();
  admin.close();
  await service.waitForEnd(service.pid);
});

Deno.test({
  name: "upgrade: pg_recvlogical and pg_receivewal notice nothing",
  ignore: !program,
  fn: async () => {
    await using postgres = await Postgres.start({ edition: "debian", settings: SETTINGS });
    await postgres.query("CREATE TABLE changes (n int)");
    await postgres.query("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')");
    await using service = await start(postgres);
    const output = join(service.dir, "changes");
    const wal = join(service.dir, "wal");
    await Deno.mkdir(wal);
    const place = ["-h", "127.0.0.1", "-p", String(service.port), "-U", "postgres", "-w"];
    const spawn = (command: string, ...args: string[]) =>
      new Deno.Command(command, {
        args: [...place, ...args, "--no-loop"],
        env: { PGPASSWORD: "postgres" },
        stdout: "null",
        stderr: "piped",
      }).spawn();
    const receivers = [
      spawn(
        "pg_recvlogical",
        ...["--slot", "changes", "-d", "app", "--start", "-f", output, "-F", "0", "-s", "1"],
      ),
      spawn("pg_receivewal", "-D", wal, "-s", "1"),
    ];
    await waitFor(
      "two streams",
      10_000,
      async () =>
        await postgres.psql(
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
          ) ===
          "2" || undefined,
    );
    const before = await senders(postgres);
    let n = 0;
    for (let upgrades = 0; upgrades < 3; upgrades++) {
      const upgrade = service.upgrade();
      let done = false;
      const finish = () => done = true;
      upgrade.then(finish, finish);
      while (!done) await postgres.query(`INSERT INTO changes VALUES (${n++})`);
      assert.equal((await upgrade).left, 0);
    }
    await postgres.query(`INSERT INTO changes VALUES (${n++})`);
    const received = async () =>
      Array.from(
        (await Deno.readTextFile(output)).matchAll(/n\[integer\]:(\d+)/g),
        ([, at]) => +at!,
      );
    await waitFor("all rows", 10_000, async () => (await received()).length >= n || undefined);
    assert.deepEqual(await received(), Array.from({ length: n }, (_, i) => i));
    assert.equal(await senders(postgres), before);
    const end = await postgres.psql("SELECT pg_current_wal_flush_lsn()");
    await waitFor(
      "all of the WAL",
      10_000,
      async () =>
        await postgres.psql(
            `SELECT bool_and(write_lsn >= '${end}') FROM pg_stat_replication`,
          ) === "t" || undefined,
    );
    for (const receiver of receivers) {
      receiver.kill("SIGINT");
      const { code, stderr } = await receiver.output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    }
  },
});

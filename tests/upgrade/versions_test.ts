/**
 * Upgrades between programs of different versions, up and down: the present sources, and builds of them with what a
 * later version may add. See src/handover/version.ts for the rules.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { build } from "../../tools/build.ts";
import { COMPATIBLE_SINCE, SNAPSHOT_VERSION } from "../../src/handover/version.ts";
import { Authority } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const NEXT_VERSION = SNAPSHOT_VERSION + 1;

let postgres: Postgres;
let folder: string;
/** Knows more fields of everything that travels, and needs them. */
let next: string;
/** Its snapshots are another matter. */
let far: string;
/** Of before long byte arrays went by a file of their own, before batches came back, and before there was TLS. */
let before: string;

type Edits = Record<string, [from: string, to: string][]>;

/** Edits of a file each; every one has to find its place. */
async function variant(name: string, edits: Edits): Promise<string> {
  const output = join(folder, name);
  const made = new Set<string>();
  await build({
    variant: {
      output,
      edit: (path, text) => {
        const its = edits[path];
        if (its === undefined) return text;
        made.add(path);
        for (const [from, to] of its) {
          assert.equal(text.split(from).length, 2, `${path}: one place for an edit: ${from}`);
          text = text.replace(from, () => to);
        }
        return text;
      },
    },
  });
  assert.deepEqual([...made].sort(), Object.keys(edits).sort());
  return output;
}

function version(name: string): Edits {
  const { version } = JSON.parse(Deno.readTextFileSync("deno.json")) as { version: string };
  return { "deno.json": [[`"version":"${version}"`, `"version":"${version}-${name}"`]] };
}

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
  folder = await makeTestFolder("versions");
  next = await variant("next", {
    ...version("next"),
    "src/handover/version.ts": [[
      `SNAPSHOT_VERSION = ${SNAPSHOT_VERSION};`,
      `SNAPSHOT_VERSION = ${NEXT_VERSION};`,
    ]],
    "src/client/state.ts": [[
      "    stage: Stage.Startup,\n",
      "    stage: Stage.Startup,\n    moves: { count: 0 },\n",
    ]],
    "src/client/freeze.ts": [
      [
        "  state.statements = new Map();\n",
        "  state.statements = new Map();\n  state.moves = { count: state.moves.count + 1 };\n",
      ],
      ["    queryAgeMs: session", '    echo: ["heard"],\n    queryAgeMs: session'],
      [
        "  const { state, pool } = session;\n",
        "  const { state, pool } = session;\n  session.context.log.info('pg_doorman::client', " +
        "`next: moves=${state.moves.count} echo=${snapshot.echo.length}`);\n",
      ],
    ],
    "src/server/state.ts": [[
      "    stage: ServerStage.Login,\n",
      "    stage: ServerStage.Login,\n    seasons: ['spring'],\n",
    ]],
    "src/worker/moving/arrival.ts": [[
      "  place.tune(fd, snapshot.state.address[0] === 1);\n",
      "  place.tune(fd, snapshot.state.address[0] === 1);\n" +
      "  if (snapshot.state.seasons[0] !== 'spring' || snapshot.colour.length === 0) throw Error();\n",
    ]],
    "src/pool/snapshot.ts": [
      ["    paused: pool.paused,\n", "    paused: pool.paused, tags: [1],\n"],
      [
        "  pool.paused ||= snapshot.paused;\n",
        "  pool.paused ||= snapshot.paused;\n  snapshot.tags.push(2);\n",
      ],
    ],
    "src/stats/counters.ts": [["    errors: 0,\n", "    errors: 0,\n    retries: 0,\n"]],
    "src/worker/moving/completion.ts": [
      ["  queryAgeMs: -1,\n", "  queryAgeMs: -1,\n  echo: [],\n"],
      ["  drained: 0,\n", "  drained: 0,\n  colour: 'white',\n"],
      ["  paused: false,\n", "  paused: false,\n  tags: [],\n"],
    ],
  });
  before = await variant("before", {
    ...version("before"),
    // It would take the records of TLS for PostgreSQL's own bytes.
    "src/worker/moving/completion.ts": [[
      "  tls: undefined,\n  outbox: undefined,\n  tail: undefined,\n  ownError",
      "  outbox: undefined,\n  tail: undefined,\n  ownError",
    ]],
    "src/control/upgrade/successor.ts": [
      ["const able = { apart: true, thaws: true, tls: true, authQueries };", "const able = {};"],
    ],
    "src/control/upgrade/upgrade.ts": [
      ["const { apart = false, tls = false } = ready;", "const apart = false, tls = false;"],
      ["ready.thaws === true", "false"],
      ["      takesBack: true,\n", ""],
    ],
  });
  far = await variant("far", {
    ...version("far"),
    "src/handover/version.ts": [
      [`SNAPSHOT_VERSION = ${SNAPSHOT_VERSION};`, `SNAPSHOT_VERSION = ${NEXT_VERSION};`],
      [`COMPATIBLE_SINCE = ${COMPATIBLE_SINCE};`, `COMPATIBLE_SINCE = ${NEXT_VERSION};`],
    ],
  });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
  await removeCopies();
});

function start(more: { shutdown_timeout?: string } = {}): Promise<Service> {
  return Service.start({
    config: {
      general: { shutdown_timeout: "20s", query_wait_timeout: "30s", ...more },
      pools: {
        app: poolOf(postgres, {}, { pool_size: 6 }),
        one: poolOf(postgres, {}, { pool_size: 1 }),
        session: poolOf(postgres, { pool_mode: "session" }, { pool_size: 3 }),
      },
    },
  });
}

async function programVersion(service: Service): Promise<string> {
  using admin = await service.console();
  const version = await admin.value("SHOW VERSION");
  await admin.terminate();
  return version!;
}

/** To another program, whose version's name ends like this. */
async function upgradeTo(service: Service, file: string | undefined, ending: RegExp) {
  const result = await service.upgrade(
    file === undefined ? undefined : () => service.replaceByFile(file),
  );
  assert.match(await programVersion(service), ending);
  return result;
}

const PRESENT = /^[^-]*$/;

Deno.test("upgrade: to a version that knows more of everything, back to the previous one, and up again", async () => {
  await using service = await start();
  using idle = await service.login({ parameters: { application_name: "kept" } });
  await idle.ask(wire.parse("mine", "SELECT $1::int + 1"), wire.SYNC);
  using inTransaction = await service.login();
  await inTransaction.query("START TRANSACTION");
  const backend = await inTransaction.value("SELECT pg_backend_pid()");
  using failed = await service.login();
  await failed.query("START TRANSACTION");
  await failed.query("SELECT 1/0");
  using session = await service.login({ database: "session" });
  await session.query("CREATE TEMP TABLE mine AS SELECT 3 AS n; LISTEN news");
  using slow = await service.login();
  slow.send(wire.query("SELECT n, repeat('z', 50000) FROM generate_series(1, 600) n"));
  const received: wire.Message[] = [await slow.read()];
  using holder = await service.login({ database: "one" });
  await holder.query("START TRANSACTION");
  using waiting = await service.login({ database: "one" });
  waiting.send(wire.query("SELECT 'served'"));

  for (const [i, file] of [next, undefined, next, undefined].entries()) {
    const from = service.logs.length;
    const { clients, left } = await upgradeTo(service, file, file ? /-next$/ : PRESENT);
    assert.deepEqual([clients, left], [7, 0], `upgrade ${i + 1}`);
    await service.started(i + 2);
    if (file !== undefined) {
      // As in a new session: what the previous version had of it is nothing, also the second time.
      const told = [...service.logs.slice(from).matchAll(/next: (.*)/g)].map(([, what]) => what);
      assert.deepEqual(told, Array(7).fill("moves=0 echo=0"));
    }
    for (let n = 0; n < 50; n++) received.push(await slow.read());
    assert.equal(await inTransaction.value("SELECT pg_backend_pid()"), backend);
    assert.deepEqual(wire.errorCodes(await failed.query("SELECT 1")), ["25P02"]);
    assert.equal(await idle.value("SHOW application_name"), "kept");
    assert.deepEqual(
      wire.rowsOf(await idle.ask(wire.bind("", "mine", ["41"]), wire.execute(), wire.SYNC)),
      [["42"]],
    );
    assert.equal(await session.value("SELECT n FROM mine"), "3");
    using fresh = await service.login();
    assert.equal(await fresh.value("SELECT 1"), "1");
    await fresh.terminate();
  }
  await holder.query("COMMIT");
  assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["served"]]);
  await postgres.query("NOTIFY news, 'still there'");
  assert.equal((await session.read()).type, "A");
  assert.equal((await failed.query("ROLLBACK")).at(-1)!.body[0], 0x49);
  assert.equal((await inTransaction.query("COMMIT")).at(-1)!.body[0], 0x49);
  received.push(...await slow.readUntil("Z"));
  const rows = wire.rowsOf(received);
  assert.equal(rows.length, 600);
  rows.forEach(([n, value], i) => {
    assert.equal(n, String(i + 1));
    assert.equal(value!.length, 50000);
  });
});

Deno.test("upgrade: what a version has added moves on with it", async () => {
  await using service = await start();
  using client = await service.login();
  await upgradeTo(service, next, /-next$/);
  await service.started(2);
  const from = service.logs.length;
  await upgradeTo(service, next, /-next$/);
  await service.waitForLog(/next: moves=1 echo=1/, 2000, from);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: long statements and messages move to and from a program that has them in frames", async () => {
  await using service = await start();
  const clients: WireClient[] = [];
  try {
    for (let n = 0; n < 4; n++) {
      const client = await service.login();
      clients.push(client);
      const text = `SELECT '${n}' --${"x".repeat(200_000)}`;
      await client.ask(wire.parse("mine", text), wire.SYNC);
    }
    using sending = await service.login();
    const message = wire.parse("", `SELECT 'whole' --${"y".repeat(500_000)}`);
    sending.send(message.subarray(0, 400_000));
    await sending.flushed();
    for (const [i, file] of [before, undefined].entries()) {
      const { clients, left } = await upgradeTo(service, file, file ? /-before$/ : PRESENT);
      assert.deepEqual([clients, left], [5, 0]);
      await service.started(i + 2);
    }
    sending.send(message.subarray(400_000));
    const rows = await sending.ask(wire.bind("", ""), wire.execute(), wire.SYNC);
    assert.deepEqual(wire.rowsOf(rows), [["whole"]]);
    for (const [n, client] of clients.entries()) {
      const answer = await client.ask(wire.bind("", "mine"), wire.execute(), wire.SYNC);
      assert.deepEqual(wire.rowsOf(answer), [[String(n)]]);
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("upgrade: to a program that can't take over TLS plain clients move, those with TLS finish on the old process", async () => {
  await using service = await Service.start({
    tls: true,
    config: {
      general: { shutdown_timeout: "20s", query_wait_timeout: "30s" },
      pools: {
        app: poolOf(postgres, {}, { pool_size: 2 }),
        other: poolOf(postgres, {}, { pool_size: 2 }),
      },
    },
  });
  using encrypted = await service.login();
  await encrypted.query("START TRANSACTION");
  const plain = { tls: undefined };
  using idle = await service.login(plain);
  await idle.ask(wire.parse("mine", "SELECT $1::int + 1"), wire.SYNC);
  using busy = await service.login(plain);
  await busy.query("START TRANSACTION");
  const backend = await busy.value("SELECT pg_backend_pid()");
  using apart = await service.login({ ...plain, database: "other" });
  using waiting = await service.login(plain);
  waiting.send(wire.query("SELECT 'served'"));
  using silent = await WireClient.open({ port: service.port, tls: service.tls });
  const why = /the new process can't take over connections with TLS: 2 clients finish here/;
  service.allowLog(why);
  const from = service.logs.length;
  const { old } = await service.begin(() => service.replaceByFile(before));
  await service.waitForLog(why);
  // In the same transaction, and whoever comes finds a place at the new process.
  assert.equal(await busy.value("SELECT pg_backend_pid()"), backend);
  assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["served"]]);
  const bound = await idle.ask(wire.bind("", "mine", ["41"]), wire.execute(), wire.SYNC);
  assert.deepEqual(wire.rowsOf(bound), [["42"]]);
  assert.equal(await apart.value("SELECT 1"), "1");
  await busy.query("COMMIT");
  using admin = await service.console();
  await waitFor(
    "four clients of the new process",
    10_000,
    async () =>
      (await admin.rows("SHOW CLIENTS")).filter(([, database]) => database !== "pgdoorman")
          .length === 4 || undefined,
  );
  // Served as before, with servers of the old process.
  assert.equal(await encrypted.value("SELECT 1"), "1");
  await encrypted.query("COMMIT");
  await silent.logIn({ user: "postgres", database: "app" });
  for (const client of [encrypted, silent]) assert.equal(await client.value("SELECT 3"), "3");
  for (const client of [encrypted, silent]) await client.terminate();
  await service.waitForEnd(old);
  for (const client of [idle, busy, apart, waiting]) {
    assert.equal(await client.value("SELECT 4"), "4");
  }
  assert.match(service.logs.slice(from), /moved 4 clients and 1 servers to process/);
});

Deno.test("upgrade: a server with TLS does not go to a program that would take it for plain; its client does, without", async () => {
  await using server = await Postgres.start({
    tls: { certificate: Authority.create(folder).issue({ name: "localhost" }) },
  });
  await using service = await Service.start({
    config: {
      general: { shutdown_timeout: "20s" },
      pools: { app: poolOf(server, { server_tls_mode: "require" }, { pool_size: 3 }) },
    },
  });
  using idle = await service.login();
  await idle.ask(wire.parse("mine", "SELECT $1::int + 1"), wire.SYNC);
  using busy = await service.login();
  await busy.query("START TRANSACTION");
  const backend = await busy.value("SELECT pg_backend_pid()");
  const from = service.logs.length;
  const { old } = await service.begin(() => service.replaceByFile(before));
  assert.match(await programVersion(service), /-before$/);
  const bound = await idle.ask(wire.bind("", "mine", ["41"]), wire.execute(), wire.SYNC);
  assert.deepEqual(wire.rowsOf(bound), [["42"]]);
  // It lives on where it was, until it is free.
  assert.equal(await busy.value("SELECT pg_backend_pid()"), backend);
  assert.equal((await busy.query("COMMIT")).at(-1)!.body[0], 0x49);
  await service.waitForEnd(old);
  assert.notEqual(await busy.value("SELECT pg_backend_pid()"), backend);
  assert.match(
    service.logs.slice(from),
    /the new process does not know connections with TLS[^]*moved 2 clients and 0 servers/,
  );
  // And up again, from the servers that the other program has.
  await service.started(2);
  assert.equal((await service.upgrade()).left, 0);
  for (const client of [idle, busy]) assert.equal(await client.value("SELECT 1"), "1");
});

for (const direction of ["up", "down"]) {
  Deno.test(`upgrade: ${direction} to a version of incompatible snapshots, clients finish on the old process`, async () => {
    await using service = await start({ shutdown_timeout: "2s" });
    const [mine, others] = direction === "up"
      ? [SNAPSHOT_VERSION, NEXT_VERSION]
      : [NEXT_VERSION, SNAPSHOT_VERSION];
    let generation = 1;
    if (direction === "down") {
      service.allowLog(/does not know snapshots of version \d+, but \d+: its clients finish/);
      await upgradeTo(service, far, /-far$/);
      await service.started(++generation);
    }
    const why = `does not know snapshots of version ${mine}, but ${others}: its clients finish`;
    service.allowLog(
      new RegExp(why),
      /shutdown_timeout is over, left behind and closed: 2 clients whose format the new process/,
    );
    using client = await service.login();
    using finishing = await service.login({ database: "session" });
    await finishing.query("START TRANSACTION");
    const backend = await finishing.value("SELECT pg_backend_pid()");
    const { old } = await service.begin(
      direction === "up" ? () => service.replaceByFile(far) : undefined,
    );
    await service.waitForLog(new RegExp(why));
    assert.equal(await client.value("SELECT 1"), "1");
    assert.equal(await finishing.value("SELECT pg_backend_pid()"), backend);
    assert.equal((await finishing.query("COMMIT")).at(-1)!.body[0], 0x49);
    // Who comes now is the new one's.
    assert.match(await programVersion(service), direction === "up" ? /-far$/ : PRESENT);
    for (const one of [client, finishing] as WireClient[]) {
      assert.deepEqual(wire.errorCodes(await one.readToEnd()), ["57P01"]);
    }
    await service.waitForEnd(old);
    await service.started(++generation);
    using admin = await service.console();
    const items = Object.fromEntries(await admin.rows("SHOW UPGRADE"));
    assert.equal(items.left_unknown_format, "2");
  });
}

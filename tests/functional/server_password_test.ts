/**
 * Passwords towards PostgreSQL that change while clients work: read from a file, said by a command, refused and fetched
 * once more. Nobody notices, and nothing of them is told.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";
import { consoleOf, refusal, reload, show } from "../reload/support.ts";

const FIRST = "first-secret";
let folder: string;
let postgres: Postgres;
let doorman: Doorman;
let config: { pools: Record<string, Config> };

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("server-passwords");
  postgres = await Postgres.start({
    settings: ["listen_addresses = '127.0.0.1'"],
    hba: [
      "host all by_file 127.0.0.1/32 scram-sha-256",
      "host all by_command 127.0.0.1/32 password",
    ],
  });
  await postgres.query(
    ["by_file", "by_command"].map((role) => `CREATE ROLE ${role} LOGIN PASSWORD '${FIRST}';`)
      .join(""),
  );
  await setPassword("by_file", FIRST);
  await setPassword("by_command", FIRST);
  const script = join(folder, "say");
  // Which arguments it had, how often it ran, and what it says besides.
  await Deno.writeTextFile(
    script,
    `#!/bin/sh\necho "$1" >> ${folder}/runs\necho a-hidden-word >&2\n` +
      `[ -e ${folder}/fails ] && { cat ${folder}/by_command; exit 7; }\ncat ${folder}/by_command\n`,
    { mode: 0o755 },
  );
  const pool = (role: string, keys: Config): Config => ({
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users: [{ username: "app", password: "app", pool_size: 4, server_username: role }],
    ...keys,
  });
  config = {
    pools: {
      file: pool("by_file", { server_password_file: join(folder, "by_file") }),
      command: pool("by_command", {
        server_password_command: [script, "{user}@{host}"],
        server_password_command_ttl: "1h",
      }),
    },
  };
  doorman = await Doorman.start({
    args: ["-l", "trace"],
    config,
    allowLog: [/server login failed/],
  });
});

Deno.test.afterAll(async () => {
  const status = await doorman.stop();
  const { logs } = doorman;
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
  assert.equal(status, 0);
  for (const secret of [FIRST, "second-secret", "third-secret", "a-hidden-word"]) {
    assert.ok(!logs.includes(secret), `"${secret}" is in the log`);
  }
});

/** What a rotation does: PostgreSQL has another password, and then whoever hands passwords out. */
async function setPassword(role: string, password: string): Promise<void> {
  await postgres.query(`ALTER ROLE ${role} PASSWORD '${password}'`);
  await Deno.writeTextFile(join(folder, role), `${password}\n`, { mode: 0o600 });
}

function login(database: string): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, database, user: "app" });
}

async function runs(): Promise<string[]> {
  return (await Deno.readTextFile(join(folder, "runs"))).trim().split("\n");
}

Deno.test("server passwords: changed while clients work, new connections have the new one, and nobody notices", async () => {
  using admin = await consoleOf(doorman);
  for (const database of ["file", "command"]) {
    const clients = await Promise.all(Array.from({ length: 8 }, () => login(database)));
    let goOn = true;
    const work = clients.map(async (client) => {
      let queries = 0;
      for (; goOn; queries++) assert.equal(await client.value("SELECT 1"), "1");
      return queries;
    });
    const backends = async () =>
      await postgres.psql(
        `SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE usename = 'by_${database}'`,
      );
    for (const password of ["second-secret", "third-secret"]) {
      const before = new Set((await backends()).split(","));
      await setPassword(`by_${database}`, password);
      await admin.query(`RECONNECT ${database}`);
      await waitFor("all servers are others", 10_000, async () => {
        const now = (await backends()).split(",");
        return (now[0] !== "" && now.every((pid) => !before.has(pid))) || undefined;
      });
    }
    goOn = false;
    for (const queries of await Promise.all(work)) assert.ok(queries > 0);
    for (const client of clients) client.close();
  }
  // At the first connection, and each time that what was known was refused.
  assert.deepEqual(await runs(), Array(3).fill("by_command@127.0.0.1"));
  assert.ok(!doorman.logs.includes("server login failed"), doorman.logs);
});

Deno.test("server passwords: SHOW CONFIG hides the command, and -t looks for what is named", async () => {
  using admin = await consoleOf(doorman);
  const rows = await show(admin, "CONFIG");
  const row = rows.find(({ key }) => key === "pools.command.server_password_command");
  assert.ok(row !== undefined && !JSON.stringify(row).includes("say"), JSON.stringify(row));
  const broken = structuredClone(config);
  broken.pools.file!.server_password_file = join(folder, "gone");
  broken.pools.command!.server_password_command = [join(folder, "by_command")];
  const told = await reload(doorman, broken);
  assert.match(told, /server_password_file: could not open/);
  assert.match(told, /server_password_command: .*by_command" is not executable/);
});

Deno.test("server passwords: a command that fails is one line of the log, and its clients hear why", async () => {
  await Deno.writeTextFile(join(folder, "fails"), "");
  const other = structuredClone(config);
  other.pools.command!.server_password_command_ttl = "2h";
  const from = doorman.logs.length;
  await reload(doorman, other);
  const { C, M } = await refusal(login("command"));
  assert.deepEqual([C, M], [
    "28000",
    "could not connect to PostgreSQL: no password: server_password_command: exit status 7",
  ]);
  const lines = doorman.logs.slice(from).split("\n").filter((line) => line.includes("exit status"));
  assert.ok(
    lines.filter((line) => line.includes("server login failed")).length === 1,
    lines.join(),
  );
  await Deno.remove(join(folder, "fails"));
  await waitFor("it works again", 10_000, async () => {
    using again = await login("command").catch(() => undefined);
    return await again?.value("SELECT 1") === "1" || undefined;
  });
});

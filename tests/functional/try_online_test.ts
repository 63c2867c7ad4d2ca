/** `pg_doorman -t --online`: what works of the connections that a configuration asks for, without serving anybody. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { runDoorman } from "../support/doorman_command.ts";
import { freePort } from "../support/ports.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { scramStored } from "../support/wire_login.ts";

Deno.test("-t --online: logs in once by each way that there is, and says what fails", async () => {
  await using postgres = await Postgres.start({ auth: "scram-sha-256" });
  const folder = await makeTestFolder("online");
  const path = join(folder, "pg_doorman.toml");
  const config = (pools: string) =>
    `[general]
host = "127.0.0.1"
port = ${freePort()}
admin_username = "admin"
admin_password = "word-of-the-admin"
${pools}`;
  const pool = (name: string, port: number, ...users: [user: string, password: string][]) =>
    `[pools.${name}]
server_host = "127.0.0.1"
server_port = ${port}
server_database = "postgres"
${
      users.map(([user, password]) =>
        `[[pools.${name}.users]]\nusername = "${user}"\npassword = "${password}"\npool_size = 3\nmin_pool_size = 2\n`
      ).join("")
    }`;
  const good = pool("good", postgres.port, ["postgres", "postgres"]);
  await Deno.writeTextFile(
    path,
    config(
      // The same way twice is tried once.
      good + pool("same", postgres.port, ["postgres", "postgres"]) +
        pool("key", postgres.port, ["postgres", scramStored("postgres")]),
    ),
  );
  const works = await runDoorman(["-t", "--online", path]);
  const where = `server 127.0.0.1:${postgres.port} as "postgres" to "postgres"`;
  assert.deepEqual(works.stdout.split("\n").slice(2).sort(), [
    "",
    `pg_doorman: ${where} (pool "good", user "postgres"): ok, without TLS`,
    `pg_doorman: ${where} (pool "key", user "postgres"): ok, it answers; the password is not tried, ` +
    "since it is the first client's to show",
  ]);
  assert.deepEqual([works.stderr, works.code], ["", 0]);
  const closed = freePort();
  await Deno.writeTextFile(
    path,
    config(
      good + pool("wrong", postgres.port, ["postgres", "nope"]) + pool("down", closed, ["a", "b"]),
    ),
  );
  const fails = await runDoorman(["-t", "--online", path]);
  assert.match(
    fails.stdout,
    /test is successful\npg_doorman: server .*"good".*: ok, without TLS\n$/,
  );
  assert.match(
    fails.stderr,
    /^error: server .*\(pool "wrong", .*: 28P01: password authentication failed/m,
  );
  assert.match(
    fails.stderr,
    new RegExp(`^error: server 127.0.0.1:${closed} as "a" .*: .*connection refused`, "m"),
  );
  assert.equal(fails.code, 1);
  await removeFolder(folder);
});

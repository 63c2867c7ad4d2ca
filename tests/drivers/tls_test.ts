/**
 * Drivers with TLS, the server verified in full, and their default settings otherwise: fifty clients on four servers, as in
 * shared_statements_test.ts; and what libpq alone has: channel binding, and TLS without a request for it.
 */

import assert from "node:assert/strict";
import { Authority } from "../support/certificates.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";
import { available, PYTHON, run } from "./environment.ts";
import { findPrograms, makeSharedTable, removeCompiled } from "./programs.ts";

const python = Deno.env.get("PG_DOORMAN_TEST_PYTHON") ?? PYTHON;
const psycopg = await available(python, ["-c", "import psycopg"]);
const direct = await available(python, [
  "-c",
  "import psycopg; assert psycopg.pq.version() >= 170000",
]);
const pgbench = await available("pgbench", ["--version"]);

let postgres: Postgres;
let doorman: Doorman;
let folder: string;
let ca: string;

Deno.test.beforeAll(async () => {
  [postgres, folder] = await Promise.all([Postgres.start(), makeTestFolder("drivers-tls")]);
  await makeSharedTable(postgres);
  const authority = Authority.create(folder);
  ca = authority.certificatePath;
  const { certificatePath, keyPath } = authority.issue({ name: "localhost" });
  const users: Config[] = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  doorman = await Doorman.start({
    config: {
      general: {
        tls_certificate: certificatePath,
        tls_private_key: keyPath,
        tls_mode: "require",
        query_wait_timeout: 60_000,
      },
      pools: { app: poolOf(postgres, { users }) },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
  await removeCompiled();
});

for (const program of await findPrograms()) {
  Deno.test({
    name: `TLS: ${program.name}`,
    ignore: !program.ready,
    // A few rounds will do: the file is there.
    fn: () => program.run({ port: doorman.port, database: "app", ca, file: ca }),
  });
}

/** What psycopg makes of a connection with these settings: the answer to a query, or its error. */
function psycopgWith(settings: string): Promise<string> {
  return run(python, [
    "-c",
    `
import psycopg, sys
try:
    with psycopg.connect(sys.argv[1]) as connection:
        print(connection.execute("SELECT 42").fetchone()[0])
except psycopg.OperationalError as error:
    print(error)
`,
    `host=127.0.0.1 port=${doorman.port} user=postgres password=postgres dbname=app ` +
    `sslmode=verify-full sslrootcert=${ca} ${settings}`,
  ]);
}

Deno.test({
  name: "TLS: psycopg with channel binding",
  ignore: !psycopg,
  fn: async () => {
    assert.equal(await psycopgWith("channel_binding=require"), "42\n");
    assert.equal(await psycopgWith("channel_binding=disable"), "42\n");
  },
});

Deno.test({
  name: "TLS: libpq without a request for it",
  ignore: !direct,
  fn: async () => {
    const settings = "sslnegotiation=direct channel_binding=require";
    assert.equal(await psycopgWith(settings), "42\n");
  },
});

Deno.test({
  name: "TLS: pgbench, a connection for each transaction, and the same one for all",
  ignore: !pgbench,
  fn: async () => {
    const place =
      `host=127.0.0.1 port=${doorman.port} user=postgres password=postgres dbname=app ` +
      `sslmode=verify-full sslrootcert=${ca}`;
    for (const [script, ...more] of [["SELECT 1", "-C", "-t", "20"], ["SELECT 1", "-t", "200"]]) {
      const file = `${folder}/script.sql`;
      Deno.writeTextFileSync(file, `${script};\n`);
      const said = await run("pgbench", ["-n", "-f", file, "-c", "8", "-j", "2", ...more, place]);
      assert.match(said, /number of failed transactions: 0 \(/);
    }
  },
});

Deno.test("TLS: nobody was there without", async () => {
  const { port } = doorman;
  doorman.allowLog(/connections without TLS are not allowed here/);
  await assert.rejects(
    WireClient.login({ port, user: "postgres", database: "app" }),
    /28000: connections without TLS/,
  );
});

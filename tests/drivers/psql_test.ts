/**
 * psql: scripts with everything that operators type, COPY, several statements, errors, and the admin console with what
 * psql asks it by itself.
 */

import assert from "node:assert/strict";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { available, Environment, MODES, run } from "./environment.ts";

const psql = await available("psql", ["--version"]);
const environment = new Environment();

Deno.test.beforeAll(() => environment.start());
Deno.test.afterAll(() => environment.stop());

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !psql, fn });
}

const SCRIPT = `
\\set ON_ERROR_STOP on
\\conninfo
CREATE TABLE script_items (id serial PRIMARY KEY, word text);
BEGIN;
INSERT INTO script_items (word) VALUES ('one'), ('two');
SAVEPOINT s;
INSERT INTO script_items (word) VALUES ('three');
ROLLBACK TO s;
COMMIT;
\\copy script_items (word) FROM STDIN
four
five
\\.
COPY script_items (word) FROM STDIN;
six
\\.
TABLE script_items ORDER BY id;
\\copy (SELECT count(*) FROM script_items) TO STDOUT
SELECT 'a' AS a \\; SELECT 'b' AS b \\; SELECT 'c' AS c;
\\d script_items
\\dt script_items
SELECT format('SELECT %s', n) FROM generate_series(1, 2) n \\gexec
\\set FETCH_COUNT 100
SELECT sum(g) FROM (SELECT generate_series(1, 1000) g) x;
SELECT g FROM generate_series(1, 250) g \\g /dev/null
\\unset FETCH_COUNT
DO $$ BEGIN RAISE NOTICE 'noticed'; END $$;
\\set ON_ERROR_STOP off
SELECT 1/0;
SELECT 'went on';
\\timing on
SELECT 1;
DROP TABLE script_items;
`;

for (const mode of MODES) {
  test(`psql in ${mode} mode gives what it gives directly`, async () => {
    const { doorman, postgres } = environment;
    const args = ["-X", "-A", "-t", "-q"];
    const clean = (text: string) =>
      text.replace(/You are connected.*\n/, "").replace(/Time: .*\n/g, "");
    const direct = await run("psql", [...args, postgres.url], SCRIPT);
    const through = await run("psql", [...args, doorman.url(mode, "postgres")], SCRIPT);
    assert.equal(clean(through), clean(direct));
    assert.match(through, /^1\|one\n2\|two\n4\|four\n5\|five\n6\|six\n5\na\nb\nc$/m);
    assert.match(through, /went on/);
  });
}

test("psql -1 and -c: one transaction, several commands, exit status of a failure", async () => {
  const url = environment.doorman.url("transaction", "postgres");
  await run("psql", [
    "-X",
    "-1",
    "-c",
    "CREATE TABLE once (x int)",
    "-c",
    "INSERT INTO once VALUES (1)",
    url,
  ]);
  assert.equal(await run("psql", ["-XAtq", "-c", "TABLE once; DROP TABLE once", url]), "1\n");
  await assert.rejects(run("psql", ["-X", "-c", "SELECT nonsense", url]), /ended with 1/);
});

test("psql \\lo_import and \\lo_export: what goes in comes out", async () => {
  const folder = await makeTestFolder("psql");
  try {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    await Deno.writeFile(`${folder}/in`, bytes);
    for (const mode of MODES) {
      const url = environment.doorman.url(mode, "postgres");
      const script = `\\set ON_ERROR_STOP on\n\\lo_import ${folder}/in\n` +
        `\\lo_export :LASTOID ${folder}/out-${mode}\n\\lo_unlink :LASTOID\n`;
      await run("psql", ["-X", url], script);
      assert.deepEqual(await Deno.readFile(`${folder}/out-${mode}`), bytes);
    }
  } finally {
    await removeFolder(folder);
  }
});

test("psql with a wrong password, a wrong database and sslmode=require says why", async () => {
  const { doorman } = environment;
  await assert.rejects(
    run("psql", ["-X", doorman.url("transaction", "postgres", "wrong")]),
    /password authentication failed for user "postgres"/,
  );
  await assert.rejects(
    run("psql", ["-X", doorman.url("nowhere", "postgres")]),
    /password authentication failed for user "postgres"/,
  );
  await assert.rejects(
    run("psql", ["-X", doorman.url("transaction", "postgres") + "?sslmode=require"]),
    /server does not support SSL/,
  );
  doorman.allowLog(/login from/);
});

test("the admin console in psql: every SHOW is a table, commands answer with their tag, errors go on", async () => {
  const url = environment.doorman.adminUrl;
  const shows = [
    "VERSION",
    "POOLS",
    "CLIENTS",
    "SERVERS",
    "STATS",
    "DATABASES",
    "USERS",
    "LISTS",
    "CONFIG",
  ];
  for (const show of shows) {
    const table = await run("psql", ["-X", "-P", "footer=off", "-c", `SHOW ${show}`, url]);
    assert.match(table, /^ +\S.*\n-+[-+]*\n +\S/, show);
  }
  const said = await run(
    "psql",
    ["-X", url],
    "PAUSE;\nRESUME;\nRECONNECT transaction;\nPAUSE nowhere;\nSHOW HELP;\nSHOW VERSION;\n",
  );
  assert.match(said, /^PAUSE\nRESUME\nRECONNECT\n/);
  assert.match(said, /PgDoorman \d/);
});

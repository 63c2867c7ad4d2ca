/**
 * Python's two drivers, as Debian has them: psycopg2 (libpq) and asyncpg (a protocol implementation of its own).
 */

import assert from "node:assert/strict";
import { available, Environment, MODES, PYTHON, run } from "./environment.ts";

const psycopg2 = await available(PYTHON, ["-c", "import psycopg2"]);
const asyncpg = await available(PYTHON, ["-c", "import asyncpg"]);
const environment = new Environment();

Deno.test.beforeAll(() => environment.start());
Deno.test.afterAll(() => environment.stop());

for (const mode of MODES) {
  Deno.test({
    name: `psycopg2 in ${mode} mode: transactions, cursors, COPY, large objects, cancel, threads`,
    ignore: !psycopg2,
    fn: async () => {
      const url = environment.doorman.url(mode, "postgres");
      assert.equal(await run(PYTHON, ["psycopg2_session.py", url, mode]), "all right\n");
    },
  });

  Deno.test({
    name: `asyncpg in ${mode} mode: transactions, cursors, COPY, timeouts, its own pool`,
    ignore: !asyncpg,
    fn: async () => {
      const url = environment.doorman.url(mode, "postgres");
      assert.equal(await run(PYTHON, ["asyncpg_session.py", url, mode]), "all right\n");
    },
  });
}

Deno.test({
  name: "the admin console answers psycopg2 and asyncpg alike",
  ignore: !psycopg2 || !asyncpg,
  fn: async () => {
    const url = environment.doorman.adminUrl;
    assert.equal(await run(PYTHON, ["admin_console.py", url]), "all right\n");
  },
});

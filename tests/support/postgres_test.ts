import assert from "node:assert/strict";
import { hasDebianPostgres } from "./postgres_binaries.ts";
import { Postgres } from "./postgres.ts";
import pg from "pg";

async function ask(url: string, sql: string): Promise<Record<string, unknown>> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows[0];
  } finally {
    await client.end();
  }
}

Deno.test("postgres: answers over TCP and its socket, keeps data over a crash, leaves nothing behind", async (t) => {
  let folder = "";
  let pid = 0;
  {
    await using postgres = await Postgres.start({
      edition: "embedded",
      settings: ["work_mem = '7MB'"],
    });
    folder = postgres.folder;
    pid = postgres.pid;
    assert.deepEqual(await ask(postgres.url, "SHOW work_mem"), { work_mem: "7MB" });
    assert.equal(await postgres.psql("SELECT 1, NULL, true"), "1||t");
    assert.match(await postgres.psql("SELECT version()"), /^PostgreSQL 18/);

    await t.step("restart", async () => {
      await postgres.query("CREATE TABLE kept AS SELECT 42 AS answer");
      await postgres.restart();
      assert.notEqual(postgres.pid, pid);
      assert.equal(await postgres.psql("SELECT answer FROM kept"), "42");
    });
    await t.step("kill", async () => {
      await postgres.query("CHECKPOINT");
      await postgres.kill();
      await assert.rejects(ask(postgres.url, "SELECT 1"));
      await postgres.start();
      assert.equal(await postgres.psql("SELECT answer FROM kept"), "42");
      pid = postgres.pid;
    });
    await t.step("suspend", async () => {
      postgres.suspend();
      const answer = postgres.psql("SELECT 2");
      const first = await Promise.race([
        answer,
        new Promise((resolve) => setTimeout(() => resolve("silence"), 100)),
      ]);
      assert.equal(first, "silence");
      postgres.resume();
      assert.equal(await answer, "2");
    });
  }
  await assert.rejects(Deno.stat(folder), Deno.errors.NotFound);
  await assert.rejects(Deno.stat(`/proc/${pid}`), Deno.errors.NotFound);
});

Deno.test({
  name:
    "postgres: the environment names the one of tests that want none, and each knows its version",
  ignore: !hasDebianPostgres(),
  fn: async () => {
    const name = "PG_DOORMAN_TEST_POSTGRES";
    const before = Deno.env.get(name);
    Deno.env.set(name, "/usr/lib/postgresql/15/bin");
    try {
      for (const [edition, major] of [[undefined, 15], ["debian", 15], ["embedded", 18]] as const) {
        await using postgres = await Postgres.start({ edition });
        assert.equal(postgres.major, major);
        assert.match(
          await postgres.psql("SHOW server_version_num"),
          new RegExp(`^${major}\\d{4}$`),
        );
      }
    } finally {
      if (before === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before);
    }
  },
});

for (const auth of ["password", "md5", "scram-sha-256"] as const) {
  Deno.test(`postgres: asks for a password by ${auth}`, async () => {
    await using postgres = await Postgres.start({ auth });
    assert.deepEqual(await ask(postgres.url, "SELECT 1 AS one"), { one: 1 });
    await assert.rejects(
      ask(postgres.url.replace(":postgres@", ":wrong@"), "SELECT 1"),
      (error: { code?: string }) => error.code === "28P01",
    );
    const stored = await postgres.psql("SELECT left(rolpassword, 3) FROM pg_authid WHERE oid = 10");
    assert.equal(stored, auth === "md5" ? "md5" : "SCR");
  });
}

Deno.test("postgres: a server that cannot start says why and leaves nothing behind", async () => {
  await assert.rejects(
    Postgres.start({ settings: ["no_such_setting = 1"] }),
    /unrecognized configuration parameter "no_such_setting"/,
  );
});

Deno.test({
  name: "postgres: Debian's server",
  ignore: !hasDebianPostgres(),
  async fn() {
    await using postgres = await Postgres.start({ edition: "debian" });
    assert.match(await postgres.psql("SELECT version()"), /^PostgreSQL 15/);
  },
});

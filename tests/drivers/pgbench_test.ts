/**
 * pgbench: its TPC-B script and many reconnects by every protocol that the pool mode allows, without one failed
 * transaction, and with the books balanced at the end.
 */

import assert from "node:assert/strict";
import { available, Environment, MODES, run } from "./environment.ts";

const pgbench = await available("pgbench", ["--version"]);
const environment = new Environment();

Deno.test.beforeAll(async () => {
  await environment.start();
  if (pgbench) await run("pgbench", ["-i", "-q", "-s", "4", environment.postgres.url]);
});
Deno.test.afterAll(() => environment.stop());

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !pgbench, fn });
}

async function bench(mode: string, ...args: string[]): Promise<number> {
  const said = await run("pgbench", ["-n", ...args, environment.doorman.url(mode, "postgres")]);
  assert.match(said, /number of failed transactions: 0 \(/);
  return Number(/transactions actually processed: (\d+)/.exec(said)![1]);
}

/** TPC-B moves amounts between three tables and writes a history: all four must tell the same sum. */
async function booksBalance(): Promise<void> {
  const sums = await environment.postgres.psql(
    "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), " +
      "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
  );
  assert.equal(new Set(sums.split("|")).size, 1, sums);
}

for (const mode of MODES) {
  const protocols = mode === "session"
    ? ["simple", "extended", "prepared"]
    : ["simple", "extended"];
  for (const protocol of protocols) {
    test(`pgbench in ${mode} mode, ${protocol} protocol: 20 clients, TPC-B`, async () => {
      const done = await bench(mode, "-M", protocol, "-c", "20", "-j", "2", "-t", "50");
      assert.equal(done, 1000);
      await booksBalance();
    });
  }
}

test("pgbench with more clients than servers, read only", async () => {
  assert.equal(await bench("transaction", "-S", "-M", "extended", "-c", "100", "-t", "50"), 5000);
});

test("pgbench -C: a new connection for every transaction", async () => {
  assert.equal(await bench("transaction", "-C", "-S", "-c", "10", "-t", "30"), 300);
});

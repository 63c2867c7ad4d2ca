import assert from "node:assert/strict";
import { poolRow } from "../../admin/testing/fake_environment.ts";
import { noSums } from "../../stats/counters.ts";
import { countHandshakeDuration } from "../../stats/durations.ts";
import { expose } from "./exposition.ts";
import { tlsFamilies } from "./tls_families.ts";

/** A pool whose handshakes took so many microseconds each. */
function pool(user: string, encrypted: number, errors: number, ...took: number[]) {
  const total = { ...noSums(), server_tls_handshake_errors: errors };
  for (const us of took) {
    total.server_tls_handshakes++;
    total.server_tls_handshake_time += us;
    countHandshakeDuration(total, us);
  }
  return poolRow({ database: "app", user, sv_encrypted: encrypted, total });
}

Deno.test("metrics: TLS with PostgreSQL is told by database, and of those alone that have had some", () => {
  const pools = [
    pool("a", 2, 0, 900, 7_000),
    pool("b", 1, 3, 3_000_000),
    poolRow({ database: "plain", user: "a" }),
  ];
  const told = expose(tlsFamilies(pools), "text").split("\n").filter((line) => line[0] !== "#");
  const name = "pg_doorman_server_tls_handshake_duration_seconds";
  const bucket = (le: string, count: number) => `${name}_bucket{pool="app",le="${le}"} ${count}`;
  assert.deepEqual(told, [
    'pg_doorman_server_tls_connections{pool="app"} 3',
    ...[bucket("0.001", 1), bucket("0.005", 1), bucket("0.01", 2), bucket("0.025", 2)],
    ...[bucket("0.05", 2), bucket("0.1", 2), bucket("0.25", 2), bucket("0.5", 2)],
    ...[bucket("1", 2), bucket("2.5", 2), bucket("+Inf", 3)],
    `${name}_sum{pool="app"} 3.0079`,
    `${name}_count{pool="app"} 3`,
    'pg_doorman_server_tls_handshake_errors_total{pool="app"} 3',
    "",
  ]);
  assert.deepEqual(tlsFamilies([poolRow({})]).map(({ points }) => points.length), [0, 0, 0]);
});

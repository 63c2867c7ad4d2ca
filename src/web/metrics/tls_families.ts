/**
 * What metrics tell of TLS with PostgreSQL, by database, which upstream's label calls `pool`. A database that never had
 * any has no series.
 */

import { mergePools } from "../../admin/show/gathered_pools.ts";
import type { PoolRow } from "../../mail.ts";
import { durationCounts, HANDSHAKE_BOUNDS_US } from "../../stats/durations.ts";
import { type Family, label } from "./exposition.ts";

const US = 1e6;

/** Connections with TLS, and how handshakes went. */
export function tlsFamilies(pools: readonly PoolRow[]): Family[] {
  const rows = new Map<string, PoolRow>();
  for (const pool of pools) {
    const { server_tls_handshakes, server_tls_handshake_errors } = pool.total;
    if (server_tls_handshakes + server_tls_handshake_errors + pool.sv_encrypted === 0) continue;
    const known = rows.get(pool.database);
    rows.set(pool.database, known === undefined ? pool : mergePools(known, pool));
  }
  const databases = [...rows.values()].map((row) => ({
    row,
    labels: label("pool", row.database),
  }));
  return [
    {
      type: "gauge",
      name: "pg_doorman_server_tls_connections",
      help: "Connections to PostgreSQL with TLS.",
      points: databases.map(({ row, labels }) => ({ labels, value: row.sv_encrypted })),
    },
    {
      type: "histogram",
      name: "pg_doorman_server_tls_handshake_duration_seconds",
      help: "How long TLS handshakes with PostgreSQL take that succeed.",
      bounds: HANDSHAKE_BOUNDS_US.map((us) => us / US),
      points: databases.map(({ row: { total }, labels }) => ({
        labels,
        counts: durationCounts(total, "handshake"),
        sum: total.server_tls_handshake_time / US,
      })),
    },
    {
      type: "counter",
      name: "pg_doorman_server_tls_handshake_errors_total",
      help: "TLS handshakes with PostgreSQL that failed, and refusals of TLS where it is required.",
      points: databases.map(({ row, labels }) => ({
        labels,
        value: row.total.server_tls_handshake_errors,
      })),
    },
  ];
}

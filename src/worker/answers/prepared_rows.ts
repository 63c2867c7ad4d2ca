/**
 * What this worker answers when the control plane asks about prepared statements. Bytes are those of texts and names;
 * a text that several clients share counts once for the pool and once for each client that refers to it.
 */

import type { PreparedMemoryRow, PreparedRow } from "../../mail.ts";
import type { Session } from "../../client/session.ts";
import { namedStatements } from "../../client/prepared/names.ts";
import type { Pool } from "../../pool/pool.ts";
import { queryText } from "../../server/statements/query_interner.ts";

const decoder = new TextDecoder();

/** Rows of SHOW PREPARED_STATEMENTS, the least used first. */
export function preparedRows(pools: Iterable<Pool>, worker: number): PreparedRow[] {
  const rows: PreparedRow[] = [];
  for (const pool of pools) {
    const { database, user } = pool.settings;
    for (const { name, query, parses } of pool.statements.all()) {
      rows.push({
        database,
        user,
        hash: query.hash >>> 0,
        name: decoder.decode(name),
        query: queryText(query),
        parses,
        worker,
      });
    }
  }
  return rows;
}

/** Rows of SHOW POOLS_MEMORY. */
export function preparedMemoryRows(
  pools: Iterable<Pool>,
  sessions: Iterable<Session>,
  worker: number,
): PreparedMemoryRow[] {
  const rows = new Map<Pool, PreparedMemoryRow>();
  for (const pool of pools) {
    rows.set(pool, {
      database: pool.settings.database,
      user: pool.settings.user,
      pool_prepared_count: pool.statements.size,
      pool_prepared_bytes: pool.statements.bytes,
      client_named_count: 0,
      client_named_bytes: 0,
      client_anonymous_count: 0,
      client_anonymous_bytes: 0,
      worker,
    });
  }
  for (const { pool, state } of sessions) {
    const row = pool === undefined ? undefined : rows.get(pool);
    if (row === undefined) continue;
    for (const { name, statement } of namedStatements(state)) {
      row.client_named_count++;
      row.client_named_bytes += name.length + statement.query.body.length;
    }
    if (state.unnamedId === 0 || state.unnamedLength < 0) continue;
    row.client_anonymous_count++;
    row.client_anonymous_bytes += state.unnamedLength;
  }
  return [...rows.values()];
}

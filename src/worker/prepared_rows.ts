/**
 * What this worker answers when the control plane asks about prepared statements. Bytes are those of texts and names;
 * a text that several clients share counts once for the pool and once for each client that refers to it.
 */

import type { InternerRow, PreparedMemoryRow, PreparedRow } from "../mail.ts";
import type { Session } from "../client/session.ts";
import { namedStatements } from "../client/statements.ts";
import type { Pool } from "../pool/pool.ts";
import { type QueryInterner, queryText } from "../server/query_interner.ts";

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

/** The row of SHOW INTERNER. */
export function internerRow(
  interner: QueryInterner,
  sessions: Iterable<Session>,
  worker: number,
): InternerRow {
  const anonymous = { entries: 0, bytes: 0 };
  for (const { state } of sessions) {
    if (state.unnamedId === 0 || state.unnamedLength < 0) continue;
    anonymous.entries++;
    anonymous.bytes += state.unnamedLength;
  }
  return { named: { entries: interner.entries, bytes: interner.bytes }, anonymous, worker };
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

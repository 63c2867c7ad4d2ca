/**
 * What this worker answers when the control plane asks about prepared statements. Bytes are those of texts and names;
 * a text that several clients share counts once for the pool and once for each client that refers to it.
 */

import type { PreparedMemoryRow, PreparedRow } from "../../mail.ts";
import type { Session } from "../../client/session.ts";
import { namedStatements } from "../../client/prepared/names.ts";
import type { Pool } from "../../pool/pool.ts";
import { hashBytes, queryText } from "../../server/statements/query_interner.ts";

const decoder = new TextDecoder();

/** Rows of SHOW PREPARED_STATEMENTS, the least used first, then those without a name. */
export function preparedRows(
  pools: Iterable<Pool>,
  sessions: Iterable<Session>,
  worker: number,
): PreparedRow[] {
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
        kind: "named",
        worker,
      });
    }
  }
  return [...rows, ...unnamedRows(sessions, worker)];
}

function unnamedRows(sessions: Iterable<Session>, worker: number): Iterable<PreparedRow> {
  const rows = new Map<string, PreparedRow>();
  for (const { pool, restingText, state } of sessions) {
    const { unnamedId, unnamedLength, unnamedFilled } = state;
    if (pool === undefined || unnamedId === 0) continue;
    const own = unnamedLength >= 0 && unnamedFilled >= unnamedLength ? state.unnamed : undefined;
    const body = restingText?.body ?? own?.subarray(0, unnamedLength);
    if (body === undefined) continue;
    const hash = restingText?.hash ?? hashBytes(body, 0, body.length);
    const { database, user } = pool.settings;
    const key = `${hash} ${body.length} ${user}@${database}`;
    const known = rows.get(key);
    if (known !== undefined) known.parses++;
    else {
      const query = queryText({ body });
      const kind = "anonymous";
      rows.set(key, { database, user, hash: hash >>> 0, name: "", query, parses: 1, kind, worker });
    }
  }
  return rows.values();
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

/** What one session can see of what another has left, as one question, and how two answers differ. */

/** What a client sees of the session that it is given. */
export interface Seen {
  pid: number;
  /** All that may be left, by kinds; kinds of which nothing is there are absent. */
  state: Record<string, unknown>;
}

/** Dotted names that the ways use. */
const CUSTOM = [
  ...[
    "app.tenant",
    "app.x",
    "app.one.two.three",
    "app.x$y",
    "app.gr\\u00f6\\u00dfe",
    "_app._tenant",
  ],
  ...[`app.${"n".repeat(60)}`, "app.n1", "app.n99", "app.n150"],
].map((name) => `E'${name}'`).join(", ");

const PARTS: Record<string, string> = {
  pid: "pg_backend_pid()",
  // A StartupMessage sets the source to client.
  set: "(SELECT json_object_agg(name, setting) FROM pg_settings " +
    "WHERE source OPERATOR(pg_catalog.=) ANY (ARRAY['session', 'client']))",
  custom: "(SELECT json_object_agg(n, current_setting(n, true)) " +
    `FROM unnest(ARRAY[${CUSTOM}]) n WHERE current_setting(n, true) OPERATOR(pg_catalog.<>) '')`,
  user: "session_user",
  role: "current_user",
  channels: "(SELECT json_agg(c ORDER BY c) FROM pg_listening_channels() c)",
  locks: "(SELECT json_agg(format('%s %s %s %s', classid, objid, objsubid, mode) " +
    "ORDER BY classid, objid, objsubid, mode) FROM pg_locks " +
    "WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid = pg_backend_pid())",
  // The number of the schema is the backend's.
  temporary: "(SELECT json_agg(format('%s %s', o.type, " +
    "regexp_replace(COALESCE(o.name, o.identity), 'pg_temp_[0-9]+', 'pg_temp', 'g')) " +
    "ORDER BY o.type, o.name) " +
    "FROM pg_depend, LATERAL pg_identify_object(classid, objid, 0) o " +
    "WHERE refclassid = 'pg_namespace'::regclass AND refobjid = pg_my_temp_schema() " +
    "AND objsubid = 0)",
  cursors: "(SELECT json_agg(name) FROM pg_cursors WHERE is_holdable)",
  prepared: "(SELECT json_agg(json_build_array(name, from_sql, statement)) " +
    "FROM pg_prepared_statements)",
};

/** The question. Nothing in it depends on the search_path, or on operators that others have made. */
export const QUESTION: string = "SELECT json_build_object(" +
  Object.entries(PARTS).map(([name, sql]) => `'${name}', ${sql}`).join(", ") + ")";

/** Asks for the values of all parameters. */
export const ALL_SETTINGS = "SELECT name, setting FROM pg_settings";

/** Reads the answer. `ours` tells of texts that were prepared by the protocol: its names are each client's own. */
export function readAnswer(answer: string, ours: (text: string) => boolean): Seen {
  const { pid, ...found } = JSON.parse(answer) as { pid: number } & Record<string, unknown>;
  const state: Record<string, unknown> = {};
  for (const [kind, value] of Object.entries(found)) {
    if (value === null) continue;
    if (kind !== "prepared") {
      state[kind] = value;
      continue;
    }
    const others = (value as [string, boolean, string][])
      .filter(([, fromSql, text]) => fromSql || !ours(text));
    if (others.length > 0) state[kind] = others;
  }
  return { pid, state };
}

/** Entries of `now` that are not so in `before`. */
export function changed(
  before: Map<string, string>,
  now: Iterable<[string, string]>,
): Record<string, string> | undefined {
  const entries = [...now].filter(([name, value]) => before.get(name) !== value);
  return entries.length > 0 ? Object.fromEntries(entries.sort()) : undefined;
}

/** Kinds in which two states differ, with their values. */
export function differences(
  expected: Record<string, unknown>,
  found: Record<string, unknown>,
): Record<string, { expected: unknown; found: unknown }> {
  const different: Record<string, { expected: unknown; found: unknown }> = {};
  for (const kind of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    if (JSON.stringify(expected[kind]) === JSON.stringify(found[kind])) continue;
    different[kind] = { expected: expected[kind], found: found[kind] };
  }
  return different;
}

/**
 * Units of what a client says, for tests with random clients: messages after which a known number of ReadyForQuery comes,
 * whatever was before. Plain data, so that a case that fails can be shortened and told. `{i}` stands for the client.
 */

import fc from "fast-check";
import * as wire from "../support/wire_messages.ts";

/** A step of a batch. */
export type Step =
  /** Close and Parse of a name, and what the statement is like. */
  | { prepare: string; sql: string }
  /** Bind and Execute of a named statement, prepared or not. `rows`: by a portal with a name, so many and then the rest. */
  | { use: string; values: string[]; rows?: number }
  | { describe: string }
  | { close: string }
  /** A statement without a name. */
  | { sql: string; values: string[] }
  /** The one without a name again. */
  | { again: string[] }
  | "flush";

/** What a client sends at once. */
export type Unit =
  | { query: string }
  /** Steps by the extended protocol, with a Sync behind each list of them. */
  | { batches: Step[][] }
  | { copy: string[]; fails: boolean; extended: boolean };

const QUERIES = [
  ...["BEGIN", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "SAVEPOINT s", "ROLLBACK TO s"],
  ...["BEGIN ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation", "BEGIN; SELECT 1"],
  ...["SELECT 1, NULL, 'x'", "SELECT 1/0", "SELECT 1; SELECT 1/0; SELECT 3", "nonsense", ""],
  ...["INSERT INTO t_{i} SELECT generate_series(1, 3)", "SELECT count(*), sum(x) FROM t_{i}"],
  ...["SELECT * FROM t_{i} ORDER BY x", "COPY t_{i} TO STDOUT", "TRUNCATE t_{i}"],
  ...["DECLARE c CURSOR FOR SELECT generate_series(1, 9)", "FETCH 2 FROM c", "CLOSE c"],
  ...["DO $$ BEGIN RAISE NOTICE 'n'; END $$", "SELECT n FROM whose"],
  "INSERT INTO t_{i} VALUES (5); SELECT 1/0",
];
const DDL = [
  "ALTER TABLE t_{i} ADD COLUMN IF NOT EXISTS y int",
  "ALTER TABLE t_{i} DROP COLUMN IF EXISTS y",
];
/** What keeps a client at its server connection. */
const PINS = [
  ...["CREATE TEMP TABLE mine AS SELECT 7 AS n", "SELECT n FROM mine", "DROP TABLE mine"],
  ...["BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT generate_series(1, 5); COMMIT"],
  ...["FETCH 2 FROM h", "CLOSE h", "PREPARE q AS SELECT 8", "EXECUTE q", "DEALLOCATE q"],
  // Not LISTEN: a notification comes when it likes.
  ...["SELECT pg_advisory_lock({i})", "SELECT pg_advisory_unlock({i})"],
];
const STATEMENTS = [
  ...["SELECT $1::int + 1", "SELECT generate_series(1, 7)", "SELECT 1/$1::int", "nonsense", ""],
  ...["INSERT INTO t_{i} VALUES ($1) RETURNING x", "SELECT * FROM t_{i} ORDER BY x"],
  ...["SELECT n FROM whose", "SELECT current_setting('TimeZone')", "BEGIN", "COMMIT", "ROLLBACK"],
  ...["SELECT '2020-02-03'::date", "SET TimeZone = 'Europe/Paris'", "COPY t_{i} TO STDOUT"],
];

/** Parameters and values; the last of each is none. */
const VALUES: Record<string, string[]> = {
  TimeZone: ["Asia/Tokyo", "Europe/Paris", "nowhere"],
  DateStyle: ["ISO", "SQL, DMY", "nothing"],
  IntervalStyle: ["iso_8601", "sql_standard", "nothing"],
  application_name: ["it''s me", "", "x"],
  client_encoding: ["LATIN1", "UTF8", "nothing"],
  search_path: ["one, public", "two", "missing, public"],
  default_transaction_read_only: ["on", "off", "maybe"],
  // PostgreSQL does not report these.
  work_mem: ["77kB", "4MB", "much"],
  statement_timeout: ["5min", "0", "soon"],
  enable_seqscan: ["off", "on", "perhaps"],
};

/** Names of all parameters that a client changes. */
export const PARAMETERS: string[] = Object.keys(VALUES);

function written(name: string, value: string): string {
  // A list is no string.
  return name === "search_path" ? value : `'${value}'`;
}

const setting = fc.constantFrom(...PARAMETERS).chain((name) =>
  fc.record({
    name: fc.constant(name),
    value: fc.constantFrom(...VALUES[name]!),
    how: fc.nat({ max: 6 }),
  })
).map(({ name, value, how }): Unit => {
  switch (how) {
    case 0:
    case 1:
      return { query: `SET ${name} = ${written(name, value)}` };
    case 2:
      return { query: `SET LOCAL ${name} = ${written(name, value)}` };
    case 3:
      return { query: `RESET ${name}` };
    case 4:
      return { query: `SELECT set_config('${name}', '${value}', false)` };
    case 5:
      return { query: `SELECT set_config('${name}', '${value}', true)` };
    default:
      return { query: `SHOW ${name}` };
  }
});

const values = fc.constantFrom<string[]>([], [], ["41"], ["0"], ["x"]);
const name = fc.constantFrom("n1", "n2", "n3");
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ prepare: name, sql: fc.constantFrom(...STATEMENTS) }) },
  { weight: 5, arbitrary: fc.record({ use: name, values }) },
  {
    weight: 1,
    arbitrary: fc.record({ use: name, values, rows: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ describe: name }) },
  { weight: 1, arbitrary: fc.record({ close: name }) },
  { weight: 3, arbitrary: fc.record({ sql: fc.constantFrom(...STATEMENTS), values }) },
  { weight: 2, arbitrary: fc.record({ again: values }) },
  { weight: 1, arbitrary: fc.constant<"flush">("flush") },
) as fc.Arbitrary<Step>;
const batch = fc.array(step, { minLength: 1, maxLength: 6, size: "max" });

/** The name of the statement that a step concerns; empty: the one without a name. */
function nameIn(step: Step): string | undefined {
  if (step === "flush") return undefined;
  if (isUnnamed(step)) return undefined;
  if ("again" in step) return "";
  if ("prepare" in step) return step.prepare;
  if ("use" in step) return step.use;
  if ("describe" in step) return step.describe;
  return "close" in step ? step.close : undefined;
}

function changesName(step: Step): boolean {
  return step !== "flush" && ("prepare" in step || "close" in step || "sql" in step);
}

/**
 * Behind a Sync, without what uses a name that changes before it: the change may be skipped, which PgDoorman cannot know
 * before the answer is there.
 */
function withoutBlindUses(batches: Step[][]): Step[][] {
  const changed = new Set<string>();
  return batches.map((steps) => {
    const kept = steps.filter((step) => !changed.has(nameIn(step) ?? "none"));
    for (const step of steps) if (changesName(step)) changed.add(nameIn(step) ?? "");
    return kept;
  });
}

function isUnnamed(step: Step): boolean {
  return step !== "flush" && "sql" in step && !("prepare" in step);
}

/** Whether a unit parses a statement without a name. */
export function parsesUnnamed(unit: Unit): boolean {
  if ("batches" in unit) {
    return unit.batches.flat().some(isUnnamed);
  }
  return "copy" in unit && unit.extended;
}

/** A unit without what uses the statement without a name that an earlier unit has parsed. */
export function withoutAgain(unit: Unit): Unit {
  if (!("batches" in unit)) return unit;
  return {
    batches: unit.batches.map((steps) => {
      const first = steps.findIndex(isUnnamed);
      return steps.filter((step, i) =>
        step === "flush" || !("again" in step) || first >= 0 && i > first
      );
    }),
  };
}

/** Units that leave nothing behind which a server connection could not be freed of. */
export const units: fc.Arbitrary<Unit> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ query: fc.constantFrom(...QUERIES) }) },
  { weight: 1, arbitrary: fc.record({ query: fc.constantFrom(...DDL) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      query: fc.constantFrom("RESET ALL", "DISCARD ALL", "DEALLOCATE ALL", "DEALLOCATE n1"),
    }),
  },
  { weight: 4, arbitrary: setting },
  {
    weight: 8,
    arbitrary: fc.record({
      batches: fc.array(batch, { minLength: 1, maxLength: 2 }).map(withoutBlindUses),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      copy: fc.array(fc.constantFrom("1\n", "2\n", "bad\n"), { maxLength: 4 }),
      fails: fc.boolean(),
      extended: fc.boolean(),
    }),
  },
);

/** Those, and what pins their client. */
export const pinningUnits: fc.Arbitrary<Unit> = fc.oneof(
  { weight: 2, arbitrary: units },
  { weight: 1, arbitrary: fc.record({ query: fc.constantFrom(...PINS) }) },
);

/** A unit without a RESET. */
export function withoutReset(unit: Unit): Unit {
  return "query" in unit && /^(?:RESET|DISCARD)/.test(unit.query) ? { query: "SELECT 1" } : unit;
}

function bytesOfStep(step: Step, own: (sql: string) => string): Uint8Array[] {
  if (step === "flush") return [wire.FLUSH];
  if ("prepare" in step) {
    // PgDoorman lets a Parse replace a statement, which PostgreSQL refuses: so none is there.
    const { prepare } = step;
    return [
      wire.close("S", prepare),
      wire.parse(prepare, own(step.sql)),
      wire.describe("S", prepare),
    ];
  }
  if ("use" in step) {
    const { use, rows } = step;
    if (rows === undefined) {
      return [wire.bind("", use, step.values), wire.describe("P", ""), wire.execute()];
    }
    return [
      wire.close("P", "p"),
      wire.bind("p", use, step.values),
      wire.execute("p", rows),
      wire.execute("p"),
      wire.close("P", "p"),
    ];
  }
  if ("describe" in step) return [wire.describe("S", step.describe)];
  if ("close" in step) return [wire.close("S", step.close)];
  if ("again" in step) return [wire.bind("", "", step.again), wire.execute()];
  return [wire.extended(own(step.sql), step.values)];
}

/** The messages of a unit as a client sends them. */
export function bytesOf(unit: Unit, client: number): Uint8Array {
  const own = (sql: string) => sql.replaceAll("{i}", String(client));
  if ("query" in unit) return wire.query(own(unit.query));
  if ("batches" in unit) {
    return wire.join(
      unit.batches.flatMap((
        steps,
      ) => [...steps.flatMap((step) => bytesOfStep(step, own)), wire.SYNC]),
    );
  }
  const sql = own("COPY t_{i}(x) FROM STDIN");
  const data = [
    ...unit.copy.map((line) => wire.copyData(line)),
    unit.fails ? wire.copyFail("no more") : wire.COPY_DONE,
  ];
  if (!unit.extended) return wire.join([wire.query(sql), ...data]);
  return wire.join([
    wire.parse("", sql),
    wire.bind("", ""),
    wire.execute(),
    ...data,
    wire.SYNC,
    // A later Execute without Parse must not start another COPY: its data would not follow.
    wire.parse("", "SELECT 'no copy'"),
    wire.SYNC,
  ]);
}

/** How often ReadyForQuery answers a unit. */
export function readiesOf(unit: Unit): number {
  if ("query" in unit) return 1;
  if ("batches" in unit) return unit.batches.length;
  return unit.extended ? 2 : 1;
}

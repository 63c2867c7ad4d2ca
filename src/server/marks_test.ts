import assert from "node:assert/strict";
import * as fc from "fast-check";
import { scanner } from "../protocol/sql/scanner.ts";
import {
  CHANGES_PARSE,
  DEALLOCATES,
  LOCAL_SET,
  NAMES,
  PATH_VALUE,
  RUNS,
  SEVERAL,
  TEMP_PATH,
  UNKNOWN,
  UNKNOWN_NAMES,
  UNLISTENS,
} from "./mark_bits.ts";
import {
  findNames,
  findNamesInPiece,
  firstPieceMarks,
  MARK_BYTES,
  MOST_NOTICED_BYTES,
  MOST_READ_BYTES,
  pieceMarks,
  statementMarks,
  textMarks,
  unlistenedChannels,
} from "./marks.ts";
import { Dirty } from "./state.ts";
import { withValues } from "./found_names.ts";

const encoder = new TextEncoder();

function marks(text: string): number {
  const bytes = encoder.encode(`xx_temp${text}\0`);
  // What is for a Parse is tested with read_by_parse.ts.
  return textMarks(bytes, 7, bytes.length) & ~(SEVERAL | CHANGES_PARSE);
}

function names(text: string): { names: string[]; unknown: boolean } {
  const bytes = encoder.encode(`${text}\0`);
  const found = findNames(bytes, 0, bytes.length);
  return { names: found.names, unknown: found.marks !== 0 };
}

Deno.test("marks: set_config, but for its transaction alone", () => {
  for (
    const text of [
      "SELECT set_config('a.b', 'c', false)",
      "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
      "SELECT set_config('a', f(x, true), false)",
    ]
  ) assert.equal(marks(text), Dirty.Config | NAMES, text);
  for (
    const text of [
      "SELECT set_config('a.b', 'c', true)",
      "select set_config( 'x' , $3::text , true), set_config('y', 'a' || 'b', true)",
      "SELECT set_up, config_set FROM t",
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: functions that run a text as SQL", () => {
  for (
    const call of [
      "query_to_xml(x, true, true, '')",
      `pg_catalog . "query_to_xmlschema"(x)`,
      "Query_To_Xml_And_XmlSchema(x)",
      "ts_stat(x)",
      "ts_rewrite(a, x)",
    ]
  ) assert.equal(marks(`SELECT * FROM ${call}`), RUNS, call);
  assert.equal(marks("SELECT set_config('a', 'select * from ts_stat(x)', true)"), RUNS);
  assert.equal(marks("SELECT posts_stat, ts_stats, ts_rewritten FROM t"), 0);
});

Deno.test("marks: set_config that may bring pg_temp into the search_path, for its transaction or not", () => {
  const path = (value: string) => marks(`SELECT set_config('search_path', ${value}, true)`);
  for (const value of ["'a,b'", "$$a$$", "'a'::text", `'a' COLLATE "C"`]) {
    assert.equal(path(value), 0, value);
  }
  for (const value of ["$1", "$2::text", "$3 :: pg_catalog.text"]) {
    const known = value.includes(".") ? TEMP_PATH : PATH_VALUE;
    assert.equal(path(value), known, value);
  }
  for (
    const value of [
      "'pg_' || 'temp'",
      "f('a')",
      "$1 || $2",
      "'pg_'\n'temp'",
      "E'pg\\137temp'",
      "(x)",
    ]
  ) assert.equal(path(value), TEMP_PATH, value);
  assert.equal(path(`'a, "PG_TEMP"'`), TEMP_PATH | Dirty.Temp);
  // Which parameter it is may depend.
  assert.equal(marks("SELECT set_config($1, $2, true)"), PATH_VALUE);
  assert.equal(marks("SELECT set_config('search' || '_path', x, true)"), TEMP_PATH);
  assert.equal(marks("SELECT set_config('Search_Path', x, true)"), TEMP_PATH);
  assert.equal(
    marks("select pg_catalog.SET_CONFIG($1, $2, $3)"),
    Dirty.Config | NAMES | PATH_VALUE,
  );
});

Deno.test("marks: advisory locks of the session, not those of a transaction", () => {
  assert.equal(marks("SELECT pg_advisory_lock(1)"), Dirty.Advisory);
  assert.equal(marks("SELECT pg_try_advisory_lock_shared(1)"), Dirty.Advisory);
  assert.equal(marks("SELECT PG_ADVISORY_UNLOCK_ALL()"), Dirty.Advisory);
  assert.equal(marks("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)"), 0);
  assert.equal(marks("SELECT no_advisory FROM t"), 0);
});

Deno.test("marks: temporary objects", () => {
  for (
    const text of [
      "CREATE TEMP TABLE t (x int)",
      "create temporary  table t (x int)",
      "BEGIN;\nCREATE\n\tTEMP TABLE t AS SELECT 1",
      "CREATE LOCAL TEMPORARY TABLE t (x int)",
      "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
      "SELECT 1 INTO TEMP t",
      "CREATE /* not kept */ TEMP SEQUENCE s",
      "CREATE TABLE pg_temp.t (x int)",
    ]
  ) assert.equal(marks(text), Dirty.Temp, text);
  for (
    const text of [
      "SELECT temp, temperature FROM template WHERE max_temp > 1",
      "CREATE TABLE temps (temp int)",
      "SELECT attempt FROM t",
      "temp",
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: nothing before the text is looked at, nor behind it", () => {
  const bytes = encoder.encode("set_config");
  for (let cut = 1; cut < bytes.length; cut++) assert.equal(textMarks(bytes, 0, cut), 0);
  assert.equal(textMarks(encoder.encode("create temp"), 7, 11), 0);
});

Deno.test("marks: a SET that ends with its transaction", () => {
  for (
    const text of [
      "SET LOCAL a = 1",
      "set  local x to 'y';",
      " SET TRANSACTION READ ONLY\n",
      "/* a */ SET/**/LOCAL a.b = ';' -- b\n;;",
    ]
  ) assert.equal(marks(text), LOCAL_SET | NAMES, text);
  for (
    const text of [
      "SET a = 1",
      "SET LOCAL a = 1; SET b = 2",
      "SET LOCAL a = '\\'; SET b = '2'",
      "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
      "SELECT 1",
      "SETLOCAL",
      "SET LOCAL a = 'b",
      "",
    ]
  ) assert.equal(marks(text) & LOCAL_SET, 0, text);
});

Deno.test("marks: a statement that is a SET may name any parameter", () => {
  for (
    const text of [
      "SET a.b = 1",
      " /* why */ set\tx to y",
      "BEGIN; SET a = 1",
      ";\nSET x=1",
      "set/**/x=1",
      'set"x"=1',
      "-- a\nSET SESSION x = 1",
      "SELECT ';'; SET x = 1",
      "SELECT $$;$$; /* ; */ SET x = 1",
    ]
  ) assert.equal(marks(text), NAMES, text);
  for (
    const text of ["SET a TO DEFAULT", "SET TIME ZONE LOCAL", "set a = default ; select 1"]
  ) assert.equal(marks(text), NAMES | Dirty.Default, text);
  for (
    const text of [
      "UPDATE t SET a = 1",
      "SETTLE",
      "SELECT 1; SELECT 2",
      "/* ; SET a */ SELECT 1",
      "SELECT '; SET a = 1'",
      'SELECT 1 AS "; SET a = 1"; SELECT $x$; SET a = 1$x$',
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: names with a dot", () => {
  const cases: [text: string, names: string[], unknown?: boolean][] = [
    ["SET App.Tenant TO 'x.y'", ["app.tenant"]],
    ["SET work_mem = '1.5GB'; SET a.b.c = x.y", ["a.b.c"]],
    [`set app."tenant"='42'`, ["app.tenant"]],
    ["set app . tenant=1", ["app.tenant"]],
    ["set app/* c */./**/tenant=1", ["app.tenant"]],
    ["SET SESSION a.b = 1; SET LOCAL c.d = 1", ["a.b"]],
    [`SET "app.tenant" = 1`, ["app.tenant"]],
    [`SET U&"app".x = 1`, [], true],
    [`SET "a""b".x = 1`, [], true],
    ["SET ä.x = 1", [], true],
    [`SET ${"a".repeat(40)}.${"b".repeat(40)} = 1`, [], true],
    ["SELECT set_config('A.b', 'c', false)", ["a.b"]],
    ["SELECT set_config(E'a.b'::pg_catalog.text, t.x, false) FROM t", ["a.b"]],
    ["SELECT set_config($$a.b$$, 'c', false), set_config(N'c.d', 'e', false)", ["a.b", "c.d"]],
    ["SELECT set_config('a.b', 'c', true)", []],
    ["SELECT set_config('work_mem', 'c', false)", []],
    ["SELECT set_config('app.'||k, 'c', false)", [], true],
    ["SELECT set_config('app.'\n'x', 'c', false)", [], true],
    ["SELECT set_config(E'app\\056x', 'c', false)", [], true],
    ["SELECT set_config(U&'app\\002Ex', 'c', false)", [], true],
    ["SELECT set_config(U&'app!002Ex' UESCAPE '!', 'c', false)", [], true],
    ["SELECT set_config(('a.b'), 'c', false)", [], true],
    ["SELECT set_config(setting_name => 'a.b', new_value => 'c', is_local => true)", [], true],
    ["SELECT set_config('a.b', set_config('c.d', 'e', true), false)", ["a.b"], true],
    ["SELECT set_config('a.b', ARRAY['x', 'y'][1], false)", [], true],
    ["SELECT set_config, 1", [], true],
    ["SELECT set_config('a.b', 'c', false", [], true],
    // Nothing runs it, most likely.
    ["SELECT 'set_config'", []],
    ["DO 'BEGIN SET App.x = 1; b.c := 1.5; d.; END'", ["app.x"]],
    ["DO $$ BEGIN END $$", []],
    ["DO $$ BEGIN IF y THEN SET LOCAL a.b = 1; SET c.d TO 2; END IF; END $$", ["c.d"]],
    ["DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$", ["a.b"]],
    ["DO $$ BEGIN PERFORM set_config('app.'||k, 'c', false); END $$", [], true],
    ["DO $$ BEGIN EXECUTE $x$select set_config('a'||'.b', 'c', false)$x$; END $$", [], true],
    ["DO E'BEGIN PERFORM set_config(\\'a.b\\', 1, false); END'", [], true],
    ["SET local.tenant = 'x'", ["local.tenant"]],
    ["SET SESSION local.tenant = 'x'", ["local.tenant"]],
    ["SET session.tenant = 'x'", ["session.tenant"]],
    ["SET LOCAL a.b = 'x'", []],
    // What is a name depends on what ends a literal.
    ["SET a.b = '\\'; SET c.d = '; SET e.f = '\\''", ["a.b", "c.d", "e.f"]],
  ];
  for (const [text, wanted, unknown = false] of cases) {
    const found = names(text);
    assert.equal(found.unknown, unknown, text);
    // More may be asked for where it is not certain.
    if (unknown) found.names = found.names.filter((name) => wanted.includes(name));
    assert.deepEqual(found.names, wanted, text);
    assert.notEqual(marks(text) & NAMES, wanted.length > 0 ? 0 : -1, text);
    if (unknown) assert.notEqual(marks(text) & UNKNOWN_NAMES, 0, text);
  }
  const many = Array.from({ length: 200 }, (_, i) => `SET a.b${i} = 1`).join(";");
  assert.ok(names(many).unknown);
});

Deno.test("marks: names among the values of a Bind", () => {
  const text = encoder.encode(
    "SELECT set_config($2, $1, false), set_config($4::text, 'x', false)\0",
  );
  const found = findNames(text, 0, text.length);
  assert.deepEqual([found.marks, found.values], [0, [2, 4]]);
  const bind = (...values: (string | null)[]) => {
    const bytes = [0, 0, 1, 0, 1, 0, values.length];
    for (const value of values) {
      const body = encoder.encode(value ?? "");
      bytes.push(...value === null ? [255, 255, 255, 255] : [0, 0, 0, body.length], ...body);
    }
    return new Uint8Array([...bytes, 0, 0]);
  };
  const namesOf = (body: Uint8Array, end = body.length) => {
    const { names, marks } = withValues(found, body, 0, end);
    return [names, marks];
  };
  assert.deepEqual(namesOf(bind("x.y", "App.One", null, "b.c")), [["app.one", "b.c"], 0]);
  assert.deepEqual(namesOf(bind("x", "work_mem", "", "b.c")), [["b.c"], 0]);
  assert.deepEqual(namesOf(bind("x", "a b.c", "", "b.c")), [["b.c"], UNKNOWN_NAMES]);
  assert.deepEqual(namesOf(bind("x", "a.".repeat(50), "", "b.c")), [["b.c"], UNKNOWN_NAMES]);
  assert.deepEqual(namesOf(bind("x", "a.b")), [["a.b"], UNKNOWN_NAMES]);
  const body = bind("x", "a.b", "", "c.d");
  for (let end = 0; end < body.length - 2; end++) {
    assert.equal(namesOf(body, end)[1], UNKNOWN_NAMES, String(end));
  }
  assert.deepEqual(found.names, []);
  const many = Array.from({ length: 17 }, (_, i) => `set_config($${i + 1}, 'x', false)`).join();
  assert.ok(names(`SELECT ${many}`).unknown);
});

Deno.test("marks: what runs that is written elsewhere", () => {
  for (
    const text of [
      "DO $$ BEGIN END $$",
      "do/**/'x'",
      "CALL p()",
      "EXECUTE p",
      "EXECUTE p(1)",
      "EXPLAIN (ANALYZE) EXECUTE p",
      "CREATE TABLE t AS EXECUTE p",
      "SELECT 1; execute p",
      "/* a /* b */ */ --\n call p()",
    ]
  ) assert.equal(marks(text), RUNS, text);
  for (
    const text of [
      "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
      "DOMAIN",
      "SELECT execute FROM t; SELECT call",
      "GRANT EXECUTE ON FUNCTION f() TO a",
      "CREATE TABLE t (x int)",
      "EXPLAIN SELECT 1",
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: names that are quoted, taken apart, or escaped", () => {
  for (
    const text of [
      `SELECT "set_config"('a', 'b', false)`,
      "SELECT pg_catalog . set_config ( 'a' , 'b' , false )",
      "SELECT pg_catalog/**/.--\nset_config/* ( */('a', 'b', false)",
      "PREPARE p AS SELECT set_config('a', 'b', false)",
      `SELECT U&"set_config"('a', 'b', false)`,
    ]
  ) assert.equal(marks(text), Dirty.Config | NAMES, text);
  assert.equal(marks(`SELECT "pg_catalog" . "pg_advisory_lock" /**/ (1)`), Dirty.Advisory);
  assert.equal(marks("SELECT pg_advisory_some_day(1)"), Dirty.Advisory);
  assert.equal(marks(`SELECT U&"set\\005Fconfig"('a', 'b', true)`), UNKNOWN);
  assert.equal(marks(`SELECT U&"set!005Fconfig" UESCAPE '!' ('a', 'b', true)`), UNKNOWN);
  assert.equal(marks("UPDATE pg_settings SET setting = 1"), Dirty.Config | TEMP_PATH);
  assert.equal(
    marks(`WITH x AS (UPDATE pg_catalog."pg_settings" SET setting = 1) SELECT 1`),
    Dirty.Config | TEMP_PATH,
  );
  assert.equal(marks("SELECT * FROM pg_settings FOR UPDATE"), 0);
  assert.equal(marks("SET search_path = pg_temp, public"), NAMES | Dirty.Temp | TEMP_PATH);
  assert.equal(
    marks("SELECT set_config('search_path', 'pg_temp', true)"),
    Dirty.Temp | TEMP_PATH,
  );
  assert.equal(marks("SELECT 1; DEALLOCATE a"), DEALLOCATES);
});

Deno.test("marks: what literals hold may be run", () => {
  const cases: [string, number][] = [
    ["SELECT f('SELECT set_config(1, 2, true)')", Dirty.Config | Dirty.Hidden | NAMES],
    ["SELECT f($$SELECT pg_advisory_lock(1)$$)", Dirty.Advisory],
    ["SELECT f('create temp table t ()')", Dirty.Temp],
    ["SELECT f('create /**/temp table t ()')", Dirty.Temp],
    ["SELECT f('create --\n temp table t ()')", Dirty.Temp],
    ["SELECT f('UPDATE pg_settings')", Dirty.Config],
    ["SELECT 'temp', 'the temp is 3', 'pg_advisory_xact_lock(1)'", 0],
  ];
  for (const [text, wanted] of cases) assert.equal(marks(text), wanted, text);
});

Deno.test("marks: what is not understood is never nothing", () => {
  for (
    const text of [
      "SELECT 1; /* SET a",
      "/* SET a",
      "SELECT set_config('a', 'b', true) 'c",
      "SELECT set_config('a', 'b', true) \"c",
      "SELECT set_config('a', 'b', true) $c$ $d$",
      "SELECT set_config('a', 'b', true) /* /* */",
      // Without standard_conforming_strings the second literal does not end.
      "SELECT set_config('a', 'c:\\', true)",
      // In SJIS and its like this is one character.
      "SELECT E'\u00e9\\', set_config('a', 'b', true)",
      "SELECT 1 AS \u00e9; SELECT set_config('a', 'b', true)",
    ]
  ) assert.equal(marks(text), UNKNOWN, text);
  // Nothing to notice: PostgreSQL may well refuse it.
  for (const text of ["SELECT 'c", "SELECT E'\u00e9\\'"]) assert.equal(marks(text), 0, text);
});

Deno.test("marks: both readings of a backslash count", () => {
  const text = `SELECT '\\'; DEALLOCATE a --', set_config('a', 'b', false)`;
  assert.equal(marks(text), DEALLOCATES | Dirty.Config | NAMES);
  assert.equal(marks(text.replace("'", "E'")), Dirty.Config | NAMES);
});

Deno.test("marks: texts beyond what is read", () => {
  const long = (bytes: number, text: string) => `SELECT /*${"x".repeat(bytes)}*/ ${text}`;
  assert.equal(marks(long(MOST_READ_BYTES - 100, "pg_advisory_lock(1)")), Dirty.Advisory);
  assert.equal(marks(long(MOST_READ_BYTES, "pg_advisory_lock(1)")), UNKNOWN);
  assert.equal(marks(long(MOST_READ_BYTES, "1")), 0);
  assert.equal(marks(long(MOST_NOTICED_BYTES, "1")), UNKNOWN);
  const beyond = encoder.encode(long(MOST_READ_BYTES, "set_config('a.b'"));
  const found = findNames(beyond, 0, beyond.length);
  assert.deepEqual([found.names, found.likely, found.marks], [[], ["a.b"], 0]);
  const piece = encoder.encode("xx', set_config('App.y', '1', false)");
  assert.deepEqual(findNamesInPiece(piece, 0, piece.length).likely, ["app.y"]);
});

Deno.test("marks: a statement's marks are those of its text, without what follows", () => {
  const body = encoder.encode("SELECT 1;\0set_config");
  assert.equal(statementMarks(body), 0);
  assert.equal(statementMarks(encoder.encode("SET LOCAL a = 1\0..")), NAMES | LOCAL_SET);
});

Deno.test("marks: no text is read more than a few times, and long ones not at all", () => {
  const pieces = [
    ..."/**/|;/*|/*|'|\\'|$a$|\"|--|a|a.|set_config(|set_config('a.b',|default |temp |create temp "
      .split(
        "|",
      ),
    "UNLISTEN a;/**/",
    "SET a.b = 1;",
    "pg_temp",
  ];
  for (const start of ["UNLISTEN a;", "SET app.x='", "select set_config('a.b', '", ";/*", ""]) {
    for (const piece of pieces) {
      for (const size of [60_000, 16 << 20]) {
        if (size > 60_000 && start !== "SET app.x='") continue;
        const bytes = encoder.encode(`${start}${piece.repeat(Math.ceil(size / piece.length))}\0`);
        const before = scanner.work;
        textMarks(bytes, 0, bytes.length);
        findNames(bytes, 0, bytes.length);
        const work = scanner.work - before;
        const most = bytes.length > MOST_READ_BYTES ? 0 : 20 * bytes.length;
        assert.ok(work <= most, `${start}${piece}: ${work} for ${bytes.length}`);
      }
    }
  }
});

/** As client/relay/marking.ts does it. */
function marksInPieces(text: string, cuts: readonly number[]): number {
  const bytes = encoder.encode(`${text}\0`);
  const ends = [...new Set(cuts.map((cut) => 1 + cut % (bytes.length - 1)))].sort((a, b) => a - b);
  let at = ends[0];
  let carry = bytes.slice(Math.max(0, at - MARK_BYTES), at);
  let all = firstPieceMarks(bytes, 0, at);
  for (const end of [...ends.slice(1), bytes.length]) {
    const piece = bytes.subarray(at, end);
    const joined = new Uint8Array([...carry, ...piece.subarray(0, MARK_BYTES)]);
    const begins = carry.length < MARK_BYTES;
    all |= (begins ? firstPieceMarks : pieceMarks)(joined, 0, joined.length);
    all |= pieceMarks(bytes, at, end);
    carry = piece.length >= MARK_BYTES ? piece.slice(-MARK_BYTES) : joined.slice(-MARK_BYTES);
    at = end;
  }
  return all;
}

const WORDS = [
  ..."SET|SELECT|set_config|(|)|'a.b'|,|true|false|temp|CREATE |INTO |LOCAL | |\n|--|/*|*/|'|\""
    .split(
      "|",
    ),
  ..."pg_advisory_lock(1)|pg_temp.|DO |UNLISTEN a|DEALLOCATE b|U&\"|E'\\''|$a$|x|é|::text|1".split(
    "|",
  ),
  ";",
  "pg_settings",
  "UPDATE ",
  "search_path",
  "orary",
  "                              ",
];

Deno.test("marks: nothing is missed where a text comes in pieces", () => {
  const soup = fc.array(fc.constantFrom(...WORDS), { maxLength: 12 }).map((words) =>
    words.join("")
  );
  const cuts = fc.array(fc.nat(200), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(soup, cuts, (text, cuts) => {
      if (text === "") return;
      assert.ok(marks(text) === 0 || marksInPieces(text, cuts) === UNKNOWN, text);
    }),
    { numRuns: 2000 },
  );
  assert.equal(marksInPieces("SELECT 1 FROM a, b, c WHERE x = 1;", [3, 30, 34]), 0);
  assert.equal(marksInPieces("SELECT 1", [1, 2, 3, 4]), 0);
});

Deno.test("marks: UNLISTEN at the beginning of a statement, and what it names", () => {
  const cases: [text: string, channels: string[]][] = [
    ["UNLISTEN a", ["a"]],
    [" /* x */ unlisten *;", ["*"]],
    ["UNLISTEN*", ["*"]],
    ["SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", ["*"]],
    [`UNLISTEN "A ""b"" *"; UnListen MiXed$1; unlisten "*x"`, ['A "b" *', "mixed$1", "*x"]],
    ["UNLISTEN ümläut", ["ümläut"]],
    [`UNLISTEN ${"x".repeat(70)}`, ["x".repeat(63)]],
    [`UNLISTEN "${"ü".repeat(40)}"`, ["ü".repeat(31)]],
    [String.raw`UNLISTEN U&"d\0061t\+000061 ""x\\"`, ['data "x\\']],
    [String.raw`UNLISTEN U&"d!0061t!+000061 !!" UESCAPE '!'; unlisten b`, ["data !", "b"]],
    [String.raw`UNLISTEN u&"\D83D\DE00" /* x */;UNLISTEN U&"plain"`, ["😀", "plain"]],
    [String.raw`UNLISTEN U&"\006"`, []],
    [
      Array.from({ length: 500 }, (_, i) => `UNLISTEN c${i}`).join(";"),
      Array.from({ length: 500 }, (_, i) => `c${i}`),
    ],
  ];
  for (const [text, channels] of cases) {
    assert.notEqual(marks(text) & UNLISTENS, 0, text);
    const bytes = encoder.encode(`${text}\0`);
    assert.deepEqual(unlistenedChannels(bytes, 0, bytes.length), channels, text);
  }
  for (const text of ["SELECT 'UNLISTEN a'", "LISTEN a", "u", "UNLISTE", "UPDATE t SET u = 1"]) {
    assert.equal(marks(text) & UNLISTENS, 0, text);
  }
});

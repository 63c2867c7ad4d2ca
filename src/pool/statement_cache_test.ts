import assert from "node:assert/strict";
import { marksOf, StatementCache } from "./statement_cache.ts";
import { PreparedMemory } from "../stats/prepared_memory.ts";
import { QueryInterner, queryText } from "../server/statements/query_interner.ts";
import { NOT_LOOKED, type Statement } from "../server/statements/on_server.ts";

const encoder = new TextEncoder();

class Source {
  readonly interner = new QueryInterner();
  generation = 0;
  readonly preparedMemory = new PreparedMemory(new Int32Array(1024));
  #last = -1;
  nextStatementId(): number {
    return ++this.#last;
  }
  schemaGeneration(): number {
    return this.generation;
  }
  raiseSchemaGeneration(): void {
    this.generation++;
  }
}

function find(cache: StatementCache, sql: string, limit = 10, planner = ""): Statement {
  const bytes = encoder.encode(`xx${sql}\0\0\0yy`);
  return cache.find(bytes, 2, bytes.length - 2, { planner, limit, nowMs: 0 });
}

function names(cache: StatementCache): string[] {
  return Array.from(cache.all(), ({ query }) => queryText(query));
}

Deno.test("statement cache: one statement for a text, its types and the parameters it depends on", () => {
  const cache = new StatementCache(new Source());
  const one = find(cache, "SELECT 1");
  assert.equal(new TextDecoder().decode(one.name), "DOORMAN_0");
  assert.equal(find(cache, "SELECT 1"), one);
  assert.notEqual(find(cache, "SELECT 1", 10, "search_path=x\0"), one);
  assert.notEqual(find(cache, "SELECT 1\0\x00\x01abcd"), one);
  assert.equal(cache.size, 3);
  assert.equal(one.parses, 2);
});

Deno.test("statement cache: the least used goes first, and its holders keep it", () => {
  const source = new Source();
  const cache = new StatementCache(source);
  const a = find(cache, "a", 2);
  cache.hold(a);
  find(cache, "b", 2);
  find(cache, "a", 2);
  find(cache, "c", 2);
  assert.deepEqual(names(cache), ["a", "c"]);
  find(cache, "d", 2);
  assert.deepEqual(names(cache), ["c", "d"]);
  // Three texts are in use, and the client's is among them.
  source.interner.sweep();
  assert.equal(source.interner.sweep(), 1);
  assert.equal(source.interner.entries, 3);
  cache.drop(a);
  source.interner.sweep();
  source.interner.sweep();
  assert.equal(source.interner.entries, 2);
});

Deno.test("statement cache: a changed schema, or a changed result, makes a new statement", () => {
  const source = new Source();
  const cache = new StatementCache(source);
  const a = find(cache, "a");
  source.raiseSchemaGeneration();
  const b = find(cache, "a");
  assert.notEqual(b.id, a.id);
  assert.equal(find(cache, "a"), b);
  b.generation = -1;
  assert.notEqual(find(cache, "a").id, b.id);
  assert.equal(cache.size, 1);
});

Deno.test("statement cache: long texts are not shared, nor kept", () => {
  const cache = new StatementCache(new Source());
  const long = "x".repeat(1024 * 1024);
  assert.notEqual(find(cache, long).id, find(cache, long).id);
  assert.equal(cache.size, 0);
});

Deno.test("statement cache: statements travel with the pool or with their clients", () => {
  const cache = new StatementCache(new Source());
  const early = find(cache, "early");
  const pool = cache.freezeAll();
  const late = find(cache, "late");
  const frozen = [early, late].map((statement) => cache.freeze(statement));
  assert.deepEqual(frozen.map(({ body }) => body === undefined), [true, false]);
  const there = new StatementCache(new Source());
  there.thawAll(structuredClone(pool), 10);
  const thawed = frozen.map((one) => there.thaw(structuredClone(one), 10)!);
  assert.deepEqual(thawed.map(({ id }) => id), [early.id, late.id]);
  assert.deepEqual(thawed.map(({ query }) => queryText(query)), ["early", "late"]);
  assert.equal(find(there, "late"), thawed[1]);
  const unknown = {
    id: 99,
    generation: 0,
    shape: undefined,
    types: undefined,
    body: undefined,
    planner: "",
    own: false,
  };
  assert.equal(there.thaw(unknown, 10), undefined);
  there.arrivalsEnd();
  assert.equal(there.thaw(frozen[0], 10), undefined);
});

Deno.test("statement cache: a long text that was thawed is looked at when it is used", () => {
  const cache = new StatementCache(new Source());
  const text = encoder.encode(`SET a.b = '${"x".repeat(3_000_000)}'\0\0\0`);
  const frozen = {
    id: 5,
    generation: 0,
    shape: undefined,
    types: undefined,
    planner: "",
    own: true,
  };
  const long = cache.thaw({ ...frozen, body: text }, 10)!;
  const short = cache.thaw({ ...frozen, id: 6, body: encoder.encode("SET a.b = 'x'\0\0\0") }, 10)!;
  assert.deepEqual([long.marks === NOT_LOOKED, short.marks === NOT_LOOKED], [true, false]);
  const marks = marksOf(long);
  assert.ok(marks !== NOT_LOOKED && marks !== 0);
  assert.equal(marksOf(long), marks);
  assert.equal(marksOf(short), short.marks);
});

Deno.test("query interner: a text is kept once", () => {
  const interner = new QueryInterner();
  const entries = Array.from({ length: 2000 }, (_, i) => {
    const bytes = encoder.encode(`SELECT ${i}`);
    return interner.intern(bytes, 0, bytes.length, "");
  });
  entries.forEach((entry, i) => {
    const bytes = encoder.encode(`SELECT ${i}`);
    assert.equal(interner.intern(bytes, 0, bytes.length, ""), entry);
  });
  assert.equal(interner.entries, 2000);
  assert.equal([...interner.all()].length, 2000);
  interner.clear();
  assert.equal(interner.entries, 0);
});

Deno.test("query interner: what is used between two sweeps is kept, and so is what came after the first", () => {
  const interner = new QueryInterner();
  const intern = (sql: string) => {
    const bytes = encoder.encode(sql);
    return interner.intern(bytes, 0, bytes.length, "");
  };
  const [again, held] = [intern("again"), intern("held")];
  intern("idle");
  assert.equal(interner.sweep(), 0);
  // Found without a user: once more, and it goes; unless it is asked for or taken up meanwhile.
  assert.equal(intern("again"), again);
  held.users++;
  const late = intern("late");
  assert.equal(interner.sweep(), 1);
  assert.deepEqual(new Set(interner.all()), new Set([again, held, late]));
  held.users--;
  assert.equal(interner.sweep(), 2);
  assert.equal(interner.sweep(), 1);
  assert.equal(interner.entries, 0);
});

Deno.test("statement cache: long texts are bounded by their bytes, and what nobody has goes without a sweep", () => {
  const source = new Source();
  const cache = new StatementCache(source);
  const MB = 1024 * 1024;
  const text = (n: number) => `${n} `.padEnd(MB - 100, "x");
  const kept = find(cache, text(-1), 1000);
  cache.hold(kept);
  for (let n = 0; n < 200; n++) {
    find(cache, text(n), 1000);
    assert.ok(cache.bytes <= 64 * MB, `${cache.bytes}`);
    assert.ok(source.interner.bytes <= 98 * MB, `${source.interner.bytes}`);
  }
  assert.ok(cache.size > 60);
  assert.match(names(cache).at(-1)!, /^199 /);
  // A client has it.
  assert.ok([...source.interner.all()].includes(kept.query));
  cache.drop(kept);
  cache.clear();
  source.interner.sweep();
  source.interner.sweep();
  assert.deepEqual([cache.bytes, source.interner.bytes, source.interner.entries], [0, 0, 0]);
});

Deno.test("statement cache: what has names counts, its text once, and nothing is left when they are gone", () => {
  const source = new Source();
  const cache = new StatementCache(source);
  const long = find(cache, `SELECT '${"x".repeat(100_000)}'`);
  assert.equal(cache.namedBytes, 0);
  const name = encoder.encode("s");
  for (let i = 0; i < 10; i++) cache.named(name, long);
  const held = cache.namedBytes;
  assert.ok(held > 100_000 && held < 110_000, String(held));
  for (let i = 0; i < 9; i++) cache.unnamed(name, long);
  assert.ok(cache.namedBytes > 100_000);
  cache.unnamed(name, long);
  assert.equal(cache.namedBytes, 0);
});

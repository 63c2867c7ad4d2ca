import assert from "node:assert/strict";
import { levelFilter } from "../log/filter.ts";
import { concat, frontend, int16, int32, query, SYNC } from "../protocol/testing/wire.ts";
import { type FakeClient, World } from "../testing/world.ts";

const REWRITES = {
  prepared_statements: true,
  prepared_statements_cache_size: 10,
  server_prepared_statements_cache_size: 10,
  client_anonymous_prepared_cache_size: 10,
};

const parse = (name: string, sql: string) => frontend("P", name, sql, int16(0));
const bind = (name: string) =>
  frontend("B", "", name, int16(0), int16(1), int32(6), "hidden", int16(0));
const execute = frontend("E", "", int32(0));

/** A client of a pool that logs what takes 100 ms. */
function place(change: ConstructorParameters<typeof World>[0] = {}) {
  const world = new World({ log_min_duration: 100, log_min_duration_text: 20, ...change });
  world.addServer();
  const client = world.addClient(new Uint8Array(0));
  client.session.context.log.setFilter(levelFilter("info"));
  return { world, client };
}

/** The client sends bytes that are answered after so many milliseconds. */
function ask(
  world: World,
  client: FakeClient,
  bytes: Uint8Array<ArrayBuffer>,
  ms: number,
): string[] {
  world.warnings.length = 0;
  client.unsent = bytes;
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  world.reactor.now += ms;
  world.settle();
  return [...world.warnings];
}

Deno.test("slow queries: what takes as long as the limit has a line, all else has none", () => {
  const { world, client } = place({ log_min_duration_text: 0 });
  assert.deepEqual(ask(world, client, query("none"), 99), []);
  const [line, ...more] = ask(world, client, query("none"), 100);
  assert.deepEqual(more, []);
  assert.match(
    line!,
    /^\[me@db #c\d+\] slow query: duration=100\.000ms pid=\d+ address= application_name="default"$/,
  );
  client.session.context.log.setFilter(levelFilter("warn"));
  assert.deepEqual(ask(world, client, query("none"), 1000), []);
});

Deno.test("slow queries: without a limit none is slow", () => {
  const { world, client } = place({ log_min_duration: Number.MAX_SAFE_INTEGER });
  assert.deepEqual(ask(world, client, query("none"), 1e9), []);
});

Deno.test("slow queries: the text is the request's first, in one line, and cut", () => {
  const { world, client } = place();
  const textOf = (bytes: Uint8Array<ArrayBuffer>) =>
    ask(world, client, bytes, 100).map((line) => /text=.*$/.exec(line)?.[0]);
  assert.deepEqual(textOf(query('select "x"\n1')), ['text="select \\"x\\" 1"']);
  assert.deepEqual(textOf(query("1234567890123456789012345")), ['text="12345678901234567890…"']);
  assert.deepEqual(textOf(query("12345678901234567890")), ['text="12345678901234567890"']);
  // One that was not slow leaves nothing behind.
  assert.deepEqual(ask(world, client, query("quick"), 1), []);
  assert.deepEqual(textOf(query("second")), ['text="second"']);
});

for (const [how, change] of [["as they are", {}], ["rewritten", REWRITES]] as const) {
  Deno.test(`slow queries: texts of the extended protocol, ${how}, without parameters`, () => {
    const { world, client } = place(change);
    const batch = concat(parse("", "unnamed text"), bind(""), execute, SYNC);
    const [line] = ask(world, client, batch, 100);
    assert.match(line!, /text="unnamed text"$/);
    const named = concat(parse("s", "named text"), bind("s"), execute, SYNC);
    assert.match(ask(world, client, named, 100)[0]!, /text="named text"$/);
  });
}

Deno.test("slow queries: a statement that was prepared before is known by its name", () => {
  const { world, client } = place(REWRITES);
  ask(world, client, concat(parse("s", "named text"), SYNC), 1);
  ask(world, client, concat(parse("", "unnamed text"), SYNC), 1);
  const run = (name: string) => ask(world, client, concat(bind(name), execute, SYNC), 100)[0]!;
  assert.match(run("s"), /text="named text"$/);
  assert.match(run(""), /text="unnamed text"$/);
  assert.doesNotMatch(run("s") + run(""), /hidden/);
});

Deno.test("slow queries: of requests in a row the first has its text, the others none of another's", () => {
  const { world, client } = place();
  const lines = ask(world, client, concat(query("one"), query("two"), query("three")), 100);
  assert.match(lines[0]!, /text="one"$/);
  for (const line of lines.slice(1)) assert.doesNotMatch(line, /text=/);
  assert.match(ask(world, client, query("four"), 100)[0]!, /text="four"$/);
});

Deno.test("slow queries: messages that come in pieces, or are none, are read no further than they go", () => {
  const { world, client } = place();
  client.unsent = query("begin work");
  world.settle();
  const long = query("x".repeat(30));
  client.unsent = long;
  world.clientSends(client, 8);
  world.dispatch(client.stream);
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  world.warnings.length = 0;
  world.reactor.now += 100;
  world.settle();
  assert.equal(world.warnings.length, 1);
  assert.match(world.warnings[0]!, /text="x+…?"$/);
});

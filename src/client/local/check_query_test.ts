import assert from "node:assert/strict";
import { World } from "../../testing/world.ts";
import { concat, query } from "../../protocol/testing/wire.ts";

function readable(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes).replaceAll(/[^ -~]/g, ".");
}

Deno.test("check query: PostgreSQL answers the first, the pooler the others, also cut and while it is paused", () => {
  for (const cut of [1, 4, 6, Infinity]) {
    const world = new World({}, { checkQuery: "rows 3" });
    const server = world.addServer();
    const first = world.addClient(query("rows 3"));
    world.settle();
    const asked = server.model.seen.length;
    assert.equal(asked, 1);
    world.pool.pause();
    const other = world.addClient(concat(query("rows 3"), query("rows 3")));
    while (world.clientSends(other, cut)) world.dispatch(other.stream);
    world.settle();
    assert.equal(server.model.seen.length, asked);
    assert.equal(readable(other.received), readable(concat(first.received, first.received)));
    assert.equal(other.session.server, undefined);
    const { check_queries_run, check_queries_answered } = world.pool.counters.total;
    assert.deepEqual([check_queries_run, check_queries_answered], [1, 2]);
  }
});

Deno.test("check query: errors, and what is the client's own, are nobody else's answer", () => {
  for (const sql of ["error", "notice", "parameter 1", "begin 1", "long 10"]) {
    const world = new World({}, { checkQuery: sql });
    const server = world.addServer();
    const client = world.addClient(query(sql));
    world.settle();
    client.unsent = query("commit");
    world.settle();
    assert.equal(world.pool.checkAnswer, undefined, sql);
    client.unsent = query(sql);
    world.settle();
    const asked = server.model.seen.filter(({ body }) => readable(body) === `${sql}.`);
    assert.equal(asked.length, 2, sql);
  }
});

Deno.test("check query: the answer is that of the text it was given to", () => {
  const world = new World({}, { checkQuery: "rows 3" });
  const server = world.addServer();
  const client = world.addClient(concat(query("rows 3"), query("rows 2")));
  world.settle();
  const [three] = [world.pool.checkAnswer!.answer];
  world.setCheckQuery("rows 2");
  const before = server.model.seen.length;
  for (let i = 0; i < 3; i++) {
    client.unsent = query("rows 2");
    world.settle();
  }
  assert.equal(server.model.seen.length, before + 1);
  assert.notEqual(readable(world.pool.checkAnswer!.answer), readable(three));
  client.unsent = query("rows 3");
  world.settle();
  assert.equal(server.model.seen.length, before + 2);
});

Deno.test("check query: in a transaction that has begun the answer says so", () => {
  const world = new World({}, { checkQuery: "empty 1" });
  const server = world.addServer();
  const client = world.addClient(query("empty 1"));
  world.settle();
  const before = server.model.seen.length;
  client.received = new Uint8Array(0);
  client.unsent = concat(query("begin"), query("empty 1"), query("commit"), query("empty 1"));
  world.settle();
  assert.equal(server.model.seen.length, before);
  assert.match(readable(client.received), /BEGIN.Z....T.*I....Z....T.*COMMIT.Z....I.*I....Z....I$/);
});

Deno.test("check query: a DEALLOCATE is PostgreSQL's to answer, too", () => {
  const world = new World(
    { prepared_statements: true, prepared_statements_cache_size: 10 },
    { checkQuery: "DEALLOCATE ALL" },
  );
  const server = world.addServer();
  const client = world.addClient(concat(query("rows 1")));
  world.settle();
  for (let i = 0; i < 3; i++) {
    client.unsent = query("DEALLOCATE ALL");
    world.settle();
  }
  assert.equal(server.model.seen.length, 2);
  assert.match(readable(world.pool.checkAnswer!.answer), /^C....DEALLOCATE ALL.Z....I$/);
});

import assert from "node:assert/strict";
import fc from "fast-check";
import { Stage } from "../state.ts";
import { type FakeServer, World } from "../../testing/world.ts";
import { TransactionCommand, transactionCommand } from "./transaction.ts";
import { ServerStage } from "../../server/state.ts";
import { bytesOf, ModelServer } from "../../protocol/testing/model_server.ts";
import { pipelines, simpleQuery } from "../../protocol/testing/pipelines.ts";
import { concat, frontend, messagesIn, query, SYNC } from "../../protocol/testing/wire.ts";

const TERMINATE = frontend("X");

/** Types of the messages in these bytes, with the status of each ReadyForQuery. */
function types(bytes: Uint8Array): string {
  const found = messagesIn(bytes).map(({ type, body }) =>
    type === "Z" ? `Z${String.fromCharCode(body[0]!)} ` : type
  );
  return found.join("").trim();
}

/** Types of the messages that reached the model, and the texts of its queries. */
function seen({ model }: FakeServer): string[] {
  return model.seen.map(({ type, body }) =>
    type === "Q" ? new TextDecoder().decode(body.slice(0, -1)) : type
  );
}

function commandOf(text: string): number {
  const bytes = new TextEncoder().encode(`${text}\0`);
  return transactionCommand(bytes, 0, bytes.length);
}

Deno.test("transaction: the plain commands, in any letter case, blanks around them", () => {
  const { Begin, Commit, Rollback } = TransactionCommand;
  const cases: [number, string[]][] = [
    [Begin, ["begin", "BEGIN;", " Begin ; ", "\n\tbegin\r\n", "begin transaction", "BEGIN WORK;"]],
    [Commit, ["commit", "COMMIT;", "end", "END TRANSACTION ;", "commit  work"]],
    [Rollback, ["rollback", "Rollback;", "abort", "ROLLBACK WORK"]],
  ];
  for (const [command, texts] of cases) {
    for (const text of texts) assert.equal(commandOf(text), command, text);
  }
});

Deno.test("transaction: nothing else", () => {
  const others = [
    "",
    ";",
    " ",
    "b",
    "begi",
    "beginn",
    "begin;;",
    "begin; select 1",
    "begin read only",
    "begin isolation level serializable",
    "begin transaction read only",
    "begin transactions",
    "begin work work",
    "begintransaction",
    "begin /* now */",
    "begin -- now",
    "begin\u00a0",
    "beg\0in",
    "begin\0x",
    "start transaction",
    "commit and chain",
    "commit prepared 'x'",
    "end if",
    "rollback to savepoint a",
    "rollback to a",
    "abort and no chain",
    "select 1",
    "BEGI\u000e",
  ];
  for (const text of others) assert.equal(commandOf(text), TransactionCommand.None, text);
});

for (const pool_mode of ["transaction", "session"] as const) {
  Deno.test(`transaction: BEGIN takes no server, and goes with the next message, ${pool_mode} mode`, () => {
    const world = new World({ pool_mode });
    const server = world.addServer();
    const client = world.addClient(query("begin"));
    world.settle();
    assert.equal(types(client.received), "CZT");
    assert.equal(client.session.server, undefined);
    assert.ok(client.session.inTransaction);
    assert.deepEqual(seen(server), []);

    client.unsent = query("rows 1");
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
    // One write, whatever is in it.
    assert.equal(types(server.stream.fetch()), "PBECCQ");
  });

  Deno.test(`transaction: the answer to BEGIN is not the client's, ${pool_mode} mode`, () => {
    const world = new World({ pool_mode });
    const server = world.addServer();
    const client = world.addClient(
      concat(query("BEGIN;"), query("rows 1"), query("error"), query("rollback"), query("rows 1")),
    );
    world.settle();
    assert.equal(types(client.received), "CZT TDCZT EZE CZI TDCZI");
    assert.deepEqual(seen(server), [..."PBECC", "rows 1", "error", "rollback", "rows 1"]);
    if (pool_mode === "transaction") world.checkIdle(server);
  });
}

Deno.test("transaction: one in which nothing is done never reaches a server", () => {
  for (const end of ["commit", "END;", "rollback", "abort"]) {
    const world = new World();
    const server = world.addServer();
    const client = world.addClient(concat(query("begin"), query(end), SYNC));
    world.settle();
    assert.equal(types(client.received), "CZT CZI ZI");
    assert.deepEqual(seen(server), []);
    assert.ok(!client.session.state.deferredBegin);
  }
});

Deno.test("transaction: Terminate behind a BEGIN leaves no trace", () => {
  const world = new World();
  const server = world.addServer();
  const client = world.addClient(concat(query("begin"), TERMINATE));
  world.settle();
  assert.equal(types(client.received), "CZT");
  assert.equal(client.session.state.stage, Stage.Closed);
  assert.deepEqual(seen(server), []);
  assert.equal(server.connection.state.uses, 0);
});

Deno.test("transaction: Sync behind a BEGIN tells that one is open", () => {
  const world = new World();
  const client = world.addClient(concat(query("begin"), SYNC, SYNC));
  world.settle();
  assert.equal(types(client.received), "CZT ZT ZT");
});

Deno.test("transaction: a second BEGIN, and an end without a beginning, are PostgreSQL's to answer", () => {
  const world = new World();
  const server = world.addServer();
  const client = world.addClient(query("commit"));
  world.settle();
  client.unsent = concat(query("begin"), query("begin"), query("commit"));
  world.settle();
  assert.equal(types(client.received), "CZI CZT CZT CZI");
  assert.deepEqual(seen(server), ["commit", ..."PBECC", "begin", "commit"]);
});

Deno.test("transaction: BEGIN with a batch of the extended protocol, and nothing of BEGIN's left behind", () => {
  const world = new World();
  const server = world.addServer();
  const execute = frontend("E", "", [0, 0, 0, 0]);
  const client = world.addClient(
    concat(
      query("begin"),
      frontend("P", "", "rows 2", [0, 0]),
      frontend("B", "", "", [0, 0, 0, 0, 0, 0]),
      execute,
      SYNC,
      query("rollback"),
    ),
  );
  world.settle();
  // No portal is there: not even that of BEGIN.
  client.unsent = concat(query("begin"), execute, SYNC);
  world.settle();
  assert.equal(types(client.received), "CZT 12DDsZT CZI CZT EZE");
  assert.equal(server.model.statements.get(""), undefined);
});

Deno.test("transaction: its parameters are set before BEGIN", () => {
  const world = new World();
  const server = world.addServer();
  const client = world.addClient(query("parameter 1"));
  world.settle();
  world.addClient(query("show"));
  world.settle();
  assert.equal(server.model.parameter, "default");
  client.unsent = concat(query("begin"), query("show"));
  const before = server.model.seen.length;
  world.settle();
  const [sync, ...rest] = seen(server).slice(before);
  assert.match(sync!, /set_config/);
  assert.deepEqual(rest, [..."PBECC", "show"]);
  assert.equal(types(client.received), "SCZI CZT TDCZT");
});

Deno.test("transaction: who gets no server for a transaction is told by FATAL, as nothing may go on", () => {
  const world = new World({ pool_size: 1 });
  world.addServer();
  const holder = world.addClient(concat(query("begin"), query("rows 1")));
  world.settle();
  assert.equal(holder.session.state.stage, Stage.Linked);
  const client = world.addClient(concat(query("begin"), query("rows 1"), query("rows 2")));
  world.settle();
  assert.equal(client.session.state.stage, Stage.Waiting);
  assert.ok(client.session.state.deferredBegin);
  client.session.cancel();
  world.settle();
  assert.equal(types(client.received), "CZT E");
  assert.match(new TextDecoder().decode(client.received), /FATAL\0.*57014/);
  assert.ok(client.session.state.stage >= Stage.Closing);
  assert.equal(world.pool.waiting, 0);
});

Deno.test("transaction: a BEGIN that fails ends both connections, and nothing behind it was run", () => {
  for (const cut of [1, 5, Infinity]) {
    const world = new World();
    const server = world.addServer();
    server.model.refusesBegin = true;
    const client = world.addClient(concat(query("begin"), query("rows 1"), query("rows 2")));
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
    world.serverTakes(server, Infinity);
    while (world.serverSends(server, cut)) world.dispatch(server.stream);
    world.settle();
    assert.equal(types(client.received), "CZT E");
    assert.match(new TextDecoder().decode(client.received), /FATAL\0.*could not begin: 57014/);
    assert.equal(server.connection.state.stage, ServerStage.Closed);
    assert.ok(server.model.skipping);
  }
});

Deno.test("transaction: a pending BEGIN moves with its client, waiting or not", () => {
  for (const waiting of [false, true]) {
    const world = new World({ pool_size: 1 });
    const server = world.addServer();
    const holder = world.addClient(waiting ? concat(query("begin"), query("none")) : SYNC);
    world.settle();
    const client = world.addClient(concat(query("begin"), waiting ? query("rows 1") : SYNC));
    world.settle();
    world.move();
    assert.ok(client.session.state.deferredBegin);
    holder.unsent = waiting ? query("commit") : SYNC;
    client.unsent = concat(query("rows 2"), query("commit"));
    world.settle();
    world.checkIdle(server);
    assert.equal(
      types(client.received),
      waiting ? "CZT TDCZT TDDCZT CZI" : "CZT ZT TDDCZT CZI",
    );
  }
});

const transactions = fc.array(
  fc.tuple(
    fc.constantFrom("begin", "begin", "none"),
    fc.oneof(fc.constant([]), pipelines),
    fc.constantFrom("commit", "rollback"),
  ).map(([first, pipeline, last]) => [simpleQuery(first), ...pipeline, simpleQuery(last)]),
  { minLength: 1, maxLength: 4 },
).map((parts) => concat(...parts.flat().map(bytesOf)));

Deno.test("transaction: many clients on few servers, cut and moved anywhere, get what PostgreSQL answers", () => {
  const many = fc.array(transactions, { minLength: 1, maxLength: 4 });
  const choices = fc.infiniteStream(fc.nat({ max: 0xffffff }));
  fc.assert(
    fc.property(many, choices, fc.nat({ max: 800 }), (all, choice, steps) => {
      const world = new World();
      const servers = [world.addServer(), world.addServer()];
      const clients = all.map((bytes) => world.addClient(bytes));
      for (let i = 0; i < steps; i++) {
        const c = choice.next().value;
        const size = [1 + (c >> 6) % 7, 1 + (c >> 6) % 300, Infinity][(c >> 3) % 3]!;
        const client = clients[(c >> 12) % clients.length]!;
        const server = servers[(c >> 12) % servers.length]!;
        if ((c >> 8) % 40 === 0) world.move();
        if (c % 3 === 0) {
          world.clientSends(client, size);
          world.dispatch(client.stream);
        } else if (c % 3 === 1) world.serverTakes(server, size);
        else {
          world.serverSends(server, size);
          world.dispatch(server.stream);
        }
      }
      world.settle();
      clients.forEach((client, i) => {
        const text = (bytes: Uint8Array) =>
          new TextDecoder("latin1").decode(bytes).replaceAll(/[^ -~]/g, ".");
        assert.equal(text(client.received), text(new ModelServer().feed(all[i]!)));
        assert.equal(client.session.state.stage, Stage.Idle);
        assert.ok(!client.session.state.deferredBegin);
      });
      for (const server of servers) world.checkIdle(server);
      assert.deepEqual(world.warnings, []);
    }),
    { numRuns: 200 },
  );
});

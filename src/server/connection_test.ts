import assert from "node:assert/strict";
import { MAKE_UP, Owed, SWALLOW } from "../protocol/owed_replies.ts";
import { concat, frontend, int16, int32, messagesIn } from "../protocol/testing/wire.ts";
import { REASONS } from "../reasons.ts";
import { ServerBench } from "../testing/server_bench.ts";
import { Dirty, ServerStage } from "./state.ts";

const READY = frontend("Z", [0x49]);
const IN_BLOCK = frontend("Z", [0x54]);
const ROWS = frontend("T", int16(1), "x", int32(0), int16(0), int32(25), int16(-1), int32(-1), [
  0,
  0,
]);
const ROW = frontend("D", int16(1), int32(3), [0x61, 0x62, 0x63]);
const DONE = frontend("C", "SELECT 1");
const PARAMETERS = frontend("t", int16(0));
const NO_DATA = frontend("n");

function error(code: string, severity = "ERROR"): Uint8Array {
  return frontend("E", `S${severity}`, `V${severity}`, `C${code}`, "Mwords", [0]);
}

function notification(channel: string): Uint8Array {
  return frontend("A", int32(7), channel, "payload");
}

function types(bytes: Uint8Array): string {
  return messagesIn(bytes).map(({ type }) => type).join("");
}

/** What was asked, and all that answers it. */
const ANSWERS: Record<string, { owed: number[]; answer: Uint8Array }> = {
  "rows of a query": { owed: [Owed.Query], answer: concat(ROWS, ROW, ROW, DONE, READY) },
  "several statements in a query": {
    owed: [Owed.Query],
    answer: concat(DONE, ROWS, ROW, DONE, frontend("C", "BEGIN"), IN_BLOCK),
  },
  "an empty query": { owed: [Owed.Query], answer: concat(frontend("I"), READY) },
  "an error of a query": { owed: [Owed.Query], answer: concat(error("22012"), READY) },
  "a function": { owed: [Owed.FunctionCall], answer: concat(frontend("V", int32(-1)), READY) },
  "COPY OUT": {
    owed: [Owed.Query],
    answer: concat(
      frontend("H", [0], int16(0)),
      frontend("d", "row"),
      frontend("c"),
      frontend("C", "COPY 1"),
      READY,
    ),
  },
  "COPY IN": {
    owed: [Owed.Query, Owed.CopyEnd],
    answer: concat(frontend("G", [0], int16(0)), frontend("C", "COPY 1"), READY),
  },
  "a replication stream": {
    owed: [Owed.Query],
    answer: concat(
      frontend("W", [0], int16(0)),
      frontend("d", "log"),
      frontend("c"),
      frontend("C", "COPY 0"),
      READY,
    ),
  },
  "the extended protocol": {
    owed: [Owed.Parse, Owed.Bind, Owed.DescribePortal, Owed.Execute, Owed.Close, Owed.Sync],
    answer: concat(frontend("1"), frontend("2"), ROWS, ROW, DONE, frontend("3"), READY),
  },
  "a statement described": {
    owed: [Owed.DescribeStatement, Owed.DescribeStatement, Owed.Sync],
    answer: concat(PARAMETERS, ROWS, PARAMETERS, NO_DATA, READY),
  },
  "a portal that returns nothing": {
    owed: [Owed.DescribePortal, Owed.Execute, Owed.Execute, Owed.Sync],
    answer: concat(NO_DATA, frontend("I"), frontend("s"), READY),
  },
  "an error that skips": {
    owed: [Owed.Parse, Owed.Bind, Owed.Execute, Owed.Sync, Owed.Query],
    answer: concat(frontend("1"), error("42601"), READY, DONE, READY),
  },
};

/** Messages that come when they like, and the parameter that one of them brings. */
const UNASKED = concat(
  frontend("N", "SNOTICE", "Mnote", [0]),
  frontend("S", "TimeZone", "UTC"),
);

/** A connection that owes this. */
function owing(owed: readonly number[], { linked = true } = {}): ServerBench {
  const bench = new ServerBench({ linked });
  for (const entry of owed) bench.connection.owed.push(entry);
  return bench;
}

function checkSettled({ connection }: ServerBench): void {
  assert.equal(connection.owed.length, 0);
  assert.equal(connection.state.left, 0);
}

for (const [name, { owed, answer }] of Object.entries(ANSWERS)) {
  Deno.test(`server connection: the client gets ${name}, however it is cut`, () => {
    const all = concat(answer, UNASKED);
    const whole = owing(owed);
    whole.receive(all);
    assert.deepEqual(whole.link.delivered, all);
    assert.ok(whole.link.told.includes("parameters TimeZone=UTC"));
    assert.ok(whole.link.told.some((told) => told.endsWith("settled")));
    checkSettled(whole);
    for (let cut = 1; cut < all.length; cut++) {
      for (const moves of [false, true]) {
        const bench = owing(owed);
        bench.receive(all.slice(0, cut));
        if (moves) bench.move();
        bench.receive(all.slice(cut));
        assert.deepEqual(bench.link.delivered, all, `cut at ${cut}`);
        assert.deepEqual(bench.link.told, whole.link.told, `cut at ${cut}`);
        checkSettled(bench);
      }
    }
    const bench = owing(owed);
    for (const byte of all) {
      bench.receive(Uint8Array.of(byte));
      bench.move();
    }
    assert.deepEqual(bench.link.delivered, all);
    assert.deepEqual(bench.link.told, whole.link.told);
  });

  Deno.test(`server connection: ${name} is read and dropped when its client is gone`, () => {
    // A COPY that waits for data has an end of its own.
    if (name === "COPY IN") return assertCopyEnds();
    for (let cut = 1; cut < answer.length; cut++) {
      const bench = owing(owed, { linked: false });
      bench.connection.state.stage = ServerStage.Draining;
      bench.receive(answer.slice(0, cut));
      bench.receive(answer.slice(cut));
      assert.equal(bench.owner.told.at(-1), "settled undefined");
      checkSettled(bench);
    }
  });

  Deno.test(`server connection: ${name} must have been asked for`, () => {
    const first = messagesIn(answer)[0]!;
    const bench = new ServerBench();
    bench.receive(answer);
    assert.equal(bench.owner.closedFor, REASONS.serverDesync, first.type);
    assert.equal(bench.link.delivered.length, 0);
  });
}

function assertCopyEnds(): void {
  const bench = owing([Owed.Query], { linked: false });
  bench.connection.state.stage = ServerStage.Draining;
  bench.receive(frontend("G", [0], int16(0)));
  assert.equal(bench.owner.closedFor, REASONS.serverUnusable);
}

Deno.test("server connection: no answer fits what was asked for otherwise", () => {
  const fits: Record<string, string> = {
    [Owed.Query]: "DdcHGCITWZ",
    [Owed.FunctionCall]: "VZ",
    [Owed.Parse]: "1",
    [Owed.Bind]: "2",
    [Owed.DescribeStatement]: "t",
    [Owed.DescribeStatementRows]: "Tn",
    [Owed.DescribePortal]: "Tn",
    [Owed.Execute]: "DdcHGCIs",
    [Owed.Close]: "3",
    [Owed.Sync]: "Z",
  };
  for (const [kind, fitting] of Object.entries(fits)) {
    for (const type of "123CDGHITVWZcdnst?RKv") {
      const body = { Z: [0x49], C: [0x58, 0] }[type] ?? [];
      const bench = owing([Number(kind)]);
      bench.receive(frontend(type, body));
      assert.equal(bench.closed, !fitting.includes(type), `"${type}" for ${kind}`);
      if (!bench.closed) continue;
      assert.equal(bench.owner.closedFor, REASONS.serverDesync);
      assert.equal(bench.link.delivered.length, 0, `"${type}" for ${kind}`);
    }
  }
});

Deno.test("server connection: what comes before a message that nobody is owed is delivered", () => {
  for (
    const wrong of [frontend("1"), frontend("D", int16(0)), READY, Uint8Array.of(0x44, 0, 0, 0, 3)]
  ) {
    const bench = owing([Owed.Query]);
    bench.receive(concat(DONE, READY, wrong));
    assert.deepEqual(bench.link.delivered, concat(DONE, READY));
    assert.equal(bench.owner.closedFor, REASONS.serverDesync);
    // PostgreSQL hears a Terminate: it is alive.
    assert.equal(types(bench.stream.fetch()), "X");
  }
});

Deno.test("server connection: messages that PostgreSQL keeps short may not be long", () => {
  const long = new Uint8Array(30_000);
  for (const type of ["C", "S"]) {
    const bench = owing([Owed.Query]);
    bench.receive(frontend(type, long).slice(0, 100));
    assert.equal(bench.owner.closedFor, REASONS.serverDesync, type);
  }
  for (const ready of [frontend("Z", [0x49, 0]), frontend("Z", [0x58])]) {
    const bench = owing([Owed.Query]);
    bench.receive(ready);
    assert.equal(bench.owner.closedFor, REASONS.serverDesync);
  }
});

Deno.test("server connection: parameters that are none, or are too many, end it", () => {
  const malformed = new ServerBench();
  malformed.receive(frontend("S", "name"));
  assert.equal(malformed.owner.closedFor, REASONS.serverDesync);
  const bench = new ServerBench();
  for (let i = 0; i < 200; i++) bench.receive(frontend("S", `a${i}`, "x"));
  assert.ok(!bench.closed);
  bench.receive(frontend("S", "a0", "y"));
  assert.ok(!bench.closed);
  bench.receive(frontend("S", "one_more", "x"));
  assert.equal(bench.owner.closedFor, REASONS.serverDesync);
});

Deno.test("server connection: answers to the pooler reach no client, those beside them do", () => {
  const answers = concat(ROWS, ROW, DONE, READY);
  const after = concat(DONE, READY);
  const all = concat(answers, after);
  for (let cut = 1; cut < all.length; cut++) {
    const bench = new ServerBench();
    bench.connection.runOwn("SELECT");
    bench.connection.owed.push(Owed.Query);
    bench.receive(all.slice(0, cut));
    bench.move();
    bench.receive(all.slice(cut));
    assert.deepEqual(bench.link.delivered, after);
    checkSettled(bench);
  }
});

Deno.test("server connection: the pooler's own query tells its end once, and its error", () => {
  for (const [answer, told] of [[DONE, "own undefined"], [error("22023"), "own 22023"]] as const) {
    const all = concat(answer, READY);
    for (let cut = 1; cut < all.length; cut++) {
      const bench = new ServerBench();
      bench.connection.runOwn("SET");
      bench.receive(all.slice(0, cut));
      bench.move();
      bench.receive(all.slice(cut));
      assert.deepEqual(bench.link.told, [told]);
      assert.equal(bench.link.delivered.length, 0);
    }
  }
});

Deno.test("server connection: a question's answer is kept for whoever asked", () => {
  const all = concat(ROWS, ROW, DONE, READY);
  for (let cut = 1; cut < all.length; cut++) {
    const bench = new ServerBench();
    bench.connection.askOwn("SELECT", Dirty.Temp);
    bench.receive(all.slice(0, cut));
    bench.move();
    bench.receive(all.slice(cut));
    assert.equal(bench.connection.state.answer, "abc", `cut at ${cut}`);
    assert.deepEqual(bench.link.told, ["answered undefined"]);
    assert.equal(bench.link.delivered.length, 0);
  }
});

Deno.test("server connection: a ParseComplete that PostgreSQL does not send is made up in its place", () => {
  const bench = owing([Owed.Bind, Owed.Parse | MAKE_UP, Owed.Bind, Owed.Execute, Owed.Sync]);
  bench.receive(concat(frontend("2"), frontend("2"), ROW, DONE, READY));
  assert.equal(types(bench.link.delivered), "212DCZ");
  const last = owing([Owed.Execute, Owed.Parse | MAKE_UP]);
  last.receive(concat(ROW, DONE));
  assert.equal(types(last.link.delivered), "DC1");
});

Deno.test("server connection: an error of an injected Parse is the client's", () => {
  const bench = owing([Owed.Parse | SWALLOW, Owed.Bind, Owed.Sync]);
  bench.receive(concat(error("42601"), READY));
  assert.equal(types(bench.link.delivered), "EZ");
  assert.deepEqual(bench.link.told, ["error 42601", "ready I settled"]);
});

Deno.test("server connection: a block that must not be is told instead of its ReadyForQuery", () => {
  const bench = owing([Owed.Query]);
  bench.connection.state.refusesBlocks = true;
  bench.receive(concat(frontend("C", "BEGIN"), IN_BLOCK));
  assert.deepEqual(bench.link.told, ["block"]);
  assert.equal(types(bench.link.delivered), "C");
});

Deno.test("server connection: a notification comes whole or not at all", () => {
  const all = notification("jobs");
  for (let cut = 1; cut < all.length; cut++) {
    const bench = new ServerBench();
    bench.receive(all.slice(0, cut));
    assert.deepEqual(bench.link.told, []);
    bench.move();
    bench.receive(all.slice(cut));
    assert.deepEqual(bench.link.told, ["notified jobs\0payload\0"]);
    assert.equal(bench.link.delivered.length, 0);
  }
});

Deno.test("server connection: what nobody waits for has an end", () => {
  const bench = owing([Owed.Query], { linked: false });
  bench.connection.state.stage = ServerStage.Draining;
  const row = frontend("D", new Uint8Array(65_000));
  let rows = 0;
  while (!bench.closed) {
    bench.receive(row);
    assert.ok(rows++ < 300);
  }
  assert.equal(bench.owner.closedFor, REASONS.serverUnusable);
});

Deno.test("server connection: FATAL is the client's, and why the connection has ended", () => {
  const all = error("57P01", "FATAL");
  for (const owed of [[], [Owed.Query], [Owed.Query | SWALLOW]]) {
    for (let cut = 1; cut <= all.length; cut++) {
      const bench = owing(owed);
      bench.receive(all.slice(0, cut));
      bench.move();
      bench.receive(all.slice(cut));
      bench.end();
      assert.deepEqual(bench.link.delivered, all);
      assert.equal(bench.link.told.at(-1), "lost 08006 FATAL 57P01: words, told");
      assert.deepEqual(bench.owner.told, ["closed FATAL 57P01: words"]);
    }
  }
});

Deno.test("server connection: closed, it is inert and tells nobody twice", () => {
  const bench = owing([Owed.Query]);
  bench.stream.push(concat(DONE, READY));
  bench.connection.close(REASONS.adminShutdown, "");
  bench.connection.close(REASONS.serverLost, "");
  bench.connection.onReady(0xff);
  assert.deepEqual(bench.owner.told, ["closed "]);
  assert.deepEqual(bench.link.told, ["lost 57P01 "]);
  assert.equal(bench.stream.unread, concat(DONE, READY).length);
});

Deno.test("server connection: forgotten, it says nothing to PostgreSQL and to nobody else", () => {
  const bench = owing([Owed.Query]);
  bench.connection.freeze();
  bench.connection.forget();
  assert.equal(bench.stream.fetch().length, 0);
  assert.deepEqual(bench.owner.told, []);
  assert.deepEqual(bench.link.told, []);
  assert.ok(bench.closed);
});

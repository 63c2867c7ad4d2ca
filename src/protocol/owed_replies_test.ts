import assert from "node:assert/strict";
import fc from "fast-check";
import { Backend, Named } from "./codes.ts";
import {
  MAKE_UP,
  Owed,
  OwedReplies,
  SkippedUnnamed,
  SWALLOW,
  UNNAMED,
  Verdict,
} from "./owed_replies.ts";
import { type Message, ModelServer } from "./testing/model_server.ts";
import { pipelines, simpleQuery, SYNC } from "./testing/pipelines.ts";

const KINDS: Record<string, number> = {
  Q: Owed.Query,
  F: Owed.FunctionCall,
  P: Owed.Parse,
  B: Owed.Bind,
  E: Owed.Execute,
  C: Owed.Close,
  S: Owed.Sync,
  c: Owed.CopyEnd,
  f: Owed.CopyEnd,
};
const ASYNCHRONOUS = new Set(["N", "A", "S"]);

/** The entry of a message, 0 for what nothing answers. */
function entryOf(message: Message): number {
  if (message.type === "D") {
    return message.body[0] === Named.Statement ? Owed.DescribeStatement : Owed.DescribePortal;
  }
  return KINDS[message.type] ?? 0;
}

/** A conversation in which sending, answering and receiving fall apart in time as the choices say. */
class Conversation {
  owed = new OwedReplies();
  readonly server = new ModelServer();
  readonly #sent: { message: Message; own: boolean }[] = [];
  readonly #replies: { reply: Message; own: boolean }[] = [];

  send(message: Message, own = false): void {
    const entry = entryOf(message);
    if (entry !== 0) this.owed.push(own ? entry | SWALLOW : entry);
    this.#sent.push({ message, own });
  }

  answer(): boolean {
    const next = this.#sent.shift();
    if (next === undefined) return false;
    for (const reply of this.server.process(next.message)) {
      this.#replies.push({ reply, own: next.own });
    }
    return true;
  }

  receive(): boolean {
    const next = this.#replies.shift();
    if (next === undefined) return false;
    if (ASYNCHRONOUS.has(next.reply.type)) return true;
    const verdict = this.owed.receive(next.reply.type.charCodeAt(0));
    const wanted = next.own ? Verdict.Swallow : Verdict.Forward;
    assert.equal(verdict, wanted, `reply ${next.reply.type}`);
    return true;
  }

  finish(): void {
    while (this.answer() || this.receive()) { /* until nothing is under way */ }
  }

  freezeAndThaw(): void {
    const frozen = this.owed.freeze();
    const thawed = OwedReplies.thaw(structuredClone(frozen));
    assert.deepEqual(thawed.freeze(), frozen);
    this.owed = thawed;
  }
}

const choices = fc.infiniteStream(fc.nat({ max: 11 }));

Deno.test("owed replies: a queue for every pipeline, however sending and answering interleave", () => {
  fc.assert(
    fc.property(pipelines, choices, fc.boolean(), (pipeline, choice, freezes) => {
      const conversation = new Conversation();
      for (const message of pipeline) {
        for (let c = choice.next().value; c > 3; c = choice.next().value) {
          if (c > 7) conversation.answer();
          else conversation.receive();
          if (freezes) conversation.freezeAndThaw();
        }
        conversation.send(message);
      }
      conversation.finish();
      assert.ok(!conversation.server.confused);
      assert.equal(conversation.owed.length, 0);
      assert.equal(conversation.owed.skipping, conversation.server.skipping);
      assert.equal(conversation.owed.copyIn, conversation.server.copying);
      assert.equal(conversation.owed.receive(Backend.ReadyForQuery), Verdict.Desync);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("owed replies: what the pooler asks is swallowed, what the client asks is not", () => {
  const parts = fc.array(fc.tuple(pipelines, fc.boolean()), { maxLength: 6 });
  fc.assert(
    fc.property(parts, choices, (all, choice) => {
      const conversation = new Conversation();
      for (const [pipeline, own] of all) {
        // The pooler asks on its own only when the client's pipeline has come to an end.
        const messages = own ? [simpleQuery("none"), SYNC, simpleQuery("error")] : pipeline;
        for (const message of messages) {
          conversation.send(message, own);
          const c = choice.next().value;
          if (c > 8) conversation.answer();
          else if (c > 4) conversation.receive();
        }
        conversation.finish();
      }
      assert.equal(conversation.owed.length, 0);
    }),
    { numRuns: 200 },
  );
});

Deno.test("owed replies: one reply too many is a desync", () => {
  const unasked = fc.constantFrom(..."123CDEGHIKRTVWZcdnstv!");
  fc.assert(
    fc.property(pipelines, unasked, (pipeline, type) => {
      const conversation = new Conversation();
      for (const message of pipeline) conversation.send(message);
      conversation.finish();
      assert.equal(conversation.owed.receive(type.charCodeAt(0)), Verdict.Desync);
      assert.equal(conversation.owed.length, 0);
    }),
  );
});

Deno.test("owed replies: an entry takes its own replies alone", () => {
  const taken: Record<string, string> = {
    Query: "TDCIEZGHWdc",
    FunctionCall: "VEZ",
    Parse: "1E",
    Bind: "2E",
    DescribeStatement: "tE",
    DescribeStatementRows: "TnE",
    DescribePortal: "TnE",
    Execute: "DCIsEGHdc",
    Close: "3E",
    Sync: "ZE",
  };
  for (const [name, allowed] of Object.entries(taken)) {
    for (let type = 0; type < 256; type++) {
      const owed = new OwedReplies();
      owed.push(Owed[name as keyof typeof Owed]);
      const verdict = owed.receive(type);
      const wanted = allowed.includes(String.fromCharCode(type)) ? Verdict.Forward : Verdict.Desync;
      assert.equal(verdict, wanted, `${name} and ${String.fromCharCode(type)}`);
    }
  }
});

Deno.test("owed replies: a second COPY of the same query counts as one that runs", () => {
  const owed = new OwedReplies();
  owed.push(Owed.Query);
  owed.receive(Backend.CopyInResponse);
  assert.ok(owed.copyIn);
  owed.push(Owed.CopyEnd);
  assert.ok(!owed.copyIn);
  owed.receive(Backend.CommandComplete);
  owed.receive(Backend.CopyInResponse);
  assert.ok(owed.copyIn);
  owed.push(Owed.CopyEnd);
  owed.receive(Backend.CommandComplete);
  owed.receive(Backend.ReadyForQuery);
  assert.deepEqual(owed.freeze(), { entries: [], skipping: false, copyIn: false, copyBoth: false });
});

Deno.test("owed replies: the ring grows with its content in order", () => {
  const owed = new OwedReplies();
  const kinds = [Owed.Parse, Owed.Bind, Owed.Execute, Owed.Sync];
  const replies = [
    Backend.ParseComplete,
    Backend.BindComplete,
    Backend.CommandComplete,
    Backend.ReadyForQuery,
  ];
  // The head is in the middle of the ring when it grows.
  for (let i = 0; i < 10; i++) owed.push(kinds[i % 4]);
  for (let i = 0; i < 10; i++) assert.equal(owed.receive(replies[i % 4]), Verdict.Forward);
  for (let i = 0; i < 1000; i++) owed.push(kinds[(i + 2) % 4] | (i % 8 < 4 ? SWALLOW : 0));
  for (let i = 0; i < 1000; i++) {
    const wanted = i % 8 < 4 ? Verdict.Swallow : Verdict.Forward;
    assert.equal(owed.receive(replies[(i + 2) % 4]), wanted);
  }
  assert.equal(owed.length, 0);
});

Deno.test("owed replies: a made-up reply has its turn between the others", () => {
  const owed = new OwedReplies();
  owed.push(Owed.Bind);
  owed.push(Owed.Parse | MAKE_UP);
  owed.push(Owed.Parse | MAKE_UP);
  owed.push(Owed.Sync);
  assert.ok(!owed.madeUp());
  assert.equal(owed.receive(Backend.BindComplete), Verdict.Forward);
  for (let i = 0; i < 2; i++) {
    assert.ok(owed.madeUp());
    owed.takeMadeUp();
  }
  assert.ok(!owed.madeUp());
  assert.equal(owed.receive(Backend.ReadyForQuery), Verdict.Forward);
  assert.equal(owed.length, 0);
});

Deno.test("owed replies: records come back in order when an error skips what they belong to", () => {
  for (const freezes of [false, true]) {
    let owed = new OwedReplies();
    const record = (n: number) => ({ n });
    owed.track(Owed.Parse | SWALLOW, record(1));
    owed.track(Owed.Bind, record(2));
    owed.push(Owed.Execute);
    owed.track(Owed.Parse | MAKE_UP, record(3));
    owed.push(Owed.Parse | UNNAMED);
    owed.push(Owed.Sync);
    owed.track(Owed.Query, record(4));
    for (let i = 0; i < 40; i++) owed.track(Owed.Close, record(5 + i));
    if (freezes) owed = OwedReplies.thaw(JSON.parse(JSON.stringify(owed.freeze())));
    assert.deepEqual(owed.headRecord(), record(1));
    assert.equal(owed.laterRecords().length, 43);
    assert.ok(owed.owesUnnamed());
    assert.ok(owed.swallowing());
    assert.ok(!owed.swallowingErrors());
    assert.equal(owed.receive(Backend.ParseComplete), Verdict.Swallow);
    assert.equal(owed.receive(Backend.ErrorResponse), Verdict.Forward);
    assert.deepEqual(owed.skipped, [record(2), record(3)]);
    assert.equal(owed.skippedUnnamed, SkippedUnnamed.Client);
    assert.ok(!owed.owesUnnamed());
    owed.skipped = [];
    assert.equal(owed.receive(Backend.ReadyForQuery), Verdict.Forward);
    assert.equal(owed.receive(Backend.ErrorResponse), Verdict.Forward);
    assert.deepEqual(owed.skipped, [record(4)]);
  }
});

Deno.test("owed replies: the error of an injected Parse is the client's", () => {
  const owed = new OwedReplies();
  owed.push(Owed.Close | SWALLOW);
  owed.push(Owed.Parse | SWALLOW | UNNAMED);
  owed.push(Owed.Bind);
  owed.push(Owed.Sync);
  assert.equal(owed.receive(Backend.CloseComplete), Verdict.Swallow);
  assert.equal(owed.receive(Backend.ErrorResponse), Verdict.Forward);
  assert.equal(owed.skippedUnnamed, SkippedUnnamed.Pooler);
  assert.equal(owed.receive(Backend.ReadyForQuery), Verdict.Forward);
});

Deno.test("owed replies: a replication stream runs from CopyBothResponse to ReadyForQuery, through a snapshot, too", () => {
  const owed = new OwedReplies();
  owed.push(Owed.Query);
  assert.ok(!owed.copyBoth);
  assert.equal(owed.receive(Backend.CopyBothResponse), Verdict.Forward);
  assert.ok(owed.copyBoth);
  const thawed = OwedReplies.thaw(owed.freeze());
  for (const one of [owed, thawed]) {
    assert.equal(one.receive(Backend.CopyData), Verdict.Forward);
    one.push(Owed.CopyEnd);
    // PostgreSQL has not read it yet.
    for (
      const type of [
        Backend.CopyData,
        Backend.CopyDone,
        Backend.CommandComplete,
        Backend.CommandComplete,
      ]
    ) assert.equal(one.receive(type), Verdict.Forward);
    assert.ok(one.copyBoth);
    assert.equal(one.receive(Backend.ReadyForQuery), Verdict.Forward);
    assert.ok(!one.copyBoth);
    assert.deepEqual(one.freeze(), {
      entries: [],
      skipping: false,
      copyIn: false,
      copyBoth: false,
    });
  }
});

Deno.test("owed replies: a record is added to the entry that was pushed last, not to one that was skipped", () => {
  const owed = new OwedReplies();
  const [first, second, late] = [{ n: 1 }, { n: 2 }, { n: 3 }];
  owed.attach(late);
  owed.track(Owed.Query, first);
  owed.attach(late);
  assert.equal(owed.headRecord(), first);
  owed.push(Owed.Execute);
  owed.attach(second);
  assert.deepEqual(owed.laterRecords(), [second]);
  owed.receive(Backend.ReadyForQuery);
  assert.equal(owed.headRecord(), second);
  owed.receive(Backend.ErrorResponse);
  assert.deepEqual(owed.skipped, [second]);
  owed.push(Owed.Query);
  owed.attach(late);
  assert.equal(owed.length, 0);
});

import assert from "node:assert/strict";
import type { Looked } from "../../auth/lookup_cache.ts";
import { messagesIn } from "../../protocol/testing/wire.ts";
import { REASONS } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { FakeReactor } from "../../testing/fake_reactor.ts";
import type { Waiter } from "../waiting.ts";
import type { FoundUser } from "./answer.ts";
import { Lookup } from "./executor.ts";

const IDLE = 0x49;
const ERROR = new Uint8Array([
  ...[0x45, 0, 0, 0, 20],
  ...new TextEncoder().encode("SERROR\0C42601\0\0"),
]);

/** A lookup, and the connections that its pool gives it. */
class Run {
  readonly reactor = new FakeReactor();
  readonly told: Looked<FoundUser>[] = [];
  readonly sent: Uint8Array[] = [];
  readonly closed: string[] = [];
  owed: number[] = [];
  back = 0;
  /** Connections that are free. */
  free = 1;
  waiter: Waiter | undefined;
  readonly lookup: Lookup;

  constructor(user = "me") {
    this.lookup = new Lookup({
      reactor: this.reactor,
      query: "SELECT passwd FROM pooler.lookup($1)",
      user,
      pool: {
        settings: { connect_timeout: 3000 },
        checkOut: (waiter) => {
          this.waiter = waiter;
          return this.free-- > 0 ? this.server() : undefined;
        },
        checkIn: () => this.back++,
      },
      done: (looked) => this.told.push(looked),
    });
    this.lookup.start();
  }

  server(): ServerConnection {
    return {
      state: {},
      owed: { push: (entry: number) => this.owed.push(entry & 15) },
      send: (bytes: Uint8Array) => this.sent.push(bytes.slice()),
      close: (_: unknown, why: string) => this.closed.push(why),
    } as unknown as ServerConnection;
  }

  get message(): string | undefined {
    const [looked] = this.told;
    return looked?.kind === "failed" ? looked.message : undefined;
  }

  /** PostgreSQL is through. */
  ready(status: number): void {
    const settled = true;
    this.lookup.readyForQuery(status, settled);
  }

  wait(ms: number): void {
    this.reactor.now += ms;
    this.reactor.timers.expire(this.reactor.now);
  }
}

Deno.test("lookup: the name is the value of a parameter, whatever it holds", () => {
  const run = new Run("a'); DROP TABLE x; --");
  const messages = messagesIn(run.sent[0]!);
  assert.equal(messages.map(({ type }) => type).join(""), "PBDES");
  const [parse, bind] = messages.map(({ body }) => new TextDecoder().decode(body));
  assert.equal(parse, "\0SELECT passwd FROM pooler.lookup($1)\0\0\0");
  assert.ok(bind!.includes("a'); DROP TABLE x; --"));
  assert.deepEqual(run.owed, [3, 4, 7, 8, 10]);
  run.lookup.deliver(ERROR, 0, ERROR.length);
  run.ready(IDLE);
  assert.match(run.message!, /^42601: /);
  assert.equal(run.back, 1);
});

Deno.test("lookup: a connection that was gone is replaced once", () => {
  const run = new Run();
  run.free = 1;
  run.lookup.serverLost(REASONS.serverLost, "FATAL 57P01");
  assert.deepEqual([run.sent.length, run.told.length], [2, 0]);
  run.lookup.serverLost(REASONS.serverLost, "FATAL 57P01");
  assert.equal(run.message, "the connection was lost: FATAL 57P01");
});

Deno.test("lookup: an answer has a deadline and a bound, and ends in no transaction", () => {
  const late = new Run();
  late.wait(2999);
  assert.equal(late.told.length, 0);
  late.wait(1);
  assert.match(late.message!, /no answer within connect_timeout/);
  assert.equal(late.closed.length, 1, "it may be in the middle of its answer");

  const long = new Run();
  const bytes = new Uint8Array(40_000);
  long.lookup.deliver(bytes, 0, bytes.length);
  long.lookup.deliver(bytes, 0, bytes.length);
  assert.match(long.message!, /too long/);
  assert.equal(long.closed.length, 1);

  const open = new Run();
  open.ready(0x54);
  assert.match(open.message!, /transaction/);
  assert.deepEqual([open.back, open.closed.length, open.told.length], [0, 1, 1]);
});

Deno.test("lookup: who gets no connection hears why", () => {
  const run = new Run();
  run.free = 0;
  run.lookup.serverLost(REASONS.serverLost, "");
  assert.equal(run.told.length, 0);
  run.waiter!.checkOutFailed(REASONS.loginFailed, "x", "", {
    kind: "failed",
    code: "28000",
    message: "not permitted to log in",
    transient: false,
  });
  assert.equal(run.message, "not permitted to log in");
});

/**
 * What a transaction costs in this code base's own code: sessions, server connections and their pool as they are,
 * between streams that hold a script and take everything, so without the kernel. Nanoseconds a transaction, the best and
 * the median of several rounds.
 *
 *   ./denow task bench:relay [rounds] [--save NAME] [--compare NAME]
 */

import { parseArgs } from "node:util";
import type { Fd } from "../../src/os/fd.ts";
import { EPOLLIN } from "../../src/os/layout.ts";
import type { Reactor } from "../../src/reactor/reactor.ts";
import { type ByteStream, readBuffer } from "../../src/reactor/stream.ts";
import { World } from "../../src/testing/world.ts";
import { Session } from "../../src/client/session.ts";
import { newSessionState, Stage } from "../../src/client/state.ts";
import { ServerConnection } from "../../src/server/connection.ts";
import { newServerState } from "../../src/server/state.ts";
import { concatAll } from "../../src/protocol/testing/wire.ts";
import * as wire from "../../tests/support/wire_messages.ts";
import { print } from "../../tools/say.ts";
import { beginBaseline, type Figures, settleBaseline } from "../baseline.ts";

const PAIRS = 20;
const TRANSACTIONS = 20_000;

/** A stream that always has the same bytes to read. */
class ScriptedStream implements ByteStream {
  readonly waiting = 0;
  copyWaiting(): undefined {}
  readonly fd: Fd;
  readonly unsent = 0;
  script: Uint8Array;
  sent = 0;

  constructor(fd: number, script: Uint8Array) {
    this.fd = fd as Fd;
    this.script = script;
  }

  receive(offset: number): number {
    const { script } = this;
    for (let i = 0; i < script.length; i++) readBuffer[offset + i] = script[i];
    return script.length;
  }

  send(_: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    this.sent += end - start;
    return end - start;
  }

  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    return this.send(bytes, start, end);
  }

  settle(): boolean {
    return true;
  }

  flush(): number {
    return 0;
  }

  sayEnd(): void {}

  end(): void {}
}

function reply(type: string, ...body: number[]): number[] {
  return [type.charCodeAt(0), 0, 0, 0, body.length + 4, ...body];
}

const text = (value: string) => [...new TextEncoder().encode(value), 0];
const ROW_DESCRIPTION = reply(
  "T",
  ...[0, 1, ...text("?column?"), 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0],
);
const ROW = reply("D", 0, 1, 0, 0, 0, 5, 49, 50, 51, 52, 53);
const COMPLETE = reply("C", ...text("SELECT 1"));
const READY = reply("Z", 73);

const SCRIPTS: Record<string, { asks: Uint8Array; answers: number[] }> = {
  simple: {
    asks: wire.query("SELECT 12345;"),
    answers: [...ROW_DESCRIPTION, ...ROW, ...COMPLETE, ...READY],
  },
  extended: {
    asks: concatAll([wire.extended("SELECT $1;", ["12345"]), wire.SYNC]),
    answers: [...reply("1"), ...reply("2"), ...ROW_DESCRIPTION, ...ROW, ...COMPLETE, ...READY],
  },
  prepared: {
    asks: concatAll([
      wire.bind("", "P0_1", ["12345"]),
      wire.describe("P", ""),
      wire.execute(),
      wire.SYNC,
    ]),
    answers: [...reply("2"), ...ROW_DESCRIPTION, ...ROW, ...COMPLETE, ...READY],
  },
};

function pairsOf(name: string): { sessions: Session[]; servers: ServerConnection[]; world: World } {
  const { asks, answers } = SCRIPTS[name];
  const world = new World({
    pool_size: PAIRS,
    prepared_statements: true,
    prepared_statements_cache_size: 100,
    server_prepared_statements_cache_size: 100,
  });
  const { context } = world.addClient(new Uint8Array(0)).session;
  const sessions: Session[] = [];
  const servers: ServerConnection[] = [];
  for (let i = 0; i < PAIRS; i++) {
    const state = newServerState(1000 + i, world.reactor.now);
    state.parameters = world.pool.defaults!;
    const server = new ServerConnection(
      world.reactor as unknown as Reactor,
      new ScriptedStream(1000 + i, Uint8Array.from(answers)),
      state,
      world.pool,
    );
    world.pool.adopt(server);
    world.pool.checkIn(server);
    servers.push(server);
    const client = { ...newSessionState(2000 + i, world.reactor.now), stage: Stage.Idle };
    client.parameters = world.pool.defaults!;
    client.initial = client.parameters;
    const session = new Session(context, new ScriptedStream(2000 + i, asks), client);
    session.pool = world.pool;
    world.pool.enter();
    session.listen(undefined);
    sessions.push(session);
  }
  if (name === "prepared") prepare(sessions, Uint8Array.from(answers));
  return { sessions, servers, world };
}

/** The statement, on each server. */
function prepare(sessions: Session[], answers: Uint8Array): void {
  const asking = concatAll([wire.parse("P0_1", "SELECT $1;"), wire.SYNC]);
  const types = reply("t", 0, 1, 0, 0, 0, 23);
  // To Close, Parse, the pooler's Describe where nobody knows yet what it returns, and Sync.
  const parsed = [...reply("3"), ...reply("1")];
  const streams = sessions.map(({ stream }) => stream as ScriptedStream);
  const scripts = streams.map((stream) => stream.script);
  for (const [i, session] of sessions.entries()) {
    streams[i].script = asking;
    session.onReady(EPOLLIN);
    streams[i].script = scripts[i];
  }
  for (const { server } of sessions) {
    const stream = server!.stream as ScriptedStream;
    const describes = server!.owed.length > 3;
    stream.script = Uint8Array.from([
      ...parsed,
      ...describes ? [...types, ...ROW_DESCRIPTION] : [],
      ...READY,
    ]);
    server!.onReady(EPOLLIN);
    stream.script = answers;
  }
}

function round(name: string): number {
  const { sessions, servers, world } = pairsOf(name);
  const turn = () => {
    for (const session of sessions) session.onReady(EPOLLIN);
    for (const server of servers) server.onReady(EPOLLIN);
  };
  for (let i = 0; i < 2000; i++) turn();
  const started = performance.now();
  for (let i = 0; i < TRANSACTIONS / PAIRS; i++) turn();
  const ns = (performance.now() - started) * 1e6 / TRANSACTIONS;
  const done = world.pool.counters.total.xact_count;
  if (done < TRANSACTIONS) throw new Error(`${name}: ${done} transactions`);
  return ns;
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { save: { type: "string" }, compare: { type: "string" } },
});
const rounds = Number(positionals[0] ?? 15);
const begun = await beginBaseline("relay");
const figures: Figures = {};
for (const name of ["simple", "extended", "prepared"]) {
  const times = Array.from({ length: rounds }, () => round(name)).sort((a, b) => a - b);
  const [best, rule] = [times[0], times[rounds >> 1]];
  print(`${name}: ${best.toFixed(0)} ns at best, ${rule.toFixed(0)} ns as a rule`);
  figures[name] = { "best ns": Math.round(best), "rule ns": Math.round(rule) };
}
const settled = await settleBaseline(options, { ...begun, figures });
if (settled !== "") print(settled);

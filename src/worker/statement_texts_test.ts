import assert from "node:assert/strict";
import { StatementTexts } from "./statement_texts.ts";
import type { Session } from "../client/session.ts";
import { type FakeClient, World } from "../testing/world.ts";
import { bytesOf, type Message } from "../protocol/testing/model_server.ts";
import { SYNC } from "../protocol/testing/pipelines.ts";
import { concat } from "../protocol/testing/wire.ts";

const TTL_MS = 60_000;

function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value + "\0");
}

function parse(name: string, sql: string): Message {
  return { type: "P", body: concat(text(name), text(sql), Uint8Array.of(0, 0)) };
}

function bindAndExecute(): Message[] {
  return [
    { type: "B", body: concat(text(""), text(""), Uint8Array.of(0, 0, 0, 0, 0, 0)) },
    { type: "E", body: concat(text(""), Uint8Array.of(0, 0, 0, 0)) },
    SYNC,
  ];
}

/** Clients that have parsed these unnamed statements, and the texts of their worker. */
class Resting {
  readonly world = new World({
    prepared_statements: true,
    prepared_statements_cache_size: 5,
    server_prepared_statements_cache_size: 3,
  });
  readonly texts = new StatementTexts();
  readonly clients: FakeClient[] = [];

  constructor(...statements: string[]) {
    this.world.addServer();
    for (let i = 0; i < statements.length; i++) {
      this.clients.push(this.world.addClient(new Uint8Array(0)));
    }
    statements.forEach((sql, i) => this.send(this.clients[i], parse("", sql), SYNC));
  }

  send(client: FakeClient, ...messages: Message[]): void {
    client.unsent = concat(...messages.map(bytesOf));
    this.world.settle();
  }

  get sessions(): Session[] {
    return this.clients.map(({ session }) => session);
  }

  sweepAfter(ms: number, ttlMs = TTL_MS): void {
    this.world.reactor.now += ms;
    this.texts.sweep(this.sessions, ttlMs, this.world.reactor.now);
  }

  get anonymous(): { entries: number; bytes: number } {
    return this.texts.row(this.sessions, 0).anonymous;
  }
}

// Behind the text: its terminator, and how many types there are.
const ROWS_BYTES = "rows 3".length + 3;

Deno.test("statement texts: equal unnamed ones that rest are one, and can still be bound", () => {
  const resting = new Resting("rows 3", "rows 3", "rows 3", "rows 1");
  assert.deepEqual(resting.anonymous, { entries: 4, bytes: 4 * ROWS_BYTES });
  resting.sweepAfter(TTL_MS - 1);
  assert.equal(resting.anonymous.entries, 4);
  resting.sweepAfter(1);
  assert.deepEqual(resting.anonymous, { entries: 2, bytes: 2 * ROWS_BYTES });
  for (let i = 0; i < 4; i++) resting.sweepAfter(TTL_MS);
  assert.equal(resting.anonymous.entries, 2);
  const [first, second, , other] = resting.clients;
  // Another statement of one client leaves the others' alone.
  resting.send(first, parse("", "rows 7"), SYNC);
  assert.equal(resting.anonymous.entries, 3);
  for (const [client, rows] of [[first, 7], [second, 3], [other, 1]] as const) {
    client.received = new Uint8Array(0);
    resting.send(client, ...bindAndExecute());
    const letters = new TextDecoder("latin1").decode(client.received);
    assert.equal(letters.split("D\0").length - 1, rows);
  }
});

Deno.test("statement texts: one that nobody has any more goes, and so does a statement that was destroyed", () => {
  const resting = new Resting("rows 3", "rows 3");
  resting.sweepAfter(TTL_MS);
  assert.equal(resting.anonymous.entries, 1);
  // A simple query destroys the unnamed statement.
  for (const client of resting.clients) resting.send(client, { type: "Q", body: text("none") });
  for (let i = 0; i < 3; i++) resting.sweepAfter(TTL_MS);
  assert.deepEqual(resting.anonymous, { entries: 0, bytes: 0 });
  for (const { session } of resting.clients) assert.equal(session.state.unnamed, undefined);
});

Deno.test("statement texts: with a limit of 0 each client keeps its own", () => {
  const resting = new Resting("rows 3", "rows 3");
  for (let i = 0; i < 3; i++) resting.sweepAfter(1e9, 0);
  assert.equal(resting.anonymous.entries, 2);
});

Deno.test("statement texts: the longest first, with kind and age", () => {
  const resting = new Resting("rows 3", "rows 3", "rows 12345");
  const [, , third] = resting.clients;
  resting.texts.named.intern(text("x".repeat(500)), 0, 501, "");
  resting.sweepAfter(TTL_MS);
  resting.send(third, parse("", "rows 1234567"), SYNC);
  resting.world.reactor.now += 5;
  const longest = (most: number) =>
    resting.texts.longest(resting.sessions, { most, now: resting.world.reactor.now, worker: 4 });
  assert.deepEqual(
    longest(9).map(({ kind, bytes, idle_ms, query }) => [kind, bytes, idle_ms, query]),
    [
      ["named", 501, -1, "x".repeat(120)],
      ["anonymous", 15, 5, "rows 1234567"],
      ["anonymous", 13, 0, "rows 12345"],
      ["anonymous", 9, TTL_MS + 5, "rows 3"],
    ],
  );
  assert.equal(longest(2).length, 2);
  assert.deepEqual(longest(0), []);
  assert.equal(longest(1)[0].worker, 4);
});

Deno.test("statement texts: after RESET INTERNER clients have what they had", () => {
  const resting = new Resting("rows 3", "rows 3");
  resting.sweepAfter(TTL_MS);
  resting.texts.clear();
  assert.deepEqual(resting.texts.row([], 0).anonymous, { entries: 0, bytes: 0 });
  for (const client of resting.clients) {
    client.received = new Uint8Array(0);
    resting.send(client, ...bindAndExecute());
    assert.equal(new TextDecoder("latin1").decode(client.received).split("D\0").length - 1, 3);
  }
  resting.sweepAfter(TTL_MS);
  assert.equal(resting.anonymous.entries, 1);
});

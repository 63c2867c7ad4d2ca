import assert from "node:assert/strict";
import { createRecordLog } from "../../log/log.ts";
import { levelFilter } from "../../log/filter.ts";
import type { PresenceRow } from "../../mail.ts";
import { type Ending, Shutdown } from "./shutdown.ts";

const NEVER = new Promise<never>(() => {});

/** A process with clients, and the order of what is done to it. */
class Process {
  readonly done: string[] = [];
  readonly lines: string[] = [];
  clients = 0;
  inTransaction = 0;
  timeoutMs = 60_000;
  answers = true;
  readonly ended: Promise<void>;
  readonly shutdown: Shutdown;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    const ending: Ending = {
      log: createRecordLog({
        filter: levelFilter("info"),
        emit: ({ level, message }) => this.lines.push(`${level} ${message}`),
      }),
      presence: () => this.answers ? Promise.resolve(this.#presence()) : NEVER,
      drain: () => {
        this.done.push("drain");
        return this.answers ? Promise.resolve(0) : NEVER;
      },
      stopAccepting: () => {
        this.done.push("stop accepting");
        return this.answers ? Promise.resolve(0) : NEVER;
      },
      stopListening: () => void this.done.push("stop listening"),
      stopping: (status) => void this.done.push(status),
      shutdownTimeoutMs: () => this.timeoutMs,
      exit: () => {
        this.done.push("exit");
        resolve();
      },
    };
    this.shutdown = new Shutdown(ending);
  }

  #presence(): PresenceRow[] {
    const { clients, inTransaction } = this;
    const encrypted = 0;
    return [
      { clients, inTransaction, encrypted, worker: 0 },
      { clients: 0, inTransaction: 0, encrypted, worker: 1 },
    ];
  }
}

Deno.test("shutdown: at once says what it cuts off, and exits without draining", async () => {
  const process = new Process();
  process.clients = 3;
  process.inTransaction = 1;
  assert.ok(!process.shutdown.begun);
  await process.shutdown.atOnce("SIGTERM received");
  assert.ok(process.shutdown.begun);
  assert.deepEqual(process.done, ["stopping", "exit"]);
  assert.match(process.lines[0]!, /SIGTERM received: exiting with 3 clients, 1 of them/);
});

Deno.test("shutdown: gently drains, then lets nobody in, and exits when the last one has left", async () => {
  const process = new Process();
  process.clients = 2;
  process.inTransaction = 2;
  const over = process.shutdown.gently("SHUTDOWN");
  while (!process.done.includes("stop listening")) await new Promise((r) => setTimeout(r, 1));
  assert.ok(!process.done.includes("exit"));
  process.clients = 0;
  await over;
  assert.deepEqual(process.done, [
    "waiting for the last transactions",
    "drain",
    "stop listening",
    "exit",
  ]);
  assert.match(process.lines.at(-1)!, /all clients have left/);
});

Deno.test("shutdown: gently ends after shutdown_timeout, with a warning", async () => {
  const process = new Process();
  process.clients = 1;
  process.timeoutMs = 0;
  await process.shutdown.gently("SHUTDOWN");
  assert.equal(process.done.at(-1), "exit");
  assert.match(process.lines.at(-1)!, /WARN shutdown_timeout is over: exiting with 1 clients/i);
});

Deno.test("shutdown: whoever asks again has the end at once", async () => {
  const process = new Process();
  process.clients = 1;
  const first = process.shutdown.gently("SHUTDOWN");
  await process.shutdown.gently("SIGINT received");
  await process.ended;
  assert.match(process.lines.join("\n"), /SIGINT received during a shutdown: exiting/);
  // The real one is gone by now.
  process.clients = 0;
  await first;
});

Deno.test("shutdown: workers that do not answer keep nobody from ending", async () => {
  const process = new Process();
  process.answers = false;
  process.timeoutMs = 0;
  await process.shutdown.gently("SHUTDOWN");
  assert.equal(process.done.at(-1), "exit");
  const other = new Process();
  other.answers = false;
  await other.shutdown.atOnce("SIGTERM received");
  assert.match(other.lines[0]!, /not all workers have answered/);
});

Deno.test("shutdown: that waits for clients lets them work, and exits when they have left", async () => {
  const process = new Process();
  process.clients = 1;
  process.inTransaction = 1;
  process.timeoutMs = 0;
  const over = process.shutdown.gently("SHUTDOWN", "clients");
  while (!process.done.includes("stop listening")) await new Promise((r) => setTimeout(r, 1));
  assert.ok(process.shutdown.begun);
  await process.shutdown.gently("SHUTDOWN", "clients");
  assert.deepEqual(process.done, ["stop accepting", "stop listening"]);
  process.clients = 0;
  await over;
  assert.deepEqual(process.done.slice(2), ["stopping", "exit"]);
});

Deno.test("shutdown: who waits for clients can be told to wait for transactions only", async () => {
  const process = new Process();
  process.clients = 1;
  process.timeoutMs = 0;
  const first = process.shutdown.gently("SHUTDOWN", "clients");
  while (!process.done.includes("stop listening")) await new Promise((r) => setTimeout(r, 1));
  await process.shutdown.gently("SHUTDOWN");
  assert.ok(process.done.includes("drain"));
  assert.equal(process.done.at(-1), "exit");
  process.done.length = 0;
  await first;
  assert.deepEqual(process.done, [], "the first one exits, too");
});

Deno.test("shutdown: that waits for servers has no limit, until one is asked for", async () => {
  const process = new Process();
  process.clients = 1;
  process.timeoutMs = 0;
  const over = process.shutdown.gently("SHUTDOWN", "servers");
  while (!process.done.includes("stop listening")) await new Promise((r) => setTimeout(r, 1));
  assert.match(process.lines.join("\n"), /waiting for as long as they take/);
  await new Promise((r) => setTimeout(r, 60));
  await process.shutdown.gently("SHUTDOWN", "servers");
  assert.ok(!process.done.includes("exit"));
  await process.shutdown.gently("SHUTDOWN");
  await over;
  assert.equal(process.done.at(-1), "exit");
  assert.match(process.lines.at(-1)!, /shutdown_timeout is over: exiting with 1 clients/);
});

import assert from "node:assert/strict";
import { severConnections } from "../../os/descriptors.ts";
import { type Answer, textAnswer } from "./answer.ts";
import { Pace } from "./pace.ts";
import { HttpServer, type HttpServerOptions } from "./server.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const GET = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/** A server on a free port, with the options that a test cares about. */
function serve(options: Partial<HttpServerOptions> = {}) {
  const told: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const server = new HttpServer(listener, {
    handle: ({ method, path, query }) =>
      Promise.resolve(textAnswer(200, `${method} ${path} ${query}`)),
    answered: (head, { status }) => told.push(`${head?.path ?? "-"} ${status}`),
    sever: (localPort, peerPort) => void severConnections(localPort, new Set([peerPort])),
    failed: (why) => told.push(why),
    ...options,
  });
  return {
    server,
    told,
    connect: () => Deno.connect({ hostname: "127.0.0.1", port }),
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** All that comes until the end. */
async function readAll(conn: Deno.Conn): Promise<string> {
  let text = "";
  const bytes = new Uint8Array(65536);
  for (;;) {
    const n = await conn.read(bytes).catch(() => null);
    if (n === null) return text;
    text += decoder.decode(bytes.subarray(0, n));
  }
}

async function ask(conn: Deno.Conn, text: string): Promise<string> {
  await conn.write(encoder.encode(text));
  return await readAll(conn);
}

function statuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 ([0-9]{3})/g)].map(([, status]) => status!);
}

Deno.test("http server: one request after the other, also when they come at once or byte by byte", async () => {
  await using bench = serve();
  using atOnce = await bench.connect();
  const body = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  const text = await ask(atOnce, GET + body + LAST + GET);
  assert.deepEqual(statuses(text), ["200", "200", "200"]);
  assert.match(text, /GET \/a \n.*POST \/b \n.*GET \/a \n$/s);
  assert.match(text, /Content-Length: 8\r\nConnection: keep-alive\r\n.*Connection: close\r\n/s);
  using byByte = await bench.connect();
  for (const byte of encoder.encode(body)) await byByte.write(Uint8Array.of(byte));
  assert.deepEqual(statuses(await ask(byByte, LAST)), ["200", "200"]);
});

Deno.test("http server: HEAD has the length and no body", async () => {
  await using bench = serve();
  using conn = await bench.connect();
  const text = await ask(conn, LAST.replace("GET", "HEAD"));
  assert.match(text, /Content-Length: 9\r\n/);
  assert.ok(text.endsWith("\r\n\r\n"));
});

Deno.test("http server: what is wrong is told, also to who goes on sending", async () => {
  await using bench = serve();
  for (
    const [status, text] of [
      ["400", "nonsense\r\n\r\n"],
      ["431", `GET / HTTP/1.1\r\nHost: a\r\nA: ${"x".repeat(70_000)}`],
      ["413", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + "x".repeat(9999)],
      ["501", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ] as const
  ) {
    using conn = await bench.connect();
    const [, answer] = await Promise.all([
      conn.write(encoder.encode(text)).then(() => conn.closeWrite(), () => undefined),
      readAll(conn),
    ]);
    assert.deepEqual(statuses(answer), [status], text.slice(0, 60));
  }
  assert.deepEqual(bench.told, ["- 400", "- 431", "- 413", "- 501"]);
});

Deno.test("http server: who says nothing, half of something, or takes nothing is closed in time", async () => {
  const big: Answer = { status: 200, headers: {}, body: new Uint8Array(64 * 1024 * 1024) };
  const times = { idleMs: 60, headMs: 90, writeMs: 120 };
  await using bench = serve({ times, handle: () => Promise.resolve(big) });
  using silent = await bench.connect();
  using slow = await bench.connect();
  using stuck = await bench.connect();
  await slow.write(encoder.encode("GET / HTT"));
  await stuck.write(encoder.encode(LAST));
  assert.equal(await readAll(silent), "");
  assert.equal(await readAll(slow), "");
  while (bench.server.connections > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok((await readAll(stuck)).length < big.body.length);
});

Deno.test("http server: a drip of bytes does not prolong the time for a head", async () => {
  await using bench = serve({ times: { idleMs: 5000, headMs: 150, writeMs: 5000 } });
  using conn = await bench.connect();
  let sent = 0;
  let over = false;
  const closed = readAll(conn).then(() => over = true);
  while (!over) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    await conn.write(encoder.encode("G")).then(() => sent++, () => undefined);
  }
  await closed;
  assert.ok(sent > 3);
});

Deno.test("http server: who asks is served, however many just stay", async () => {
  await using bench = serve({ mostConnections: 4 });
  const staying: Deno.Conn[] = [];
  for (let i = 0; i < 10; i++) {
    const conn = await bench.connect();
    await conn.write(encoder.encode("GET "));
    staying.push(conn);
    using asking = await bench.connect();
    assert.deepEqual(statuses(await ask(asking, LAST)), ["200"]);
    assert.ok(bench.server.connections <= 4);
  }
  for (const conn of staying) conn.close();
});

Deno.test("http server: with all connections in the middle of an answer nobody else is let in", async () => {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  await using bench = serve({ mostConnections: 2, handle: () => promise });
  using one = await bench.connect();
  using two = await bench.connect();
  const answers = [ask(one, LAST), ask(two, LAST)];
  while (bench.server.connections < 2) await new Promise((done) => setTimeout(done, 5));
  // Until both have asked, the later one would make way.
  await new Promise((done) => setTimeout(done, 50));
  using three = await bench.connect();
  assert.deepEqual(statuses(await ask(three, LAST)), []);
  resolve(textAnswer(200, "late"));
  assert.deepEqual((await Promise.all(answers)).flatMap(statuses), ["200", "200"]);
});

Deno.test("http server: a handler that fails costs one answer", async () => {
  await using bench = serve({ handle: () => Promise.reject(new Error("secret")) });
  using conn = await bench.connect();
  const text = await ask(conn, GET + LAST);
  assert.deepEqual(statuses(text), ["500", "500"]);
  assert.ok(!text.includes("secret"));
});

Deno.test("http server: its end lets an answer finish and no other request begin", async () => {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>();
  const bench = serve({
    handle: () => {
      isAsked();
      return promise;
    },
  });
  using idle = await bench.connect();
  using busy = await bench.connect();
  const answer = ask(busy, GET + GET);
  await asked;
  const closed = bench.server.close();
  assert.equal(await readAll(idle), "");
  resolve(textAnswer(200, "last"));
  assert.deepEqual(statuses(await answer), ["200"]);
  await closed;
  await assert.rejects(bench.connect());
});

Deno.test("pace: as many as wanted at once, then evenly", () => {
  let now = 0;
  const pace = new Pace(4, () => now);
  assert.deepEqual([1, 2, 3, 4].map(() => pace.take()), [0, 0, 0, 0]);
  assert.deepEqual([pace.take(), pace.take()], [250, 500]);
  now = 500;
  assert.equal(pace.take(), 250);
  now = 10_000;
  assert.deepEqual([1, 2, 3, 4].map(() => pace.take()), [0, 0, 0, 0]);
});

import assert from "node:assert/strict";
import fc from "fast-check";
import { endOfHead, type HeadFault, parseHead, type RequestHead } from "./head.ts";

function parse(text: string): RequestHead | HeadFault {
  return parseHead(Uint8Array.from(text, (character) => character.charCodeAt(0)));
}

function statusOf(text: string): number {
  const parsed = parse(text);
  return "status" in parsed ? parsed.status : 200;
}

Deno.test("http head: a request as Prometheus sends it", () => {
  const parsed = parse(
    "GET /metrics?x=1&y=%20 HTTP/1.1\r\nHost: a:9127\r\nUser-Agent: Prometheus/2.42.0\r\n" +
      "Accept: text/plain;q=0.3\r\naccept:\t*/*;q=0.2 \r\nEmpty:\r\n\r\n",
  ) as RequestHead;
  assert.equal(parsed.method, "GET");
  assert.equal(parsed.path, "/metrics");
  assert.equal(parsed.query, "x=1&y=%20");
  assert.equal(parsed.headers.get("ACCEPT"), "text/plain;q=0.3, */*;q=0.2");
  assert.equal(parsed.headers.get("empty"), "");
  const foreign = parse("GET / HTTP/1.0\r\nA: \x80\xff\r\n\r\n") as RequestHead;
  assert.equal(foreign.headers.get("a"), "\x80\xff");
  assert.ok(parsed.keepAlive);
  assert.equal(parsed.bodyBytes, 0);
});

Deno.test("http head: how long a connection is kept", () => {
  const keeps = (text: string) => (parse(text) as RequestHead).keepAlive;
  assert.ok(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"));
  assert.ok(!keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n"));
  assert.ok(!keeps("GET / HTTP/1.0\r\n\r\n"));
  assert.ok(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
});

Deno.test("http head: what is refused, and by which status", () => {
  const host = "Host: a\r\n";
  for (
    const [status, text] of [
      [400, "\r\n\r\n"],
      [400, "GET\r\n\r\n"],
      [400, "GET / HTTP/1.1\r\n\r\n"],
      [400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"],
      [400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET metrics HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET http://a/metrics HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n"],
      [400, "GET / http/1.1\r\nHost: a\r\n\r\n"],
      [505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"],
      [505, "PRI * HTTP/2.0\r\n\r\n"],
      [400, `GET / HTTP/1.1\r\n${host}Host: b\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}No colon\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}: empty\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}Blank : x\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}A: b\r\n folded\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}A: b\nC: d\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}A: b\rC: d\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}A: \0\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}Content-Length: +1\r\n\r\n`],
      [400, `GET / HTTP/1.1\r\n${host}Content-Length: 1, 1\r\n\r\n`],
      [413, `GET / HTTP/1.1\r\n${host}Content-Length: ${64 * 1024 + 1}\r\n\r\n`],
      [501, `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`],
      [431, `GET / HTTP/1.1\r\n${host}${"A: b\r\n".repeat(100)}\r\n`],
      [200, `GET / HTTP/1.1\r\n${host}${"A: b\r\n".repeat(99)}\r\n`],
      [200, `GET / HTTP/1.1\r\n${host}Content-Length: 7\r\n\r\n`],
    ] as const
  ) assert.equal(statusOf(text), status, JSON.stringify(text));
});

Deno.test("http head: its end is found wherever it was cut", () => {
  const bytes = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET");
  for (let cut = 0; cut <= bytes.length; cut++) {
    const first = endOfHead(bytes, cut);
    const found = first >= 0 ? first : endOfHead(bytes, bytes.length, cut - 3);
    assert.equal(found, bytes.length - 3, `cut at ${cut}`);
  }
});

Deno.test("http head: whatever comes, it is a request or a fault", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "GET ",
      "/",
      " HTTP/1.1",
      "\r\n",
      "Host: a",
      ":",
      "\0",
      "\n",
      "Content-Length: 5",
    ),
    fc.string(),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    const parsed = parse(`${pieces.join("")}\r\n\r\n`);
    if ("status" in parsed) return;
    assert.ok(parsed.path.startsWith("/"));
    assert.ok(parsed.bodyBytes <= 64 * 1024);
  }));
});

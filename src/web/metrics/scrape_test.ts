import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import type { Family } from "./exposition.ts";
import { Scrape } from "./scrape.ts";

const decoder = new TextDecoder();

function family(value: number, count = 100): Family[] {
  const points = Array.from({ length: count }, (_, at) => ({
    labels: `at="${at}"`,
    value,
  }));
  return [{ type: "gauge", name: "g", help: "G.", points }];
}

function request(fields: Record<string, string> = {}): { headers: Headers } {
  return { headers: new Headers(fields) };
}

Deno.test("scrape: those of one moment are asked for and written once", async () => {
  let now = 0;
  let asked = 0;
  const scrape = new Scrape(() => Promise.resolve(family(++asked)), () => now);
  const [one, other] = await Promise.all([scrape.answer(request()), scrape.answer(request())]);
  assert.equal(one.body, other.body);
  now = 249;
  assert.equal((await scrape.answer(request())).body, one.body);
  assert.equal(asked, 1);
  now = 250;
  assert.match(decoder.decode((await scrape.answer(request())).body), /g\{at="0"\} 2\n/);
});

Deno.test("scrape: compressed for who takes it, as the format that was asked for", async () => {
  const scrape = new Scrape(() => Promise.resolve(family(1)), () => 0);
  const plain = await scrape.answer(request({ accept: "application/openmetrics-text" }));
  assert.match(plain.headers["Content-Type"]!, /^application\/openmetrics-text; version=1\.0\.0/);
  const zipped = await scrape.answer(
    request({ "accept": "application/openmetrics-text", "accept-encoding": "gzip" }),
  );
  assert.equal(zipped.headers["Content-Encoding"], "gzip");
  assert.ok(zipped.body.length < plain.body.length);
  assert.deepEqual(new Uint8Array(gunzipSync(zipped.body)), plain.body);
  assert.match(decoder.decode(plain.body), /# EOF\n$/);
  const small = new Scrape(() => Promise.resolve(family(1, 1)), () => 0);
  const answer = await small.answer(request({ "accept-encoding": "gzip" }));
  assert.ok(!("Content-Encoding" in answer.headers));
});

Deno.test("scrape: a failure is not kept", async () => {
  let fails = true;
  const scrape = new Scrape(
    () => fails ? Promise.reject(new Error("no")) : Promise.resolve(family(1)),
    () => 0,
  );
  await assert.rejects(scrape.answer(request()));
  fails = false;
  assert.equal((await scrape.answer(request())).status, 200);
});

import assert from "node:assert/strict";
import fc from "fast-check";
import { expose, type Family, formatFor, label, takesGzip } from "./exposition.ts";

const FAMILIES: Family[] = [
  {
    type: "counter",
    name: "things_total",
    help: 'Things\\\nof "all" kinds.',
    points: [
      { labels: `${label("a", 'back\\slash "quote"\nline')},${label("b", "ü")}`, value: 7 },
      { labels: 'a="",b=""', value: 2 ** 53 - 1 },
    ],
  },
  { type: "gauge", name: "level", help: "Level.", points: [{ labels: "", value: 0.25 }] },
  { type: "gauge", name: "nothing", help: "Not told.", points: [] },
  {
    type: "histogram",
    name: "took_seconds",
    help: "Took.",
    bounds: [0.001, 1],
    points: [{ labels: 'x="y"', counts: [2, 0, 1], sum: 5.5 }],
  },
];

Deno.test("exposition: Prometheus's text", () => {
  assert.equal(
    expose(FAMILIES, "text"),
    `# HELP level Level.
# TYPE level gauge
level 0.25
# HELP things_total Things\\\\\\nof "all" kinds.
# TYPE things_total counter
things_total{a="back\\\\slash \\"quote\\"\\nline",b="ü"} 7
things_total{a="",b=""} 9007199254740991
# HELP took_seconds Took.
# TYPE took_seconds histogram
took_seconds_bucket{x="y",le="0.001"} 2
took_seconds_bucket{x="y",le="1"} 2
took_seconds_bucket{x="y",le="+Inf"} 3
took_seconds_sum{x="y"} 5.5
took_seconds_count{x="y"} 3
`,
  );
});

Deno.test("exposition: OpenMetrics calls counters without their end, but where a gauge is called so", () => {
  const gauge: Family = {
    type: "gauge",
    name: "bytes",
    help: "Old.",
    points: [{ labels: "", value: 1 }],
  };
  const counter: Family = { ...gauge, type: "counter", name: "bytes_total", help: "New." };
  const text = expose([...FAMILIES, gauge, counter], "openmetrics");
  assert.match(text, /# TYPE things counter\nthings_total\{/);
  assert.match(text, /# HELP things Things\\\\\\nof \\"all\\" kinds\.\n/);
  assert.match(
    text,
    /# TYPE bytes gauge\nbytes 1\n# HELP bytes_total New\.\n# TYPE bytes_total unknown\nbytes_total 1\n/,
  );
  assert.match(text, /le="1\.0"\} 2\n.*le="\+Inf"\} 3\n/);
  assert.ok(text.endsWith("\n# EOF\n"));
});

Deno.test("exposition: any label comes back as it was", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (value) => {
    const labels = label("l", value);
    const text = expose(
      [{ type: "gauge", name: "g", help: "", points: [{ labels, value: 1 }] }],
      "text",
    );
    const lines = text.split("\n");
    assert.equal(lines.length, 4);
    const quoted = /^g\{l="((?:[^"\\]|\\["\\n])*)"\} 1$/.exec(lines[2]!)![1]!;
    assert.equal(quoted.replace(/\\(.)/g, (_, c: string) => c === "n" ? "\n" : c), value);
  }));
});

Deno.test("exposition: the format that is asked for", () => {
  const prometheus = "application/openmetrics-text;version=1.0.0;q=0.5," +
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
  for (
    const [accept, format] of [
      [null, "text"],
      ["*/*", "text"],
      ["text/plain", "text"],
      ["Application/OpenMetrics-Text", "openmetrics"],
      ["application/openmetrics-text; version=1.0.0", "openmetrics"],
      ["application/openmetrics-text; version=2.0.0", "text"],
      ["application/openmetrics-text;q=0", "text"],
      ["application/openmetrics-text;q=0.2,text/plain;q=0.3", "text"],
      [prometheus, "openmetrics"],
      ["application/vnd.google.protobuf,text/plain", "text"],
    ] as const
  ) assert.equal(formatFor(accept), format, String(accept));
});

Deno.test("exposition: compression where it is taken", () => {
  for (const yes of ["gzip", "deflate, GZIP;q=0.5", "br, gzip"]) assert.ok(takesGzip(yes), yes);
  for (const no of [null, "", "br", "gzip;q=0", "x-gzip-not", "*"]) {
    assert.ok(!takesGzip(no), String(no));
  }
});

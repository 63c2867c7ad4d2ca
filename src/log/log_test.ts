import assert from "node:assert/strict";
import { formatFilter, levelFilter, parseFilter } from "./filter.ts";
import type { LogFilter } from "./filter.ts";
import type { LogRecord } from "./format.ts";
import { formatStructured, formatText, lineFormatter, usesColour } from "./format.ts";
import { createLog, createRecordLog, MOST_MESSAGE_CHARACTERS } from "./log.ts";
import { MOST_LINES } from "./storm.ts";

const AT = Date.UTC(2026, 0, 31, 23, 59, 58, 7);

function record(change: Partial<LogRecord> = {}): LogRecord {
  return {
    level: "info",
    target: "pg_doorman::pool",
    message: "hello",
    file: "src/pool/pool.ts",
    line: 42,
    at: AT,
    ...change,
  };
}

function filterOf(text: string): LogFilter {
  const parsed = parseFilter(text, levelFilter("info"));
  assert.ok("filter" in parsed, JSON.stringify(parsed));
  return parsed.filter;
}

Deno.test("format: text has time, level in five columns, place, message", () => {
  assert.equal(
    formatText(record()),
    "2026-01-31T23:59:58.007Z  INFO src/pool/pool.ts:42: hello\n",
  );
  assert.match(formatText(record({ level: "error" })), /Z ERROR src/);
});

Deno.test("format: colour surrounds the level alone", () => {
  const line = lineFormatter("text", "colour")(record({ level: "warn" }));
  assert.equal(
    line,
    "2026-01-31T23:59:58.007Z \x1b[33m WARN\x1b[0m src/pool/pool.ts:42: hello\n",
  );
  assert.equal(lineFormatter("debug", "plain")(record()), formatText(record()));
});

Deno.test("format: structured keeps upstream's keys in their order", () => {
  const line = formatStructured(record({ message: 'a "b"\n\\\x01', level: "trace" }));
  assert.equal(
    line,
    '{"timestamp":"2026-01-31T23:59:58.007Z","level":"TRACE","file":"src/pool/pool.ts",' +
      '"line":42,"message":"a \\"b\\"\\n\\\\\\u0001"}\n',
  );
  assert.equal(lineFormatter("structured", "colour")(record()), formatStructured(record()));
});

Deno.test("format: a message stays on one line and cannot drive a terminal", () => {
  const message = "one\r\ntwo\tthree\x1b[31mred\u2028end\x9b";
  const line = formatText(record({ message }));
  assert.ok(line.endsWith(": one\\r\\ntwo\\tthree\\u001b[31mred\\u2028end\\u009b\n"), line);
  assert.equal(formatText(record({ message: "größe ✓" })).split(": ").at(-1), "größe ✓\n");
});

Deno.test("format: colour needs a terminal and nobody against it", () => {
  const free = { terminal: true, noColor: false, NO_COLOR: undefined };
  assert.equal(usesColour(free), "colour");
  assert.equal(usesColour({ ...free, NO_COLOR: "" }), "colour");
  assert.equal(usesColour({ ...free, NO_COLOR: "1" }), "plain");
  assert.equal(usesColour({ ...free, noColor: true }), "plain");
  assert.equal(usesColour({ ...free, terminal: false }), "plain");
});

Deno.test("filter: reads levels and modules, in any case and with blanks", () => {
  assert.deepEqual(filterOf("WARN"), { level: "warn", modules: [] });
  assert.equal(
    formatFilter(filterOf(" , pg_doorman::pool = Debug , warning ,")),
    "warn,pg_doorman::pool=debug",
  );
  assert.equal(formatFilter(filterOf("a=debug")), "info,a=debug");
  assert.equal(formatFilter(filterOf("off,a::b=trace,a=error")), "off,a::b=trace,a=error");
  assert.equal(formatFilter(filterOf("a=error,a::bcd=trace")), "info,a::bcd=trace,a=error");
});

Deno.test("filter: default is the start-up filter", () => {
  const start = levelFilter("debug");
  assert.deepEqual(parseFilter(" DEFAULT ", start), { filter: start });
});

Deno.test("filter: refuses bad levels, two base levels, long and empty modules", () => {
  for (
    const [text, fault] of [
      ["loud", /invalid log level "loud": use error, warn, info, debug, trace, warning, off/],
      ["a=", /invalid log level ""/],
      ["info,debug", /two base levels, "info" and "debug"/],
      ["=debug", /module is missing/],
      [`${"m".repeat(257)}=debug`, /more than 256 characters/],
    ] as const
  ) {
    const parsed = parseFilter(text, levelFilter("info"));
    assert.ok("fault" in parsed, text);
    assert.match(parsed.fault, fault);
  }
});

Deno.test("log: the longest module that fits decides, in both directions", () => {
  const log = createRecordLog({ emit: () => {}, filter: filterOf("info,a=error,a::b=debug") });
  assert.ok(!log.enabled("info", "a::c"));
  assert.ok(log.enabled("error", "a::c"));
  assert.ok(log.enabled("debug", "a::b::d"));
  assert.ok(!log.enabled("trace", "a::b"));
  assert.ok(log.enabled("info", "other"));
  assert.ok(!log.enabled("debug", "other"));
  log.setFilter(filterOf("off,a=warn"));
  assert.ok(!log.enabled("error", "other"));
  assert.ok(log.enabled("warn", "a"));
  assert.equal(formatFilter(log.filter), "off,a=warn");
});

Deno.test("log: writes what passes, in the shape of the moment", () => {
  const lines: string[] = [];
  const log = createLog({
    write: (line) => lines.push(line),
    format: lineFormatter("text", "plain"),
    filter: levelFilter("info"),
    now: () => AT,
  });
  log.debug("pg_doorman::pool", "silent");
  log.info("pg_doorman::pool::waiting", "one");
  log.setFormat(lineFormatter("structured", "plain"));
  log.take(record({ message: "two" }));
  log.take(record({ message: "silent", level: "trace" }));
  log.setFilter(levelFilter("trace"));
  log.trace("pg_doorman::web", "three", { file: "src/web/listener.ts", line: 7 });
  assert.equal(lines.length, 3);
  assert.equal(lines[0], "2026-01-31T23:59:58.007Z  INFO pool/waiting:0: one\n");
  assert.equal(JSON.parse(lines[1] as string).message, "two");
  const { file, line } = JSON.parse(lines[2] as string);
  assert.deepEqual({ file, line }, { file: "src/web/listener.ts", line: 7 });
});

Deno.test("log: warnings and errors name the line that logged them", () => {
  const records: LogRecord[] = [];
  const log = createRecordLog({ emit: (r) => records.push(r), filter: levelFilter("trace") });
  const logHere = () => log.warn("pg_doorman::pool", "x");
  logHere();
  log.error("pg_doorman::pool", "y");
  log.info("pg_doorman::pool", "z");
  assert.deepEqual(records.map((r) => r.file), [
    "src/log/log_test.ts",
    "src/log/log_test.ts",
    "pool",
  ]);
  const [first, second, third] = records.map((r) => r.line) as [number, number, number];
  assert.equal(second - first, 2);
  assert.equal(third, 0);
  const all = createRecordLog({
    emit: (r) => records.push(r),
    filter: levelFilter("info"),
    callSites: "trace",
  });
  all.info("pg_doorman::pool", "w");
  assert.equal(records.at(-1)?.file, "src/log/log_test.ts");
});

Deno.test("log: a message is as long as goes into a pipe in one piece", () => {
  const records: LogRecord[] = [];
  const log = createRecordLog({ emit: (r) => records.push(r), filter: levelFilter("info") });
  log.info("pg_doorman::pool", "x".repeat(MOST_MESSAGE_CHARACTERS));
  log.info("pg_doorman::pool", "x".repeat(MOST_MESSAGE_CHARACTERS + 7));
  assert.equal(records[0]!.message, "x".repeat(MOST_MESSAGE_CHARACTERS));
  assert.equal(records[1]!.message, `${records[0]!.message}… (and 7 more characters)`);
});

Deno.test("log: what a peer provokes is summed up, unless the log has no clock for it", () => {
  const records: LogRecord[] = [];
  const timers: (() => void)[] = [];
  const options = { emit: (r: LogRecord) => records.push(r), filter: levelFilter("warn") };
  const by = { kind: "kind", address: "1.2.3.4" };
  const plain = createRecordLog(options);
  const log = createRecordLog({ ...options, later: (_, action) => timers.push(action) });
  for (const message of ["a", "b"]) plain.provoked("warn", "pg_doorman::auth", by, message);
  for (const message of ["c", "d"]) log.provoked("warn", "pg_doorman::auth", by, message);
  log.provoked("info", "pg_doorman::auth", { kind: "other", address: "" }, "filtered");
  assert.deepEqual(records.map(({ message }) => message), ["a", "b", "c"]);
  for (const timer of timers) timer();
  assert.match(records[3]!.message, /^kind: … and 1 more .*: d$/);
  assert.equal(records.length, 4);
});

Deno.test("log: a storm is summed up, but for what was asked for and what is for debugging", () => {
  const records: LogRecord[] = [];
  const timers: (() => void)[] = [];
  const log = createRecordLog({
    emit: (r) => records.push(r),
    filter: levelFilter("debug"),
    later: (_, action) => timers.push(action),
  });
  const written = (action: () => void): number => {
    records.length = 0;
    for (let i = 0; i < 1000; i++) action();
    return records.length;
  };
  assert.equal(written(() => log.warn("pg_doorman::server", "refused")), MOST_LINES);
  assert.equal(written(() => log.info("pg_doorman::server", "opened")), MOST_LINES);
  assert.equal(written(() => log.debug("pg_doorman::server", "seen")), 1000);
  assert.equal(written(() => log.requested("pg_doorman::client", "connected")), 1000);
  records.length = 0;
  for (const timer of timers) timer();
  assert.deepEqual(records.map(({ level, message }) => `${level} ${message}`), [
    "warn … and 700 more like this in the last 10 s, the last one: refused",
    "info … and 700 more like this in the last 10 s, the last one: opened",
  ]);
  log.setFilter(levelFilter("warn"));
  assert.equal(written(() => log.requested("pg_doorman::client", "connected")), 0);
});

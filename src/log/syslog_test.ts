import assert from "node:assert/strict";
import type { LogRecord } from "./format.ts";
import { formatStructured, formatText, journalFormatter } from "./format.ts";
import { syslogFormatter, type SyslogSource } from "./syslog.ts";

const SOURCE: SyslogSource = {
  format: "rfc5424",
  facility: "user",
  program: "pg_doorman",
  pid: 4711,
  host: "db1",
};

function record(change: Partial<LogRecord> = {}): LogRecord {
  return {
    level: "info",
    target: "pg_doorman::pool::waiting",
    message: "hello",
    file: "pool/waiting",
    line: 0,
    at: Date.UTC(2026, 0, 31, 23, 59, 58, 7),
    ...change,
  };
}

Deno.test("syslog: RFC 5424 has priority, time, host, program, process and module", () => {
  const format = syslogFormatter(SOURCE);
  const expected = "1 2026-01-31T23:59:58.007Z db1 pg_doorman 4711 pool::waiting - " +
    "pool/waiting:0: hello";
  assert.equal(format(record()), `<14>${expected}`);
  assert.equal(format(record({ level: "error" })), `<11>${expected}`);
  assert.equal(format(record({ level: "warn" })), `<12>${expected}`);
  assert.equal(format(record({ level: "trace" })), `<15>${expected}`);
  const local = syslogFormatter({ ...SOURCE, facility: "local7" });
  assert.equal(local(record()), `<190>${expected}`);
});

Deno.test("syslog: fields keep to their alphabet and length, and none is missing", () => {
  const format = syslogFormatter({ ...SOURCE, program: `größe ${"x".repeat(60)}`, host: "" });
  const [, , host, program, pid, id, data] = format(record({ target: "a b" })).split(" ");
  assert.equal(host, "-");
  assert.equal(program, `gr__e_${"x".repeat(42)}`);
  assert.deepEqual([pid, id, data], ["4711", "a_b", "-"]);
  const long = format(record({ target: `pg_doorman::${"m".repeat(50)}` })).split(" ");
  assert.equal(long[5], "m".repeat(32));
});

Deno.test("syslog: RFC 3164 is what syslog(3) writes, in local time", () => {
  const format = syslogFormatter({ ...SOURCE, format: "rfc3164", program: "pool[1]: x" });
  const at = new Date(2026, 2, 3, 4, 5, 6).getTime();
  assert.equal(
    format(record({ at, level: "warn" })),
    "<12>Mar  3 04:05:06 pool_1___x[4711]: pool/waiting:0: hello",
  );
});

Deno.test("syslog: a message is one line in both forms, and can't make itself another", () => {
  for (const shape of ["rfc5424", "rfc3164"] as const) {
    const line = syslogFormatter({ ...SOURCE, format: shape })(
      record({ message: "one\n<8>Mar  3 forged\x1b[31m\0" }),
    );
    assert.ok(line.endsWith(": one\\n<8>Mar  3 forged\\u001b[31m\\u0000"), line);
  }
});

Deno.test("journal: the severity is in front of the line, which stays what it was", () => {
  const levels = ["error", "warn", "info", "debug", "trace"] as const;
  for (const format of [formatText, formatStructured]) {
    const lines = levels.map((level) => {
      const of = record({ level });
      const line = journalFormatter(format)(of);
      assert.equal(line.slice(3), format(of));
      return line.slice(0, 3);
    });
    assert.deepEqual(lines, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
  }
});

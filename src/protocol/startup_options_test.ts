import assert from "node:assert/strict";
import fc from "fast-check";
import { readOptions } from "./startup_options.ts";

Deno.test("startup options: words, escapes, and each form of a setting", () => {
  const cases: [string, [string, string][]][] = [
    ["", []],
    ["  ", []],
    ["--", []],
    ["-c geqo=off", [["geqo", "off"]]],
    ["-c\tgeqo=off\n", [["geqo", "off"]]],
    ["-cgeqo=off  --work-mem=4MB", [["geqo", "off"], ["work_mem", "4MB"]]],
    ["-c a=b\\ c\\\\d", [["a", "b c\\d"]]],
    ["-c a=b\\", [["a", "b"]]],
    ["-c search_path=a,b=c", [["search_path", "a,b=c"]]],
    ["-c a=", [["a", ""]]],
    ["-c =x", [["", "x"]]],
    ["-c a=1 -c a=2", [["a", "1"], ["a", "2"]]],
    ["-e", [["datestyle", "euro"]]],
    ["-ecgeqo=off", [["datestyle", "euro"], ["geqo", "off"]]],
    ["-ec geqo=off -nEj", [["datestyle", "euro"], ["geqo", "off"]]],
    ["-e- geqo=off", [["datestyle", "euro"], ["geqo", "off"]]],
    ["-fs -f h", [["enable_seqscan", "false"], ["enable_hashjoin", "false"]]],
    ["-S 64 -B8", [["work_mem", "64"], ["shared_buffers", "8"]]],
    ["-tpl -t e", [["log_planner_stats", "true"], ["log_executor_stats", "true"]]],
    ["-d 2", [["log_min_messages", "debug2"], ["log_statement", "all"]]],
    ["-d0", [["log_min_messages", "notice"]]],
  ];
  for (const [text, settings] of cases) assert.deepEqual(readOptions(text), { settings }, text);
});

Deno.test("startup options: what is none is refused with its word", () => {
  const invalid = (word: string) => `invalid command-line argument for server process: ${word}`;
  const cases = [
    ["-c", invalid("-c")],
    ["-e -ec", invalid("-ec")],
    ["-c geqo", "-c geqo requires a value"],
    ["--geqo", "--geqo requires a value"],
    ["--geqo off", "--geqo requires a value"],
    ["geqo=off", invalid("geqo=off")],
    ["geqo=off -c a=b", invalid("geqo=off")],
    ["-- -c a=b", invalid("-c")],
    ["-", invalid("-")],
    ["-x", invalid("-x")],
    ["-f x", invalid("x")],
    ["-tp", invalid("-tp")],
  ];
  for (const [text, why] of cases) {
    assert.deepEqual(readOptions(text!), { fault: { code: "42601", why } }, text);
  }
});

Deno.test("startup options: any text is read or refused", () => {
  fc.assert(fc.property(fc.string(), fc.string({ unit: "binary" }), (a, b) => {
    readOptions(a);
    readOptions(`-c ${b}`);
  }));
});

import assert from "node:assert/strict";
import { EXIT, HELP, parseCommandLine } from "./args.ts";
import type { CommandLine, RunOptions } from "./args.ts";

function parse(args: string, env: Record<string, string> = {}): CommandLine {
  return parseCommandLine(args.split(" ").filter((arg) => arg !== ""), (name) => env[name]);
}

function optionsOf(args: string, env: Record<string, string> = {}): RunOptions {
  const line = parse(args, env);
  assert.ok(line.kind === "run" || line.kind === "test", JSON.stringify(line));
  return line.options;
}

function faultOf(args: string, env: Record<string, string> = {}): string {
  const line = parse(args, env);
  assert.equal(line.kind, "usage_error", `${args}: ${JSON.stringify(line)}`);
  return (line as { text: string }).text;
}

Deno.test("args: nothing given means the defaults", () => {
  assert.deepEqual(parse(""), {
    kind: "run",
    options: {
      configFile: "pg_doorman.toml",
      logLevel: undefined,
      logFormat: undefined,
      noColor: false,
      daemon: false,
      inheritFd: undefined,
    },
  });
});

Deno.test("args: options stand before or after the config file, long, short and joined", () => {
  const wanted: RunOptions = {
    configFile: "x.yaml",
    logLevel: "debug",
    logFormat: "structured",
    noColor: true,
    daemon: true,
    inheritFd: 7,
  };
  for (
    const args of [
      "-l debug -F structured -n -d --inherit-fd 7 x.yaml",
      "x.yaml --log-level=debug --log-format=structured --no-color --daemon --inherit-fd=7",
      "-ndl debug x.yaml -Fstructured --inherit-fd 7",
    ]
  ) assert.deepEqual(parse(args), { kind: "run", options: wanted }, args);
});

Deno.test("args: -t tests, with the options of a run", () => {
  const line = parse("-t -l warn x.toml");
  assert.equal(line.kind, "test");
  assert.equal(optionsOf("--test-config x.toml").configFile, "x.toml");
});

Deno.test("args: the environment stands in for options and loses against them", () => {
  const env = {
    CONFIG_FILE: "e.toml",
    LOG_LEVEL: "trace",
    LOG_FORMAT: "debug",
    DAEMON: "true",
    INHERIT_FD: "5",
  };
  assert.deepEqual(optionsOf("", env), {
    configFile: "e.toml",
    logLevel: "trace",
    logFormat: "debug",
    noColor: false,
    daemon: true,
    inheritFd: 5,
  });
  const both = optionsOf("c.toml -l error -F text --inherit-fd 6", env);
  assert.equal(both.configFile, "c.toml");
  assert.equal(both.logLevel, "error");
  assert.equal(both.logFormat, "text");
  assert.equal(both.inheritFd, 6);
  assert.ok(!optionsOf("", { DAEMON: "false", LOG_LEVEL: "" }).daemon);
});

Deno.test("args: help and version", () => {
  for (const args of ["-h", "--help", "x.toml -h", "help", "help generate"]) {
    assert.deepEqual(parse(args), { kind: "help", text: HELP }, args);
  }
  for (const args of ["-V", "--version", "-tV"]) {
    assert.deepEqual(parse(args), { kind: "version" }, args);
  }
});

Deno.test("args: generate says that it is not there yet, whatever its options", () => {
  for (
    const args of [
      "generate --pool-size 40 --no-comments",
      "-l info x.toml generate",
      "generate-docs -o dir",
    ]
  ) {
    const line = parse(args);
    assert.equal(line.kind, "unavailable", args);
    assert.match((line as { text: string }).text, /generate(-docs)? is not available yet\n$/);
  }
  assert.equal(optionsOf("-- generate").configFile, "generate");
  assert.match(faultOf("-l generate x.toml"), /invalid value "generate" for --log-level/);
});

Deno.test("args: usage errors say what is wrong and what would be right", () => {
  assert.match(
    faultOf("--no-colour"),
    /^error: unexpected argument "--no-colour": did you mean --no-color\?/,
  );
  assert.match(faultOf("-x"), /unexpected argument "-x"/);
  assert.match(faultOf("--frobnicate=1"), /unexpected argument "--frobnicate"\n/);
  assert.match(faultOf("a.toml b.toml"), /unexpected argument "b.toml"/);
  assert.match(faultOf("-l"), /log-level/);
  assert.match(faultOf("--daemon=yes"), /daemon/);
  assert.match(
    faultOf("-l INFO"),
    /invalid value "INFO" for --log-level: use error, warn, info, debug, trace/,
  );
  assert.match(faultOf("-F json"), /for --log-format: use text, structured, debug/);
  assert.match(faultOf("", { LOG_FORMAT: "json" }), /for environment variable LOG_FORMAT/);
  assert.match(faultOf("", { DAEMON: "1" }), /invalid value "1" for environment variable DAEMON/);
  assert.match(faultOf("--inherit-fd x"), /invalid value "x" for --inherit-fd/);
  assert.match(faultOf("", { INHERIT_FD: "-1" }), /environment variable INHERIT_FD/);
  const both = faultOf("-l loud -F json");
  assert.match(both, /--log-level[^]*\nerror: .*--log-format/);
  assert.match(both, /Usage: pg_doorman \[OPTIONS\] \[CONFIG_FILE\] \[COMMAND\]/);
});

Deno.test("args: exit codes are upstream's", () => {
  assert.deepEqual(EXIT, { ok: 0, failure: 1, usage: 2, os: 71, config: 78 });
});

Deno.test("args: --online goes with -t alone", () => {
  const test = parseCommandLine(["-t", "--online", "a.toml"], () => undefined);
  assert.ok(test.kind === "test" && test.online && test.options.configFile === "a.toml");
  const plain = parseCommandLine(["-t"], () => undefined);
  assert.ok(plain.kind === "test" && !plain.online);
  assert.equal(parseCommandLine(["--online"], () => undefined).kind, "usage_error");
});

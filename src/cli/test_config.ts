/**
 * What `-t` prints, and what a start with a wrong config prints. The phrases `syntax is ok`, `test is successful` and
 * `Config parse error:` are upstream's: scripts look for them.
 */

import type { LoadResult } from "../config/load.ts";
import { formatFault } from "../config/source.ts";
import { EXIT } from "./args.ts";

/** Text for both streams and the exit code. */
export interface TestOutput {
  stdout: string;
  stderr: string;
  code: number;
}

/** The answer of `-t` to a load of `configFile`. */
export function testConfigOutput(configFile: string, result: LoadResult): TestOutput {
  if (result.config === undefined) {
    return { stdout: "", stderr: configFaults(configFile, result), code: EXIT.config };
  }
  return {
    stdout: `pg_doorman: the configuration file ${configFile} syntax is ok\n` +
      `pg_doorman: configuration file ${configFile} test is successful\n`,
    stderr: lines("warning", result.warnings),
    code: EXIT.ok,
  };
}

/** Something that was tried: whether it works, or why not. */
export interface OnlineFinding {
  what: string;
  error: string | undefined;
  note: string;
}

/** What `-t --online` says behind the answer of `-t`. */
export function onlineOutput(findings: readonly OnlineFinding[]): TestOutput {
  const failed = findings.filter(({ error }) => error !== undefined);
  const worked = findings.filter(({ error }) => error === undefined);
  return {
    stdout: worked.map((each) => `pg_doorman: ${findingLine(each)}\n`).join(""),
    stderr: failed.map((each) => `error: ${findingLine(each)}\n`).join(""),
    code: failed.length > 0 ? EXIT.failure : EXIT.ok,
  };
}

function findingLine({ what, error, note }: OnlineFinding): string {
  return oneLine(`${what}: ${error ?? (note === "" ? "ok" : `ok, ${note}`)}`);
}

/** All that is wrong with a config, and what is only odd after it. */
export function configFaults(configFile: string, result: LoadResult): string {
  const { faults } = result;
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return `Config parse error: ${count} in ${configFile}\n` +
    lines("error", faults) + lines("warning", result.warnings);
}

function lines(label: string, findings: LoadResult["faults"]): string {
  return findings.map((finding) => `${label}: ${oneLine(formatFault(finding))}\n`).join("");
}

/** A key or value of the file cannot start a line of its own. */
function oneLine(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f]/g, " ");
}

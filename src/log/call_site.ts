/**
 * Finds the line of code that logged. A stack trace costs about 15 µs, so it is taken only for records that are rare;
 * the others carry the module's name and line 0.
 */

/** Where a record comes from. */
export interface CallSite {
  file: string;
  line: number;
}

/** The caller of `below`, which must be on the stack. */
export function callSiteAbove(below: (...args: never[]) => unknown): CallSite | undefined {
  const trace: { stack?: string } = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 1;
  Error.captureStackTrace(trace, below);
  Error.stackTraceLimit = limit;
  const match = /\(?([^\s()]+):([0-9]+):[0-9]+\)?$/m.exec(trace.stack ?? "");
  if (match === null) return undefined;
  return { file: shortName(match[1] as string), line: Number(match[2]) };
}

/** `pg_doorman::pool::waiting` logs as `pool/waiting` when nobody looked for the line. */
export function moduleSite(target: string): CallSite {
  return { file: target.replace(/^pg_doorman::/, "").replaceAll("::", "/"), line: 0 };
}

/** From the project's `src` on: where it was built or unpacked says nothing. */
function shortName(url: string): string {
  const at = url.lastIndexOf("/src/");
  return at < 0 ? url.slice(url.lastIndexOf("/") + 1) : url.slice(at + 1);
}

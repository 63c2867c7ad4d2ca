/**
 * Reads the JUnit report of `deno test`. Only what that program writes is understood: a `testsuite` element a file with
 * its counts as attributes, a `testcase` a test, `skipped` inside those that did not run.
 */

/** Counts of a test run. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  skippedNames: string[];
  /** Name and error of each that failed. */
  failures: string[];
}

/** Errors are cut to this many characters. */
const MOST_OF_AN_ERROR = 3000;

function unescape(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (_, name: string) => entities[name]!)
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)));
}

/** Adds up a report. An empty one, as of a run that could not start, counts nothing. */
export function parseReport(xml: string): Tally {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, skippedNames: [], failures: [] };
  for (
    const [, attributes, content] of xml.matchAll(
      /<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g,
    )
  ) {
    const name = unescape(/\bname="([^"]*)"/.exec(attributes!)?.[1] ?? "");
    const failure = /<(?:failure|error)\b([^>]*?)(?:\/>|>([\s\S]*?)<\/(?:failure|error)>)/.exec(
      content ?? "",
    );
    if (failure !== null) {
      const error = failure[2] ?? /\bmessage="([^"]*)"/.exec(failure[1]!)?.[1] ?? "";
      tally.failed++;
      tally.failures.push(`${name}\n${unescape(error).slice(0, MOST_OF_AN_ERROR)}`);
    } else if (/<skipped\b/.test(content ?? "")) {
      tally.skipped++;
      tally.skippedNames.push(name);
    } else tally.passed++;
  }
  return tally;
}

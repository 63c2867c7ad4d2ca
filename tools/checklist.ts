/**
 * Reads tests/CHECKLIST.md, the table of bugs that must not come back, and says what is wrong with it: a number that is
 * missing or there twice, a line that names neither a test nor a reason, a file or a test that does not exist.
 */

/** The table's numbers go from 1 to this one. */
const LAST_NUMBER = 446;

const REASON = /(^|; )(not yet: needs |does not apply: )\S/;
/** A name may hold quotes itself: it ends where another test, a remark or the end follows. */
const NAMED = /`([^`]+_test\.ts)` "(.+?)"(?= \+ `|; |$)/g;
/** `Deno.test("name"`, `Deno.test({ name: "name"`, with any of the three kinds of quotes. */
const DECLARED = /Deno\.test\(\s*(?:\{\s*name:\s*)?(?:"((?:\\.|[^"\\])*)"|`((?:\\.|[^`\\])*)`)/g;

/** The tests that a source file declares; of a template its text, placeholders and all. */
export function declaredTests(source: string): Set<string> {
  const names = new Set<string>();
  for (const [, plain, template] of source.matchAll(DECLARED)) {
    names.add(plain === undefined ? template! : JSON.parse(`"${plain}"`));
  }
  return names;
}

/** What is wrong; `read` returns a file's text, or `undefined` if there is none. */
export function checklistFaults(
  table: string,
  read: (path: string) => string | undefined,
  last: number = LAST_NUMBER,
): string[] {
  const faults: string[] = [];
  const seen = new Set<number>();
  const tests = new Map<string, Set<string> | undefined>();
  const testsOf = (path: string) => {
    if (!tests.has(path)) {
      const source = read(path);
      tests.set(path, source === undefined ? undefined : declaredTests(source));
    }
    return tests.get(path);
  };
  for (const line of table.split("\n")) {
    const row = /^\|\s*(\d+)\s*\|([^|]*)\|(.*)\|$/.exec(line);
    if (row === null) continue;
    const number = Number(row[1]);
    if (seen.has(number)) faults.push(`${number}: is there twice`);
    seen.add(number);
    if (row[2]!.trim() === "") faults.push(`${number}: does not say what must hold`);
    const cell = row[3]!.trim().replaceAll("\\|", "|");
    const named = [...cell.matchAll(NAMED)];
    if (named.length === 0 && !REASON.test(cell)) {
      faults.push(`${number}: neither a test nor a reason`);
    }
    for (const [, path, name] of named) {
      const declared = testsOf(path!);
      if (declared === undefined) faults.push(`${number}: no file ${path}`);
      else if (!declared.has(name!)) faults.push(`${number}: ${path} has no test "${name}"`);
    }
  }
  for (let number = 1; number <= last; number++) {
    if (!seen.has(number)) faults.push(`${number}: is missing`);
  }
  return faults;
}

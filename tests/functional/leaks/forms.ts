/**
 * Forms in which a client may send the statements of a way. Each makes the messages of a client, in steps: a step is
 * answered before the next is sent.
 */

import * as wire from "../../support/wire_messages.ts";

/** What a form is made of. */
export interface Material {
  sql: string[];
  values: string[];
  /** Number of the functions that hide these statements in their bodies. */
  number: number;
}

/** Makes the steps, or nothing where it is not apt. */
export type Form = (way: Material) => Uint8Array[] | undefined;

/** In which case a client goes without more words: it sends the last step, and leaves at once. */
export const LEAVING = ["open", "gone"];
/** In which PostgreSQL alone sees what is done: docs/session-state.md says so. */
export const BODIES = ["hidden", "run"];

const BEGIN = wire.query("BEGIN");
const COMMIT = wire.query("COMMIT");
const FAIL = "SELECT 1/0";
const queries = (sql: string[]) => sql.map(wire.query);

/** A string between dollars that stand nowhere in it. */
function dollars(text: string): string {
  let tag = "$q";
  while (text.includes(tag)) tag += "q";
  return `${tag}$${text}${tag}$`;
}

/** The statements as a body of PL/pgSQL, by EXECUTE. */
export function body(sql: string[], end: string = ""): string {
  return `BEGIN ${sql.map((each) => `EXECUTE ${dollars(each)};`).join(" ")} ${end}END`;
}

const doing = (plpgsql: string) => wire.query(`DO ${dollars(plpgsql)}`);

function selects(sql: string[]): boolean {
  return sql.length === 1 && /^(?:SELECT|VALUES|TABLE|WITH)\b/i.test(sql[0]!) &&
    !/\bINTO\b/.test(sql[0]!);
}

/** Changes a text outside of quotes, dollars and comments. */
function outside(sql: string, change: (code: string) => string): string {
  const parts =
    /(\$(\w*)\$[^]*?\$\2\$|(?:\b[eE])?'(?:[^'\\]|\\.|'')*'|"[^"]*"|--[^\n]*\n|\/\*[^]*\*\/)/;
  let out = "";
  let rest = sql;
  for (;;) {
    const found = parts.exec(rest);
    if (found === null) return out + change(rest);
    out += change(rest.slice(0, found.index)) + found[0];
    rest = rest.slice(found.index + found[0].length);
  }
}

const swapCase = (text: string) =>
  [...text].map((c) => c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()).join("");
const comment = (text: string) => text.replaceAll(" ", " --c\n\t/* SET LOCAL x = 1; /* ' */ */ ");

function one(statement: string, values: string[] = []): Uint8Array {
  return wire.join([wire.extended(statement, values), wire.SYNC]);
}

/** A form for a statement that has rows. */
const ofRows = (make: (sql: string) => Uint8Array[]): Form => ({ sql }) =>
  selects(sql) ? make(sql[0]!) : undefined;
/** A form for statements without parameters. */
const plain =
  (make: (sql: string[], number: number) => Uint8Array[]): Form => ({ sql, values, number }) =>
    values.length > 0 ? undefined : make(sql, number);

/** By their names. */
export const FORMS: Record<string, Form> = {
  simple: plain(queries),
  block: plain((sql) => [BEGIN, ...queries(sql), COMMIT]),
  multi: plain((sql) => [wire.query(`SELECT 1; ${sql.join(";")};SELECT 2`)]),
  last: plain((sql) => [wire.query(`;;/**/;${sql.join("; ;")}`)]),
  burst: plain((sql) => [wire.join([BEGIN, ...queries(sql), COMMIT])]),
  commented: plain((sql) => queries(sql.map((each) => outside(each, comment)))),
  case: plain((sql) => queries(sql.map((each) => outside(each, swapCase)))),
  large: plain((sql) => queries(sql.map((each) => `/*${"x".repeat(70_000)}*/${each}`))),
  extended: ({ sql, values }) => sql.map((each) => one(each, values)),
  named: ({ sql, values }) =>
    sql.flatMap((each, i) => [
      wire.join([wire.parse(`s${i}`, each), wire.SYNC]),
      wire.join([wire.bind("p", `s${i}`, values), wire.execute("p"), wire.SYNC]),
      wire.join([wire.close("S", `s${i}`), wire.SYNC]),
    ]),
  pipelined: ({ sql, values }) => [
    wire.join([
      wire.extended("SELECT 1"),
      ...sql.map((each) => wire.extended(each, values)),
      wire.extended("SELECT 2"),
      wire.SYNC,
    ]),
  ],
  extended_block: ({ sql, values }) => [
    one("BEGIN"),
    ...sql.map((each) => one(each, values)),
    one("COMMIT"),
  ],
  do: plain((sql) => [doing(body(sql))]),
  do_extended: plain((sql) => [one(`DO ${dollars(body(sql))}`)]),
  do_caught: plain((sql) => [
    doing(`BEGIN ${body(sql, "PERFORM 1/0; EXCEPTION WHEN OTHERS THEN NULL; ")}; END`),
  ]),
  do_fails: plain((sql) => [doing(body(sql, "RAISE EXCEPTION 'no'; "))]),
  do_commits_fails: plain((sql) => [doing(body(sql, "COMMIT; RAISE EXCEPTION 'no'; "))]),
  run: plain((sql) => [
    wire.query(`SELECT ${sql.map((each) => `leak.run(${dollars(each)})`).join(", ")}`),
  ]),
  hidden: plain((_, number) => [wire.query(`SELECT leak.hidden_${number}()`)]),
  procedure: plain((_, number) => [wire.query(`CALL leak.procedure_${number}()`)]),
  failed: plain((sql) => [BEGIN, ...queries(sql), wire.query(FAIL), COMMIT]),
  in_failed: plain((sql) => [BEGIN, wire.query(FAIL), ...queries(sql), COMMIT]),
  multi_fails: plain((sql) => [wire.query([...sql, FAIL].join(";"))]),
  behind_failure: plain((sql) => [wire.query([FAIL, ...sql].join(";"))]),
  pipelined_fails: ({ sql, values }) => [
    wire.join([
      ...sql.map((each) => wire.extended(each, values)),
      wire.extended(FAIL),
      wire.SYNC,
    ]),
  ],
  skipped: ({ sql, values }) => [
    wire.join([
      wire.extended(FAIL),
      ...sql.map((each) => wire.extended(each, values)),
      wire.SYNC,
    ]),
  ],
  savepoint: plain((sql) => [
    ...queries(["BEGIN", "SAVEPOINT s", ...sql, "ROLLBACK TO SAVEPOINT s", "COMMIT"]),
  ]),
  savepoint_fails: plain((sql) => [
    ...queries(["BEGIN", "SAVEPOINT s", ...sql, FAIL, "ROLLBACK TO s", "RELEASE s", "COMMIT"]),
  ]),
  chain: plain((sql) => queries(["BEGIN", ...sql, "COMMIT AND CHAIN", "SELECT 1", "ROLLBACK"])),
  open: plain((sql) => [BEGIN, ...queries(sql)]),
  gone: plain((sql) => [wire.join(queries(sql))]),
  execute: ofRows((sql) => queries([`PREPARE p AS ${sql}`, "EXECUTE p", "DEALLOCATE p"])),
  explain: ofRows((sql) => [wire.query(`EXPLAIN (ANALYZE, COSTS off) ${sql}`)]),
  copy: ofRows((sql) => [wire.query(`COPY (${sql}) TO STDOUT`)]),
  cursor: ofRows((sql) =>
    queries(["BEGIN", `DECLARE c CURSOR FOR ${sql}`, "FETCH ALL c", "COMMIT"])
  ),
  portal: ofRows((sql) => [
    wire.join([
      wire.parse("", sql),
      wire.bind("half", ""),
      wire.execute("half", 1),
      wire.SYNC,
    ]),
  ]),
  unsynced: ({ sql, values }) => [
    wire.join([
      ...sql.flatMap((each) => [wire.extended(each, values), wire.FLUSH]),
      wire.SYNC,
    ]),
  ],
};

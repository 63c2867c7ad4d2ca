/**
 * A config file as a tree that no longer knows whether it was TOML or YAML, but where each value stands. Numbers keep
 * apart whole and fractional (both languages do), so that `5.0` is not taken for `5`. Lines are found only when a fault
 * or warning asks for one.
 */

/** A file, and the line of a place in it; a place is whatever the file's own reader chose. */
export interface SourceFile {
  readonly name: string;
  line(place: Place): number | undefined;
}

/** An offset into the text (YAML) or a key path (TOML). */
export type Place = number | string;

interface Placed {
  readonly file: SourceFile;
  readonly place: Place;
}

export interface TableNode extends Placed {
  readonly kind: "table";
  readonly entries: Map<string, SourceNode>;
}

export interface ListNode extends Placed {
  readonly kind: "list";
  readonly items: SourceNode[];
}

export interface StringNode extends Placed {
  readonly kind: "string";
  readonly value: string;
}

export interface IntegerNode extends Placed {
  readonly kind: "integer";
  readonly value: bigint;
}

export interface FloatNode extends Placed {
  readonly kind: "float";
  readonly value: number;
}

export interface BoolNode extends Placed {
  readonly kind: "bool";
  readonly value: boolean;
}

/** TOML's dates and times: no key takes one. */
export interface DateNode extends Placed {
  readonly kind: "date";
}

export type SourceNode =
  | TableNode
  | ListNode
  | StringNode
  | IntegerNode
  | FloatNode
  | BoolNode
  | DateNode;

/** What a value is, in words for the operator. */
export const KIND_NAMES: Readonly<Record<SourceNode["kind"], string>> = {
  table: "a table",
  list: "a list",
  string: "a string",
  integer: "an integer",
  float: "a number with a fraction",
  bool: "a boolean",
  date: "a date",
};

/** Something wrong, or worth knowing, in a config. */
export interface Fault {
  file: string;
  /** Dotted key path, as `pools.app.users[0].pool_size`; empty when the file as a whole is meant. */
  path: string;
  line?: number;
  message: string;
  /** What would be right. */
  hint?: string;
}

/** One line for a fault: `file:line: path: message (hint)`. */
export function formatFault(fault: Fault): string {
  const where = fault.line === undefined ? fault.file : `${fault.file}:${fault.line}`;
  const path = fault.path === "" || fault.message.endsWith(fault.path) ? "" : `${fault.path}: `;
  const hint = fault.hint === undefined ? "" : ` (${fault.hint})`;
  return `${where}: ${path}${fault.message}${hint}`;
}

/** By file and line, those without a line first; the order of one line is kept. */
export function inFileOrder(faults: readonly Fault[]): Fault[] {
  const files = [...new Set(faults.map((fault) => fault.file))];
  return [...faults].sort((a, b) =>
    files.indexOf(a.file) - files.indexOf(b.file) || (a.line ?? 0) - (b.line ?? 0)
  );
}

/** The path of a key in a table; names with unusual characters are quoted. */
export function keyPath(parent: string, key: string): string {
  const name = /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
  return parent === "" ? name : `${parent}.${name}`;
}

/** The path of the table or list that a path stands in; undefined at the top. */
export function parentPath(path: string): string | undefined {
  if (path === "") return undefined;
  const cut = path.endsWith("]")
    ? path.lastIndexOf("[")
    : path.endsWith('"')
    ? openingQuote(path) - 1
    : path.lastIndexOf(".");
  return cut <= 0 ? "" : path.slice(0, cut);
}

/** Index of the quote that opens the quoted name at the end of a path. */
function openingQuote(path: string): number {
  for (let at = path.length - 2; at >= 0; at--) {
    if (path[at] !== '"') continue;
    let backslashes = 0;
    while (path[at - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return at;
  }
  return 0;
}

/**
 * The SQL that drivers send by themselves to any server: transaction blocks, SET and RESET of the usual parameters, the
 * clean-up between uses of a connection, and SELECTs that only ask whether somebody is there. None of it touches the
 * pooler. Parsing only; `console.ts` keeps the state.
 */

import type { Column, Value } from "./rows.ts";
import { Refusal } from "./refusal.ts";
import type { SessionParameter } from "./session_parameters.ts";
import { findParameter } from "./session_parameters.ts";
import type { StatementText, Token } from "./tokens.ts";

/** What the functions of a SELECT may tell. */
export interface SelectContext {
  readonly version: string;
  readonly user: string;
  readonly database: string;
}

/** One output column of a SELECT without a table. */
export interface SelectItem {
  readonly column: Column;
  value(context: SelectContext): Value;
}

/** A statement of the session's own. */
export type SessionCommand =
  | { kind: "begin"; tag: "BEGIN" | "START TRANSACTION" }
  | { kind: "commit" }
  | { kind: "rollback" }
  | { kind: "set"; parameter: SessionParameter; value: string }
  /** `undefined`: all of them. */
  | { kind: "reset"; parameter: SessionParameter | undefined }
  | { kind: "show_parameter"; parameter: SessionParameter }
  | { kind: "deallocate"; name: string | undefined }
  | { kind: "discard_all" }
  | { kind: "nothing"; tag: string }
  | { kind: "select"; items: readonly SelectItem[] }
  | { kind: "no_types"; columns: readonly Column[] };

/** Parses a statement that begins with one of the session's verbs; `undefined` if it does not, or says something else. */
export function parseSessionSql(statement: StatementText): SessionCommand | undefined {
  const words = statement.tokens.map((token) =>
    token.kind === "word" ? token.text.toUpperCase() : ""
  );
  switch (words[0]) {
    case "BEGIN":
      return { kind: "begin", tag: "BEGIN" };
    case "START":
      return words[1] === "TRANSACTION" ? { kind: "begin", tag: "START TRANSACTION" } : undefined;
    case "COMMIT":
    case "END":
      return endsPlainly(words) ? { kind: "commit" } : undefined;
    case "ROLLBACK":
    case "ABORT":
      return endsPlainly(words) ? { kind: "rollback" } : undefined;
    case "RESET":
      return parseReset(statement);
    case "DEALLOCATE":
      return parseDeallocate(statement.tokens);
    case "DISCARD":
      return words[1] === "ALL" ? { kind: "discard_all" } : undefined;
    case "CLOSE":
      return words[1] === "ALL" ? { kind: "nothing", tag: "CLOSE CURSOR ALL" } : undefined;
    case "UNLISTEN":
      return { kind: "nothing", tag: "UNLISTEN" };
    case "SELECT":
      return parseSelect(statement.tokens) ?? parseTypeQuery(statement.tokens);
    default:
      return undefined;
  }
}

/** COMMIT and ROLLBACK alone: not of a prepared transaction, not to a savepoint, no chain. */
function endsPlainly(words: readonly string[]): boolean {
  const rest = words.slice(1).join(" ");
  return /^(WORK|TRANSACTION)?( ?AND NO CHAIN)?$/.test(rest);
}

/** Parses what follows SET; `undefined` if no such parameter is known here. */
export function parseSet(statement: StatementText): SessionCommand | undefined {
  const { tokens } = statement;
  const word = (index: number) => tokens[index]?.text.toUpperCase() ?? "";
  let at = 1;
  if (word(at) === "TRANSACTION") return { kind: "nothing", tag: "SET" };
  if (word(at) === "SESSION" && word(at + 1) === "CHARACTERISTICS") {
    return { kind: "nothing", tag: "SET" };
  }
  if (word(at) === "SESSION" || word(at) === "LOCAL") at++;
  if (word(at) === "NAMES") return setTo("client_encoding", statement, at + 1);
  if (word(at) === "TIME" && word(at + 1) === "ZONE") return setTo("TimeZone", statement, at + 2);
  const name = tokens[at];
  const separator = tokens[at + 1];
  const separated = separator?.text === "=" || word(at + 1) === "TO";
  if (name === undefined || !separated) return undefined;
  return setTo(name.text, statement, at + 2);
}

function setTo(name: string, statement: StatementText, at: number): SessionCommand | undefined {
  const parameter = findParameter(name);
  const value = valueFrom(statement, at);
  return parameter === undefined || value === "" ? undefined : { kind: "set", parameter, value };
}

/** The text of a setting: one string without its quotes, or the words as they stand. */
export function valueFrom(statement: StatementText, at: number): string {
  const { tokens } = statement;
  const only = tokens.length === at + 1 ? tokens[at] : undefined;
  if (only !== undefined) return only.text;
  return statement.from(at).replaceAll(/\s+/g, " ");
}

function parseReset(statement: StatementText): SessionCommand | undefined {
  const name = statement.tokens[1];
  if (name === undefined || statement.tokens.length > 2) return undefined;
  if (name.kind === "word" && name.text.toUpperCase() === "ALL") {
    return { kind: "reset", parameter: undefined };
  }
  const parameter = findParameter(name.text);
  return parameter === undefined ? undefined : { kind: "reset", parameter };
}

/** SHOW of a parameter, also in SQL's own words; `undefined` if it is none. */
export function parseShowParameter(statement: StatementText): SessionCommand | undefined {
  const words = statement.tokens.slice(1).map((token) => token.text.toLowerCase());
  const phrase = words.join(" ");
  let name = words.length === 1 ? words[0] : "";
  if (phrase === "time zone") name = "TimeZone";
  else if (phrase === "transaction isolation level") name = "transaction_isolation";
  const parameter = findParameter(name);
  return parameter === undefined ? undefined : { kind: "show_parameter", parameter };
}

function parseDeallocate(tokens: readonly Token[]): SessionCommand | undefined {
  const at = tokens[1]?.kind === "word" && tokens[1].text.toUpperCase() === "PREPARE" ? 2 : 1;
  const name = tokens[at];
  if (name === undefined || tokens.length > at + 1) return undefined;
  if (name.kind === "quoted") return { kind: "deallocate", name: name.text };
  if (name.kind !== "word") return undefined;
  if (name.text.toUpperCase() === "ALL") return { kind: "deallocate", name: undefined };
  return { kind: "deallocate", name: name.text.toLowerCase() };
}

const INT4_MAX = 0x7fffffff;

/** Functions, and the words of SQL that are called without brackets. */
const FUNCTIONS: Record<string, SelectItem> = {
  version: {
    column: { name: "version", type: "text" },
    value: ({ version }) => `PgDoorman ${version}`,
  },
  current_database: {
    column: { name: "current_database", type: "text" },
    value: ({ database }) => database,
  },
  pg_is_in_recovery: {
    column: { name: "pg_is_in_recovery", type: "bool" },
    value: () => false,
  },
  // What asyncpg sends when a connection goes back to its pool; the result is void.
  pg_advisory_unlock_all: {
    column: { name: "pg_advisory_unlock_all", type: "text" },
    value: () => "",
  },
};

const KEYWORDS: Record<string, SelectItem> = {
  current_user: { column: { name: "current_user", type: "text" }, value: ({ user }) => user },
  session_user: { column: { name: "session_user", type: "text" }, value: ({ user }) => user },
  user: { column: { name: "user", type: "text" }, value: ({ user }) => user },
};

/** A SELECT of literals and of the functions above; anything more is not ours. */
function parseSelect(tokens: readonly Token[]): SessionCommand | undefined {
  const items: SelectItem[] = [];
  let at = 1;
  do {
    const read = readItem(tokens, at);
    if (read === undefined) return undefined;
    items.push(read.item);
    at = read.next;
  } while (tokens[at]?.text === "," && at++ > 0);
  return at === tokens.length ? { kind: "select", items } : undefined;
}

function readItem(
  tokens: readonly Token[],
  start: number,
): { item: SelectItem; next: number } | undefined {
  const expression = readExpression(tokens, start);
  if (expression === undefined) return undefined;
  const { item, next } = expression;
  if (tokens[next]?.kind !== "word" || tokens[next].text.toUpperCase() !== "AS") return expression;
  const alias = tokens[next + 1];
  if (alias?.kind !== "word" && alias?.kind !== "quoted") return undefined;
  const name = alias.kind === "quoted" ? alias.text : alias.text.toLowerCase();
  return { item: { column: { ...item.column, name }, value: item.value }, next: next + 2 };
}

function readExpression(
  tokens: readonly Token[],
  at: number,
): { item: SelectItem; next: number } | undefined {
  const token = tokens[at];
  if (token?.kind === "string") return { item: literal(token.text), next: at + 1 };
  if (token?.kind !== "word") return undefined;
  if (/^\d+$/.test(token.text)) {
    const number = Number(token.text);
    if (number > INT4_MAX) throw new Refusal("22003", "integer out of range");
    return { item: literal(number), next: at + 1 };
  }
  const name = token.text.toLowerCase();
  const keyword = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
  if (keyword !== undefined) return { item: keyword, next: at + 1 };
  const plain = name.startsWith("pg_catalog.") ? name.slice("pg_catalog.".length) : name;
  const called = tokens[at + 1]?.text === "(" && tokens[at + 2]?.text === ")";
  if (!called || !Object.hasOwn(FUNCTIONS, plain)) return undefined;
  return { item: FUNCTIONS[plain], next: at + 3 };
}

function literal(value: string | number): SelectItem {
  const type = typeof value === "string" ? "text" : "int4";
  return { column: { name: "?column?", type }, value: () => value };
}

/**
 * A driver's look for types: columns of `pg_type`, which is empty here. postgres.js asks at every connection, to learn of
 * array types, and an error would end its program.
 */
function parseTypeQuery(tokens: readonly Token[]): SessionCommand | undefined {
  const columns: Column[] = [];
  let at = 1;
  for (;; at += 2) {
    if (tokens[at]?.kind !== "word") return undefined;
    const name = tokens[at].text.toLowerCase();
    columns.push({ name: name.slice(name.lastIndexOf(".") + 1), type: "int4" });
    if (tokens[at + 1]?.text !== ",") break;
  }
  if (tokens[at + 1]?.text.toLowerCase() !== "from") return undefined;
  const table = tokens[at + 2]?.text.toLowerCase() ?? "";
  if (table !== "pg_catalog.pg_type" && table !== "pg_type") return undefined;
  return { kind: "no_types", columns };
}

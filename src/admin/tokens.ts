/**
 * Cuts the text of a Query into statements and those into tokens, by PostgreSQL's rules (manual, "Lexical Structure"):
 * comments nest, quotes double. One thing is wider: an unquoted word may hold `-`, `.` and `$`, so that the names of
 * databases need fewer quotes, as admin consoles have always had it.
 */

import { Refusal } from "./refusal.ts";

/** One token; `text` is without quotes. Words keep their case. */
export interface Token {
  readonly kind: "word" | "quoted" | "string" | "symbol";
  readonly text: string;
  /** Where it stands in the whole text. */
  readonly start: number;
  readonly end: number;
}

/** One statement: its tokens (at least one), and its text for what is taken verbatim. */
export interface StatementText {
  readonly tokens: readonly Token[];
  /** The text from the start of token `index` to the end of the statement, comments and all. */
  from(index: number): string;
}

const SPACE = /[ \t\n\r\f\v]/;
const WORD_START = /[A-Za-z0-9_\u0080-\uffff]/;
const WORD = /[A-Za-z0-9_$.\u0080-\uffff]/;

/** The statements of `text`; empty ones are left out. */
export function splitStatements(text: string): StatementText[] {
  const statements: StatementText[] = [];
  let tokens: Token[] = [];
  const close = () => {
    if (tokens.length > 0) statements.push(statement(text, tokens));
    tokens = [];
  };
  let at = 0;
  while ((at = skipBlank(text, at)) < text.length) {
    if (text[at] === ";") {
      close();
      at++;
      continue;
    }
    const token = readToken(text, at);
    tokens.push(token);
    at = token.end;
  }
  close();
  return statements;
}

function statement(text: string, tokens: readonly Token[]): StatementText {
  const end = tokens[tokens.length - 1].end;
  return {
    tokens,
    from: (index) => index < tokens.length ? text.slice(tokens[index].start, end) : "",
  };
}

function readToken(text: string, start: number): Token {
  const first = text[start];
  if (first === '"') return readQuoted(text, start, "quoted");
  if (first === "'") return readQuoted(text, start, "string");
  if (!WORD_START.test(first)) {
    return { kind: "symbol", text: first, start, end: start + 1 };
  }
  let end = start + 1;
  while (end < text.length && continuesWord(text, end)) end++;
  return { kind: "word", text: text.slice(start, end), start, end };
}

function continuesWord(text: string, at: number): boolean {
  // Two dashes begin a comment even inside a word.
  if (text[at] === "-") return text[at + 1] !== "-";
  return WORD.test(text[at]);
}

function readQuoted(text: string, start: number, kind: "quoted" | "string"): Token {
  const quote = text[start];
  let value = "";
  let at = start + 1;
  for (;;) {
    const stop = text.indexOf(quote, at);
    if (stop < 0) {
      const what = kind === "quoted" ? "quoted identifier" : "quoted string";
      throw new Refusal("42601", `unterminated ${what}`);
    }
    value += text.slice(at, stop);
    if (text[stop + 1] !== quote) return { kind, text: value, start, end: stop + 1 };
    value += quote;
    at = stop + 2;
  }
}

function skipBlank(text: string, start: number): number {
  let at = start;
  for (;;) {
    while (at < text.length && SPACE.test(text[at])) at++;
    if (text.startsWith("--", at)) {
      const stop = text.slice(at).search(/[\r\n]/);
      at = stop < 0 ? text.length : at + stop;
    } else if (text.startsWith("/*", at)) at = skipComment(text, at);
    else return at;
  }
}

function skipComment(text: string, start: number): number {
  let depth = 1;
  let at = start + 2;
  while (depth > 0) {
    if (at >= text.length) throw new Refusal("42601", "unterminated /* comment");
    if (text.startsWith("/*", at)) {
      depth++;
      at += 2;
    } else if (text.startsWith("*/", at)) {
      depth--;
      at += 2;
    } else at++;
  }
  return at;
}

/**
 * Finds the line of every key of a TOML text, which the parsing library does not tell. The text has been parsed before,
 * so this scanner only has to follow correct TOML: table headers, dotted keys, strings, arrays and inline tables.
 */

import { keyPath } from "./source.ts";

/** Key path → line, for every key, table and list item of a text that is known to be valid TOML. */
export function locateTomlKeys(text: string): Map<string, number> {
  const scanner = new Scanner(text);
  scanner.document();
  return scanner.lines;
}

class Scanner {
  readonly lines = new Map<string, number>();
  readonly #text: string;
  /** Items so far of each array of tables. */
  readonly #tables = new Map<string, number>();
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  document(): void {
    let table = "";
    for (;;) {
      this.#skipBlank();
      const char = this.#text[this.#at];
      if (char === undefined) return;
      if (char === "[") table = this.#header();
      else this.#pair(table);
    }
  }

  #mark(path: string): void {
    if (!this.lines.has(path)) this.lines.set(path, this.#line);
  }

  #step(): void {
    if (this.#text[this.#at] === "\n") this.#line++;
    this.#at++;
  }

  #skipBlank(): void {
    for (;;) {
      const char = this.#text[this.#at];
      if (char === "#") this.#skipLine();
      else if (char === " " || char === "\t" || char === "\r" || char === "\n") this.#step();
      else return;
    }
  }

  #skipLine(): void {
    while (this.#at < this.#text.length && this.#text[this.#at] !== "\n") this.#at++;
  }

  #header(): string {
    const array = this.#text[this.#at + 1] === "[";
    this.#at += array ? 2 : 1;
    const keys = this.#keys();
    let path = "";
    keys.forEach((key, index) => {
      path = keyPath(path, key);
      const last = index === keys.length - 1;
      if (last && array) {
        const count = this.#tables.get(path) ?? 0;
        this.#tables.set(path, count + 1);
        this.#mark(path);
        path += `[${count}]`;
      } else {
        const count = this.#tables.get(path);
        if (count !== undefined) path += `[${count - 1}]`;
      }
      this.#mark(path);
    });
    this.#skipLine();
    return path;
  }

  /** `key = value`, or one entry of an inline table. */
  #pair(table: string): void {
    let path = table;
    for (const key of this.#keys()) {
      path = keyPath(path, key);
      this.#mark(path);
    }
    this.#at++; // the equals sign
    this.#value(path);
  }

  /** A dotted key, up to the `=` or `]` behind it. */
  #keys(): string[] {
    const keys: string[] = [];
    for (;;) {
      this.#skipBlank();
      const char = this.#text[this.#at];
      if (char === undefined || char === "=" || char === "]") return keys;
      if (char === ".") {
        this.#at++;
      } else if (char === '"' || char === "'") {
        keys.push(this.#string());
      } else {
        const start = this.#at;
        while (/[A-Za-z0-9_-]/.test(this.#text[this.#at] ?? "")) this.#at++;
        if (this.#at === start) this.#at++;
        else keys.push(this.#text.slice(start, this.#at));
      }
    }
  }

  #value(path: string): void {
    this.#skipBlank();
    const char = this.#text[this.#at];
    if (char === '"' || char === "'") this.#string();
    else if (char === "[") this.#array(path);
    else if (char === "{") this.#inlineTable(path);
    else while (/[^,\]}#\s]/.test(this.#text[this.#at] ?? " ")) this.#at++;
  }

  #array(path: string): void {
    this.#at++;
    for (let index = 0;;) {
      this.#skipBlank();
      const char = this.#text[this.#at];
      if (char === undefined) return;
      if (char === "]" || char === ",") {
        this.#at++;
        if (char === "]") return;
        continue;
      }
      const item = `${path}[${index++}]`;
      this.#mark(item);
      this.#value(item);
    }
  }

  #inlineTable(path: string): void {
    this.#at++;
    for (;;) {
      this.#skipBlank();
      const char = this.#text[this.#at];
      if (char === undefined) return;
      if (char === "}" || char === ",") {
        this.#at++;
        if (char === "}") return;
        continue;
      }
      this.#pair(path);
    }
  }

  /** Passes over a string of any of the four kinds; its text matters for keys only. */
  #string(): string {
    const quote = this.#text[this.#at] as string;
    const long = this.#text.startsWith(quote.repeat(3), this.#at);
    const end = long ? quote.repeat(3) : quote;
    this.#at += end.length;
    const start = this.#at;
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at)) {
      if (quote === '"' && this.#text[this.#at] === "\\") this.#step();
      this.#step();
    }
    const raw = this.#text.slice(start, this.#at);
    this.#at += end.length;
    // A long string may end in four or five quotes: the first ones belong to it.
    while (long && this.#text[this.#at] === quote) this.#at++;
    return quote === '"' && !long ? unescape(raw) : raw;
  }
}

/** Basic-string escapes as far as keys use them; an odd one only costs a line number. */
function unescape(raw: string): string {
  return raw.replace(/\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)/g, (_, escape: string) => {
    if (escape.length > 1) {
      const point = parseInt(escape.slice(1), 16);
      return point > 0x10ffff ? "" : String.fromCodePoint(point);
    }
    const plain: Record<string, string> = {
      n: "\n",
      t: "\t",
      r: "\r",
      b: "\b",
      f: "\f",
      e: "\x1b",
    };
    return plain[escape] ?? escape;
  });
}

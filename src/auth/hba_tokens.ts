/**
 * The lexical half of pg_hba: text to lines of fields of tokens, with continuation lines, comments, quotes, comma lists,
 * `@file` lists and `include` records. Follows PostgreSQL's tokenizer to the letter where a file could mean something
 * else otherwise; what PostgreSQL passes over in silence (an open quote, an empty list file) is a fault here. Files come
 * through a callback. Used by `hba_file.ts`.
 */

/** One word of a field. `quoted`: it began with a quote, so it is no keyword and no file reference. */
export interface HbaToken {
  text: string;
  quoted: boolean;
}

/** One record, its includes resolved. No field is empty. */
export interface HbaLine {
  source: string;
  line: number;
  fields: HbaToken[][];
}

/** Something wrong in a line: what it is, and what would be right. */
export interface HbaFault {
  source: string;
  line: number;
  message: string;
  hint: string;
}

/** Where included files come from. */
export interface HbaFiles {
  /** The text of a file; `undefined`, or an error whose code is ENOENT, if there is none. */
  readFile(path: string): string | undefined;
  /** The names in a directory, for `include_dir`. */
  listDirectory?(path: string): string[];
}

/** PostgreSQL's CONF_FILE_MAX_DEPTH. */
const MAX_DEPTH = 10;
/** Files that include each other side by side multiply at each level. */
const MAX_FILES = 1000;

interface Place {
  source: string;
  line: number;
}

/** Cuts a pg_hba text into records; faults are appended to `faults`. */
export function tokenizeHba(
  text: string,
  source: string,
  files: HbaFiles,
  faults: HbaFault[],
): HbaLine[] {
  return new Tokenizer(files, faults).readText(text, source, [source]);
}

class Tokenizer {
  readonly #files: HbaFiles;
  readonly #faults: HbaFault[];
  #opened = 0;

  constructor(files: HbaFiles, faults: HbaFault[]) {
    this.#files = files;
    this.#faults = faults;
  }

  /** @param open the files that are being read, from the outermost to this one */
  readText(text: string, source: string, open: readonly string[]): HbaLine[] {
    const lines: HbaLine[] = [];
    for (const logical of joinLines(text)) {
      const place = { source, line: logical.line };
      const { fields, closed } = splitFields(logical.text);
      if (!closed) {
        this.#fault(place, "a quoted text is not closed", 'add the closing "');
        continue;
      }
      if (fields.length === 0) continue;
      const directive = fields[0][0].text;
      if (/^include(?:_if_exists|_dir)?$/.test(directive)) {
        lines.push(...this.#include(directive, fields, place, open));
        continue;
      }
      const expanded = fields.map((field) => this.#expandField(field, place, open));
      if (expanded.every((field) => field !== undefined)) {
        lines.push({ ...place, fields: expanded });
      }
    }
    return lines;
  }

  #include(
    directive: string,
    fields: HbaToken[][],
    place: Place,
    open: readonly string[],
  ): HbaLine[] {
    if (fields.length !== 2 || fields[0].length !== 1 || fields[1].length !== 1) {
      const what = directive === "include_dir" ? "directory" : "file";
      this.#fault(
        place,
        `"${directive}" takes the name of one ${what}`,
        `write: ${directive} "${what}"`,
      );
      return [];
    }
    const path = resolvePath(fields[1][0].text, place.source);
    if (directive !== "include_dir") {
      return this.#readLines(
        path,
        place,
        open,
        directive === "include_if_exists" ? "skip" : "fault",
      );
    }
    const names = this.#list(path, place);
    return names.flatMap((name) => this.#readLines(`${path}/${name}`, place, open, "fault"));
  }

  #expandField(
    field: HbaToken[],
    place: Place,
    open: readonly string[],
  ): HbaToken[] | undefined {
    const tokens: HbaToken[] = [];
    for (const token of field) {
      if (token.quoted || token.text.length < 2 || !token.text.startsWith("@")) {
        tokens.push(token);
        continue;
      }
      const path = resolvePath(token.text.slice(1), place.source);
      const before = this.#faults.length;
      const listed = this.#readLines(path, place, open, "fault").flatMap((line) => line.fields);
      if (this.#faults.length > before) return undefined;
      if (listed.length === 0) {
        // PostgreSQL would drop the column, and take the next one in its place.
        this.#fault(place, `"${path}" holds no name`, "write at least one name into it");
        return undefined;
      }
      tokens.push(...listed.flat());
    }
    return tokens;
  }

  #readLines(
    path: string,
    place: Place,
    open: readonly string[],
    missing: "skip" | "fault",
  ): HbaLine[] {
    const attempt = `cannot include "${path}"`;
    if (open.includes(path)) {
      this.#fault(place, `${attempt}: it includes itself`, "remove one of the includes");
      return [];
    }
    if (open.length > MAX_DEPTH) {
      const hint = "bring the rules into fewer files";
      this.#fault(place, `${attempt}: files are nested more than ${MAX_DEPTH} deep`, hint);
      return [];
    }
    this.#opened++;
    if (this.#opened > MAX_FILES) {
      // Said once: the files that follow would all repeat it.
      if (this.#opened === MAX_FILES + 1) {
        const hint = "bring the rules into fewer files";
        this.#fault(place, `${attempt}: more than ${MAX_FILES} files`, hint);
      }
      return [];
    }
    const text = this.#read(path, place, missing);
    return text === undefined ? [] : this.readText(text, path, [...open, path]);
  }

  #read(path: string, place: Place, missing: "skip" | "fault"): string | undefined {
    let text: string | undefined;
    try {
      text = this.#files.readFile(path);
    } catch (error) {
      if (!isNotFound(error)) {
        this.#fault(place, `cannot include "${path}": ${reasonOf(error)}`, "make it readable");
        return undefined;
      }
    }
    if (text === undefined && missing === "fault") {
      const hint =
        "correct the name (it is relative to the including file), or use include_if_exists";
      this.#fault(place, `cannot include "${path}": no such file`, hint);
    }
    return text;
  }

  #list(path: string, place: Place): string[] {
    if (this.#files.listDirectory === undefined) {
      this.#fault(place, '"include_dir" is not supported here', "include each file by its name");
      return [];
    }
    try {
      // Byte order, as PostgreSQL's; names are ASCII in practice.
      return this.#files.listDirectory(path)
        .filter((name) => name.endsWith(".conf") && !name.startsWith("."))
        .sort((a, b) => a < b ? -1 : a > b ? 1 : 0);
    } catch (error) {
      const reason = isNotFound(error) ? "no such directory" : reasonOf(error);
      const hint = "correct the name (it is relative to the including file)";
      this.#fault(place, `cannot include "${path}": ${reason}`, hint);
      return [];
    }
  }

  #fault(place: Place, message: string, hint: string): void {
    this.#faults.push({ ...place, message, hint });
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === "ENOENT";
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : "it cannot be read";
}

function resolvePath(path: string, source: string): string {
  if (path.startsWith("/")) return path;
  return source.slice(0, source.lastIndexOf("/") + 1) + path;
}

// A backslash at the end of a line continues it, even inside a quote or a comment.
function joinLines(text: string): { line: number; text: string }[] {
  const joined: { line: number; text: string }[] = [];
  let start = 1;
  let pending = "";
  const physical = text.split("\n");
  for (const [i, raw] of physical.entries()) {
    const part = raw.replace(/\r+$/, "");
    const continued = part.endsWith("\\");
    pending += continued ? part.slice(0, -1) : part;
    if (continued && i < physical.length - 1) continue;
    joined.push({ line: start, text: pending });
    pending = "";
    start = i + 2;
  }
  return joined;
}

/** Cuts one line into fields; `closed` is false if a quote is left open. */
function splitFields(text: string): { fields: HbaToken[][]; closed: boolean } {
  const fields: HbaToken[][] = [];
  let at = 0;
  let listGoesOn = false;
  for (;;) {
    while (at < text.length && (isBlank(text[at]) || text[at] === ",")) at++;
    if (at >= text.length || text[at] === "#") return { fields, closed: true };
    const token = readToken(text, at);
    if (!token.closed) return { fields, closed: false };
    const entry = { text: token.text, quoted: token.quoted };
    if (listGoesOn) fields[fields.length - 1].push(entry);
    else fields.push([entry]);
    at = token.end;
    // Only a comma right behind the word makes a list: `a, b` is one field, `a ,b` is two.
    listGoesOn = text[at] === ",";
  }
}

function readToken(
  text: string,
  start: number,
): { text: string; quoted: boolean; end: number; closed: boolean } {
  let word = "";
  let quoted = false;
  let inQuote = false;
  let at = start;
  for (; at < text.length; at++) {
    const character = text[at];
    if (!inQuote && (isBlank(character) || character === "," || character === "#")) break;
    if (character !== '"') {
      word += character;
    } else if (inQuote && text[at + 1] === '"') {
      word += character;
      at++;
    } else {
      inQuote = !inQuote;
      if (word === "") quoted = true;
    }
  }
  return { text: word, quoted, end: at, closed: !inQuote };
}

function isBlank(character: string): boolean {
  return character === " " || character === "\t" || character === "\r";
}

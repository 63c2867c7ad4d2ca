import assert from "node:assert/strict";
import * as fc from "fast-check";
import { CONFORMING, ESCAPING, Scanner, Token } from "./scanner.ts";
import { isWord, nameTextOf } from "./words.ts";

const encoder = new TextEncoder();
const NAMES = Object.keys(Token);

type Read = [kind: string, text: string];

/** Each byte a character. */
function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function scan(text: string, conforming = true): Read[] {
  const scanner = new Scanner();
  // The text does not begin where its bytes do, and ends before they do.
  const bytes = latin1(`'"${text}\0'"`);
  scanner.begin(bytes, 2, bytes.length, conforming);
  const tokens: Read[] = [];
  for (;;) {
    const kind = scanner.next();
    if (kind === Token.End) return tokens;
    const { start, end } = scanner;
    tokens.push([NAMES[kind], String.fromCharCode(...bytes.subarray(start, end))]);
    if (kind === Token.Unterminated) return tokens;
  }
}

/** The same by patterns, from PostgreSQL's `scan.l`, the longest that fits; slow, and sure to be so. */
function reference(text: string, conforming = true): Read[] {
  const start = "[A-Za-z\\x80-\\xff_]";
  const rest = "[A-Za-z\\x80-\\xff_0-9$]";
  const more =
    "(?:[ \\t\\v\\f]|--[^\\n\\r]*)*[\\n\\r](?:[ \\t\\v\\f\\n\\r]|--[^\\n\\r]*[\\n\\r])*'";
  const literal = (inside: string) => `'${inside}*'(?:${more}${inside}*')*`;
  const doubled = "(?:[^']|'')";
  const escaped = "(?:[^'\\\\]|''|\\\\[^])";
  const ends = `(?!'|${more})`;
  const plain = literal(conforming ? doubled : escaped);
  const kinds: [string, string][] = [
    ["String", `[nN]?${plain}${ends}`],
    ["EscapeString", `[eE]${literal(escaped)}${ends}`],
    ["UnicodeString", `[uU]&${literal(doubled)}${ends}`],
    ["BitString", `[bBxX]${literal("[^']")}(?!${more})`],
    ["Quoted", `"(?:[^"]|"")*"(?!")`],
    ["UnicodeQuoted", `[uU]&"(?:[^"]|"")*"(?!")`],
    ["DollarString", `\\$((?:${start}[A-Za-z\\x80-\\xff_0-9]*)?)\\$[^]*?\\$\\1\\$`],
    [
      "Unterminated",
      `(?:(?:[nNeEbBxX]|[uU]&)?'|(?:[uU]&)?"|\\$(?:${start}[A-Za-z\\x80-\\xff_0-9]*)?\\$)[^]*`,
    ],
    ["Parameter", "\\$[0-9]+"],
    ["Number", "(?:[0-9]|\\.[0-9])[0-9.]*(?:[eE][-+]?[0-9]+)?"],
    ["Word", `${start}${rest}*`],
    ["Semicolon", ";"],
    ["Symbol", "[^]"],
  ];
  const tokens: Read[] = [];
  let at = 0;
  for (;;) {
    const blank = /^(?:[ \t\n\r\v\f]|--[^\n\r]*)+/.exec(text.slice(at));
    if (blank !== null) {
      at += blank[0].length;
      continue;
    }
    if (at >= text.length) return tokens;
    if (text.startsWith("/*", at)) {
      let depth = 0;
      let i = at;
      do {
        const two = text.slice(i, i + 2);
        if (two === "/*") depth++;
        if (two === "*/") depth--;
        i += two === "/*" || two === "*/" ? 2 : 1;
      } while (depth > 0 && i < text.length);
      if (depth > 0) return [...tokens, ["Unterminated", text.slice(at)]];
      at = i;
      continue;
    }
    for (const [kind, pattern] of kinds) {
      const match = new RegExp(`^(?:${pattern})`).exec(text.slice(at));
      if (match === null) continue;
      tokens.push([kind, match[0]]);
      at += match[0].length;
      if (kind === "Unterminated") return tokens;
      break;
    }
  }
}

const PIECES = [
  ..."' '' \" \"\" \\ \\' \\\\ ; $ $$ $a$ $a $1 $é$ 1 2.5 1e5 .5 . ( ) , :: = @ - -- /* */ / * ! +"
    .split(" "),
  ..."a E e N n B b X x U u & U& u&' U&\" E' SET set_config é \u0095 _ $b$c".split(" "),
  " ",
  "\t",
  "\n",
  "\r",
  "\f",
];

Deno.test("scanner: the tokens of any text are those of PostgreSQL's patterns", () => {
  const soup = fc.array(fc.constantFrom(...PIECES), { maxLength: 16 })
    .map((pieces) => pieces.join(""));
  fc.assert(
    fc.property(soup, fc.boolean(), (text, conforming) => {
      assert.deepEqual(scan(text, conforming), reference(text, conforming));
    }),
    { numRuns: 5_000 },
  );
});

Deno.test("scanner: literals of every kind", () => {
  const cases: [text: string, tokens: string][] = [
    ["'a''b'", "String"],
    ["'a\\'", "String"],
    ["E'a\\'' e'\\\\'", "EscapeString EscapeString"],
    [
      "N'a' B'01' x'1F' U&'\\0061' u&'a' UESCAPE '!'",
      "String BitString BitString UnicodeString UnicodeString Word String",
    ],
    ["'a'\n'b' 'c' 'd'", "String String String"],
    ["E'a' -- c\n  -- d\n '\\''", "EscapeString"],
    ["'a' /* c */\n'b'", "String String"],
    ["'a' -- c 'b'", "String"],
    ["B'0''1'", "BitString String"],
    ["$$a$b$$ $é1$'$é$é1$ $1$2", "DollarString DollarString Parameter Parameter"],
    ["a$b$c $ab", "Word Symbol Word"],
    ['"a""b" U&"a" "', "Quoted UnicodeQuoted Unterminated"],
    ["/* /* */ ' */ a -- '\nb", "Word Word"],
    ["1.5e-10e'a'", "Number EscapeString"],
    ["a;b", "Word Semicolon Word"],
    ["/* /* */", "Unterminated"],
    ["$a$ $b$", "Unterminated"],
    ["a -", "Word Symbol"],
  ];
  for (const [text, tokens] of cases) {
    assert.equal(scan(text).map(([kind]) => kind).join(" "), tokens, text);
  }
});

Deno.test("scanner: tells where a text depends on settings", () => {
  const flags = (text: string, conforming = true) => {
    const scanner = new Scanner();
    const bytes = latin1(text);
    scanner.begin(bytes, 0, bytes.length, conforming);
    while (scanner.next() !== Token.End && scanner.kind !== Token.Unterminated);
    return (scanner.ambiguous ? "a" : "") + (scanner.doubtful ? "d" : "");
  };
  const cases: [text: string, flags: string, otherwise?: string][] = [
    ["'a\\b' 'c\\\\' \"\\\"", "", ""],
    ["'a\\' b'", "a", ""],
    ["'a\\\\\\'", "a", ""],
    ["N'a\\'", "a", ""],
    // SJIS: 0x95 0x5c is one character.
    ["'\x95\\\\'", "a", "d"],
    ["E'\x95\\n'", "d", "d"],
    ["E'\\\x95\\n'", "d", "d"],
    ["E'\x95n' '\x95' \x95a \x95 = \x95, \"\x95\\\"", "", ""],
    ["\x95= 1", "d", "d"],
    ["$\x95|$", "d", "d"],
    ["$$\x95|$$ /* \x95| */ -- \x95|", "", ""],
  ];
  for (const [text, on, off = on] of cases) {
    assert.deepEqual([flags(text), flags(text, ESCAPING)], [on, off], text);
  }
});

Deno.test("scanner: words and names", () => {
  const read = (text: string) => {
    const scanner = new Scanner();
    const bytes = encoder.encode(text);
    scanner.begin(bytes, 0, bytes.length, CONFORMING);
    scanner.next();
    return scanner;
  };
  for (const text of ["SeT x", "set", "SET'a'"]) assert.ok(isWord(read(text), "set"), text);
  for (const text of ["SETx", "se", '"set"', "s\x05t", ""]) {
    assert.ok(!isWord(read(text), "set"), text);
  }
  assert.equal(nameTextOf(read("MiXeD$1 x")), "mixed$1");
  assert.equal(nameTextOf(read("ÜmL")), "Üml");
  assert.equal(nameTextOf(read('"A""b"" "')), 'A"b" ');
  assert.equal(nameTextOf(read(`"${"ü".repeat(40)}"`)), "ü".repeat(31));
  assert.equal(nameTextOf(read(`x${"ü".repeat(40)}`)), `x${"ü".repeat(31)}`);
  for (const text of ['""', 'U&"a"', "'a'", "1", "$1", ";"]) {
    assert.equal(nameTextOf(read(text)), undefined, text);
  }
});

Deno.test("scanner: no text takes more than a few looks at each byte", () => {
  const scanner = new Scanner();
  const pieces = [
    ..."a|;/*|/*|*/|/**/|'|''|'a'|\\'|E'\\|$a$|$a|$|\"|\"\"|--|--\n|-- a\n'|'a'--\n|/|*|;|1|.|1e|e'"
      .split("|"),
    "UNLISTEN a;/**/",
    "set_config(",
    "default ",
    'U&"',
    "'a'\n",
    "$a$b",
    "\n",
    " ",
    "é",
  ];
  const before = ["", "LISTEN a", "$a$", `$${"a".repeat(1000)}$ `, "'", "E'", "/*", "'a' "];
  for (const piece of pieces) {
    for (const start of before) {
      const bytes = encoder.encode(start + piece.repeat(Math.ceil(20_000 / piece.length)));
      for (const conforming of [true, false]) {
        const worked = scanner.work;
        scanner.begin(bytes, 0, bytes.length, conforming);
        while (scanner.next() !== Token.End && scanner.kind !== Token.Unterminated);
        const work = (scanner.work - worked) / bytes.length;
        assert.ok(work < 5, `${work} looks at a byte of ${start}${piece}…`);
      }
    }
  }
});

Deno.test("scanner: 16 MB of the worst", () => {
  const scanner = new Scanner();
  for (const piece of [";/*", "/*", "'", "$a$", '"', "a", "--", "UNLISTEN a;/**/", "'a'\n"]) {
    const bytes = encoder.encode(piece.repeat(Math.ceil((16 << 20) / piece.length)));
    const worked = scanner.work;
    scanner.begin(bytes, 0, bytes.length, CONFORMING);
    while (scanner.next() !== Token.End && scanner.kind !== Token.Unterminated);
    assert.ok(scanner.work - worked < 5 * bytes.length, piece);
  }
});

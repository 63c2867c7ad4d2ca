// hot path
/**
 * The lexical structure of SQL as PostgreSQL has it (manual, "Lexical Structure"; `scan.l`), read from bytes in one pass:
 * comments, literals of every kind, quoted names, dollar quotes, parameters, words. It knows no grammar. Its users ask
 * for token after token and look at `start`, `end` and the flags; nothing is allocated. No byte is looked at more than a
 * few times, whatever the text: `work` counts them, for tests.
 *
 * What a text means depends on settings that need not be known here. So the scanner tells where it depends on them:
 * `ambiguous` (a plain literal that ends elsewhere without `standard_conforming_strings`: scan again the other way) and
 * `doubtful` (a byte that may be the second half of a character in SJIS, BIG5, GBK, UHC, JOHAB or GB18030, where it
 * would change what follows: nothing is certain).
 */

/** Kinds of tokens. */
export const Token = {
  End: 0,
  Word: 1,
  /** `"…"` */
  Quoted: 2,
  /** `U&"…"`; a UESCAPE that follows is a word. */
  UnicodeQuoted: 3,
  /** `'…'` or `N'…'` */
  String: 4,
  /** `E'…'` */
  EscapeString: 5,
  /** `U&'…'` */
  UnicodeString: 6,
  /** `B'…'` or `X'…'` */
  BitString: 7,
  /** `$tag$…$tag$` */
  DollarString: 8,
  /** `$1` */
  Parameter: 9,
  Number: 10,
  /** Any other byte: operators come in pieces. */
  Symbol: 11,
  Semicolon: 12,
  /** A comment, literal or name that does not end: PostgreSQL refuses the whole text. */
  Unterminated: 13,
} as const;

const BLANK = 1;
const STARTS = 2;
const CONTINUES = 4;
const DIGIT = 8;

/** What a byte may be: the four bits above. */
const CLASS = new Uint8Array(256);
for (const byte of [0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d]) CLASS[byte] = BLANK;
for (let byte = 0x30; byte <= 0x39; byte++) CLASS[byte] = DIGIT | CONTINUES;
for (let letter = 0x61; letter <= 0x7a; letter++) {
  CLASS[letter] = CLASS[letter - 0x20] = STARTS | CONTINUES;
}
for (let byte = 0x80; byte <= 0xff; byte++) CLASS[byte] = STARTS | CONTINUES;
CLASS[0x5f] = STARTS | CONTINUES;
CLASS[0x24] = CONTINUES;

const LINE_FEED = 0x0a;
const RETURN = 0x0d;
const DOUBLE_QUOTE = 0x22;
const DOLLAR = 0x24;
const AMPERSAND = 0x26;
const QUOTE = 0x27;
const STAR = 0x2a;
const DASH = 0x2d;
const DOT = 0x2e;
const SLASH = 0x2f;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;
const NOTHING = new Uint8Array(0);

/** Whether a byte is a blank of SQL's. */
export function isBlank(byte: number): boolean {
  return (CLASS[byte] & BLANK) !== 0;
}

/** Whether a byte goes on with an unquoted name. */
export function continuesWord(byte: number): boolean {
  return (CLASS[byte] & CONTINUES) !== 0;
}

/** Values of `standard_conforming_strings`: whether a backslash in a plain literal is one, or escapes. */
export const CONFORMING = true;
export const ESCAPING = false;

/** Reads a text, token by token. */
export class Scanner {
  bytes: Uint8Array = NOTHING;
  /** The token. */
  kind: number = Token.End;
  start = 0;
  end = 0;
  /** What is between its quotes. */
  contentStart = 0;
  contentEnd = 0;
  /** That is its value: nothing in it is doubled, escaped or continued. */
  plain = true;
  /** A plain literal before here would end elsewhere without `standard_conforming_strings`. */
  ambiguous = false;
  /** In some encodings a token before here would be another one. */
  doubtful = false;
  /** Bytes looked at since the scanner was made. */
  work = 0;
  #at = 0;
  #stop = 0;
  #conforming = true;

  /** Begins with `bytes[start..end)`, or what of it is before a terminator. */
  begin(bytes: Uint8Array, start: number, end: number, conforming: boolean): void {
    this.bytes = bytes;
    this.#at = start;
    const zero = bytes.indexOf(0, start);
    this.#stop = zero < 0 || zero > end ? end : zero;
    this.#conforming = conforming;
    this.ambiguous = false;
    this.doubtful = false;
    this.kind = Token.End;
  }

  /** Bytes from where it stands to the end. */
  get length(): number {
    return this.#stop - this.#at;
  }

  /** Goes on to the next token; its kind. */
  next(): number {
    const { bytes } = this;
    const stop = this.#stop;
    const start = this.#skip();
    if (start < 0) return this.#unterminated(this.#at);
    this.start = start;
    if (start >= stop) return this.#take(Token.End, stop);
    const byte = bytes[start];
    const sort = CLASS[byte];
    if ((sort & STARTS) !== 0) return this.#word(start);
    if ((sort & DIGIT) !== 0) return this.#number(start);
    switch (byte) {
      case QUOTE:
        return this.#literal(Token.String, start);
      case DOUBLE_QUOTE:
        return this.#quoted(Token.Quoted, start);
      case DOLLAR:
        return this.#dollar(start);
      case SEMICOLON:
        return this.#take(Token.Semicolon, start + 1);
      case DOT:
        if ((CLASS[bytes[start + 1]] & DIGIT) !== 0) return this.#number(start);
        return this.#take(Token.Symbol, start + 1);
      default:
        return this.#take(Token.Symbol, start + 1);
    }
  }

  /** Whether the token is this symbol. */
  isSymbol(byte: number): boolean {
    return this.kind === Token.Symbol && this.bytes[this.start] === byte;
  }

  #take(kind: number, end: number): number {
    this.work += end - this.start + 1;
    this.#at = end;
    this.end = end;
    return this.kind = kind;
  }

  #unterminated(start: number): number {
    this.start = start;
    return this.#take(Token.Unterminated, this.#stop);
  }

  /** Past blanks and comments; −1: the comment at `#at` does not end. */
  #skip(): number {
    const { bytes } = this;
    const stop = this.#stop;
    const from = this.#at;
    let at = from;
    while (at < stop) {
      const byte = bytes[at];
      if ((CLASS[byte] & BLANK) !== 0) at++;
      else if (byte === DASH && bytes[at + 1] === DASH) at = lineEnd(bytes, at + 2, stop);
      else if (byte === SLASH && bytes[at + 1] === STAR && at + 1 < stop) {
        const after = commentEnd(bytes, at, stop);
        if (after < 0) {
          this.#at = at;
          return -1;
        }
        at = after;
      } else break;
    }
    this.work += at - from;
    return at;
  }

  #word(start: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    let at = start + 1;
    while (at < stop && (CLASS[bytes[at]] & CONTINUES) !== 0) at++;
    if (at >= stop) return this.#take(Token.Word, at);
    if (at === start + 1) {
      const letter = bytes[start] | 0x20;
      if (bytes[at] === QUOTE) {
        if (letter === 0x65) return this.#literal(Token.EscapeString, at);
        if (letter === 0x62 || letter === 0x78) return this.#literal(Token.BitString, at);
        if (letter === 0x6e) return this.#literal(Token.String, at);
      } else if (bytes[at] === AMPERSAND && letter === 0x75 && at + 1 < stop) {
        if (bytes[at + 1] === QUOTE) return this.#literal(Token.UnicodeString, at + 1);
        if (bytes[at + 1] === DOUBLE_QUOTE) return this.#quoted(Token.UnicodeQuoted, at + 1);
      }
    }
    // The second halves of characters are 0x30 to 0x7e, as far as they are ASCII.
    if (bytes[at - 1] >= 0x80 && bytes[at] >= 0x30 && bytes[at] < 0x7f) this.doubtful = true;
    return this.#take(Token.Word, at);
  }

  #number(start: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    let at = start + 1;
    while (at < stop && ((CLASS[bytes[at]] & DIGIT) !== 0 || bytes[at] === DOT)) at++;
    if (at < stop && (bytes[at] | 0x20) === 0x65) {
      let digits = at + 1;
      if (bytes[digits] === DASH || bytes[digits] === 0x2b) digits++;
      if (digits < stop && (CLASS[bytes[digits]] & DIGIT) !== 0) {
        at = digits;
        while (at < stop && (CLASS[bytes[at]] & DIGIT) !== 0) at++;
      }
    }
    return this.#take(Token.Number, at);
  }

  /** A literal of any kind but dollar-quoted, with all that continues it; its quote is at `at`. */
  #literal(kind: number, at: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    const escapes = kind === Token.EscapeString || kind === Token.String && !this.#conforming;
    const doubles = kind !== Token.BitString;
    this.plain = true;
    this.contentStart = at + 1;
    at++;
    while (at < stop) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        if (doubles && at + 1 < stop && bytes[at + 1] === QUOTE) {
          this.plain = false;
          at += 2;
          continue;
        }
        this.contentEnd = at;
        const more = this.#continuation(at + 1);
        if (more < 0) return this.#take(kind, at + 1);
        this.plain = false;
        at = more + 1;
      } else if (byte === BACKSLASH) {
        this.plain = false;
        const next = bytes[at + 1];
        if (escapes) {
          if (bytes[at - 1] >= 0x80) this.doubtful = true;
          at += 2;
        } else {
          if (kind === Token.String && (next === QUOTE || bytes[at - 1] >= 0x80)) {
            this.ambiguous = true;
          }
          at += next === BACKSLASH ? 2 : 1;
        }
      } else at++;
    }
    return this.#unterminated(this.start);
  }

  /** The quote that goes on with a literal that has ended before `from`: behind a line break, nothing else between. */
  #continuation(from: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    let broken = false;
    let at = from;
    while (at < stop) {
      const byte = bytes[at];
      if (byte === LINE_FEED || byte === RETURN) broken = true;
      if ((CLASS[byte] & BLANK) !== 0) at++;
      else if (byte === DASH && bytes[at + 1] === DASH) at = lineEnd(bytes, at + 2, stop);
      else break;
    }
    this.work += at - from;
    return broken && at < stop && bytes[at] === QUOTE ? at : -1;
  }

  /** A quoted name whose quote is at `at`. */
  #quoted(kind: number, at: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    this.plain = true;
    this.contentStart = ++at;
    for (; at < stop; at++) {
      if (bytes[at] !== DOUBLE_QUOTE) continue;
      if (at + 1 >= stop || bytes[at + 1] !== DOUBLE_QUOTE) {
        this.contentEnd = at;
        return this.#take(kind, at + 1);
      }
      this.plain = false;
      at++;
    }
    return this.#unterminated(this.start);
  }

  /** A parameter, a dollar-quoted literal, or the sign alone. */
  #dollar(start: number): number {
    const { bytes } = this;
    const stop = this.#stop;
    let at = start + 1;
    if (at < stop && (CLASS[bytes[at]] & DIGIT) !== 0) {
      while (at < stop && (CLASS[bytes[at]] & DIGIT) !== 0) at++;
      return this.#take(Token.Parameter, at);
    }
    if (at < stop && (CLASS[bytes[at]] & STARTS) !== 0) {
      while (at < stop && bytes[at] !== DOLLAR && (CLASS[bytes[at]] & CONTINUES) !== 0) at++;
    }
    if (at >= stop || bytes[at] !== DOLLAR) {
      this.work += at - start;
      return this.#take(Token.Symbol, start + 1);
    }
    const length = at + 1 - start;
    this.plain = true;
    this.contentStart = ++at;
    while (at < stop) {
      if (bytes[at] !== DOLLAR) {
        at++;
        continue;
      }
      // No sign is inside of a tag: what is the same of it need not be looked at again.
      let same = 1;
      while (same < length && at + same < stop && bytes[at + same] === bytes[start + same]) same++;
      this.work += same;
      if (same === length) {
        this.contentEnd = at;
        return this.#take(Token.DollarString, at + length);
      }
      at += same;
    }
    return this.#unterminated(start);
  }
}

function lineEnd(bytes: Uint8Array, at: number, stop: number): number {
  while (at < stop && bytes[at] !== LINE_FEED && bytes[at] !== RETURN) at++;
  return Math.min(at, stop);
}

/** Behind the comment at `at`, with those in it; −1: it does not end. */
function commentEnd(bytes: Uint8Array, at: number, stop: number): number {
  let depth = 0;
  while (at + 1 < stop) {
    const byte = bytes[at];
    if (byte === SLASH && bytes[at + 1] === STAR) {
      depth++;
      at += 2;
    } else if (byte === STAR && bytes[at + 1] === SLASH) {
      at += 2;
      if (--depth === 0) return at;
    } else at++;
  }
  return -1;
}

/** The one scanner that is used wherever a text is read from beginning to end in one go. */
export const scanner: Scanner = new Scanner();

/**
 * Texts of PostgreSQL's as strings that lose nothing: what is no UTF-8 (a database in SQL_ASCII, a name or value in the
 * database's own encoding) is kept byte by byte as U+DC80 to U+DCFF, which no text has, and comes out as it was.
 */

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A byte that is no part of a character. */
const BYTE = 0xdc00;

/** The text of `bytes[start..end)` in UTF-8. */
export function textOfBytes(bytes: Uint8Array, start: number, end: number): string {
  try {
    return decoder.decode(bytes.subarray(start, end));
  } catch {
    return anyText(bytes, start, end);
  }
}

function anyText(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end;) {
    const length = bytes[at] < 0x80 ? 1 : characterLength(bytes, at, end);
    if (length === 0) text += String.fromCharCode(BYTE + bytes[at++]);
    else {
      text += decoder.decode(bytes.subarray(at, at + length));
      at += length;
    }
  }
  return text;
}

/** Bytes of the character there, 0: there is none. */
function characterLength(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at];
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (at + length > end) return 0;
  try {
    decoder.decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}

/** The bytes of a text. */
export function bytesOfText(text: string): Uint8Array<ArrayBuffer> {
  if (!hasBytes(text)) return encoder.encode(text);
  const parts: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (isByte(code)) parts.push(code - BYTE);
    else parts.push(...encoder.encode(character));
  }
  return Uint8Array.from(parts);
}

/** Whether the text has bytes that are no characters. */
export function hasBytes(text: string): boolean {
  for (const character of text) if (isByte(character.codePointAt(0)!)) return true;
  return false;
}

function isByte(code: number): boolean {
  return code >= BYTE + 0x80 && code <= BYTE + 0xff;
}

/** Whether the text is ASCII. */
export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** PostgreSQL's names for encodings whose ASCII is ASCII, and the names that TextDecoder has for them. */
const LABELS: Readonly<Record<string, string>> = {
  SJIS: "shift_jis",
  EUC_JP: "euc-jp",
  GBK: "gbk",
  EUC_CN: "gbk",
  GB18030: "gb18030",
  BIG5: "big5",
  EUC_KR: "euc-kr",
  UHC: "euc-kr",
  KOI8R: "koi8-r",
  KOI8U: "koi8-u",
  LATIN2: "iso-8859-2",
  LATIN3: "iso-8859-3",
  LATIN4: "iso-8859-4",
  ISO_8859_5: "iso-8859-5",
  ISO_8859_6: "iso-8859-6",
  ISO_8859_7: "iso-8859-7",
  ISO_8859_8: "iso-8859-8",
  LATIN6: "iso-8859-10",
  LATIN8: "iso-8859-14",
  LATIN9: "iso-8859-15",
  WIN866: "ibm866",
  WIN874: "windows-874",
  WIN1250: "windows-1250",
  WIN1251: "windows-1251",
  WIN1252: "windows-1252",
  WIN1253: "windows-1253",
  WIN1254: "windows-1254",
  WIN1255: "windows-1255",
  WIN1256: "windows-1256",
  WIN1257: "windows-1257",
  WIN1258: "windows-1258",
};

/** The text of `bytes[start..end)` as a connection with this `client_encoding` is sent it. */
export function receivedText(
  bytes: Uint8Array,
  start: number,
  end: number,
  encoding: string | undefined,
): string {
  const text = textOfBytes(bytes, start, end);
  if (encoding === undefined || encoding === "UTF8" || isAscii(text)) return text;
  if (encoding === "LATIN1") return Array.from(bytes.subarray(start, end), latin1).join("");
  const label = LABELS[encoding];
  return label === undefined ? text : new TextDecoder(label).decode(bytes.subarray(start, end));
}

function latin1(byte: number): string {
  return String.fromCharCode(byte);
}

/** The text as a client with this `client_encoding` is to be sent it; `undefined`: only PostgreSQL knows. */
export function sentText(text: string, encoding: string | undefined): Uint8Array | undefined {
  if (isAscii(text) || encoding === undefined || encoding === "UTF8" || encoding === "SQL_ASCII") {
    return bytesOfText(text);
  }
  if (encoding !== "LATIN1") return undefined;
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff) return undefined;
    bytes[i] = code;
  }
  return bytes;
}

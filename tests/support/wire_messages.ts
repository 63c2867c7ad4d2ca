/**
 * PostgreSQL's messages by hand, for tests: builders of frontend messages and readers of backend messages, written from
 * the manual ("Message Formats") and independent of src/protocol, which is under test.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A message with its type letter; the body is without type and length. */
export interface Message {
  type: string;
  body: Uint8Array;
}

/** Fields of an ErrorResponse or NoticeResponse by their letters. */
export type ErrorFields = Record<string, string>;

/** Several pieces as one. */
export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Big-endian 32-bit integers. */
export function int32(...values: number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, i) => new DataView(bytes.buffer).setInt32(4 * i, value));
  return bytes;
}

/** Big-endian 16-bit integers. */
export function int16(...values: number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2 * values.length);
  values.forEach((value, i) => new DataView(bytes.buffer).setInt16(2 * i, value));
  return bytes;
}

/** Text without a terminator. */
export function text(value: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(value);
}

/** Text with its terminator. */
export function cstring(value: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(value + "\0");
}

/** A typed message of any letter and body. */
export function message(type: string, ...body: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = join(body);
  return join([text(type), int32(content.length + 4), content]);
}

/** A first packet, which has no letter. */
export function packet(code: number, ...body: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = join(body);
  return join([int32(content.length + 8, code), content]);
}

export const SSL_REQUEST = packet(80877103);
export const GSSENC_REQUEST = packet(80877104);

/** CancelRequest. */
export function cancelRequest(pid: number, secret: Uint8Array): Uint8Array<ArrayBuffer> {
  return packet(80877102, int32(pid), secret);
}

/** StartupMessage of protocol 3.`minor`. */
export function startup(
  parameters: Record<string, string>,
  minor: number = 0,
): Uint8Array<ArrayBuffer> {
  const pairs = Object.entries(parameters).flat().map(cstring);
  return packet((3 << 16) | minor, ...pairs, Uint8Array.of(0));
}

/** Query. */
export function query(sql: string): Uint8Array<ArrayBuffer> {
  return message("Q", cstring(sql));
}

/** Parse. */
export function parse(name: string, sql: string, types: number[] = []): Uint8Array<ArrayBuffer> {
  return message("P", cstring(name), cstring(sql), int16(types.length), int32(...types));
}

/** Bind with parameters as text; results as text. */
export function bind(
  portal: string,
  statement: string,
  values: (string | Uint8Array | null)[] = [],
): Uint8Array<ArrayBuffer> {
  const parameters = values.flatMap((value) => {
    if (value === null) return [int32(-1)];
    const bytes = typeof value === "string" ? text(value) : value;
    return [int32(bytes.length), bytes];
  });
  return message(
    "B",
    cstring(portal),
    cstring(statement),
    int16(0, values.length),
    ...parameters,
    int16(0),
  );
}

/** Describe: `S` a statement or `P` a portal. */
export function describe(what: "S" | "P", name: string): Uint8Array<ArrayBuffer> {
  return message("D", text(what), cstring(name));
}

/** Execute, `maxRows` 0: all. */
export function execute(portal: string = "", maxRows: number = 0): Uint8Array<ArrayBuffer> {
  return message("E", cstring(portal), int32(maxRows));
}

/** Close: `S` a statement or `P` a portal. */
export function close(what: "S" | "P", name: string): Uint8Array<ArrayBuffer> {
  return message("C", text(what), cstring(name));
}

/** FunctionCall with arguments and result as text. */
export function functionCall(oid: number, args: string[]): Uint8Array<ArrayBuffer> {
  const values = args.flatMap((arg) => [int32(text(arg).length), text(arg)]);
  return message("F", int32(oid), int16(0, args.length), ...values, int16(0));
}

/** CopyData. */
export function copyData(data: string | Uint8Array): Uint8Array<ArrayBuffer> {
  return message("d", typeof data === "string" ? text(data) : data);
}

export const SYNC = message("S");
export const FLUSH = message("H");
export const COPY_DONE = message("c");
export const TERMINATE = message("X");

/** CopyFail. */
export function copyFail(why: string): Uint8Array<ArrayBuffer> {
  return message("f", cstring(why));
}

/** A statement with parameters by the extended protocol, without its Sync. */
export function extended(sql: string, values: (string | null)[] = []): Uint8Array<ArrayBuffer> {
  return join([parse("", sql), bind("", "", values), describe("P", ""), execute()]);
}

/** The values of a DataRow, as text. */
function rowValues({ body }: Message): (string | null)[] {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const values: (string | null)[] = [];
  let at = 2;
  for (let i = view.getInt16(0); i > 0; i--) {
    const length = view.getInt32(at);
    at += 4;
    if (length < 0) values.push(null);
    else {
      values.push(decoder.decode(body.subarray(at, at + length)));
      at += length;
    }
  }
  return values;
}

/** The fields of an ErrorResponse or NoticeResponse. */
export function errorFields({ body }: Message): ErrorFields {
  const fields: ErrorFields = {};
  for (const field of decoder.decode(body).split("\0")) {
    if (field !== "") fields[field[0]!] = field.slice(1);
  }
  return fields;
}

/** The terminated strings of a body, from `at`: a command tag, name and value of a ParameterStatus. */
export function strings({ body }: Message, at: number = 0): string[] {
  return decoder.decode(body.subarray(at)).split("\0").slice(0, -1);
}

/** Letters of messages in their order, repeated rows told once: `TD*CZ`. */
export function letters(messages: readonly Message[]): string {
  return messages.map(({ type }) => type).join("").replace(/DD+/g, "D*").replace(/dd+/g, "d*");
}

/** SQLSTATEs of the errors among messages. */
export function errorCodes(messages: readonly Message[]): string[] {
  return messages.filter(({ type }) => type === "E").map((each) => errorFields(each).C ?? "");
}

/** Every row among messages. */
export function rowsOf(messages: readonly Message[]): (string | null)[][] {
  return messages.filter(({ type }) => type === "D").map(rowValues);
}

/** The same with the names of its columns; the rows' description comes first. */
export function recordsOf(messages: readonly Message[]): Record<string, string | null>[] {
  const names: string[] = [];
  const { body } = messages[0]!;
  for (let at = 2; at < body.length;) {
    const end = body.indexOf(0, at);
    names.push(decoder.decode(body.subarray(at, end)));
    at = end + 19;
  }
  return rowsOf(messages).map((row) =>
    Object.fromEntries(row.map((value, i) => [names[i], value]))
  );
}

/** Cuts messages off the front of what was received. */
export class MessageReader {
  #bytes = new Uint8Array(1 << 16);
  #from = 0;
  #to = 0;

  /** Takes what was received. */
  push(bytes: Uint8Array): void {
    if (this.#bytes.length - this.#to < bytes.length) {
      const kept = this.#bytes.slice(this.#from, this.#to);
      const needed = kept.length + bytes.length;
      if (needed > this.#bytes.length) this.#bytes = new Uint8Array(needed * 2);
      this.#bytes.set(kept);
      this.#from = 0;
      this.#to = kept.length;
    }
    this.#bytes.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  /** The next whole message. */
  next(): Message | undefined {
    if (this.#to - this.#from < 5) return undefined;
    const length = new DataView(this.#bytes.buffer).getInt32(this.#from + 1);
    const end = this.#from + 1 + length;
    if (length < 4) throw new Error(`message of length ${length}`);
    if (this.#to < end) return undefined;
    const type = String.fromCharCode(this.#bytes[this.#from]!);
    const body = this.#bytes.slice(this.#from + 5, end);
    this.#from = end;
    return { type, body };
  }

  /** One byte that is no message: the answer to SSLRequest. */
  byte(): string | undefined {
    if (this.#from === this.#to) return undefined;
    return String.fromCharCode(this.#bytes[this.#from++]!);
  }

  /** Bytes that make no whole message yet. */
  get left(): number {
    return this.#to - this.#from;
  }
}

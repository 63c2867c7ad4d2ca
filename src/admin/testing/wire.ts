/**
 * Frontend messages written, and backend messages read, for tests: apart from the code under test, by the message
 * formats of PostgreSQL's manual.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** One frontend message. */
export function frontend(type: string, ...fields: (string | number[] | Uint8Array)[]): Uint8Array {
  const parts = fields.map((field) =>
    typeof field === "string" ? encoder.encode(field + "\0") : Uint8Array.from(field)
  );
  const body = concat(...parts);
  const length = body.length + 4;
  return concat(Uint8Array.from([type.charCodeAt(0), ...int32(length)]), body);
}

/** Several pieces as one. */
export function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Big-endian. */
export function int16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

/** Big-endian. */
export function int32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

/** Query. */
export function query(sql: string): Uint8Array {
  return frontend("Q", sql);
}

/** Parse without parameter types. */
export function parse(name: string, sql: string): Uint8Array {
  return frontend("P", name, sql, int16(0));
}

/** Bind without parameters. */
export function bind(portal: string, statement: string, formats: number[] = []): Uint8Array {
  const codes = [...int16(formats.length), ...formats.flatMap(int16)];
  return frontend("B", portal, statement, int16(0), int16(0), codes);
}

/** Describe of a statement (`S`) or a portal (`P`). */
export function describe(kind: "S" | "P", name: string): Uint8Array {
  return frontend("D", [kind.charCodeAt(0)], name);
}

/** Execute. */
export function execute(portal: string, maxRows = 0): Uint8Array {
  return frontend("E", portal, int32(maxRows));
}

/** Close of a statement (`S`) or a portal (`P`). */
export function close(kind: "S" | "P", name: string): Uint8Array {
  return frontend("C", [kind.charCodeAt(0)], name);
}

/** Sync. */
export const sync: Uint8Array = frontend("S");

/** One backend message, read as far as tests care. */
export interface Received {
  type: string;
  body: Uint8Array;
  /** Fields of ErrorResponse and NoticeResponse by their letter. */
  fields: Record<string, string>;
  /** The tag of CommandComplete, the status of ReadyForQuery. */
  text: string;
  columns: { name: string; oid: number; size: number; format: number }[];
  values: (Uint8Array | null)[];
}

/** Reads all messages; throws if the bytes do not end with one. */
export function read(bytes: Uint8Array): Received[] {
  const messages: Received[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.length) {
    const length = view.getInt32(at + 1);
    if (length < 4 || at + 1 + length > bytes.length) throw new Error(`bad length at ${at}`);
    messages.push(
      readOne(String.fromCharCode(bytes[at]), bytes.slice(at + 5, at + 1 + length)),
    );
    at += 1 + length;
  }
  return messages;
}

function readOne(type: string, body: Uint8Array): Received {
  const message: Received = { type, body, fields: {}, text: "", columns: [], values: [] };
  if (type === "E" || type === "N") {
    for (const field of decoder.decode(body).split("\0").filter((part) => part !== "")) {
      message.fields[field[0]] = field.slice(1);
    }
  } else if (type === "C") message.text = decoder.decode(body.slice(0, -1));
  else if (type === "Z") message.text = decoder.decode(body);
  else if (type === "T") message.columns = readColumns(body);
  else if (type === "D") message.values = readValues(body);
  return message;
}

function readColumns(body: Uint8Array): Received["columns"] {
  const view = new DataView(body.buffer);
  const columns: Received["columns"] = [];
  let at = 2;
  for (let count = view.getInt16(0); count > 0; count--) {
    const end = body.indexOf(0, at);
    columns.push({
      name: decoder.decode(body.slice(at, end)),
      oid: view.getInt32(end + 7),
      size: view.getInt16(end + 11),
      format: view.getInt16(end + 17),
    });
    at = end + 19;
  }
  if (at !== body.length) throw new Error("RowDescription of a wrong length");
  return columns;
}

function readValues(body: Uint8Array): Received["values"] {
  const view = new DataView(body.buffer);
  const values: Received["values"] = [];
  let at = 2;
  for (let count = view.getInt16(0); count > 0; count--) {
    const length = view.getInt32(at);
    values.push(length === -1 ? null : body.slice(at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  if (at !== body.length) throw new Error("DataRow of a wrong length");
  return values;
}

/** The values of every DataRow as text. */
export function rowsOf(messages: Received[]): string[][] {
  return messages.filter((message) => message.type === "D").map((message) =>
    message.values.map((value) => value === null ? "NULL" : decoder.decode(value))
  );
}

/** A line a message: its type, with what matters most after it. `D` lines hold the values as text. */
export function summary(bytes: Uint8Array): string[] {
  return read(bytes).map((message) => {
    switch (message.type) {
      case "E":
      case "N":
        return `${message.type} ${message.fields.S} ${message.fields.C} ${message.fields.M}`;
      case "C":
      case "Z":
        return `${message.type} ${message.text}`;
      case "T":
        return `T ${message.columns.map((column) => column.name).join(",")}`;
      case "D":
        return `D ${rowsOf([message])[0].join(",")}`;
      default:
        return message.type;
    }
  });
}

/**
 * Messages written for tests, by the message formats of PostgreSQL's manual and apart from the code under test.
 */

const encoder = new TextEncoder();

/** Several pieces as one. */
export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatAll(parts);
}

/** As `concat`, for more pieces than a call has room for. */
export function concatAll(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Big-endian. */
export function int16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

/** Big-endian. */
export function int32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

/** One message with a type: strings get their terminator. */
export function frontend(
  type: string,
  ...fields: (string | number[] | Uint8Array)[]
): Uint8Array<ArrayBuffer> {
  const parts = fields.map((field) =>
    typeof field === "string" ? encoder.encode(field + "\0") : Uint8Array.from(field)
  );
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  return concat(Uint8Array.from([type.charCodeAt(0), ...int32(length)]), ...parts);
}

/** Query. */
export function query(sql: string): Uint8Array<ArrayBuffer> {
  return frontend("Q", sql);
}

export const SYNC: Uint8Array<ArrayBuffer> = frontend("S");

/** The messages that these bytes are. */
export function messagesIn(bytes: Uint8Array): { type: string; body: Uint8Array }[] {
  const messages: { type: string; body: Uint8Array }[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + view.getUint32(at + 1);
    messages.push({ type: String.fromCharCode(bytes[at]!), body: bytes.subarray(at + 5, end) });
    at = end;
  }
  return messages;
}

/** A first packet: length, code, and what follows. */
export function firstPacket(
  code: number,
  ...fields: (string | number[])[]
): Uint8Array<ArrayBuffer> {
  const parts = fields.map((field) =>
    typeof field === "string" ? encoder.encode(field + "\0") : Uint8Array.from(field)
  );
  const length = parts.reduce((sum, part) => sum + part.length, 8);
  return concat(Uint8Array.from([...int32(length), ...int32(code)]), ...parts);
}

/** A StartupMessage 3.0. */
export function startup(parameters: Record<string, string>): Uint8Array<ArrayBuffer> {
  return firstPacket(196608, ...Object.entries(parameters).flat(), [0]);
}

/** Bytes of hex digits; white space is left out. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replaceAll(/\s/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

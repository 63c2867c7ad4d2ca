/**
 * Plain data ↔ bytes, for what travels to another process: JSON, with byte arrays and maps wrapped. The two processes
 * may be of different versions, so the format is plain and every reader checks what it takes (see `frames.ts`).
 */

const BYTES = "$bytes";
const MAP = "$map";

/** Bytes of a plain value: objects, arrays, strings, finite numbers, booleans, `Uint8Array`, `Map`. */
export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value, wrap));
}

function wrap(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { [BYTES]: toBase64(value) };
  if (value instanceof Map) return { [MAP]: [...value] };
  return value;
}

/** The value of `encode`'s bytes. Throws a SyntaxError on anything else. */
export function decode(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), unwrap);
}

function unwrap(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const wrapped = value as { [BYTES]?: unknown; [MAP]?: unknown };
  if (typeof wrapped[BYTES] === "string") return fromBase64(wrapped[BYTES]);
  if (Array.isArray(wrapped[MAP])) return new Map(wrapped[MAP] as [unknown, unknown][]);
  return value;
}

function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.fromBase64(text);
}

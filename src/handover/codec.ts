/**
 * Plain data ↔ bytes, for what travels to another process: JSON, with byte arrays and maps wrapped. The two processes
 * may be of different versions, so the format is plain and every reader checks what it takes (see `frames.ts`).
 *
 * A map that occurs several times, the parameters of most sessions, is written once: `{"$map": …}` the first time, then
 * `{"$same": n}` for the n-th map of the value. Trees are walked by hand: JSON's own replacer and reviver take ten times
 * as long, while clients wait.
 */

const BYTES = "$bytes";
const MAP = "$map";
const SAME = "$same";

/** Bytes of a plain value: objects, arrays, strings, finite numbers, booleans, `Uint8Array`, `Map`. */
export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(wrap(value, new Map())));
}

function wrap(value: unknown, maps: Map<unknown, number>): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((each) => wrap(each, maps));
  if (value instanceof Uint8Array) return { [BYTES]: value.toBase64() };
  if (value instanceof Map) {
    const known = maps.get(value);
    if (known !== undefined) return { [SAME]: known };
    maps.set(value, maps.size);
    return { [MAP]: wrap([...value], maps) };
  }
  const wrapped: Record<string, unknown> = {};
  const fields = value as Record<string, unknown>;
  for (const key in fields) wrapped[key] = wrap(fields[key], maps);
  return wrapped;
}

/** The value of `encode`'s bytes. Throws a SyntaxError on anything else. */
export function decode(bytes: Uint8Array): unknown {
  return unwrap(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), []);
}

function unwrap(value: unknown, maps: Map<unknown, unknown>[]): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = unwrap(value[i], maps);
    return value;
  }
  const fields = value as Record<string, unknown>;
  if (typeof fields[BYTES] === "string") return Uint8Array.fromBase64(fields[BYTES]);
  if (Array.isArray(fields[MAP])) {
    const map = new Map<unknown, unknown>();
    // Its number is given before its entries are looked at, as `wrap` does.
    maps.push(map);
    for (const [key, each] of unwrap(fields[MAP], maps) as [unknown, unknown][]) map.set(key, each);
    return map;
  }
  const same = fields[SAME];
  if (typeof same === "number") {
    if (maps[same] === undefined) throw new SyntaxError(`${SAME}: there is no map ${same}`);
    return maps[same];
  }
  for (const key in fields) fields[key] = unwrap(fields[key], maps);
  return fields;
}

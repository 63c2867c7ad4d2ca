/**
 * The process id that a client is told of (BackendKeyData): none that Linux could give to a process, so that nobody's
 * `pg_terminate_backend` meets a stranger's. It is the client's number, encrypted: as unique as that, and not to be guessed
 * from another's. Processes that take over from each other have the same secret.
 */

import { createHmac } from "node:crypto";

/** Linux gives less (`PID_MAX_LIMIT`); PostgreSQL's are positive. */
const LEAST = 2 ** 22;
const MOST = 2 ** 31 - 1;

/** Greatest number of a client. */
export const MOST_CLIENT_ID: number = MOST - LEAST + 1;

const keysOf = new WeakMap<Uint8Array, Uint32Array>();

function roundKeys(secret: Uint8Array): Uint32Array {
  let keys = keysOf.get(secret);
  if (keys === undefined) {
    const digest = createHmac("sha256", secret).update("process id").digest();
    keys = Uint32Array.from({ length: 8 }, (_, i) => digest.readUInt32LE(4 * i));
    keysOf.set(secret, keys);
  }
  return keys;
}

/** A round of a Feistel network over two halves of 16 bits. */
function mix(half: number, key: number): number {
  let x = Math.imul(half ^ key, 0x85ebca6b);
  x = Math.imul(x ^ x >>> 15, 0xc2b2ae35);
  return (x ^ x >>> 16) & 0xffff;
}

function encrypt(value: number, keys: Uint32Array): number {
  let left = value >>> 16;
  let right = value & 0xffff;
  for (let i = 0; i < keys.length; i++) [left, right] = [right, left ^ mix(right, keys[i]!)];
  return (left << 16 | right) >>> 0;
}

function decrypt(value: number, keys: Uint32Array): number {
  let left = value >>> 16;
  let right = value & 0xffff;
  for (let i = keys.length - 1; i >= 0; i--) [left, right] = [right ^ mix(left, keys[i]!), left];
  return (left << 16 | right) >>> 0;
}

function isProcessId(value: number): boolean {
  return value >= LEAST && value <= MOST;
}

/** The process id of the client with this number, which is from 1 to `MOST_CLIENT_ID`. */
export function processIdOf(client: number, secret: Uint8Array): number {
  const keys = roundKeys(secret);
  // What falls outside is encrypted once more, until it is inside.
  let value = client - 1 + LEAST;
  do value = encrypt(value, keys); while (!isProcessId(value));
  return value;
}

/** The number of the client with this process id. Small ones were given out by older programs, as they are. */
export function clientOf(processId: number, secret: Uint8Array): number {
  if (!isProcessId(processId)) return processId;
  const keys = roundKeys(secret);
  let value = processId;
  do value = decrypt(value, keys); while (!isProcessId(value));
  return value - LEAST + 1;
}

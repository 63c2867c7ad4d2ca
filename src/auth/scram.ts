/**
 * What both roles of SCRAM-SHA-256 (RFC 5802, RFC 7677) share: verifiers as PostgreSQL stores them, keys, and the
 * syntax of messages. `scram_server.ts` faces clients, `scram_client.ts` faces PostgreSQL. No I/O; every state is plain
 * data, every size is bounded, and bad input comes back as a `ScramFault`. Faults never quote what the peer sent.
 */

import { pbkdf2Sync } from "node:crypto";
import { passwordBytes } from "./saslprep.ts";
import { hmac, sha256 } from "./sha256.ts";

/** The mechanism without channel binding, and the one with it. */
export const SCRAM_MECHANISM = "SCRAM-SHA-256";
export const SCRAM_PLUS_MECHANISM = "SCRAM-SHA-256-PLUS";
/** PostgreSQL's default of `scram_iterations`. */
export const DEFAULT_ITERATIONS = 4096;
/** PostgreSQL's length of a new salt (SCRAM_DEFAULT_SALT_LEN). */
export const NEW_SALT_BYTES = 16;
/** At this a PBKDF2 run takes seconds; beyond it a hostile server could stall us. */
export const MAX_ITERATIONS = 10_000_000;
/** PostgreSQL's own limit for a SASL message of a client (PG_MAX_SASL_MESSAGE_LENGTH). */
const MAX_MESSAGE_BYTES = 1024;

const KEY_BYTES = 32;
const MAX_SALT_BYTES = 256;
const NONCE_BYTES = 18;

/** What a server keeps of a password; as text `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`. */
export interface ScramVerifier {
  iterations: number;
  salt: Uint8Array;
  storedKey: Uint8Array;
  serverKey: Uint8Array;
  /** Made up for an unknown user: the exchange runs to its end and fails, whatever the proof. */
  doomed: boolean;
}

/** What proves a client's password. `serverKey` lets the client check the server, and may be unknown. */
export interface ScramKeys {
  clientKey: Uint8Array;
  serverKey: Uint8Array | undefined;
}

/** Why an exchange ended: the peer broke the protocol, or could not prove what it had to. */
export interface ScramFault {
  kind: "fault";
  code: "protocol" | "authentication";
  reason: string;
}

/** A fault of a peer that broke the protocol. */
export function protocolFault(reason: string): ScramFault {
  return { kind: "fault", code: "protocol", reason };
}

/** A fault of a peer that did not prove itself. */
export function authenticationFault(reason: string): ScramFault {
  return { kind: "fault", code: "authentication", reason };
}

/** Bitwise exclusive or of two keys of equal length. */
export function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length);
  for (let i = 0; i < a.length; i++) bytes[i] = a[i]! ^ b[i]!;
  return bytes;
}

/** Compares two keys in constant time. */
export function equalKeys(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let differences = 0;
  for (let i = 0; i < a.length; i++) differences |= a[i]! ^ b[i]!;
  return differences === 0;
}

/** Base64 with padding, as SCRAM writes it. */
export function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** Decodes padded base64 of at most `limit` bytes; `undefined` for any other text. */
function fromBase64(text: string, limit: number): Uint8Array | undefined {
  if (text.length > Math.ceil(limit / 3) * 4) return undefined;
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    return undefined;
  }
  const bytes = Uint8Array.fromBase64(text);
  return bytes.length <= limit ? bytes : undefined;
}

/** Decodes base64 of exactly one key. */
export function keyFromBase64(text: string): Uint8Array | undefined {
  const key = fromBase64(text, KEY_BYTES);
  return key?.length === KEY_BYTES ? key : undefined;
}

/** Decodes a salt. */
export function saltFromBase64(text: string): Uint8Array | undefined {
  const salt = fromBase64(text, MAX_SALT_BYTES);
  return salt === undefined || salt.length === 0 ? undefined : salt;
}

/** Reads an iteration count from 1 to `MAX_ITERATIONS`. */
export function parseIterations(text: string): number | undefined {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) return undefined;
  const iterations = Number(text);
  return iterations <= MAX_ITERATIONS ? iterations : undefined;
}

/**
 * A SCRAM message as text, one character a byte, so that a user name in any encoding goes into AuthMessage unchanged;
 * `undefined` if it is empty, too long, or holds a NUL.
 */
export function messageText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0 || bytes.length > MAX_MESSAGE_BYTES || bytes.includes(0)) return undefined;
  // A spread would go through an iterator, byte by byte.
  return String.fromCharCode.apply(undefined, bytes as unknown as number[]);
}

const encoder = new TextEncoder();

/** The bytes of a text made by `messageText`. */
export function messageBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  // Of ASCII a character is a byte.
  if (encoder.encodeInto(text, bytes).read === text.length) return bytes;
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Whether a text is a nonce: printable ASCII without comma (RFC 5802 §7). */
export function isNonce(text: string): boolean {
  return /^[\x21-\x2b\x2d-\x7e]+$/.test(text);
}

/** A fresh nonce of 144 random bits. */
export function randomNonce(): string {
  return toBase64(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
}

/** Reads a stored verifier; `undefined` if the text is none, or beyond our limits. */
export function parseVerifier(text: string): ScramVerifier | undefined {
  const match = /^SCRAM-SHA-256\$([0-9]+):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text);
  if (match === null) return undefined;
  const iterations = parseIterations(match[1]);
  const salt = saltFromBase64(match[2]);
  const storedKey = keyFromBase64(match[3]);
  const serverKey = keyFromBase64(match[4]);
  if (
    iterations === undefined || salt === undefined || storedKey === undefined ||
    serverKey === undefined
  ) return undefined;
  return { iterations, salt, storedKey, serverKey, doomed: false };
}

/** The text of a verifier, as PostgreSQL stores it. */
export function formatVerifier(verifier: ScramVerifier): string {
  const { iterations, salt, storedKey, serverKey } = verifier;
  return `${SCRAM_MECHANISM}$${iterations}:${toBase64(salt)}$${toBase64(storedKey)}:${
    toBase64(serverKey)
  }`;
}

/**
 * SaltedPassword: the slow step (PBKDF2, 1 to 3 ms at 4096 iterations), apart so that it can run on another thread and
 * be kept. Throws a RangeError for iterations that the parsers here would have refused.
 */
export function saltPassword(
  password: string | Uint8Array,
  salt: Uint8Array,
  iterations: number,
): Uint8Array {
  if (!(Number.isInteger(iterations) && iterations >= 1 && iterations <= MAX_ITERATIONS)) {
    throw new RangeError(`SCRAM iterations must be from 1 to ${MAX_ITERATIONS}`);
  }
  // A Buffer may be a view of a pool that it shares with other secrets, and a structured clone would copy the whole pool.
  return new Uint8Array(
    pbkdf2Sync(passwordBytes(password), salt, iterations, KEY_BYTES, "sha256"),
  );
}

/** Both keys of a salted password. */
export function keysOf(saltedPassword: Uint8Array): ScramKeys & { serverKey: Uint8Array } {
  return {
    clientKey: hmac(saltedPassword, "Client Key"),
    serverKey: hmac(saltedPassword, "Server Key"),
  };
}

/** Both keys of a password: `saltPassword` and `keysOf` in one. */
export function deriveKeys(
  password: string | Uint8Array,
  salt: Uint8Array,
  iterations: number,
): ScramKeys & { serverKey: Uint8Array } {
  return keysOf(saltPassword(password, salt, iterations));
}

/** Makes the verifier of a password; without `salt` a random one is taken. */
export function makeVerifier(
  password: string | Uint8Array,
  salt: Uint8Array = crypto.getRandomValues(new Uint8Array(NEW_SALT_BYTES)),
  iterations: number = DEFAULT_ITERATIONS,
): ScramVerifier {
  return verifierOfKeys(deriveKeys(password, salt, iterations), salt, iterations);
}

/** The verifier that belongs to both keys of a password. */
export function verifierOfKeys(
  { clientKey, serverKey }: ScramKeys & { serverKey: Uint8Array },
  salt: Uint8Array,
  iterations: number,
): ScramVerifier {
  return { iterations, salt, storedKey: sha256(clientKey), serverKey, doomed: false };
}

/**
 * A salt that depends on the user alone. For mock verifiers, and for verifiers made of plain passwords: a salt that
 * changed between two attempts, where a known user's stays, would tell them apart.
 */
export function repeatableSalt(
  user: string,
  secret: Uint8Array,
  bytes: number = NEW_SALT_BYTES,
): Uint8Array {
  if (bytes <= KEY_BYTES) return hmac(secret, `salt\0${user}`).slice(0, bytes);
  const salt = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += KEY_BYTES) {
    const block = hmac(secret, `salt${at === 0 ? "" : at}\0${user}`);
    salt.set(block.subarray(0, bytes - at), at);
  }
  return salt;
}

/** Keys that nobody can satisfy. What is made with them is never sent, so that all unknown users can have the same. */
interface MockKeys {
  storedKey: Uint8Array;
  serverKey: Uint8Array;
}

const mockKeysOf = new WeakMap<Uint8Array, MockKeys>();

function mockKeys(secret: Uint8Array): MockKeys {
  let keys = mockKeysOf.get(secret);
  if (keys === undefined) {
    keys = { storedKey: hmac(secret, "stored key\0"), serverKey: hmac(secret, "server key\0") };
    mockKeysOf.set(secret, keys);
  }
  return keys;
}

/** The verifier of an unknown user: the same at each attempt, and one that nobody can satisfy. */
export function mockVerifier(
  user: string,
  secret: Uint8Array,
  iterations: number = DEFAULT_ITERATIONS,
  saltBytes: number = NEW_SALT_BYTES,
): ScramVerifier {
  const { storedKey, serverKey } = mockKeys(secret);
  const salt = repeatableSalt(user, secret, saltBytes);
  return { iterations, salt, storedKey, serverKey, doomed: true };
}

/** The keys of a salted password if it belongs to the verifier: for a password that came in clear. */
export function verifySalted(
  verifier: ScramVerifier,
  saltedPassword: Uint8Array,
): ScramKeys | undefined {
  const keys = keysOf(saltedPassword);
  const fits = equalKeys(sha256(keys.clientKey), verifier.storedKey);
  return fits && !verifier.doomed ? keys : undefined;
}

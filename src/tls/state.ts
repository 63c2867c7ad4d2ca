/**
 * A TLS connection after its handshake as plain data, structured-cloneable: it travels between workers and into a new
 * process like the session or server connection that it belongs to. It holds secrets: nobody logs or keeps it.
 *
 *   handshake ──▶ open ──▶ ended by the peer (close_notify: nothing more is read)
 *                  │  └──▶ ended by us (close_notify: nothing more is sent)
 *                  └─────▶ failed (an alert was sent or received): neither
 */

import { suiteOf, TLS_1_2, TLS_1_3 } from "./suites.ts";

/** One direction. */
export interface TlsKeys {
  /** TLS 1.3: the traffic secret. TLS 1.2: the key, then the nonce of 12 bytes that numbers are mixed into. */
  secret: Uint8Array<ArrayBuffer>;
  /** Number of the next record. */
  sequence: number;
}

export interface TlsState {
  version: number;
  /** Number of the cipher suite in the registry of IANA. */
  suite: number;
  /** Which side of the connection this is: `server` towards clients, `client` towards PostgreSQL. */
  role: "server" | "client";
  receive: TlsKeys;
  send: TlsKeys;
  /** Most plaintext of a record that is sent. */
  mostPlaintext: number;
  /** Ciphertext that was read and not opened yet. */
  undecoded: Uint8Array<ArrayBuffer> | undefined;
  /** Ciphertext that the kernel has not taken yet. */
  unsent: Uint8Array<ArrayBuffer> | undefined;
  /** The beginning of a message of the handshake protocol that came in parts. */
  handshake: Uint8Array<ArrayBuffer> | undefined;
  /** So much of a message of the handshake protocol is still to come, and passed over. */
  skip: number;
  /** Records in a row that had no data. */
  idleRecords: number;
  /** The peer has asked for new keys of ours: they come before the next data (RFC 8446 §4.6.3). */
  owesUpdate: boolean;
  /** We have asked for new keys of the peer's. */
  askedUpdate: boolean;
  /** The peer has sent its close_notify. */
  peerEnded: boolean;
  /** We have sent ours. */
  ended: boolean;
  /** Why nothing more can come or go, for the log; "" as long as all is well. */
  fault: string;
}

/** What operators see. */
export interface TlsInfo {
  protocol: string;
  cipher: string;
}

export function infoOf(state: Pick<TlsState, "version" | "suite">): TlsInfo {
  return {
    protocol: state.version === TLS_1_3 ? "TLSv1.3" : "TLSv1.2",
    cipher: suiteOf(state.suite)?.name ?? "unknown",
  };
}

/** A state at the end of its handshake. */
export function newTlsState(
  given: Pick<TlsState, "version" | "suite" | "role" | "receive" | "send" | "mostPlaintext">,
): TlsState {
  return {
    ...given,
    undecoded: undefined,
    unsent: undefined,
    handshake: undefined,
    skip: 0,
    idleRecords: 0,
    owesUpdate: false,
    askedUpdate: false,
    peerEnded: false,
    ended: false,
    fault: "",
  };
}

/** Length of the secret of one direction. */
export function secretBytes(version: number, suiteId: number): number {
  const suite = suiteOf(suiteId)!;
  if (version === TLS_1_2) return suite.keyBytes + 12;
  return suite.hash === "sha384" ? 48 : 32;
}

/** What can come with the end of a handshake: a read, and what was there before. */
const MOST_UNDECODED = 2 ** 17;

function isBytes(value: unknown, length?: number): boolean {
  return value instanceof Uint8Array && (length === undefined || value.length === length);
}

function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Whether what another process has sent is a state that this one can go on with. */
export function isTlsState(value: unknown): value is TlsState {
  if (typeof value !== "object" || value === null) return false;
  const state = value as Partial<TlsState>;
  const suite = suiteOf(state.suite ?? 0);
  if (suite === undefined || suite.version !== state.version) return false;
  if (state.role !== "server" && state.role !== "client") return false;
  for (const keys of [state.receive, state.send]) {
    if (!isBytes(keys?.secret, secretBytes(suite.version, suite.id))) return false;
    if (!isNumber(keys?.sequence)) return false;
  }
  if (![state.mostPlaintext, state.skip, state.idleRecords].every(isNumber)) return false;
  if (state.mostPlaintext === 0 || state.mostPlaintext! > 2 ** 14) return false;
  for (const bytes of [state.undecoded, state.unsent, state.handshake]) {
    if (bytes !== undefined && !isBytes(bytes)) return false;
  }
  if ((state.undecoded?.length ?? 0) > MOST_UNDECODED) return false;
  const flags = [state.owesUpdate, state.askedUpdate, state.peerEnded, state.ended];
  return flags.every((flag) => typeof flag === "boolean") && typeof state.fault === "string";
}

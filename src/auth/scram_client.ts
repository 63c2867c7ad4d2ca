/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS towards PostgreSQL, with keys of a password or with a ClientKey alone (passthrough: the key that a
 * client's own login yielded). The slow derivation is the caller's: the exchange stops at a challenge, which is plain
 * data, until ready keys come. RFC 5802 §5 and §7; PostgreSQL manual, "SASL Authentication".
 *
 *   beginScramClient ──server-first──▶ challenge ──keys──▶ server-final ──▶ verified | unverified, or fault
 */

import {
  authenticationFault,
  equalKeys,
  isNonce,
  keyFromBase64,
  messageBytes,
  messageText,
  parseIterations,
  protocolFault,
  randomNonce,
  saltFromBase64,
  SCRAM_MECHANISM,
  SCRAM_PLUS_MECHANISM,
  toBase64,
  xor,
} from "./scram.ts";
import { hmac, sha256 } from "./sha256.ts";
import type { ScramFault, ScramKeys, ScramVerifier } from "./scram.ts";

/**
 * How the exchange is bound to the connection: to the server's certificate, by its `tls-server-end-point`; not, since the
 * server does not offer it, which it must confirm (`unoffered`: somebody in between may have left it out); or not at all.
 */
export type ChannelBinding =
  | { kind: "end_point"; data: Uint8Array }
  | { kind: "unoffered" }
  | { kind: "none" };

/** After our first message: AuthenticationSASLContinue is awaited. */
export interface ScramClientStart {
  kind: "start";
  binding: ChannelBinding;
  nonce: string;
  clientFirstBare: string;
}

/** The server's challenge: keys for this salt and these iterations are needed. */
export interface ScramChallenge {
  kind: "challenge";
  binding: ChannelBinding;
  salt: Uint8Array;
  iterations: number;
  nonce: string;
  clientFirstBare: string;
  serverFirst: string;
}

/** After our proof: AuthenticationSASLFinal is awaited, with this signature if we can know it. */
export interface ScramClientFinal {
  kind: "final";
  serverSignature: Uint8Array | undefined;
}

/** RFC 5802 §6. */
const GS2_HEADERS = { end_point: "p=tls-server-end-point,,", unoffered: "y,,", none: "n,," };
/** A server offers two or three names; a list beyond this is no list. */
const MAX_MECHANISM_LIST_BYTES = 1024;

/** The mechanisms of an AuthenticationSASL (`list` is what follows the code 10). */
export function parseMechanisms(
  list: Uint8Array,
): { kind: "mechanisms"; names: string[] } | ScramFault {
  if (list.length > MAX_MECHANISM_LIST_BYTES || list.length === 0 || list.at(-1) !== 0) {
    return protocolFault("malformed list of SASL mechanisms");
  }
  const names = String.fromCharCode(...list).split("\0");
  // The last name's own NUL and the empty name that ends the list leave two empty strings.
  const ended = names.splice(-2);
  if (ended.some((name) => name !== "") || names.some((name) => name === "")) {
    return protocolFault("malformed list of SASL mechanisms");
  }
  return { kind: "mechanisms", names };
}

/**
 * How to speak SCRAM with a server that offers these mechanisms; `undefined`: it can't be spoken. `endPoint` is that of
 * its certificate, "unknown" when that has none (RFC 5929 §4.1), `undefined` without TLS.
 */
export function chooseBinding(
  names: readonly string[],
  endPoint: Uint8Array | "unknown" | undefined,
): ChannelBinding | undefined {
  if (endPoint instanceof Uint8Array && names.includes(SCRAM_PLUS_MECHANISM)) {
    return { kind: "end_point", data: endPoint };
  }
  if (!names.includes(SCRAM_MECHANISM)) return undefined;
  return { kind: endPoint instanceof Uint8Array ? "unoffered" : "none" };
}

/**
 * Starts an exchange. `body` is that of the SASLInitialResponse.
 * @param nonce given only by tests
 */
export function beginScramClient(
  binding: ChannelBinding = { kind: "none" },
  nonce: string = randomNonce(),
): { state: ScramClientStart; body: Uint8Array } {
  // PostgreSQL takes the user from the StartupMessage; libpq leaves the name empty too.
  const clientFirstBare = `n=,r=${nonce}`;
  const plus = binding.kind === "end_point";
  const name = messageBytes(plus ? SCRAM_PLUS_MECHANISM : SCRAM_MECHANISM);
  const data = messageBytes(GS2_HEADERS[binding.kind] + clientFirstBare);
  const body = new Uint8Array(name.length + 5 + data.length);
  body.set(name);
  new DataView(body.buffer).setInt32(name.length + 1, data.length);
  body.set(data, name.length + 5);
  return { state: { kind: "start", binding, nonce, clientFirstBare }, body };
}

/** Reads the data of AuthenticationSASLContinue. */
export function readServerFirst(
  state: ScramClientStart,
  data: Uint8Array,
): ScramChallenge | ScramFault {
  const text = messageText(data);
  if (text === undefined) return protocolFault("malformed SCRAM challenge: not a bounded text");
  const parts = text.split(",");
  const [nonceText, saltText, iterationsText] = parts;
  if (parts.length !== 3 || !nonceText.startsWith("r=") || !saltText.startsWith("s=")) {
    return protocolFault("malformed SCRAM challenge: attributes");
  }
  const nonce = nonceText.slice(2);
  if (!nonce.startsWith(state.nonce) || nonce.length === state.nonce.length || !isNonce(nonce)) {
    return protocolFault("SCRAM nonce of the server does not extend ours");
  }
  const salt = saltFromBase64(saltText.slice(2));
  if (salt === undefined) return protocolFault("malformed SCRAM challenge: salt");
  const iterations = iterationsText.startsWith("i=")
    ? parseIterations(iterationsText.slice(2))
    : undefined;
  if (iterations === undefined) {
    return protocolFault("malformed SCRAM challenge: iterations missing or beyond the limit");
  }
  const { binding, clientFirstBare } = state;
  return {
    kind: "challenge",
    binding,
    salt,
    iterations,
    nonce,
    clientFirstBare,
    serverFirst: text,
  };
}

/** Whether keys that belong to `verifier` fit a challenge: a ClientKey holds for one salt and iteration count only. */
export function challengeFits(challenge: ScramChallenge, verifier: ScramVerifier): boolean {
  return challenge.iterations === verifier.iterations && equalKeys(challenge.salt, verifier.salt);
}

/** Answers a challenge. `body` is that of the SASLResponse. */
export function answerChallenge(
  challenge: ScramChallenge,
  keys: ScramKeys,
): { state: ScramClientFinal; body: Uint8Array } {
  const withoutProof = `c=${toBase64(bindingInput(challenge.binding))},r=${challenge.nonce}`;
  const authMessage = messageBytes(
    `${challenge.clientFirstBare},${challenge.serverFirst},${withoutProof}`,
  );
  const proof = xor(keys.clientKey, hmac(sha256(keys.clientKey), authMessage));
  const serverSignature = keys.serverKey === undefined
    ? undefined
    : hmac(keys.serverKey, authMessage);
  return {
    state: { kind: "final", serverSignature },
    body: messageBytes(`${withoutProof},p=${toBase64(proof)}`),
  };
}

function bindingInput(binding: ChannelBinding): Uint8Array {
  const header = messageBytes(GS2_HEADERS[binding.kind]);
  return binding.kind === "end_point" ? Uint8Array.from([...header, ...binding.data]) : header;
}

/** Reads the data of AuthenticationSASLFinal. `unverified`: well-formed, and without a ServerKey there is no check. */
export function verifyServerFinal(
  state: ScramClientFinal,
  data: Uint8Array,
): { kind: "verified" | "unverified" } | ScramFault {
  const text = messageText(data);
  if (text?.startsWith("e=")) return authenticationFault("server refused the SCRAM exchange");
  const signature = text?.startsWith("v=") ? keyFromBase64(text.slice(2)) : undefined;
  if (signature === undefined) return protocolFault("malformed SCRAM message: server signature");
  if (state.serverSignature === undefined) return { kind: "unverified" };
  return equalKeys(signature, state.serverSignature)
    ? { kind: "verified" }
    : authenticationFault("server does not know the password: its SCRAM signature is wrong");
}

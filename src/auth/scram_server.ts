/**
 * SCRAM-SHA-256 towards clients, over TLS with channel binding where they know it (SCRAM-SHA-256-PLUS,
 * `tls-server-end-point`). The caller sends AuthenticationSASL, then hands each password message's body to
 * `advanceScramServer` and sends what it gives back. The state between two messages is plain data, so a login can be
 * frozen anywhere. RFC 5802 §5, §6 and §7, RFC 5929 §4; PostgreSQL manual, "SASL Authentication".
 *
 *   initial ──SASLInitialResponse──────────▶ client-final ──SASLResponse──▶ done, or fault
 *      └─(no data: empty challenge)─▶ client-first ──SASLResponse──┘
 */

import {
  authenticationFault,
  equalKeys,
  isNonce,
  keyFromBase64,
  messageBytes,
  messageText,
  protocolFault,
  randomNonce,
  SCRAM_MECHANISM,
  SCRAM_PLUS_MECHANISM,
  toBase64,
  xor,
} from "./scram.ts";
import { hmac, sha256 } from "./sha256.ts";
import type { ScramFault, ScramVerifier } from "./scram.ts";

/** What both ends of a TLS connection know of it; `undefined`: there is none, and no -PLUS was offered. */
export type ChannelBinding = Uint8Array | undefined;

/** Where a client's exchange stands. */
export type ScramServerState =
  | { step: "initial"; verifier: ScramVerifier; binding: ChannelBinding }
  | { step: "client-first"; verifier: ScramVerifier; binding: ChannelBinding; plus: boolean }
  | {
    step: "client-final";
    verifier: ScramVerifier;
    gs2Header: string;
    /** What the client binds itself to. */
    bound: ChannelBinding;
    clientFirstBare: string;
    serverFirst: string;
    nonce: string;
  };

/** What follows from a client's message: send a challenge, or finish. */
export type ScramServerStep =
  /** `data` goes out in AuthenticationSASLContinue. */
  | { kind: "continue"; state: ScramServerState; data: Uint8Array }
  /** `data` goes out in AuthenticationSASLFinal. `clientKey` can log in to PostgreSQL: a secret. */
  | { kind: "done"; data: Uint8Array; clientKey: Uint8Array }
  | ScramFault;

/** The fields of a SASLInitialResponse; `data` is absent where the client sent length -1. */
export interface SaslInitialResponse {
  kind: "initial";
  mechanism: string;
  data: Uint8Array | undefined;
}

const MAX_MECHANISM_BYTES = 64;

/** Reads the body of a SASLInitialResponse (without type and length). */
export function parseSaslInitialResponse(body: Uint8Array): SaslInitialResponse | ScramFault {
  const end = body.subarray(0, MAX_MECHANISM_BYTES + 1).indexOf(0);
  if (end < 0) return protocolFault("malformed SASLInitialResponse: no mechanism name");
  const lengthAt = end + 1;
  if (body.length < lengthAt + 4) {
    return protocolFault("malformed SASLInitialResponse: no length of the response");
  }
  const length = body[lengthAt]! << 24 | body[lengthAt + 1]! << 16 | body[lengthAt + 2]! << 8 |
    body[lengthAt + 3]!;
  const rest = body.subarray(lengthAt + 4);
  if (length === -1 ? rest.length !== 0 : length !== rest.length) {
    return protocolFault("malformed SASLInitialResponse: wrong length of the response");
  }
  const mechanism = messageText(body.subarray(0, end)) ?? "";
  return { kind: "initial", mechanism, data: length === -1 ? undefined : rest };
}

/** The state before a client's first message. With `binding`, -PLUS is offered as well. */
export function beginScramServer(
  verifier: ScramVerifier,
  binding?: ChannelBinding,
): ScramServerState {
  return { step: "initial", verifier, binding };
}

/** Names for AuthenticationSASL, the preferred one first. */
export function offeredMechanisms(binding: ChannelBinding): string[] {
  return binding === undefined ? [SCRAM_MECHANISM] : [SCRAM_PLUS_MECHANISM, SCRAM_MECHANISM];
}

/**
 * Takes the body of the client's next password message.
 * @param ownNonce our part of the nonce; given only by tests
 */
export function advanceScramServer(
  state: ScramServerState,
  body: Uint8Array,
  ownNonce: string = randomNonce(),
): ScramServerStep {
  switch (state.step) {
    case "initial": {
      const initial = parseSaslInitialResponse(body);
      if (initial.kind === "fault") return initial;
      const { verifier, binding } = state;
      if (!offeredMechanisms(binding).includes(initial.mechanism)) {
        return protocolFault("client selected an invalid SASL authentication mechanism");
      }
      const plus = initial.mechanism === SCRAM_PLUS_MECHANISM;
      const next = { step: "client-first", verifier, binding, plus } as const;
      if (initial.data === undefined) {
        return { kind: "continue", state: next, data: new Uint8Array(0) };
      }
      return answerClientFirst(next, initial.data, ownNonce);
    }
    case "client-first":
      return answerClientFirst(state, body, ownNonce);
    case "client-final":
      return answerClientFinal(state, body);
    default:
      return state satisfies never;
  }
}

function answerClientFirst(
  state: ScramServerState & { step: "client-first" },
  data: Uint8Array,
  ownNonce: string,
): ScramServerStep {
  const { verifier } = state;
  const text = messageText(data);
  if (text === undefined) return protocolFault("malformed SCRAM message: not a bounded text");
  const parts = text.split(",");
  if (parts.length < 4) return protocolFault("malformed SCRAM message: attributes are missing");
  const [flag, authorizationId, user, clientNonce, ...extensions] = parts;
  const fault = flagFault(flag, state);
  if (fault !== undefined) return protocolFault(fault);
  if (authorizationId !== "") {
    return protocolFault("client uses an authorization identity, which is not supported");
  }
  if (user.startsWith("m=")) {
    return protocolFault("client requires a SCRAM extension that is not supported");
  }
  // The name itself is not looked at: the StartupMessage's counts, as in PostgreSQL.
  if (!user.startsWith("n=")) return protocolFault("malformed SCRAM message: no user name");
  if (!clientNonce.startsWith("r=") || !isNonce(clientNonce.slice(2))) {
    return protocolFault("malformed SCRAM message: no nonce of printable characters");
  }
  if (!extensions.every(isAttribute)) return protocolFault("malformed SCRAM message: extension");

  const gs2Header = `${flag},,`;
  const nonce = clientNonce.slice(2) + ownNonce;
  const serverFirst = `r=${nonce},s=${toBase64(verifier.salt)},i=${verifier.iterations}`;
  const clientFirstBare = text.slice(gs2Header.length);
  return {
    kind: "continue",
    state: {
      step: "client-final",
      verifier,
      gs2Header,
      bound: state.plus ? state.binding : undefined,
      clientFirstBare,
      serverFirst,
      nonce,
    },
    data: messageBytes(serverFirst),
  };
}

/** What is wrong with what the client says about channel binding, after what it was offered and has chosen. */
function flagFault(
  flag: string,
  { binding, plus }: ScramServerState & { step: "client-first" },
): string | undefined {
  if (flag.startsWith("p=")) {
    if (!plus) {
      return binding === undefined
        ? "client asks for SCRAM channel binding, which is not offered"
        : "client asks for SCRAM channel binding with a mechanism that has none";
    }
    return flag === "p=tls-server-end-point"
      ? undefined
      : "client asks for a type of SCRAM channel binding that is not supported";
  }
  if (flag !== "n" && flag !== "y") return "malformed SCRAM message: unknown channel-binding flag";
  if (plus) return `client selected ${SCRAM_PLUS_MECHANISM} without channel binding data`;
  // Somebody between the two has taken -PLUS out of the offer.
  return flag === "y" && binding !== undefined
    ? "client supports SCRAM channel binding but thinks the server does not"
    : undefined;
}

function isAttribute(text: string): boolean {
  return /^[A-Za-z]=./s.test(text);
}

/** What the client's `c=` has to be of. */
function bindingInput(
  { gs2Header, bound }: ScramServerState & { step: "client-final" },
): Uint8Array {
  const header = messageBytes(gs2Header);
  if (bound === undefined) return header;
  const input = new Uint8Array(header.length + bound.length);
  input.set(header);
  input.set(bound, header.length);
  return input;
}

function answerClientFinal(
  state: ScramServerState & { step: "client-final" },
  data: Uint8Array,
): ScramServerStep {
  const text = messageText(data);
  if (text === undefined) return protocolFault("malformed SCRAM message: not a bounded text");
  const parts = text.split(",");
  if (parts.length < 3) return protocolFault("malformed SCRAM message: attributes are missing");
  const [binding, nonce, ...extensions] = parts;
  const proofText = extensions.pop()!;
  if (binding !== "c=" + toBase64(bindingInput(state))) {
    return protocolFault("SCRAM channel binding does not match");
  }
  if (nonce !== "r=" + state.nonce) return protocolFault("SCRAM nonce does not match");
  if (!extensions.every((part) => isAttribute(part) && part[0] !== "p")) {
    return protocolFault("malformed SCRAM message: extension");
  }
  const proof = proofText.startsWith("p=") ? keyFromBase64(proofText.slice(2)) : undefined;
  if (proof === undefined) return protocolFault("malformed SCRAM message: proof");

  const { verifier, clientFirstBare, serverFirst } = state;
  const withoutProof = text.slice(0, text.length - proofText.length - 1);
  const authMessage = messageBytes(`${clientFirstBare},${serverFirst},${withoutProof}`);
  const clientKey = xor(proof, hmac(verifier.storedKey, authMessage));
  const proven = equalKeys(sha256(clientKey), verifier.storedKey);
  // Made in any case, so that a failure takes as long as a success.
  const serverSignature = hmac(verifier.serverKey, authMessage);
  if (!proven || verifier.doomed) return authenticationFault("password authentication failed");
  return { kind: "done", data: messageBytes("v=" + toBase64(serverSignature)), clientKey };
}

/**
 * Challenge and verdict: what a client has to show, by pg_hba and by what is stored of its password, and whether it did.
 * What login.ts keeps between two messages is plain data. Source: PostgreSQL manual, "Message Flow", "Start-up" and
 * "SASL Authentication".
 *
 * What must hold: a wrong password and an unknown user can't be told apart, by what is sent or by the work done.
 */

import { getRandomValues } from "node:crypto";
import { decideMethod, type HbaMatcher, mockPasswordKind } from "../../auth/hba.ts";
import { md5Verify, md5VerifyPassword, mockMd5Hash } from "../../auth/md5.ts";
import {
  mockVerifier,
  parseVerifier,
  SCRAM_MECHANISM,
  type ScramVerifier,
  verifySalted,
} from "../../auth/scram.ts";
import {
  advanceScramServer,
  beginScramServer,
  type ScramServerState,
} from "../../auth/scram_server.ts";
import type { StoredPassword } from "../../config/settings.ts";
import { Authentication } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { peerName, type Reason, REASONS } from "../../reasons.ts";
import { peerAddress, type SessionState } from "../state.ts";

/** What this file needs of a login. */
export interface AuthenticatingLogin {
  readonly state: Pick<SessionState, "user" | "database" | "ip" | "unix" | "replication">;
  readonly context: {
    readonly hba: Pick<HbaMatcher, "match"> | undefined;
    readonly mockSecret: Uint8Array;
  };
  write(bytes: Uint8Array): void;
  /** Salts a password on another thread, unless the login ends before; what the client has sent behind it waits. */
  salt(
    password: Uint8Array,
    verifier: ScramVerifier,
    done: (saltedPassword: Uint8Array | undefined) => void,
  ): void;
  /** `clientKey` of SCRAM can log in to PostgreSQL. */
  accepted(clientKey: Uint8Array | undefined): void;
  refused(reason: Reason, first: string): void;
}

/** Who wants in. */
export interface Account {
  readonly stored: StoredPassword;
  /** There is no such user: the exchange runs to its end and fails. It is one that known users may have. */
  readonly mock: "scram" | "md5" | undefined;
}

/** What the client has to show next. */
export type Challenge =
  | { readonly method: "password" }
  | { readonly method: "md5"; readonly hash: string; readonly salt: Uint8Array }
  /** Nothing: its password is being checked. */
  | { readonly method: "checking" }
  | { readonly method: "scram"; readonly state: ScramServerState };

const MECHANISMS = new TextEncoder().encode(`${SCRAM_MECHANISM}\0\0`);

/** A user who does not exist, in a database whose users have passwords of these kinds. */
export function unknownAccount(
  { state, context }: Pick<AuthenticatingLogin, "state" | "context">,
  kinds: readonly StoredPassword["kind"][],
): Account {
  const kind = mockPasswordKind(state.user, context.mockSecret, kinds);
  return { stored: { kind: "empty" }, mock: kind === "md5" ? "md5" : "scram" };
}

/** Asks for what the account has to show. `undefined`: it is accepted or refused already. */
export function challenge(login: AuthenticatingLogin, account: Account): Challenge | undefined {
  const { context, state } = login;
  const rule = context.hba?.match({
    transport: state.unix ? "unix" : "tcp",
    tls: false,
    address: state.ip,
    database: state.database,
    user: state.user,
    replication: state.replication === "physical",
  });
  if (context.hba !== undefined && rule === undefined) {
    refusedByHba(login);
    return undefined;
  }
  const { stored, mock } = account;
  const method = decideMethod(rule?.method ?? "auto", mock ?? stored.kind);
  switch (method) {
    case "trust":
      if (mock === undefined) login.accepted(undefined);
      else wrong(login);
      return undefined;
    case "reject":
      if (stored.kind === "unsupported") login.refused(REASONS.methodUnavailable, stored.what);
      else refusedByHba(login);
      return undefined;
    case "password":
      login.write(messages.authentication(Authentication.CleartextPassword));
      return { method };
    case "md5": {
      const salt = getRandomValues(new Uint8Array(4));
      login.write(messages.authentication(Authentication.MD5Password, salt));
      return { method, hash: md5HashOf(login, account), salt };
    }
    case "scram-sha-256": {
      const begun = beginScramServer(verifierOf(login, account));
      login.write(messages.authentication(Authentication.SASL, MECHANISMS));
      return { method: "scram", state: begun };
    }
    default:
      return method satisfies never;
  }
}

/** Takes the body of a password message. Returns what the client has to show next, if that was not the end. */
export function answer(
  login: AuthenticatingLogin,
  account: Account,
  asked: Challenge | undefined,
  body: Uint8Array,
): Challenge | undefined {
  if (asked === undefined || asked.method === "checking") {
    login.refused(REASONS.protocolViolation, "unexpected password message");
    return undefined;
  }
  if (asked.method === "scram") return answerScram(login, asked.state, body);
  const zero = body.indexOf(0);
  if (zero < 0) {
    login.refused(REASONS.protocolViolation, "invalid password packet");
    return undefined;
  }
  const given = body.subarray(0, zero);
  if (asked.method === "password") return answerCleartext(login, account, given);
  const right = md5Verify(asked.hash, asked.salt, new TextDecoder().decode(given));
  if (right && account.mock === undefined) login.accepted(undefined);
  else wrong(login);
  return undefined;
}

function md5HashOf({ state, context }: AuthenticatingLogin, { stored, mock }: Account): string {
  if (mock === undefined) {
    if (stored.kind === "md5") return stored.hash;
    if (stored.kind === "plain") return stored.md5;
  }
  return mockMd5Hash(state.user, context.mockSecret);
}

function verifierOf(
  { state, context }: AuthenticatingLogin,
  { stored, mock }: Account,
): ScramVerifier {
  const known = mock === undefined && (stored.kind === "scram" || stored.kind === "plain")
    ? parseVerifier(stored.verifier)
    : undefined;
  return known ?? mockVerifier(state.user, context.mockSecret);
}

function answerCleartext(
  login: AuthenticatingLogin,
  account: Account,
  password: Uint8Array,
): Challenge | undefined {
  const { stored, mock } = account;
  if (stored.kind === "md5" && mock === undefined) {
    if (md5VerifyPassword(stored.hash, login.state.user, password)) login.accepted(undefined);
    else wrong(login);
    return undefined;
  }
  const verifier = verifierOf(login, account);
  login.salt(password, verifier, (salted) => {
    const keys = salted === undefined ? undefined : verifySalted(verifier, salted);
    if (keys !== undefined && mock === undefined) login.accepted(keys.clientKey);
    else if (salted === undefined) login.refused(REASONS.internalError, "");
    else wrong(login);
  });
  return { method: "checking" };
}

function answerScram(
  login: AuthenticatingLogin,
  state: ScramServerState,
  body: Uint8Array,
): Challenge | undefined {
  const step = advanceScramServer(state, body);
  switch (step.kind) {
    case "continue":
      login.write(messages.authentication(Authentication.SASLContinue, step.data));
      return { method: "scram", state: step.state };
    case "done":
      login.write(messages.authentication(Authentication.SASLFinal, step.data));
      login.accepted(step.clientKey);
      return undefined;
    case "fault":
      if (step.code === "authentication") wrong(login);
      else login.refused(REASONS.protocolViolation, step.reason);
      return undefined;
    default:
      return step satisfies never;
  }
}

function wrong(login: AuthenticatingLogin): void {
  login.refused(REASONS.authenticationFailed, login.state.user);
}

function refusedByHba(login: AuthenticatingLogin): void {
  const { user, database } = login.state;
  const who = `${peerName(user)}@${peerName(database)} (TLS: false) from ${
    peerAddress(login.state)
  }`;
  login.refused(REASONS.hbaRejected, who);
}

/**
 * Challenge and verdict: what a client has to show, by pg_hba and by what is stored of its password, and whether it did.
 * What login.ts keeps between two messages is plain data. Source: PostgreSQL manual, "Message Flow", "Start-up" and
 * "SASL Authentication".
 *
 * What must hold: a wrong password and an unknown user can't be told apart, by what is sent or by the work done.
 */

import { decideMethod, type HbaMatcher } from "../../auth/hba.ts";
import { md5Verify, md5VerifyPassword } from "../../auth/md5.ts";
import {
  type Claim,
  md5HashFor,
  mockShape,
  shapeOf,
  verifierFor,
} from "../../auth/mock_password.ts";
import { TALOS_USER } from "../../auth/talos.ts";
import { parseVerifier, type ScramVerifier, toBase64, verifySalted } from "../../auth/scram.ts";
import {
  advanceScramServer,
  beginScramServer,
  offeredMechanisms,
  type ScramServerState,
} from "../../auth/scram_server.ts";
import type { HbaRule } from "../../config/hba_rule.ts";
import type { ExternalTerms } from "../../config/external_check.ts";
import type { UserMaps } from "../../auth/user_maps.ts";
import type { ConsoleUser, PasswordShape, StoredPassword } from "../../config/settings.ts";
import { Authentication, Frontend, readLength } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { peerName, type Reason, REASONS } from "../../reasons.ts";
import { peerAddress, type SessionState } from "../state.ts";
import {
  askForPeer,
  certificateFits,
  certificateMissing,
  type ProvingLogin,
  refusalOf,
} from "./proof.ts";
import type { PasswordChecks } from "./checks.ts";

/** What this file needs of a login. */
export interface AuthenticatingLogin extends ProvingLogin {
  readonly state: Pick<
    SessionState,
    "user" | "database" | "ip" | "unix" | "replication" | "channelBinding" | "clientCertificate"
  >;
  /** Whether it goes by TLS. */
  readonly encrypted: boolean;
  readonly context: {
    readonly userMaps: Pick<UserMaps, "refusal">;
    readonly hba: Pick<HbaMatcher, "match"> | undefined;
    readonly mockSecret: Uint8Array;
  };
  write(bytes: Uint8Array): void;
  readonly checks: Pick<PasswordChecks, "salt" | "external">;
  /** `clientKey` of SCRAM can log in to PostgreSQL. */
  accepted(clientKey: Uint8Array | undefined): void;
  /** What he has shown says who he is. */
  acceptedAs(user: string, applicationName: string | undefined): void;
}

/** Who wants in. */
export interface Account {
  /** `undefined`: there is no such user. The exchange runs to its end and fails. */
  readonly stored: StoredPassword | undefined;
  /** Of what is stored, or of what stands in for it. */
  readonly shape: PasswordShape;
  /** What there is not: a user, or as much as the database. Only who needs no password hears which. */
  readonly missing?: "user" | "database";
}

/** What the client has to show next. */
export type Challenge =
  | { readonly method: "password" }
  | { readonly method: "md5"; readonly hash: string; readonly salt: Uint8Array }
  | { readonly method: "external"; readonly terms: ExternalTerms }
  /** Nothing: its password is being checked. */
  | { readonly method: "checking" }
  | { readonly method: "scram"; readonly state: ScramServerState };

const OFFER = offer(undefined);
/** With channel binding, whatever it binds to. */
const OFFER_PLUS = offer(new Uint8Array(0));

function offer(binding: Uint8Array | undefined): Uint8Array {
  const names = `${offeredMechanisms(binding).join("\0")}\0\0`;
  return messages.authentication(Authentication.SASL, new TextEncoder().encode(names));
}

/** PostgreSQL's own limit (`PG_MAX_AUTH_TOKEN_LENGTH`), its four bytes of length included. */
const MOST_PASSWORD_BYTES = 65_535;

/** A user who exists. */
export function knownAccount(stored: StoredPassword): Account {
  return { stored, shape: shapeOf(stored) };
}

/** Who says by a token what he is; `undefined`: it is another user. */
export function talosAccount(
  { user, database, proven }: Pick<SessionState, "user" | "database" | "proven">,
  databases: readonly string[],
): Account | undefined {
  if (user !== TALOS_USER || proven || !databases.includes(database)) return undefined;
  return knownAccount({ kind: "external", terms: { method: "talos", options: {} } });
}

/** Whether what comes next is a proof, and the last that the client has to show. */
export function wantsProof(asked: Challenge | undefined): boolean {
  if (asked === undefined || asked.method === "checking") return false;
  return asked.method !== "scram" || asked.state.step === "client-final";
}

/** A user who does not exist; `known` are the passwords that could have been meant. */
export function unknownAccount(
  { state, context }: Pick<AuthenticatingLogin, "state" | "context">,
  known: readonly PasswordShape[],
  missing: "user" | "database" = "user",
): Account {
  return { stored: undefined, shape: mockShape(state.user, context.mockSecret, known), missing };
}

/** A user of the console, or somebody who would be one. */
export function consoleAccount(
  login: Pick<AuthenticatingLogin, "state" | "context">,
  users: readonly ConsoleUser[],
): Account {
  const known = users.find(({ user }) => user === login.state.user);
  if (known !== undefined) return knownAccount(known.password);
  return unknownAccount(login, users.map(({ password }) => shapeOf(password)));
}

/** The line of pg_hba for this login. */
function ruleFor({ context, state, encrypted, trail }: AuthenticatingLogin): HbaRule | undefined {
  const rule = context.hba?.match({
    transport: state.unix ? "unix" : "tcp",
    tls: encrypted,
    address: state.ip,
    database: state.database,
    user: state.user,
    replication: state.replication === "physical",
  });
  trail.rule = rule;
  return rule;
}

/** Whether pg_hba lets in whoever it is; if not, the login is refused. */
export function permitted(login: AuthenticatingLogin): boolean {
  if (login.context.hba === undefined) return true;
  const rule = ruleFor(login);
  if (rule !== undefined && rule.method !== "reject") return true;
  refusedByHba(login, rule === undefined ? REASONS.hbaMissing : REASONS.hbaRejected);
  return false;
}

/** Asks for what the account has to show. `undefined`: it is accepted or refused already. */
export function challenge(login: AuthenticatingLogin, account: Account): Challenge | undefined {
  const { context, state } = login;
  const rule = ruleFor(login);
  if (context.hba !== undefined && rule === undefined) {
    refusedByHba(login, REASONS.hbaMissing);
    return undefined;
  }
  if (rule !== undefined && certificateMissing(login, rule)) return undefined;
  const { stored, shape } = account;
  const decided = decideMethod(rule?.method ?? "auto", stored?.kind ?? mockKind(shape));
  // No other proof says whose login it becomes.
  const method = decided !== "reject" && shape.external?.method === "talos" ? "external" : decided;
  switch (method) {
    case "trust":
      proven(login, account);
      return undefined;
    case "cert":
      // Its name is looked at where anybody is let in.
      proven(login, account);
      return undefined;
    case "peer":
      askForPeer(login, rule!, () => proven(login, account));
      return { method: "checking" };
    case "reject":
      if (stored?.kind === "unsupported") login.refused(REASONS.methodUnavailable, stored.what);
      else {
        if (rule?.method !== "reject") login.trail.cause = "what is stored is an md5 hash";
        refusedByHba(login, REASONS.hbaRejected);
      }
      return undefined;
    case "password":
      login.write(messages.authentication(Authentication.CleartextPassword));
      return { method };
    case "external":
      login.write(messages.authentication(Authentication.CleartextPassword));
      return { method, terms: externalTerms(rule, shape) };
    case "md5": {
      const salt = crypto.getRandomValues(new Uint8Array(4));
      login.write(messages.authentication(Authentication.MD5Password, salt));
      return { method, hash: md5HashFor(stored, claim(login, account)), salt };
    }
    case "scram-sha-256": {
      const binding = state.channelBinding;
      const begun = beginScramServer(verifierFor(stored, claim(login, account)), binding);
      login.write(binding === undefined ? OFFER : OFFER_PLUS);
      return { method: "scram", state: begun };
    }
    default:
      return method satisfies never;
  }
}

/**
 * What was asked, as if `account` had been known then; `undefined`: another challenge would have been sent, so that the
 * answer to this one tells nothing.
 */
export function askedOf(
  asked: Challenge | undefined,
  { stored }: Account,
): Challenge | undefined {
  switch (asked?.method) {
    case "password":
      return asked;
    case "md5":
      return stored?.kind === "md5" ? { ...asked, hash: stored.hash } : undefined;
    case "scram": {
      const { state } = asked;
      const fresh = stored?.kind === "scram" ? parseVerifier(stored.verifier) : undefined;
      if (fresh === undefined || !sameChallenge(state.verifier, fresh)) return undefined;
      return { method: "scram", state: { ...state, verifier: fresh } };
    }
    default:
      return undefined;
  }
}

/** What kind of password a user who does not exist is asked for. */
function mockKind({ kind }: PasswordShape): StoredPassword["kind"] {
  return kind === "md5" || kind === "external" ? kind : "scram";
}

/** Who is to check the password: the rule says it, or else the user's entry. */
function externalTerms(rule: HbaRule | undefined, { external }: PasswordShape): ExternalTerms {
  if (external?.method === "talos") return external;
  switch (rule?.method) {
    case "pam":
    case "ldap":
    case "jwt": {
      const { method, options = {} } = rule;
      return {
        method,
        options: external?.method === method ? { ...external.options, ...options } : options,
      };
    }
    default:
      return external!;
  }
}

/** No password is needed, or no more. Whose certificate is another's does not hear whether the user exists. */
function proven(login: AuthenticatingLogin, account: Account): void {
  const { state, trail: { rule } } = login;
  if (rule !== undefined && !certificateFits(login, rule)) {
    login.refused(refusalOf(rule.method), state.user);
  } else if (account.stored !== undefined) accept(login, undefined);
  else if (account.missing !== "database") wrong(login);
  else login.refused(REASONS.noPool, state.database, state.user);
}

/** The password is right, or none is needed: a certificate may have to name the user as well. */
function accept(
  login: AuthenticatingLogin,
  clientKey: Uint8Array | undefined,
  { user, applicationName }: { user?: string; applicationName?: string } = {},
): void {
  const { rule } = login.trail;
  if (rule === undefined || certificateFits(login, rule)) {
    if (user !== undefined) login.acceptedAs(user, applicationName);
    else login.accepted(clientKey);
  } else login.refused(refusalOf(rule.method), login.state.user);
}

/** Bytes of the password message that begins at `at`; 0: not enough is there, −1: it is none. */
export function passwordLength(bytes: Uint8Array, at: number, end: number): number {
  if (bytes[at] !== Frontend.Password) return -1;
  if (end - at < 5) return 0;
  const length = readLength(bytes, at + 1);
  return length < 4 || length > MOST_PASSWORD_BYTES ? -1 : length + 1;
}

/** Takes the body of a password message, of which nothing is kept. Returns what the client has to show next, if that was not the end. */
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
  if (asked.method === "password") return answerCleartext(login, account, given.slice());
  if (asked.method === "external") {
    return answerExternal(login, account, asked.terms, given.slice());
  }
  const right = md5Verify(asked.hash, asked.salt, new TextDecoder().decode(given));
  if (right && account.stored !== undefined) accept(login, undefined);
  else wrong(login);
  return undefined;
}

function claim({ state, context }: AuthenticatingLogin, { shape }: Account): Claim {
  return { user: state.user, secret: context.mockSecret, shape };
}

function answerCleartext(
  login: AuthenticatingLogin,
  account: Account,
  password: Uint8Array,
): Challenge | undefined {
  const { stored, shape } = account;
  if (shape.kind === "md5") {
    const hash = md5HashFor(stored, claim(login, account));
    const right = md5VerifyPassword(hash, login.state.user, password);
    if (right && stored !== undefined) accept(login, undefined);
    else wrong(login);
    return undefined;
  }
  const verifier = verifierFor(stored, claim(login, account));
  login.checks.salt(password, verifier, (salted) => {
    const keys = salted === undefined ? undefined : verifySalted(verifier, salted);
    if (keys !== undefined && stored !== undefined) accept(login, keys.clientKey);
    else if (salted === undefined) login.refused(REASONS.internalError, "");
    else wrong(login);
  });
  return { method: "checking" };
}

/** A user who does not exist is asked about as well: it takes as long, and comes to nothing. */
function answerExternal(
  login: AuthenticatingLogin,
  account: Account,
  terms: ExternalTerms,
  password: Uint8Array,
): Challenge | undefined {
  const { user, database, ip } = login.state;
  // PostgreSQL takes no empty password for any of these: a directory would take it for an anonymous bind.
  if (password.length === 0) {
    login.trail.cause = "the password is empty";
    wrongFor(login, terms);
    return undefined;
  }
  login.checks.external({ ...terms, user, database, address: ip, password }, (verdict) => {
    const accepted = verdict.kind === "accepted" && account.stored !== undefined;
    login.trail.undecided = verdict.kind === "error";
    if (accepted && (verdict.user !== undefined || terms.method !== "talos")) {
      accept(login, undefined, verdict);
    } else {
      login.trail.cause = verdict.kind === "accepted" ? "there is no such user here" : verdict.why;
      wrongFor(login, terms);
    }
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
      accept(login, step.clientKey);
      return undefined;
    case "fault":
      if (step.code === "authentication") wrong(login);
      else login.refused(REASONS.protocolViolation, step.reason);
      return undefined;
    default:
      return step satisfies never;
  }
}

function wrongFor(login: AuthenticatingLogin, { method }: ExternalTerms): void {
  login.refused(refusalOf(method), login.state.user);
}

function wrong(login: AuthenticatingLogin): void {
  login.refused(REASONS.authenticationFailed, login.state.user);
}

/** In PostgreSQL's words, and in the detail in those that tools of poolers look for. */
function refusedByHba(login: AuthenticatingLogin, reason: Reason): void {
  const { user, database, ip, unix, replication } = login.state;
  const host = `host "${unix ? "[local]" : ip}", user "${peerName(user)}"`;
  const place = replication === "physical"
    ? `replication connection from ${host}`
    : `${host}, database "${peerName(database)}"`;
  const encryption = login.encrypted ? "SSL encryption" : "no encryption";
  const who = `${peerName(user)}@${peerName(database)} (TLS: ${login.encrypted}) from ${
    peerAddress(login.state)
  }`;
  login.refused(reason, `${place}, ${encryption}`, who);
}

function sameChallenge(a: ScramVerifier, b: ScramVerifier): boolean {
  return a.iterations === b.iterations && toBase64(a.salt) === toBase64(b.salt);
}

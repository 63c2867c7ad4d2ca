/**
 * Logins that show no password, or something besides: a certificate of the TLS handshake, or the user of this machine on the
 * other end of a unix socket, and the maps that say as whom they may log in. PostgreSQL manual, "Certificate
 * Authentication" and "Peer Authentication".
 */

import type { HbaMethod, HbaRule } from "../../config/hba_rule.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { ExternalMethod } from "../../config/external_check.ts";
import type { UserMaps } from "../../auth/user_maps.ts";
import type { SessionState } from "../state.ts";
import type { PasswordChecks } from "./checks.ts";
import type { Trail } from "./log_lines.ts";

/** What this file needs of a login. */
export interface ProvingLogin {
  readonly state: Pick<SessionState, "user" | "database" | "clientCertificate">;
  readonly context: { readonly userMaps: Pick<UserMaps, "refusal"> };
  /** Is filled in, for the log. */
  readonly trail: Trail;
  readonly checks: Pick<PasswordChecks, "external">;
  /** Number of the user on the other end of a unix socket, or −errno. */
  readonly peerUser: number;
  refused(reason: Reason, first: string, second?: string): void;
}

/** What PostgreSQL says where a login by this method comes to nothing. */
export function refusalOf(method: HbaMethod | ExternalMethod): Reason {
  switch (method) {
    case "trust":
      return REASONS.trustFailed;
    case "cert":
      return REASONS.certificateFailed;
    case "peer":
      return REASONS.peerFailed;
    case "pam":
      return REASONS.pamFailed;
    case "ldap":
      return REASONS.ldapFailed;
    case "reject":
    case "password":
    case "md5":
    case "scram-sha-256":
    case "jwt":
    case "talos":
    case "auto":
      return REASONS.authenticationFailed;
    default:
      return method satisfies never;
  }
}

/** Refuses a client that has no certificate where the rule demands one. Those that are no good failed in the handshake. */
export function certificateMissing(login: ProvingLogin, rule: HbaRule): boolean {
  const demanded = rule.method === "cert" || rule.clientCert !== undefined;
  if (!demanded || login.state.clientCertificate !== undefined) return false;
  login.refused(REASONS.certificateRequired, "");
  return true;
}

/** Whether the certificate is the user's, where the rule wants that; the trail says why not. */
export function certificateFits(login: ProvingLogin, rule: HbaRule): boolean {
  if (rule.method !== "cert" && rule.clientCert !== "verify-full") return true;
  const { clientCertificate: names, user } = login.state;
  const whole = rule.clientName === "DN";
  const name = whole ? names?.distinguishedName : names?.commonName;
  if (name === undefined || name === "") {
    login.trail.cause = "the client's certificate has no common name";
    return false;
  }
  const refusal = login.context.userMaps.refusal(rule.map, name, user);
  if (refusal === undefined) return true;
  login.trail.cause = `client certificate: ${refusal}`;
  return false;
}

/** Asks who it is on the other end of the unix socket, and whether that one may log in as the user. */
export function askForPeer(login: ProvingLogin, rule: HbaRule, proven: () => void): void {
  const { user, database } = login.state;
  const refuse = (cause: string) => {
    login.trail.cause = cause;
    login.refused(REASONS.peerFailed, user);
  };
  const number = login.peerUser;
  if (number < 0) return refuse(`the system does not know who it is (errno ${-number})`);
  login.checks.external({
    method: "peer",
    options: { uid: String(number) },
    user,
    database,
    address: "",
    password: new Uint8Array(0),
  }, (verdict) => {
    if (verdict.kind !== "accepted") return refuse(verdict.why);
    const refusal = login.context.userMaps.refusal(rule.map, verdict.identity ?? "", user);
    if (refusal === undefined) proven();
    else refuse(`peer: ${refusal}`);
  });
}

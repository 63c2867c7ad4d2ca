/** Keys about how clients prove who they are, beyond what is stored of their passwords; see `schema.ts` for what a row means. */

import type { KeyTable } from "./schema.ts";
import type { LoginConfig } from "./types.ts";

/** Rows of `[general]` about logins. */
export const LOGIN_TABLE: KeyTable<LoginConfig> = {
  auth_failure_delay: {
    heading: "Logins: docs/authentication.md",
    type: "duration",
    default: 100,
    reload: "N",
    doc:
      "How long the next password waits after `auth_failures_free` failed ones of a user from an address; twice as long after " +
      "each further one. 0 = no delay. Not in upstream.",
  },
  auth_failure_delay_max: {
    type: "duration",
    default: 5_000,
    reload: "N",
    doc: "The longest such delay; never more than half of `client_login_timeout`. Not in upstream.",
  },
  auth_failures_free: {
    type: "u32",
    default: 5,
    min: 1,
    zeroFault: "every login would wait",
    reload: "N",
    doc: "Failed passwords of a user from an address without a delay. Not in upstream.",
  },
  auth_check_timeout: {
    type: "duration",
    default: 10_000,
    min: 1,
    zeroFault: "a check needs time",
    reload: "A",
    doc: "How long PAM or a directory may take for a password. Not in upstream.",
  },
  auth_checks_at_once: {
    type: "u32",
    default: 8,
    min: 1,
    zeroFault: "nobody would be checked",
    reload: "R",
    doc:
      "Passwords that PAM checks at once, each in a process of its own, and as many that directories check. Not in upstream.",
  },
  pam_config_dir: {
    type: "string",
    reload: "A",
    unset: "the system's, `/etc/pam.d`",
    doc: "Directory of PAM's services; Linux-PAM 1.4 or later. Not in upstream.",
  },
  ldap_tls_ca_cert: {
    type: "path",
    reload: "A",
    unset: "the well-known ones alone",
    doc:
      "Authorities of directories' certificates, beside the well-known ones: PEM bundle. Not in upstream.",
  },
  jwt_audience: {
    type: "string_list",
    default: [],
    reload: "A",
    doc: "Accepted `aud` of tokens that users log in with; none = any. Not in upstream.",
  },
  jwt_issuer: {
    type: "string",
    reload: "A",
    unset: "any",
    doc: "Their `iss`. Not in upstream.",
  },
  jwt_leeway: {
    type: "seconds",
    default: 0,
    reload: "A",
    doc: "How far the issuer's clock may be off. Not in upstream.",
  },
  jwt_user_claim: {
    type: "string",
    default: "preferred_username",
    reload: "A",
    doc: "Claim that has the user's name. Not in upstream.",
  },
};

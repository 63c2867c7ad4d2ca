/**
 * Checks of passwords that the pooler does not do itself: PAM, a directory, whoever signs tokens. What is asked and what
 * comes back is plain data, since workers ask the control plane by mail; `auth/external.ts` has the rest.
 */

/**
 * Who is asked. `talos` is no method of pg_hba: tokens of its users are told by the user's name. `peer` has no password: it
 * is asked for the name of the user of this machine whose number is in the options.
 */
export type ExternalMethod = "pam" | "ldap" | "jwt" | "talos" | "peer";

/** Which check it is, and what the rule or the user's entry says of it. */
export interface ExternalTerms {
  method: ExternalMethod;
  options: Readonly<Record<string, string>>;
}

/** One password that is to be checked. */
export interface ExternalRequest extends ExternalTerms {
  user: string;
  database: string;
  /** The client's, without its port; empty for a unix socket. */
  address: string;
  /** Up to its zero byte, in whatever encoding the client has. */
  password: Uint8Array;
}

/** `why` is for the operator; the client hears no more than that it was refused. */
export type ExternalVerdict =
  /**
   * `identity`: who it is by the word of whoever was asked, where that is more than yes. `user`: he is let in as this one;
   * `applicationName`: and called so.
   */
  | { kind: "accepted"; identity?: string; user?: string; applicationName?: string }
  /** It is the wrong password, or the user may not log in. */
  | { kind: "refused"; why: string }
  /** Nobody knows: whoever was asked did not answer. */
  | { kind: "error"; why: string };

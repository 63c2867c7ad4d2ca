/**
 * One access rule of pg_hba, and one line of its maps of users, as plain data: a part of the configuration, and of the
 * settings that workers get. `auth/hba_file.ts` and `auth/ident_file.ts` make them from text, `auth/hba.ts` and
 * `auth/user_maps.ts` decide by them.
 */

import type { Cidr } from "./address.ts";
import type { ExternalMethod } from "./external_check.ts";

/** Which connections a rule is for. */
export type HbaType = "local" | "host" | "hostssl" | "hostnossl";

/** Methods whose passwords others check. */
export type HbaExternalMethod = Exclude<ExternalMethod, "talos" | "peer">;

/** What a rule asks of the client; `auto`: whatever the stored password calls for. */
export type HbaMethod =
  | "trust"
  | "reject"
  | "password"
  | "md5"
  | "scram-sha-256"
  | "cert"
  | "peer"
  | HbaExternalMethod
  | "auto";

/** One entry of a rule's database or user list. */
export type HbaName =
  | { kind: "all" }
  | { kind: "sameuser" }
  | { kind: "replication" }
  | { kind: "name"; name: string }
  /** `pattern` is the source of a regular expression; it may match anywhere in the name. */
  | { kind: "regex"; pattern: string };

/** Which peers a rule is for; always `all` for `local`. */
export type HbaAddress =
  | { kind: "all" }
  | { kind: "samehost" }
  | { kind: "samenet" }
  | { kind: "network"; network: Cidr };

/** One rule. */
export interface HbaRule {
  type: HbaType;
  databases: HbaName[];
  users: HbaName[];
  address: HbaAddress;
  method: HbaMethod;
  /** What the client's certificate must be, besides what the method asks for; `verify-full`: of the user's name, too. */
  clientCert?: "verify-ca" | "verify-full";
  /** What of a certificate names the user; the common name where nothing is said. */
  clientName?: "CN" | "DN";
  /** Name of the map that says as whom a certificate or a user of this machine may log in; absent: only by its own name. */
  map?: string;
  /** Options of an external method; absent: there are none. */
  options?: Readonly<Record<string, string>>;
  /** File, or config key, that the rule stands in. */
  source: string;
  /** Line in `source`; the number of the entry for the old list, 0 for a rule that it implies. */
  line: number;
}

/** One line of a map of users: who, by certificate or by this machine's word, may log in as whom. */
export interface IdentRule {
  map: string;
  system: Extract<HbaName, { kind: "name" | "regex" }>;
  /** The first `\\1` of a name is what the pattern of `system` has captured. */
  user: Extract<HbaName, { kind: "all" | "name" | "regex" }>;
  source: string;
  line: number;
}

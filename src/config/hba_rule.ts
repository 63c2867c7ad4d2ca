/**
 * One access rule of pg_hba as plain data: a part of the configuration, and of the settings that workers get.
 * `auth/hba_file.ts` makes rules from text, `auth/hba.ts` decides by them.
 */

import type { Cidr } from "./address.ts";
import type { ExternalMethod } from "./external_check.ts";

/** Which connections a rule is for. */
export type HbaType = "local" | "host" | "hostssl" | "hostnossl";

/** Methods whose passwords others check. */
export type HbaExternalMethod = Exclude<ExternalMethod, "talos">;

/** What a rule asks of the client; `auto`: whatever the stored password calls for. */
export type HbaMethod =
  | "trust"
  | "reject"
  | "password"
  | "md5"
  | "scram-sha-256"
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
  /** What follows the method; absent: nothing does. */
  options?: Readonly<Record<string, string>>;
  /** File, or config key, that the rule stands in. */
  source: string;
  /** Line in `source`; the number of the entry for the old list, 0 for a rule that it implies. */
  line: number;
}

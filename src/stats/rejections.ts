/**
 * Connections that were refused before they had logged in, by why, in the words of upstream's metric. Wrong passwords
 * are none of these. Counted in memory that all threads share.
 */

import { Shared } from "./shared.ts";

/** What is counted, in the order of the shared words. */
export const REJECTIONS = [
  "hba",
  "tls_required",
  "tls_handshake_fail",
  "protocol_error",
  "invalid_startup",
  "too_many_clients",
] as const;

type Rejection = typeof REJECTIONS[number];

/** Names of the reasons for which a login fails (reasons.ts), as far as they are counted here. */
const OF_REASONS: ReadonlyMap<string, Rejection> = new Map([
  ["hba", "hba"],
  ["tls_required", "tls_required"],
  ["tls_handshake_fail", "tls_handshake_fail"],
  ["protocol_violation", "protocol_error"],
  ["unsupported_version", "invalid_startup"],
  ["invalid_startup", "invalid_startup"],
  ["too_many_clients", "too_many_clients"],
]);

/** A login has failed for a reason of this name. */
export function countRejection(shared: Int32Array, reason: string): void {
  const rejection = OF_REASONS.get(reason);
  if (rejection === undefined) return;
  Atomics.add(shared, Shared.Rejections + REJECTIONS.indexOf(rejection), 1);
}

/** How many of each there were. */
export function readRejections(shared: Int32Array): number[] {
  return REJECTIONS.map((_, at) => Atomics.load(shared, Shared.Rejections + at) >>> 0);
}

/**
 * Operator's `startup_parameters`: names in canonical form, the checks of each layer, the merging of layers, and the
 * size of the StartupMessage that they end up in. Names are not checked against PostgreSQL's list, values not read.
 */

import { canonicalName, isParameterName } from "./parameter_names.ts";
import type { Config } from "./types.ts";

/** Longest StartupMessage that PostgreSQL takes (MAX_STARTUP_PACKET_LENGTH). */
export const MAX_STARTUP_PACKET_BYTES = 10_000;
/** What parameters may take of it: the rest is for user, database and application_name. */
export const PARAMETER_BUDGET_BYTES = MAX_STARTUP_PACKET_BYTES - 512;

const RESERVED = new Set([
  "user",
  "database",
  "replication",
  "options",
  "role",
  "session_authorization",
]);

const encoder = new TextEncoder();

/** What is wrong with one entry; undefined when nothing is. */
export function parameterFault(name: string, value: string): string | undefined {
  if (name === "") return "a parameter needs a name";
  const lower = name.toLowerCase();
  if (RESERVED.has(lower)) return `"${name}" is reserved: the pooler decides it itself`;
  if (lower.startsWith("_pq_.")) return `"${name}" is a protocol option, not a parameter`;
  if (!isParameterName(name)) return `"${name}" cannot be the name of a parameter`;
  if (value.includes("\0")) return `the value of "${name}" holds a NUL byte`;
  return undefined;
}

/** Bytes that the entries take in a StartupMessage. */
export function parameterBytes(parameters: Iterable<readonly [string, string]>): number {
  let total = 0;
  for (const [name, value] of parameters) total += pairBytes(name, value);
  return total;
}

/** Canonical name → value; of two layers that set the same name the later one wins. */
export function mergeParameters(
  ...layers: readonly ReadonlyMap<string, string>[]
): Map<string, string> {
  const merged = new Map<string, string>();
  for (const layer of layers) {
    for (const [name, value] of layer) merged.set(canonicalName(name), value);
  }
  return merged;
}

/** Every parameter of every pool, by database, user and name, with the section that its value is of. */
export function startupParameterRows({ general, pools }: Config): {
  database: string;
  user: string;
  parameter: string;
  value: string;
  source: "general" | "pool";
}[] {
  return [...pools].flatMap(([database, pool]) => {
    const own = mergeParameters(pool.startup_parameters);
    const merged = [...mergeParameters(general.startup_parameters, pool.startup_parameters)]
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return pool.users.flatMap(({ username }) =>
      merged.map(([parameter, value]) => ({
        database,
        user: username,
        parameter,
        value,
        source: own.has(parameter) ? "pool" as const : "general" as const,
      }))
    );
  });
}

/** Length of the whole StartupMessage of a server connection. */
export function startupPacketBytes(packet: {
  user: string;
  database: string;
  applicationName: string;
  /** Merged, canonical. */
  parameters: ReadonlyMap<string, string>;
}): number {
  const lengthAndVersion = 8;
  const terminator = 1;
  let total = lengthAndVersion + pairBytes("user", packet.user) +
    pairBytes("database", packet.database) + parameterBytes(packet.parameters) + terminator;
  if (!packet.parameters.has("application_name")) {
    total += pairBytes("application_name", packet.applicationName);
  }
  return total;
}

function pairBytes(name: string, value: string): number {
  return encoder.encode(name).length + encoder.encode(value).length + 2;
}

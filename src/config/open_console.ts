/** Whether the rules of pg_hba let everybody into the admin console without a password. */

import { parseAddress } from "./address.ts";
import type { HbaAddress, HbaName, HbaRule } from "./hba_rule.ts";

/** The console's databases. */
export const CONSOLE_DATABASES: readonly string[] = ["pgdoorman", "pgbouncer"];

/** The rule that does, for whatever address; rules before it that ask everybody for a password keep the console shut. */
export function openConsole(rules: readonly HbaRule[], admin: string): HbaRule | undefined {
  return CONSOLE_DATABASES.map((database) => openTo(rules, database, admin))
    .find((rule) => rule !== undefined);
}

function openTo(rules: readonly HbaRule[], database: string, admin: string): HbaRule | undefined {
  /** Families of addresses that an earlier rule has dealt with. */
  const settled = new Set<number>();
  for (const rule of rules) {
    if (rule.type === "local") continue;
    const families = everyAddress(rule.address).filter((family) => !settled.has(family));
    if (families.length === 0) continue;
    if (!names(rule.databases, database) || !names(rule.users, admin)) continue;
    if (rule.method === "trust") return rule;
    if (rule.type === "host") { for (const family of families) settled.add(family); }
  }
  return undefined;
}

function names(list: readonly HbaName[], name: string): boolean {
  return list.some((one) => one.kind === "all" || one.kind === "name" && one.name === name);
}

/** The families of which a rule's address has all. */
function everyAddress(address: HbaAddress): number[] {
  if (address.kind === "all") return [4, 6];
  return address.kind === "network" && address.network.prefix === 0
    ? [address.network.address.family]
    : [];
}

/** Whether others than this machine can connect to a socket on this address. */
export function isReachable(host: string): boolean {
  if (host === "localhost") return false;
  const address = parseAddress(host.startsWith("[") ? host.slice(1, -1) : host);
  if (address === undefined) return true;
  const { family, bytes } = address;
  const loopback = family === 4
    ? bytes[0] === 127
    : bytes.every((byte, i) => byte === (i === 15 ? 1 : 0));
  return !loopback;
}

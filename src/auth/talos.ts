/**
 * Talos: tokens that say for each database which of three roles their owner has. Keys of `resource_access` are
 * `anything:database`; the login becomes that of the highest role for the database that it asks for, and no other's.
 */

import type { JWTPayload } from "jose";

/** The user name that asks for a login by such a token. */
export const TALOS_USER = "talos";

/** Highest first. */
const ROLES = ["owner", "read_write", "read_only"] as const;

export type TalosRole = typeof ROLES[number];

/** Who a token's owner is, or why nobody. */
export type TalosVerdict =
  | { readonly role: TalosRole; readonly clientId: string }
  | { readonly fault: string };

/** What the claims of a good token give in a database. */
export function talosRole(claims: JWTPayload, database: string): TalosVerdict {
  const { clientId, resource_access } = claims;
  if (typeof clientId !== "string" || clientId === "") {
    return { fault: "the token has no clientId" };
  }
  if (!isRecord(resource_access)) return { fault: "the token has no resource_access" };
  const found = new Set<string>();
  for (const [key, access] of Object.entries(resource_access)) {
    const colon = key.indexOf(":");
    if (colon < 0 || key.slice(colon + 1) !== database) continue;
    const roles = isRecord(access) ? access.roles : undefined;
    if (!Array.isArray(roles)) return { fault: "an entry of resource_access has no roles" };
    for (const role of roles) found.add(String(role));
  }
  // What a role of another kind is to mean is not ours to guess.
  if ([...found].some((role) => !(ROLES as readonly string[]).includes(role))) {
    return { fault: `the token has another role than ${ROLES.join(", ")}` };
  }
  const role = ROLES.find((name) => found.has(name));
  return role === undefined
    ? { fault: "the token has no role in this database" }
    : { role, clientId };
}

/** The `kid` that a key file is for: its name without the last ending. */
export function kidOfFile(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(0, dot) : name;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

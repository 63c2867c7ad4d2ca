/**
 * `server_auth`: what PostgreSQL may ask the pooler for at a log-in, as `require_auth` of libpq has it: methods that are
 * allowed, or, each behind a `!`, those that are not.
 */

/** Ways in which a server may have the pooler prove itself; `none` is to ask for nothing. */
export const SERVER_AUTH_METHODS = ["none", "password", "md5", "scram-sha-256"] as const;

export type ServerAuthMethod = typeof SERVER_AUTH_METHODS[number];

/** What a value allows, or what is wrong with it. Empty: whatever the server asks for. */
export function readServerAuth(
  value: string,
): { readonly allowed: readonly ServerAuthMethod[] } | { readonly fault: string } {
  if (value.trim() === "") return { allowed: [] };
  const named = new Set<ServerAuthMethod>();
  const negated = value.trimStart().startsWith("!");
  for (const part of value.split(",")) {
    const word = part.trim();
    if (word.startsWith("!") !== negated) {
      return { fault: "names methods both with and without a !" };
    }
    const name = negated ? word.slice(1) : word;
    const method = SERVER_AUTH_METHODS.find((known) => known === name);
    if (method === undefined) return { fault: `there is no method ${JSON.stringify(name)}` };
    named.add(method);
  }
  const allowed = SERVER_AUTH_METHODS.filter((method) => named.has(method) !== negated);
  return allowed.length > 0 ? { allowed } : { fault: "allows no method" };
}

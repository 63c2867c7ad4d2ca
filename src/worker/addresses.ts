/**
 * From `server_host` to what connect(2) takes: a directory is a unix socket, a literal address itself, and all else is a
 * name that the control plane resolves.
 */

import { inetAddress, unixAddress } from "../os/socket_address.ts";
import type { ServerAddress } from "../server/dial.ts";

/** The address of a host that needs no resolver; `undefined` for a name. */
export function literalAddress(
  host: string,
  port: number,
): { addresses: ServerAddress[]; error: string | undefined } | undefined {
  if (host.startsWith("/")) {
    const path = `${host}/.s.PGSQL.${port}`;
    const bytes = unixAddress(path);
    return bytes === undefined
      ? { addresses: [], error: "path of the unix socket is too long" }
      : { addresses: [{ bytes, text: path }], error: undefined };
  }
  const bracketed = host.startsWith("[") && host.endsWith("]");
  const bytes = inetAddress(bracketed ? host.slice(1, -1) : host, port);
  return bytes === undefined
    ? undefined
    : { addresses: [{ bytes, text: `${host}:${port}` }], error: undefined };
}

/** The addresses that a name was resolved to, in the resolver's order. */
export function resolvedAddresses(host: string, port: number, found: string[]): ServerAddress[] {
  return found.flatMap((ip) => {
    const bytes = inetAddress(ip, port);
    return bytes === undefined ? [] : [{ bytes, text: `${host} (${ip}):${port}` }];
  });
}

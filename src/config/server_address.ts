/**
 * Where a pool leads and where clients come in, as far as one can tell without asking anybody: lists of hosts, URLs,
 * sockets in the abstract namespace, and a pool that leads back to the pooler itself.
 */

import { parseAddress } from "./address.ts";
import type { Report } from "./report.ts";
import type { ListenConfig } from "./types.ts";

const WILDCARDS = new Set(["0.0.0.0", "[::]", "::"]);

/** What is wrong with `server_host`. */
export function checkServerHost(
  { server_host, server_port }: { server_host: string; server_port: number },
  general: ListenConfig,
  path: string,
  report: Report,
): void {
  const hostPath = `${path}.server_host`;
  if (report.isFaulty(hostPath)) return;
  if (server_host === "") report.fault(hostPath, "must not be empty");
  else if (reportForm(server_host, hostPath, report)) return;
  else if (leadsBack(server_host, server_port, general)) reportCircle(path, server_port, report);
}

/** Where nobody has chosen a port, PostgreSQL has the default one, and the pooler can't listen on it. */
function reportCircle(path: string, port: number, report: Report): void {
  const portPath = `${path}.server_port`;
  const written = [portPath, "general.port"].filter((one) => report.isSet(one));
  if (written.length === 0 || written.some((one) => report.isFaulty(one))) return;
  report.fault(
    written.includes(portPath) ? portPath : `${path}.server_host`,
    `leads back to the pooler itself, which listens on port ${port}`,
    "server_host and server_port are PostgreSQL's, host and port in [general] the pooler's",
  );
}

/** What is wrong with `host`. */
export function checkListenHost({ host, unix_socket_dir }: ListenConfig, report: Report): void {
  const path = "general.host";
  if (host === "*") report.fault(path, '"*" is not an address', '"0.0.0.0", or "[::]" for IPv6');
  else if (/[,\s]/.test(host)) {
    report.fault(path, "holds several addresses: there can be one", '"0.0.0.0" is all of them');
  } else if (host.startsWith("/")) {
    report.fault(path, "is a directory, not an address", "unix_socket_dir is for Unix sockets");
  }
  if (unix_socket_dir?.startsWith("@")) {
    report.fault(
      "general.unix_socket_dir",
      "sockets in the abstract namespace (@…) are not supported",
      "a directory, as in /run/pg_doorman",
    );
  }
}

function reportForm(host: string, path: string, report: Report): boolean {
  if (host.startsWith("@")) {
    report.fault(
      path,
      "sockets in the abstract namespace (@…) are not supported",
      "the directory of PostgreSQL's socket, as in /run/postgresql",
    );
  } else if (host.includes("://")) {
    // It may hold a password.
    report.fault(path, "is a URL, not a host", "server_host, server_port and server_database");
  } else if (!host.startsWith("/") && /[,\s]/.test(host)) {
    report.fault(
      path,
      "holds several hosts: a pool leads to one server",
      "a pool for each, or a name or address that follows the primary",
    );
  } else if (/^(?:[^:]*|\[.*\]):[0-9]+$/.test(host) && !host.startsWith("/")) {
    report.fault(path, "holds a port", "server_port is a key of its own");
  } else return false;
  return true;
}

/** Only what is certain: on another address of this machine may be PostgreSQL, on the same port. */
function leadsBack(host: string, port: number, general: ListenConfig): boolean {
  if (port !== general.port) return false;
  if (host.startsWith("/")) {
    const { unix_socket_dir } = general;
    return unix_socket_dir !== undefined && trimmed(unix_socket_dir) === trimmed(host);
  }
  const wildcard = WILDCARDS.has(general.host);
  if (host.toLowerCase() === general.host.toLowerCase()) return true;
  if (host.toLowerCase() === "localhost") return wildcard || isLoopback(general.host);
  return wildcard && isLoopback(host) &&
    (parseAddress(host)?.family === 4 || general.host !== "0.0.0.0");
}

function isLoopback(host: string): boolean {
  const address = parseAddress(host.replace(/^\[(.*)\]$/, "$1"));
  if (address === undefined) return false;
  return address.family === 4
    ? address.bytes[0] === 127
    : address.bytes.every((byte, at) => byte === (at === 15 ? 1 : 0));
}

function trimmed(directory: string): string {
  return directory.replace(/\/+$/, "");
}

/**
 * File descriptors of this process: close-on-exec, duplicates, and how listening sockets that Deno opened are adopted.
 */

import type { Fd } from "./fd.ts";
import * as libc from "./libc.ts";
import {
  AF_INET,
  AF_INET6,
  F_DUPFD_CLOEXEC,
  F_SETFD,
  FD_CLOEXEC,
  RLIMIT_NOFILE,
  SO_ACCEPTCONN,
  SOCKADDR_BYTES,
  SOL_SOCKET,
} from "./layout.ts";
import { errnoText } from "./errno.ts";
import { addressFamily, readAddress } from "./socket_address.ts";

/** A second descriptor for the same open file, close-on-exec. Throws when the process has no descriptor left. */
export function duplicate(fd: Fd): Fd {
  const result = libc.fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (result < 0) throw new Error(`dup of descriptor ${fd}: ${errnoText(-result)}`);
  return result as Fd;
}

/** Whether the descriptor closes when this process executes another program. */
export function setCloseOnExec(fd: Fd, flag: "on" | "off"): void {
  const result = libc.fcntl(fd, F_SETFD, flag === "on" ? FD_CLOEXEC : 0);
  if (result < 0) throw new Error(`fcntl(F_SETFD) on descriptor ${fd}: ${errnoText(-result)}`);
}

/** Raises the limit of open files as far as this process may, and returns what it is then. */
export function raiseFileLimit(): number {
  const { soft, hard } = libc.getrlimit(RLIMIT_NOFILE);
  return soft < hard && libc.setrlimit(RLIMIT_NOFILE, hard, hard) >= 0 ? hard : soft;
}

/** Every open descriptor of this process; the one that the listing itself needs is left out. */
export function openDescriptors(): Fd[] {
  const found: Fd[] = [];
  for (const entry of Deno.readDirSync("/proc/self/fd")) {
    const fd = Number(entry.name) as Fd;
    if (libc.fcntl(fd, 1, 0) >= 0) found.push(fd);
  }
  return found;
}

/**
 * The descriptor of a listening socket of this process, found by its local address as `readAddress` prints it
 * (`127.0.0.1:6432`, `[::]:6432`, `unix:/run/x/.s.PGSQL.6432`).
 */
export function findListener(local: string): Fd | undefined {
  const address = new Uint8Array(SOCKADDR_BYTES);
  const length = new Uint32Array(1);
  for (const fd of openDescriptors()) {
    if (libc.getSocketOption(fd, SOL_SOCKET, SO_ACCEPTCONN) !== 1) continue;
    length[0] = SOCKADDR_BYTES;
    if (libc.getsockname(fd, address, length) < 0) continue;
    if (readAddress(address, length[0]) === local) return fd;
  }
  return undefined;
}

const SHUT_RDWR = 2;

/**
 * Ends TCP connections between these ports, under the hands of who has them: Deno cancels no write that waits for the
 * other side, not even when the connection is closed. Returns how many there were. Looks at every descriptor.
 */
export function severConnections(localPort: number, peerPorts: ReadonlySet<number>): number {
  const address = new Uint8Array(SOCKADDR_BYTES);
  const length = new Uint32Array(1);
  const portBy = (name: typeof libc.getsockname, fd: Fd): number => {
    length[0] = SOCKADDR_BYTES;
    if (name(fd, address, length) < 0) return -1;
    const family = addressFamily(address);
    // sockaddr_in and sockaddr_in6 have it in the same place.
    return family === AF_INET || family === AF_INET6 ? address[2]! << 8 | address[3]! : -1;
  };
  let severed = 0;
  for (const fd of openDescriptors()) {
    if (portBy(libc.getsockname, fd) !== localPort) continue;
    if (!peerPorts.has(portBy(libc.getpeername, fd))) continue;
    libc.shutdown(fd, SHUT_RDWR);
    severed++;
  }
  return severed;
}

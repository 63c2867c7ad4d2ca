/**
 * Sockets that connect while the reactor goes on: opened, begun, and asked for the outcome when they are writable.
 */

import { EINPROGRESS } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import { addressFamily } from "../os/socket_address.ts";

/** A socket for an address: its descriptor, or −errno. */
export function openSocket(address: Uint8Array<ArrayBuffer>): number {
  return libc.socket(addressFamily(address), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/** Begins to connect it: 0, or −errno, and it is closed. */
export function beginConnect(fd: Fd, address: Uint8Array<ArrayBuffer>): number {
  const result = libc.connect(fd, address);
  if (result >= 0 || result === -EINPROGRESS) return 0;
  libc.close(fd);
  return result;
}

/** What became of it: 0, or an errno. */
export function connectOutcome(fd: Fd): number {
  return Math.abs(libc.getSocketOption(fd, SOL_SOCKET, SO_ERROR));
}

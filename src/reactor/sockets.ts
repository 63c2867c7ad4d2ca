/**
 * Socket options that the configuration asks for, set on every accepted and every connecting socket. A refusal of the
 * kernel is no reason to lose a connection: results are not looked at.
 */

import type { SocketSettings } from "../config/settings.ts";
import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from "../os/layout.ts";

/** Applies the settings to one socket. */
export function tuneSocket(fd: Fd, unix: boolean, settings: SocketSettings): void {
  const size = unix ? settings.unix_socket_buffer_size : settings.tcp_socket_buffer_size;
  if (size > 0) {
    libc.setSocketOption(fd, SOL_SOCKET, SO_SNDBUF, size);
    libc.setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, size);
  }
  if (unix) return;
  if (settings.tcp_no_delay) libc.setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (settings.tcp_keepalives_idle > 0) {
    libc.setSocketOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, settings.tcp_keepalives_idle);
    libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, settings.tcp_keepalives_interval);
    libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPCNT, settings.tcp_keepalives_count);
  }
  if (settings.tcp_user_timeout > 0) {
    const ms = settings.tcp_user_timeout * 1000;
    libc.setSocketOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
  }
  // Zero would reset the connection at each close and take the last message with it (RFC 9293 §3.6).
  if (settings.tcp_so_linger > 0) {
    libc.setSocketOptionPair(fd, SOL_SOCKET, SO_LINGER, 1, settings.tcp_so_linger);
  }
}

/**
 * Socket options that the configuration asks for, set on every accepted and every connecting socket; accepted ones inherit
 * most of them from the socket that listens. A refusal of the
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
  tuneBuffers(fd, unix, settings);
  if (unix) return;
  if (settings.tcp_no_delay) libc.setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (settings.tcp_keepalives_idle > 0) keepAlive(fd, settings);
  if (settings.tcp_user_timeout > 0) userTimeout(fd, settings);
  // Zero would reset the connection at each close and take the last message with it (RFC 9293 §3.6).
  if (settings.tcp_so_linger > 0) linger(fd, settings);
}

/** Sizes of buffers, which a socket can't be rid of again: no listener has them for those that it accepts. */
export function tuneBuffers(fd: Fd, unix: boolean, settings: SocketSettings): void {
  const size = unix ? settings.unix_socket_buffer_size : settings.tcp_socket_buffer_size;
  if (size === 0) return;
  libc.setSocketOption(fd, SOL_SOCKET, SO_SNDBUF, size);
  libc.setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, size);
}

/**
 * Applies what accepted TCP sockets inherit, all but the sizes of buffers, whatever was set before: to a listening socket,
 * and to those that have inherited something else.
 */
export function tuneAnew(fd: Fd, settings: SocketSettings): void {
  libc.setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, settings.tcp_no_delay ? 1 : 0);
  if (settings.tcp_keepalives_idle > 0) keepAlive(fd, settings);
  else libc.setSocketOption(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
  userTimeout(fd, settings);
  if (settings.tcp_so_linger > 0) linger(fd, settings);
  else libc.setSocketOptionPair(fd, SOL_SOCKET, SO_LINGER, 0, 0);
}

function keepAlive(fd: Fd, settings: SocketSettings): void {
  libc.setSocketOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, settings.tcp_keepalives_idle);
  libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, settings.tcp_keepalives_interval);
  libc.setSocketOption(fd, IPPROTO_TCP, TCP_KEEPCNT, settings.tcp_keepalives_count);
}

function userTimeout(fd: Fd, settings: SocketSettings): void {
  libc.setSocketOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, settings.tcp_user_timeout * 1000);
}

function linger(fd: Fd, settings: SocketSettings): void {
  libc.setSocketOptionPair(fd, SOL_SOCKET, SO_LINGER, 1, settings.tcp_so_linger);
}

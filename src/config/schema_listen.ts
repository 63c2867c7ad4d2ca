/** Keys of `[general]` that sockets are opened and tuned by; see `schema.ts` for what a row means. */

import type { KeyTable } from "./schema.ts";
import type { SocketSettings } from "./settings.ts";
import type { ListenConfig } from "./types.ts";

/** The first rows of `[general]`. */
export const LISTEN_TABLE: KeyTable<ListenConfig & SocketSettings> = {
  host: {
    heading: "Listening and sockets",
    type: "string",
    default: "0.0.0.0",
    reload: "R",
    doc: 'Address to listen on over TCP; IPv6 in brackets, as in "[::]".',
  },
  port: {
    type: "u16",
    default: 5432,
    reload: "R",
    doc: "TCP port; also part of the Unix socket's name.",
  },
  backlog: {
    type: "u32",
    default: 0,
    reload: "R",
    doc: "Length of the kernel's queue of connections not yet accepted; 0 = `max_connections`.",
  },
  max_connections: {
    type: "usize",
    default: 8192,
    min: 1,
    zeroFault: "no client could connect",
    reload: "A",
    doc: "Clients logged in at a time; one more gets SQLSTATE 53300. Admin clients count. " +
      "Connections that do not log in: docs/limits.md.",
  },
  unix_socket_dir: {
    type: "path",
    reload: "R",
    unset: "no Unix socket",
    doc: "Also listen on `.s.PGSQL.<port>` in this directory.",
  },
  unix_socket_mode: {
    type: "octal_mode",
    default: 0o600,
    reload: "R",
    doc: "Permissions of the Unix socket, as octal text.",
  },
  unix_socket_buffer_size: {
    type: "bytes",
    default: 1_048_576,
    reload: "N",
    doc: "Kernel send and receive buffers of Unix sockets, on both sides.",
  },
  tcp_socket_buffer_size: {
    type: "bytes",
    default: 0,
    reload: "N",
    doc: "Kernel send and receive buffers of TCP sockets; 0 = left to the kernel's tuning.",
  },
  tcp_so_linger: {
    type: "seconds",
    default: 0,
    max: 65_535,
    reload: "N",
    doc:
      "SO_LINGER of client and server sockets; 0 = the kernel's default. Upstream resets connections with 0.",
  },
  tcp_no_delay: {
    type: "bool",
    default: true,
    reload: "N",
    doc: "TCP_NODELAY: small messages are sent at once.",
  },
  tcp_keepalives_idle: {
    type: "seconds",
    default: 5,
    max: 32_767,
    reload: "N",
    doc: "Idle time before the first keepalive probe.",
  },
  tcp_keepalives_interval: {
    type: "seconds",
    default: 5,
    max: 32_767,
    reload: "N",
    doc: "Time between keepalive probes.",
  },
  tcp_keepalives_count: {
    type: "u32",
    default: 5,
    max: 127,
    reload: "N",
    doc: "Keepalive probes left unanswered before the connection is given up.",
  },
  tcp_user_timeout: {
    type: "seconds",
    default: 60,
    max: 4_294_967,
    reload: "N",
    doc: "TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged; 0 = the kernel's own.",
  },
};

/** SHOW SOCKETS: the sockets of the process by the state that the kernel has them in, one row. */

import { numeric } from "../rows.ts";
import type { Show } from "./show.ts";

/** States of TCP sockets, in the order of their numbers in `/proc/net/tcp`, from 1 on. */
export const TCP_STATES = [
  "established",
  "syn_sent",
  "syn_recv",
  "fin_wait1",
  "fin_wait2",
  "time_wait",
  "close",
  "close_wait",
  "last_ack",
  "listen",
  "closing",
  "new_syn_recv",
  "bound_inactive",
] as const;

/** States of Unix stream sockets, from 0 on, and the other types of Unix sockets. */
export const UNIX_STATES = [
  "free",
  "unconnected",
  "connecting",
  "connected",
  "disconnecting",
  "dgram",
  "seq_packet",
] as const;

/** Upstream calls the last two of IPv6 like those of IPv4. */
export const showSockets: Show = {
  name: "sockets",
  columns: [
    ...TCP_STATES.map((state) => numeric(`tcp_${state}`)),
    ...TCP_STATES.map((state) => numeric(`tcp6_${state}`)),
    ...UNIX_STATES.map((state) => numeric(`unix_${state}`)),
    numeric("unknown"),
  ],
  rows(environment) {
    return [environment.sockets()];
  },
};

/** The stream of a connection that comes from another worker or process: over TLS if it has its state with it. */

import type { Fd } from "../os/fd.ts";
import { type ByteStream, PlainStream } from "../reactor/stream.ts";
import type { TlsState } from "../tls/state.ts";
import { TlsStream } from "../tls/stream.ts";

export function streamOf(fd: Fd, state: TlsState | undefined): ByteStream {
  return state === undefined ? new PlainStream(fd) : new TlsStream(fd, state);
}

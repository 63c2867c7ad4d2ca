/**
 * The local syslog daemon's socket: a message is a datagram, and nobody is waited for. A daemon that is not there, or
 * was started anew, is looked for again with each message that is tried: the caller keeps what was not taken
 * (log/line_sink.ts).
 */

import { EAGAIN, EMSGSIZE, ENAMETOOLONG } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "./layout.ts";
import * as libc from "./libc.ts";
import { unixAddress } from "./socket_address.ts";

/** What RFC 5424 §6.1 wants every receiver to take. */
const LEAST_MESSAGE_BYTES = 480;

export class SyslogSocket {
  readonly #path: string;
  #fd: Fd | undefined = undefined;
  #last = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** From here on messages go to who listens at the path now. */
  reopen(): void {
    if (this.#fd !== undefined) libc.close(this.#fd);
    this.#fd = undefined;
  }

  /** `bytes.length` when the message was taken, or −errno. One that is too long for the socket is cut. */
  write(bytes: Uint8Array<ArrayBuffer>): number {
    this.#last = this.#send(bytes);
    if (this.#last === -EMSGSIZE) {
      const cut = this.#send(bytes.subarray(0, LEAST_MESSAGE_BYTES));
      // Nothing would ever make it fit: those behind it must not wait.
      this.#last = cut < 0 && cut !== -EMSGSIZE ? cut : bytes.length;
    }
    return this.#last;
  }

  #send(bytes: Uint8Array<ArrayBuffer>): number {
    if (this.#fd !== undefined) {
      const sent = libc.sendNow(this.#fd, bytes, bytes.length);
      if (sent >= 0 || sent === -EAGAIN || sent === -EMSGSIZE) return sent;
      // Its daemon has gone, and there may be another.
      this.reopen();
    }
    const connected = this.#connect();
    return connected < 0 ? connected : libc.sendNow(this.#fd!, bytes, bytes.length);
  }

  #connect(): number {
    const address = unixAddress(this.#path);
    if (address === undefined) return -ENAMETOOLONG;
    const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fd;
    const connected = libc.connect(fd as Fd, address);
    if (connected < 0) libc.close(fd as Fd);
    else this.#fd = fd as Fd;
    return connected;
  }

  /** Waits until messages may be taken, or the time is over; `false`: nobody is there. */
  wait(mostMs: number): boolean {
    if (this.#fd === undefined || this.#last < 0 && !libc.wouldBlock(this.#last)) return false;
    libc.pollWritable(this.#fd, mostMs);
    return true;
  }
}

/**
 * Descriptors over a unix socket: sendmsg(2) and recvmsg(2) with SCM_RIGHTS, and the socketpair they go through. The
 * calls block on a thread of Deno's pool, since the control plane has no reactor. Layouts: `struct msghdr`, `iovec` and
 * `cmsghdr` of 64-bit Linux, the same on x86-64 and aarch64.
 */

import type { Fd } from "./fd.ts";
import { EINTR, errnoText } from "./errno.ts";
import { AF_UNIX, LITTLE_ENDIAN, SOCK_CLOEXEC, SOCK_STREAM } from "./layout.ts";

/** The kernel's limit for one message (SCM_MAX_FD). */
const MOST_DESCRIPTORS = 253;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 0x8;
const POLLIN = 0x1;
const POLLOUT = 0x4;
const POLLERR_OR_HUP = 0x18;
/** The kernel may have no room for more descriptors under way (ETOOMANYREFS, ENOBUFS). */
const SEND_AGAIN_MS = 10;
const SEND_ATTEMPTS = 300;
const MSGHDR_BYTES = 56;
const CMSGHDR_BYTES = 16;

const libc = Deno.dlopen("libc.so.6", {
  // int socketpair(int domain, int type, int protocol, int sv[2])
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  // ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize", nonblocking: true },
  // ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "isize", nonblocking: true },
  // int poll(struct pollfd *fds, nfds_t nfds, int timeout)
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
}).symbols;

/** Two connected stream sockets, both close-on-exec. */
export function socketPair(): [Fd, Fd] {
  const pair = new Int32Array(2);
  if (libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
    throw new Error("socketpair: no descriptor left");
  }
  return [pair[0] as Fd, pair[1] as Fd];
}

class Message {
  readonly header = new Uint8Array(MSGHDR_BYTES);
  readonly #keep: unknown[];

  constructor(data: Uint8Array<ArrayBuffer>, control: Uint8Array<ArrayBuffer>) {
    const vector = new BigUint64Array([addressOf(data), BigInt(data.length)]);
    const view = new DataView(this.header.buffer);
    view.setBigUint64(16, addressOf(vector), LITTLE_ENDIAN);
    view.setBigUint64(24, 1n, LITTLE_ENDIAN);
    if (control.length > 0) {
      view.setBigUint64(32, addressOf(control), LITTLE_ENDIAN);
      view.setBigUint64(40, BigInt(control.length), LITTLE_ENDIAN);
    }
    this.#keep = [data, control, vector];
  }

  /** Bytes of control data that the kernel has filled in. */
  controlLength(): number {
    return Number(new DataView(this.header.buffer).getBigUint64(40, LITTLE_ENDIAN));
  }

  /** The kernel could not give this process all descriptors: it has too many open. */
  get truncated(): boolean {
    return (new DataView(this.header.buffer).getInt32(48, LITTLE_ENDIAN) & MSG_CTRUNC) !== 0;
  }

  /** Keeps the buffers alive until the call is through. */
  release(): void {
    this.#keep.length = 0;
  }
}

function addressOf(bytes: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}

/** Sends all of `data`, with descriptors on its first byte. Rejects when the peer is gone, or takes none for seconds. */
export async function sendWithDescriptors(
  socket: Fd,
  data: Uint8Array<ArrayBuffer>,
  descriptors: readonly Fd[],
): Promise<void> {
  let control = controlOf(descriptors);
  let at = 0;
  let failures = 0;
  while (at < data.length) {
    const message = new Message(data.subarray(at), control);
    const sent = Number(await libc.sendmsg(socket, message.header, MSG_NOSIGNAL));
    message.release();
    if (sent <= 0) {
      // errno of a pool thread is out of reach; the socket itself tells whether there is somebody.
      if ((pollNow(socket, POLLOUT) & POLLERR_OR_HUP) !== 0) {
        throw new Error("the other process has gone");
      }
      if (++failures === SEND_ATTEMPTS) throw new Error("the kernel passes no descriptors on");
      await new Promise((resolve) => setTimeout(resolve, SEND_AGAIN_MS));
      continue;
    }
    at += sent;
    // The descriptors went with the first byte.
    control = new Uint8Array(0);
  }
}

function controlOf(descriptors: readonly Fd[]): Uint8Array<ArrayBuffer> {
  if (descriptors.length === 0) return new Uint8Array(0);
  if (descriptors.length > MOST_DESCRIPTORS) {
    throw new RangeError(`${descriptors.length} descriptors in one message`);
  }
  const length = CMSGHDR_BYTES + 4 * descriptors.length;
  const control = new Uint8Array(Math.ceil(length / 8) * 8);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(length), LITTLE_ENDIAN);
  view.setInt32(8, SOL_SOCKET, LITTLE_ENDIAN);
  view.setInt32(12, SCM_RIGHTS, LITTLE_ENDIAN);
  descriptors.forEach((fd, i) => view.setInt32(CMSGHDR_BYTES + 4 * i, fd, LITTLE_ENDIAN));
  return control;
}

/** Bytes and descriptors of one receive; no bytes: the end of the stream. */
export interface Received {
  bytes: Uint8Array<ArrayBuffer>;
  /** Those of one send; `undefined` when there were none to come. */
  descriptors: Fd[] | undefined;
}

/** Receives what is there, at most `most` bytes. Descriptors arrive close-on-exec. Rejects on errors. */
export async function receiveWithDescriptors(socket: Fd, most: number): Promise<Received> {
  const data = new Uint8Array(most);
  const control = new Uint8Array(CMSGHDR_BYTES + 4 * MOST_DESCRIPTORS + 4);
  for (;;) {
    const message = new Message(data, control);
    const received = Number(await libc.recvmsg(socket, message.header, MSG_CMSG_CLOEXEC));
    const filled = message.controlLength();
    const { truncated } = message;
    message.release();
    if (received < 0) {
      // errno of a pool thread is out of reach: a broken socket says so again.
      if (pollNow(socket, POLLIN) !== 0) {
        throw new Error(`recvmsg: ${errnoText(EINTR)} or a broken socket`);
      }
      continue;
    }
    const found = descriptorsOf(control, filled);
    return {
      bytes: data.subarray(0, received),
      descriptors: found.length > 0 || truncated ? found : undefined,
    };
  }
}

/** Events of poll(2) that hold at this moment. */
function pollNow(socket: Fd, events: number): number {
  const poll = new Uint8Array(8);
  const view = new DataView(poll.buffer);
  view.setInt32(0, socket, LITTLE_ENDIAN);
  view.setInt16(4, events, LITTLE_ENDIAN);
  return libc.poll(poll, 1n, 0) > 0 ? view.getInt16(6, LITTLE_ENDIAN) : 0;
}

function descriptorsOf(control: Uint8Array<ArrayBuffer>, filled: number): Fd[] {
  const found: Fd[] = [];
  const view = new DataView(control.buffer);
  let at = 0;
  while (at + CMSGHDR_BYTES <= filled) {
    const length = Number(view.getBigUint64(at, LITTLE_ENDIAN));
    if (length < CMSGHDR_BYTES) break;
    if (
      view.getInt32(at + 8, LITTLE_ENDIAN) === SOL_SOCKET &&
      view.getInt32(at + 12, LITTLE_ENDIAN) === SCM_RIGHTS
    ) {
      for (let i = at + CMSGHDR_BYTES; i + 4 <= at + length; i += 4) {
        found.push(view.getInt32(i, LITTLE_ENDIAN) as Fd);
      }
    }
    at += Math.ceil(length / 8) * 8;
  }
  return found;
}

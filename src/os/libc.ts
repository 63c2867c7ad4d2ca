/**
 * libc by FFI: the symbol table and calls of one line each. A result is ≥ 0, or −errno.
 *
 * Lengths are declared `u32` and results `i32` although C says `size_t` and `ssize_t`: numbers for `usize` leave
 * Deno's fast call path (5–13 ns a call against 80–120 ns), and no buffer here comes near 2 GiB. errno is thread-local:
 * this module is loaded once a thread, and asks for the address of its own.
 */

import type { Fd } from "./fd.ts";
import { EAGAIN } from "./errno.ts";
import {
  IORING_ENTER_GETEVENTS,
  MAP_SHARED,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLOUT,
  PROT_READ_WRITE,
  SO_PEERCRED,
  SOL_SOCKET,
  SYS_EPOLL_PWAIT,
  SYS_IO_URING_ENTER,
  SYS_IO_URING_REGISTER,
  SYS_IO_URING_SETUP,
  SYS_RECVFROM,
  SYS_SENDTO,
} from "./layout.ts";

const libc = Deno.dlopen("libc.so.6", {
  // int *__errno_location(void)
  __errno_location: { parameters: [], result: "pointer" },
  // int socket(int domain, int type, int protocol)
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int connect(int fd, const struct sockaddr *addr, socklen_t len)
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // int listen(int fd, int backlog)
  listen: { parameters: ["i32", "i32"], result: "i32" },
  // int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  // int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  // int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  // int fcntl(int fd, int cmd, int arg)
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int epoll_create1(int flags)
  epoll_create1: { parameters: ["i32"], result: "i32" },
  // int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  // int eventfd(unsigned int initval, int flags)
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  // ssize_t read(int fd, void *buf, size_t count)
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t write(int fd, const void *buf, size_t count)
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // long syscall(long number, ...): as sendto and recvfrom with six arguments
  syscall: {
    parameters: ["i32", "i32", "buffer", "u32", "i32", "i32", "i32"],
    result: "i32",
  },
  // ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t tolen)
  sendto: { parameters: ["i32", "buffer", "u32", "i32", "buffer", "u32"], result: "i32" },
  // int shutdown(int fd, int how)
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  // int close(int fd)
  close: { parameters: ["i32"], result: "i32" },
  // int open(const char *path, int flags, mode_t mode)
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  // int poll(struct pollfd *fds, nfds_t count, int timeout)
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  // int dup2(int from, int to)
  dup2: { parameters: ["i32", "i32"], result: "i32" },
  // int clock_gettime(clockid_t clock, struct timespec *now)
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  // void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  // int getrlimit(int resource, struct rlimit *limit)
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  // int setrlimit(int resource, const struct rlimit *limit)
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  // int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param)
  sched_setscheduler: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  // mode_t umask(mode_t mask)
  umask: { parameters: ["u32"], result: "u32" },
}).symbols;

/**
 * The hot calls, straight to the kernel: libc's own wrappers are cancellation points, which costs in a process with
 * threads, and a ready-made pointer costs half of what a typed array does.
 */
const kernel = Deno.dlopen("libc.so.6", {
  // long syscall(long number, int fd, void *buf, size_t len, int flags, void *addr, socklen_t *addrlen)
  syscall: {
    parameters: ["i32", "i32", "pointer", "u32", "i32", "i32", "i32"],
    result: "i32",
  },
  // int clock_gettime(clockid_t clock, struct timespec *now)
  clock_gettime: { parameters: ["i32", "pointer"], result: "i32" },
}).symbols;

const rings = Deno.dlopen("libc.so.6", {
  // long syscall(long number, unsigned entries, struct io_uring_params *params)
  syscall: { parameters: ["i32", "u32", "buffer"], result: "i32" },
}).symbols;

const entering = Deno.dlopen("libc.so.6", {
  // long syscall(long number, int fd, unsigned submit, unsigned complete, unsigned flags, void *sigset, size_t size)
  syscall: { parameters: ["i32", "i32", "u32", "u32", "u32", "i32", "i32"], result: "i32" },
}).symbols;

const registering = Deno.dlopen("libc.so.6", {
  // long syscall(long number, int fd, unsigned operation, void *argument, unsigned count)
  syscall: { parameters: ["i32", "i32", "u32", "buffer", "u32"], result: "i32" },
}).symbols;

const errnoAt = new Deno.UnsafePointerView(libc.__errno_location()!);

function checked(result: number): number {
  return result < 0 ? -errnoAt.getInt32() : result;
}

export function socket(domain: number, type: number, protocol: number): number {
  return checked(libc.socket(domain, type, protocol));
}

export function connect(fd: Fd, address: Uint8Array<ArrayBuffer>): number {
  return checked(libc.connect(fd, address, address.length));
}

export function listen(fd: Fd, backlog: number): number {
  return checked(libc.listen(fd, backlog));
}

/** The peer's address goes to `address`, its length to `length` (a `socklen_t` that holds the room given). */
export function accept4(
  fd: Fd,
  address: Uint8Array<ArrayBuffer>,
  length: Uint32Array<ArrayBuffer>,
  flags: number,
): number {
  return checked(libc.accept4(fd, address, length, flags));
}

export function getsockname(
  fd: Fd,
  address: Uint8Array<ArrayBuffer>,
  length: Uint32Array<ArrayBuffer>,
): number {
  return checked(libc.getsockname(fd, address, length));
}

export function getpeername(
  fd: Fd,
  address: Uint8Array<ArrayBuffer>,
  length: Uint32Array<ArrayBuffer>,
): number {
  return checked(libc.getpeername(fd, address, length));
}

const option = new Int32Array(2);
const optionLength = new Uint32Array(1);

/** Sets a socket option whose value is one `int`. */
export function setSocketOption(fd: Fd, level: number, name: number, value: number): number {
  option[0] = value;
  return checked(libc.setsockopt(fd, level, name, option, 4));
}

/** Sets an option that takes two `int`s, as `struct linger` does. */
export function setSocketOptionPair(
  fd: Fd,
  level: number,
  name: number,
  first: number,
  second: number,
): number {
  option[0] = first;
  option[1] = second;
  return checked(libc.setsockopt(fd, level, name, option, 8));
}

/** The value of a socket option that is one `int`, or −errno. */
export function getSocketOption(fd: Fd, level: number, name: number): number {
  optionLength[0] = 4;
  const result = checked(libc.getsockopt(fd, level, name, option, optionLength));
  return result < 0 ? result : option[0];
}

const credentials = new Int32Array(3);

/** The user who has opened the other end of a unix socket, or −errno. */
export function peerUser(fd: Fd): number {
  optionLength[0] = 12;
  // pid, uid, gid
  const result = checked(
    libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, optionLength),
  );
  return result < 0 ? result : credentials[1]! >>> 0;
}

export function fcntl(fd: Fd, command: number, argument: number): number {
  return checked(libc.fcntl(fd, command, argument));
}

export function epollCreate1(flags: number): number {
  return checked(libc.epoll_create1(flags));
}

export function epollCtl(
  epoll: Fd,
  operation: number,
  fd: Fd,
  event: Uint32Array<ArrayBuffer>,
): number {
  return checked(libc.epoll_ctl(epoll, operation, fd, event));
}

/** `events` points to room for `most` events. */
export function epollWait(
  epoll: Fd,
  events: Deno.PointerObject,
  most: number,
  timeoutMs: number,
): number {
  const result = kernel.syscall(SYS_EPOLL_PWAIT, epoll, events, most, timeoutMs, 0, 8);
  return result < 0 ? -errnoAt.getInt32() : result;
}

export function eventfd(initial: number, flags: number): number {
  return checked(libc.eventfd(initial, flags));
}

export function read(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  return checked(libc.read(fd, bytes, length));
}

export function write(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  return checked(libc.write(fd, bytes, length));
}

/** Bytes received, 0 at the end of the stream, or −errno. */
export function recv(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  const result = libc.syscall(SYS_RECVFROM, fd, bytes, length, 0, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** Bytes taken by the kernel, or −errno; never raises SIGPIPE. */
export function send(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  const result = libc.syscall(SYS_SENDTO, fd, bytes, length, MSG_NOSIGNAL, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** `send` that does not wait, whatever the socket's own mode is. */
export function sendNow(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  const result = libc.syscall(SYS_SENDTO, fd, bytes, length, flags, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** `recv` by a ready-made pointer. */
export function recvTo(fd: Fd, at: Deno.PointerObject, length: number): number {
  const result = kernel.syscall(SYS_RECVFROM, fd, at, length, 0, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** `send` by a ready-made pointer. */
export function sendFrom(fd: Fd, at: Deno.PointerObject, length: number): number {
  const result = kernel.syscall(SYS_SENDTO, fd, at, length, MSG_NOSIGNAL, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** The address of a buffer, for the calls that take one; valid as long as the buffer is referenced. */
export function pointerTo(
  bytes: Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
): Deno.PointerObject {
  return Deno.UnsafePointer.of(bytes)!;
}

/** A new ring: its descriptor (close-on-exec), or −errno. The kernel fills in `params`. */
export function ioUringSetup(entries: number, params: Uint32Array<ArrayBuffer>): number {
  return checked(rings.syscall(SYS_IO_URING_SETUP, entries, params));
}

/** Registers one thing of the ring's, or by it of this thread's: a number ≥ 0, or −errno. */
export function ioUringRegister(
  ring: Fd,
  operation: number,
  argument: Uint32Array<ArrayBuffer>,
): number {
  return checked(registering.syscall(SYS_IO_URING_REGISTER, ring, operation, argument, 1));
}

/**
 * Submits `count` entries and waits for `complete` to be through: how many the kernel has taken, or −errno. `how` is 0 for
 * a descriptor, IORING_ENTER_REGISTERED_RING for a ring's number in this thread.
 */
export function ioUringEnter(ring: number, how: number, count: number, complete: number): number {
  const flags = how | (complete > 0 ? IORING_ENTER_GETEVENTS : 0);
  const result = entering.syscall(SYS_IO_URING_ENTER, ring, count, complete, flags, 0, 0);
  return result < 0 ? -errnoAt.getInt32() : result;
}

/** Memory that is shared with the kernel, for as long as this process runs, or −errno. */
export function mapShared(fd: Fd, bytes: number, offset: number): ArrayBuffer | number {
  const at = libc.mmap(null, BigInt(bytes), PROT_READ_WRITE, MAP_SHARED, fd, BigInt(offset));
  if (at === null || Deno.UnsafePointer.value(at) === 2n ** 64n - 1n) {
    return -errnoAt.getInt32();
  }
  return Deno.UnsafePointerView.getArrayBuffer(at, bytes);
}

/** Sends one datagram to an address; never raises SIGPIPE. */
export function sendTo(
  fd: Fd,
  bytes: Uint8Array<ArrayBuffer>,
  address: Uint8Array<ArrayBuffer>,
): number {
  return checked(
    libc.sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length),
  );
}

export function shutdown(fd: Fd, how: number): number {
  return checked(libc.shutdown(fd, how));
}

export function close(fd: Fd): number {
  return checked(libc.close(fd));
}

/** Opens a file; the descriptor is open across exec unless `flags` say otherwise. */
export function open(path: string, flags: number, mode: number): number {
  return checked(libc.open(new TextEncoder().encode(`${path}\0`), flags, mode));
}

const pollfd = new Int32Array(2);

/** Waits until something can be written, or an error is there to be had; 0: neither by then. */
export function pollWritable(fd: Fd, timeoutMs: number): number {
  pollfd[0] = fd;
  // struct pollfd: short events, short revents.
  pollfd[1] = POLLOUT;
  return checked(libc.poll(pollfd, 1n, timeoutMs));
}

/** Makes `to` a second descriptor for what `from` is open on; closes what `to` was before. */
export function dup2(from: Fd, to: Fd): number {
  return checked(libc.dup2(from, to));
}

const timespec = new BigInt64Array(new ArrayBuffer(16));
const timespecWords = new Uint32Array(timespec.buffer);
const timespecAt = pointerTo(timespecWords);
const CLOCK_MONOTONIC = 1;
/** Seconds of the clock when this thread began to look at it. */
let firstSecond = -1;

/** CLOCK_MONOTONIC in milliseconds since this thread first asked: a tenth of what `performance.now()` costs. */
export function monotonicMilliseconds(): number {
  kernel.clock_gettime(CLOCK_MONOTONIC, timespecAt);
  // The lower halves of both: the machine has not been up for a century, and a second has less nanoseconds.
  const seconds = timespecWords[0];
  if (firstSecond < 0) firstSecond = seconds;
  return (seconds - firstSecond) * 1000 + timespecWords[2] / 1_000_000;
}

/** CLOCK_MONOTONIC in microseconds, as other processes of the machine read it. */
export function monotonicMicroseconds(): bigint {
  if (libc.clock_gettime(CLOCK_MONOTONIC, timespec) < 0) return 0n;
  return timespec[0] * 1_000_000n + timespec[1] / 1000n;
}

const rlimit = new BigUint64Array(2);

/** The soft and the hard limit of a resource. */
export function getrlimit(resource: number): { soft: number; hard: number } {
  const result = checked(libc.getrlimit(resource, rlimit));
  if (result < 0) throw new Error(`getrlimit: error ${-result}`);
  return { soft: Number(rlimit[0]), hard: Number(rlimit[1]) };
}

export function setrlimit(resource: number, soft: number, hard: number): number {
  rlimit[0] = BigInt(soft);
  rlimit[1] = BigInt(hard);
  return checked(libc.setrlimit(resource, rlimit));
}

/** Sets the scheduling policy of a thread, with no priority in it. */
export function schedSetscheduler(thread: number, policy: number): number {
  return checked(libc.sched_setscheduler(thread, policy, new Int32Array(1)));
}

/** Sets the process's umask and returns the one before. */
export function umask(mask: number): number {
  return libc.umask(mask);
}

/** Whether a result says "not now" rather than an error. */
export function wouldBlock(result: number): boolean {
  return result === -EAGAIN;
}

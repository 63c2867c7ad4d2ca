/**
 * Layouts of C structs and constants that differ by architecture, in one place. Checked against the headers of
 * glibc 2.36 on x86-64; aarch64 differs in the padding of `struct epoll_event`.
 */

/** Byte order of both architectures, as `DataView` wants it. */
export const LITTLE_ENDIAN = true;

/** `struct epoll_event` is packed on x86-64 only. */
const EPOLL_EVENT_BYTES = Deno.build.arch === "x86_64" ? 12 : 16;
/** Index of `data.u32[0]` in units of four bytes from the start of an event. */
export const EPOLL_DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;
export const EPOLL_EVENT_WORDS = EPOLL_EVENT_BYTES / 4;

export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLEXCLUSIVE = 1 << 28;

/** Flags of epoll_create1 and eventfd: the same bits as open's O_CLOEXEC and O_NONBLOCK. */
export const EPOLL_CLOEXEC = 0o2000000;
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const SOL_SOCKET = 1;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_LINGER = 13;
export const SO_PEERCRED = 17;
export const SO_ACCEPTCONN = 30;

export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_USER_TIMEOUT = 18;

export const POLLOUT = 4;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;
export const SCHED_IDLE = 5;

/** getrlimit(2), on both architectures. */
export const RLIMIT_NOFILE = 7;

export const F_DUPFD_CLOEXEC = 1030;
export const F_SETFD = 2;
export const FD_CLOEXEC = 1;

/** Numbers of system calls (asm/unistd_64.h, asm-generic/unistd.h). */
const X86_64 = Deno.build.arch === "x86_64";
export const SYS_SENDTO = X86_64 ? 44 : 206;
export const SYS_RECVFROM = X86_64 ? 45 : 207;
export const SYS_EPOLL_PWAIT = X86_64 ? 281 : 22;

export const SYS_IO_URING_SETUP = 425;
export const SYS_IO_URING_ENTER = 426;

export const SYS_IO_URING_REGISTER = 427;

export const IORING_ENTER_GETEVENTS = 1;
export const IORING_ENTER_REGISTERED_RING = 1 << 4;
/** What ioUringRegister does. */
export const IORING_REGISTER_RING_FDS = 20;
export const PROT_READ_WRITE = 3;
export const MAP_SHARED = 1;

/** Largest `struct sockaddr_*` that we meet (`sockaddr_un` with its 108 bytes of path). */
export const SOCKADDR_BYTES = 110;

/**
 * Files that are memory and have no name, memfd_create(2): bytes that another process is to have go by descriptor and are
 * copied once on each side, however many they are.
 */

import type { Fd } from "./fd.ts";

const MFD_CLOEXEC = 1;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** Room for one call: the kernel transfers 2 GB at most. */
const MOST_A_CALL = 0x4000_0000;
const NAME = new TextEncoder().encode("pg_doorman\0");

const libc = Deno.dlopen("libc.so.6", {
  // int memfd_create(const char *name, unsigned int flags)
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  // ssize_t pread(int fd, void *buf, size_t count, off_t offset)
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  // ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  // int fallocate(int fd, int mode, off_t offset, off_t len)
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
}).symbols;

/** A new one, close-on-exec; `undefined` where there is none to be had. */
export function createMemoryFile(): Fd | undefined {
  const fd = libc.memfd_create(NAME, MFD_CLOEXEC);
  return fd < 0 ? undefined : fd as Fd;
}

/** Whether all of the bytes are in the file now. */
export function writeAt(fd: Fd, bytes: Uint8Array, at: number): boolean {
  for (let done = 0; done < bytes.length;) {
    const part = bytes.subarray(done, done + MOST_A_CALL) as Uint8Array<ArrayBuffer>;
    const written = Number(libc.pwrite(fd, part, BigInt(part.length), BigInt(at + done)));
    if (written <= 0) return false;
    done += written;
  }
  return true;
}

/** Fills the bytes from the file. Throws a RangeError when it has fewer. */
export function readAt(fd: Fd, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  for (let done = 0; done < bytes.length;) {
    const part = bytes.subarray(done, done + MOST_A_CALL);
    const read = Number(libc.pread(fd, part, BigInt(part.length), BigInt(at + done)));
    if (read <= 0) throw new RangeError(`the file ends before byte ${at + bytes.length}`);
    done += read;
  }
}

/**
 * Gives the memory of so many bytes back: they are read no more. Of a whole file at once that would take as long as it took
 * to write it.
 */
export function forgetAt(fd: Fd, count: number, at: number): void {
  libc.fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, BigInt(at), BigInt(count));
}

/**
 * Names of this machine's users, by the C library and whatever it is told to ask (files, a directory). That may take
 * seconds: the call runs on a thread of the runtime's, so that only the main thread, which has an event loop, can make it.
 */

import { ENOENT, ERANGE } from "./errno.ts";

const FIRST_BYTES = 1024;
const MOST_BYTES = 2 ** 20;
/** `struct passwd` of glibc on 64 bits, which begins with the pointer to the name. */
const PASSWD_BYTES = 48;

const { symbols } = Deno.dlopen("libc.so.6", {
  // int getpwuid_r(uid_t uid, struct passwd *pwd, char *buf, size_t buflen, struct passwd **result)
  getpwuid_r: {
    parameters: ["u32", "buffer", "buffer", "usize", "buffer"],
    result: "i32",
    nonblocking: true,
  },
});

/** The name of the user with this number; `undefined`: there is none. Rejects where the system can't say. */
export async function userName(number: number): Promise<string | undefined> {
  for (let bytes = FIRST_BYTES; bytes <= MOST_BYTES; bytes *= 4) {
    const entry = new BigUint64Array(PASSWD_BYTES / 8);
    const texts = new Uint8Array(bytes);
    const found = new BigUint64Array(1);
    const error = await symbols.getpwuid_r(number, entry, texts, BigInt(bytes), found);
    if (error === ERANGE) continue;
    if (error !== 0 && error !== ENOENT) throw new Error(`getpwuid_r: errno ${error}`);
    // The name lies in `texts`, which lives until here.
    const name = Deno.UnsafePointer.create(entry[0]!);
    return found[0] === 0n || name === null || texts.length === 0
      ? undefined
      : Deno.UnsafePointerView.getCString(name);
  }
  throw new Error(`getpwuid_r: an entry of more than ${MOST_BYTES} bytes`);
}

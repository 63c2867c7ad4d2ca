/** Processes that others have left behind: who becomes their parent, and how he learns of their ends. */

const PR_SET_PDEATHSIG = 1;
const PR_SET_CHILD_SUBREAPER = 36;
const SIGKILL = 9;
const WNOHANG = 1;

const libc = Deno.dlopen("libc.so.6", {
  // int prctl(int option, unsigned long arg2, …)
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  // int setpgid(pid_t pid, pid_t group)
  setpgid: { parameters: ["i32", "i32"], result: "i32" },
  // pid_t waitpid(pid_t pid, int *status, int options)
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
}).symbols;

/** From now on descendants whose parents end are this process's children. PID 1 has them anyway. */
export function adoptOrphans(): void {
  libc.prctl(PR_SET_CHILD_SUBREAPER, 1n, 0n, 0n, 0n);
}

/** From now on this process ends when the thread ends that has started it, and not by what the terminal sends to that one. */
export function dieWithParent(): void {
  libc.setpgid(0, 0);
  libc.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL), 0n, 0n, 0n);
}

/** A child that has ended, with the status as a shell has it; `undefined`: none has. */
export function waitForAny(): { pid: number; status: number } | undefined {
  const word = new Int32Array(1);
  const pid = libc.waitpid(-1, word, WNOHANG);
  if (pid <= 0) return undefined;
  const signal = word[0] & 0x7f;
  return { pid, status: signal === 0 ? (word[0] >> 8) & 0xff : 128 + signal };
}

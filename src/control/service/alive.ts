/** Processes by their number: this one's children or not. */

/** Whether a process runs. One that has ended and that nobody has waited for does not: not everyone reaps orphans. */
export function isAlive(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // proc(5): the state follows the name, which is in parentheses and may have some of its own.
    return !"ZX".includes(stat.charAt(stat.lastIndexOf(")") + 2));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

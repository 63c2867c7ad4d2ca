/**
 * Free TCP ports for servers under test. Ports are taken from below the kernel's ephemeral range, so that no outgoing
 * connection of a busy test can sit on one between the choice and the server's bind.
 */

const FIRST = 20_000;
const LAST = 32_000;
const given = new Set<number>();

function isFree(port: number, hostname: string): boolean {
  try {
    Deno.listen({ port, hostname }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** A TCP port that nobody listens on; never the same one twice in a process. */
export function freePort(): number {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (given.has(port) || !isFree(port, "0.0.0.0") || !isFree(port, "127.0.0.1")) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port found between ${FIRST} and ${LAST}`);
}

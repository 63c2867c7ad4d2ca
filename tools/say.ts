/**
 * The one way in which the project's tools and tests talk to the person at the terminal: a line on stderr, so that
 * stdout stays free for results that another program reads.
 */

const encoder = new TextEncoder();

function writeWhole(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let rest = encoder.encode(text + "\n");
  while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
}

/** Writes a line to stderr. */
export function say(text: string): void {
  writeWhole(Deno.stderr, text);
}

/** Writes a line of a tool's result to stdout. */
export function print(text: string): void {
  writeWhole(Deno.stdout, text);
}

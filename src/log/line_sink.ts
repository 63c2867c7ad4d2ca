/**
 * Lines on their way to an output that may not take them: full, slow, closed. What is not taken at once waits in a
 * bounded queue and is tried again; what finds no room there is lost and counted, and a line says how many those were
 * when there is room again. Nobody waits for it but, for a bounded moment, the end of the process (`flush`).
 *
 * What must hold: lines come out in their order, whole; while some are lost none is queued before the line that says so.
 */

/** Where lines go; never waits but in `wait`. */
export interface LineOutput {
  /** How many of the bytes were taken, or −errno. */
  write(bytes: Uint8Array<ArrayBuffer>): number;
  /** Waits until bytes may be taken, or the time is over; `false`: they never will, it is broken. */
  wait(mostMs: number): boolean;
}

/** What a sink needs. */
export interface LineSinkOptions {
  output: LineOutput;
  /** Calls once the time is over. */
  later: (ms: number, action: () => void) => void;
  /** To log that so many lines were lost; `errno` is the last error of the output. */
  tellLost: (lines: number, errno: number) => void;
  /** Milliseconds; the process's clock if left out. */
  now?: () => number;
}

/** What waits to be written. */
export const MOST_QUEUED_BYTES = 1_048_576;
/** First pause after the output took nothing; doubles up to `MOST_PAUSE_MS`. */
const FIRST_PAUSE_MS = 5;
const MOST_PAUSE_MS = 250;

export class LineSink {
  readonly #options: LineSinkOptions;
  readonly #encoder = new TextEncoder();
  #queue: Uint8Array<ArrayBuffer>[] = [];
  #queuedBytes = 0;
  /** The output took nothing; a timer runs. */
  #resting = false;
  #pauseMs = FIRST_PAUSE_MS;
  #errno = 0;
  /** Not told of yet. */
  #lost = 0;
  #lostEver = 0;

  constructor(options: LineSinkOptions) {
    this.#options = options;
  }

  /** Lines that were lost so far. */
  get lostLines(): number {
    return this.#lostEver;
  }

  /** Takes a line, line feed included. */
  put(line: string): void {
    // It would wait for a write that takes something of it.
    if (line === "") return;
    if (this.#lost > 0 && this.#queuedBytes <= MOST_QUEUED_BYTES / 2) this.#tellLost();
    const bytes = this.#encoder.encode(line);
    if (this.#lost > 0 || this.#queuedBytes + bytes.length > MOST_QUEUED_BYTES) {
      this.#lost++;
      this.#lostEver++;
      return;
    }
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (!this.#resting) this.#write();
  }

  /** Writes what waits as long as that takes no longer than `mostMs`. An output that is broken is not waited for. */
  flush(mostMs: number): void {
    const { output, now = () => performance.now() } = this.#options;
    const deadline = now() + mostMs;
    for (;;) {
      this.#drain();
      const left = deadline - now();
      if (this.#queue.length === 0 || left <= 0 || !output.wait(Math.ceil(left))) return;
    }
  }

  #write(): void {
    this.#drain();
    // To tell of lost lines may have come to the same end.
    if (this.#queue.length === 0 || this.#resting) return;
    this.#resting = true;
    this.#options.later(this.#pauseMs, () => {
      this.#resting = false;
      this.#write();
    });
    this.#pauseMs = Math.min(MOST_PAUSE_MS, this.#pauseMs * 2);
  }

  #drain(): void {
    let written = 0;
    while (written < this.#queue.length) {
      const line = this.#queue[written]!;
      const taken = this.#options.output.write(line);
      if (taken <= 0) {
        this.#errno = -taken;
        break;
      }
      this.#pauseMs = FIRST_PAUSE_MS;
      this.#queuedBytes -= taken;
      if (taken < line.length) this.#queue[written] = line.subarray(taken);
      else written++;
    }
    if (written > 0) this.#queue = this.#queue.slice(written);
    if (this.#lost > 0 && this.#queue.length === 0) this.#tellLost();
  }

  #tellLost(): void {
    const lost = this.#lost;
    this.#lost = 0;
    this.#options.tellLost(lost, this.#errno);
  }
}

/**
 * Work that takes a while and that strangers can ask for: so much at once, so much in line, first come, first served.
 *
 * What must hold: nothing in line outlives who asked for it.
 */

/** Bounds. */
export interface LineLimits {
  atOnce: number;
  /** In line. */
  waiting: number;
  /** Bytes of what is in line. */
  waitingBytes: number;
}

interface Turn {
  bytes: number;
  begin: (leave: () => void) => void;
}

export class Line {
  readonly #limits: LineLimits;
  readonly #line = new Set<Turn>();
  #lineBytes = 0;
  #running = 0;

  constructor(limits: LineLimits) {
    this.#limits = limits;
  }

  /**
   * `begin` is called when it is its turn, perhaps before this returns, and calls `leave` once, later, when it is through.
   * The answer takes it out of the line; `undefined`: the line is full.
   */
  enter(bytes: number, begin: (leave: () => void) => void): (() => void) | undefined {
    const turn: Turn = { bytes, begin };
    if (this.#running < this.#limits.atOnce) this.#start(turn);
    else {
      const { waiting, waitingBytes } = this.#limits;
      if (this.#line.size >= waiting || this.#lineBytes + bytes > waitingBytes) return undefined;
      this.#line.add(turn);
      this.#lineBytes += bytes;
    }
    return () => this.#remove(turn);
  }

  #remove(turn: Turn): void {
    if (this.#line.delete(turn)) this.#lineBytes -= turn.bytes;
  }

  #start(turn: Turn): void {
    this.#running++;
    turn.begin(() => {
      this.#running--;
      for (const next of this.#line) {
        this.#remove(next);
        this.#start(next);
        break;
      }
    });
  }
}

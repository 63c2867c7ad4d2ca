/**
 * PBKDF2 takes milliseconds, and as many as a verifier's iterations want: so many runs at once, so many in line, first
 * come, first served. Each worker has one for the passwords that its clients send in clear, and asks the control plane;
 * that one has another, before the threads that do the work. So whoever tries passwords keeps neither a worker nor all
 * processors from those who are logged in.
 *
 * What must hold: `done` is called once, later, unless the run was abandoned; nothing in line outlives who asked for it.
 */

import { pbkdf2 } from "node:crypto";
import { Line, type LineLimits } from "./line.ts";
import { passwordBytes } from "./saslprep.ts";

/** Does one run; tells the salted password, or nothing if it failed. */
export type Derive = (
  password: string | Uint8Array,
  salt: Uint8Array,
  iterations: number,
  done: (saltedPassword: Uint8Array | undefined) => void,
) => void;

/** Of a worker: two, so that one is there when the other comes back. Log-ins beyond its line are refused. */
export const WORKER_DERIVATIONS: LineLimits = {
  atOnce: 2,
  waiting: 10_000,
  waitingBytes: 4_194_304,
};

/** Of the process: half of the processors are for those who have logged in. Its line is bounded by those of the workers. */
export function processDerivations(processors: number): LineLimits {
  const atOnce = Math.max(1, Math.floor(processors / 2));
  return { atOnce, waiting: Infinity, waitingBytes: Infinity };
}

/** SaltedPassword on the runtime's thread pool (RFC 5802 §2.2, Hi). */
export function deriveElsewhere(
  password: string | Uint8Array,
  salt: Uint8Array,
  iterations: number,
  done: (saltedPassword: Uint8Array | undefined) => void,
): void {
  pbkdf2(
    passwordBytes(password),
    salt,
    iterations,
    32,
    "sha256",
    (error, key) => done(error === null ? new Uint8Array(key) : undefined),
  );
}

export class Derivations {
  readonly #derive: Derive;
  readonly #line: Line;

  constructor(derive: Derive, limits: LineLimits) {
    this.#derive = derive;
    this.#line = new Line(limits);
  }

  /** Gets in line. The answer abandons the run; `undefined`: the line is full, and nothing will come. */
  ask(
    password: string | Uint8Array,
    salt: Uint8Array,
    iterations: number,
    done: (saltedPassword: Uint8Array | undefined) => void,
  ): (() => void) | undefined {
    let abandoned = false;
    const leaveLine = this.#line.enter(password.length, (leave) => {
      this.#derive(password, salt, iterations, (saltedPassword) => {
        leave();
        if (!abandoned) done(saltedPassword);
      });
    });
    return leaveLine && (() => {
      abandoned = true;
      leaveLine();
    });
  }
}

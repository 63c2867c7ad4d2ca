/**
 * The four signals of an operator. They are caught from the moment that an instance is made, before anything else is
 * done: what arrives during the start waits until somebody handles it, but for SIGTERM, which ends the start. The kernel merges signals of one kind that
 * arrive together, so a handler means "at least once".
 */

/** A signal that means something to the process. */
export type OperatorSignal = "SIGHUP" | "SIGTERM" | "SIGINT" | "SIGUSR2";

const SIGNALS: readonly OperatorSignal[] = ["SIGHUP", "SIGTERM", "SIGINT", "SIGUSR2"];

export class Signals {
  #handle: ((signal: OperatorSignal) => void) | undefined;
  readonly #waiting = new Set<OperatorSignal>();

  constructor() {
    for (const signal of SIGNALS) Deno.addSignalListener(signal, () => this.#arrived(signal));
  }

  /** From now on signals go to `handle`; those that came before go first. */
  deliver(handle: (signal: OperatorSignal) => void): void {
    this.#handle = handle;
    for (const signal of this.#waiting) handle(signal);
    this.#waiting.clear();
  }

  #arrived(signal: OperatorSignal): void {
    if (this.#handle !== undefined) this.#handle(signal);
    // Nothing is open yet, so there is nothing to close.
    else if (signal === "SIGTERM") Deno.exit(0);
    else this.#waiting.add(signal);
  }
}

/** What SIGINT means: decided once, at the start. */
export type Interrupt = "shutdown" | "upgrade";

/**
 * Ctrl+C at a terminal ends the program. Without one it is an init script of old that asks for a binary upgrade; the
 * variable lets test benches without a terminal have the former.
 */
export function interruptMeans(
  { daemon, terminal, shutdownOnly }: {
    daemon: boolean;
    terminal: boolean;
    shutdownOnly: string | undefined;
  },
): Interrupt {
  if (shutdownOnly === "1") return "shutdown";
  return terminal && !daemon ? "shutdown" : "upgrade";
}

/**
 * Passwords that others check: each method has one `ExternalCheck` on the control plane, so that neither a slow directory
 * nor a PAM module that hangs holds up a worker. Workers ask by mail (worker/requests.ts), and each keeps its own line
 * before that, so that nobody can make the control plane's long.
 *
 * What must hold: `done` is called once, later, unless the request was abandoned; a check that has neither answered nor
 * ended keeps its place, so that never more than `atOnce` of a method are under way.
 */

import type { ExternalMethod, ExternalRequest, ExternalVerdict } from "../config/external_check.ts";
import { Line, type LineLimits } from "./line.ts";

/** One method. */
export interface ExternalCheck {
  /** How many may be under way. */
  readonly atOnce: number;
  /** When the login is given an answer at the latest. */
  readonly timeoutMs: number;
  /** Told by `signal` that nobody waits any more. An exception means that nobody knows. */
  check(request: ExternalRequest, signal: AbortSignal): Promise<ExternalVerdict>;
}

/** The methods that there are. */
export type ExternalMethods = ReadonlyMap<ExternalMethod, ExternalCheck>;

/** Of a worker: what it has asked the control plane for, and what waits for that. */
export const WORKER_CHECKS: LineLimits = { atOnce: 100, waiting: 10_000, waitingBytes: 4_194_304 };

/** What is done with a request; the answer gives it up. */
export type AskExternal = (
  request: ExternalRequest,
  done: (verdict: ExternalVerdict) => void,
) => (() => void) | undefined;

/** The line of a worker. */
export class ExternalLine {
  readonly #ask: (
    request: ExternalRequest,
    done: (verdict: ExternalVerdict) => void,
  ) => () => void;
  readonly #line: Line;

  /** `ask` sends it on; what it returns takes it back, and nothing is told then. */
  constructor(
    ask: (request: ExternalRequest, done: (verdict: ExternalVerdict) => void) => () => void,
    limits: LineLimits,
  ) {
    this.#ask = ask;
    this.#line = new Line(limits);
  }

  /** `undefined`: the line is full, and nothing will come. */
  readonly ask: AskExternal = (request, done) => {
    let giveUp: (() => void) | undefined;
    const leaveLine = this.#line.enter(request.password.length, (leave) => {
      const takeBack = this.#ask(request, (verdict) => {
        giveUp = undefined;
        leave();
        done(verdict);
      });
      giveUp = () => {
        takeBack();
        leave();
      };
    });
    return leaveLine && (() => {
      leaveLine();
      giveUp?.();
      giveUp = undefined;
    });
  };
}

/** The checks themselves. */
export class ExternalChecks {
  readonly #methods: ExternalMethods;
  readonly #lines = new Map<ExternalMethod, Line>();

  constructor(methods: ExternalMethods) {
    this.#methods = methods;
  }

  /** The answer gives the request up. Lines are bounded by those of the workers. */
  ask(request: ExternalRequest, done: (verdict: ExternalVerdict) => void): () => void {
    const method = this.#methods.get(request.method);
    // The configuration names no such method; a worker may still have one that was taken away.
    if (method === undefined) {
      queueMicrotask(() => done({ kind: "error", why: `${request.method} is not available` }));
      return () => {};
    }
    const controller = new AbortController();
    const run = new Run(method, request, controller, done);
    const leaveLine = this.#lineOf(request.method, method).enter(
      request.password.length,
      (leave) => void run.start().then(leave),
    );
    return () => {
      leaveLine?.();
      run.giveUp();
    };
  }

  #lineOf(name: ExternalMethod, { atOnce }: ExternalCheck): Line {
    let line = this.#lines.get(name);
    if (line === undefined) {
      line = new Line({ atOnce, waiting: Infinity, waitingBytes: Infinity });
      this.#lines.set(name, line);
    }
    return line;
  }
}

class Run {
  readonly #method: ExternalCheck;
  readonly #request: ExternalRequest;
  readonly #controller: AbortController;
  #done: ((verdict: ExternalVerdict) => void) | undefined;
  #timer: ReturnType<typeof setTimeout>;

  constructor(
    method: ExternalCheck,
    request: ExternalRequest,
    controller: AbortController,
    done: (verdict: ExternalVerdict) => void,
  ) {
    this.#method = method;
    this.#request = request;
    this.#controller = controller;
    this.#done = done;
    // The wait in line counts: the client waits, too.
    this.#timer = setTimeout(() => this.#timeIsOver(), method.timeoutMs);
  }

  /** Resolves when the check has ended, whatever has become of the login. */
  async start(): Promise<void> {
    if (this.#done === undefined) return;
    try {
      this.#tell(await this.#method.check(this.#request, this.#controller.signal));
    } catch (error) {
      this.#tell({ kind: "error", why: error instanceof Error ? error.message : String(error) });
    }
  }

  giveUp(): void {
    this.#done = undefined;
    clearTimeout(this.#timer);
    this.#controller.abort();
  }

  #timeIsOver(): void {
    this.#tell({ kind: "error", why: `no answer within ${this.#method.timeoutMs} ms` });
    this.#controller.abort();
  }

  #tell(verdict: ExternalVerdict): void {
    clearTimeout(this.#timer);
    const done = this.#done;
    this.#done = undefined;
    done?.(verdict);
  }
}

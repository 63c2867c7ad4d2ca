/**
 * Passwords that PAM is to check. Its modules run in processes of their own (`pam_helper.ts`), a few at most, kept for the
 * next password; one that does not answer in time, or dies, is ended and nobody else notices. Who comes while all are busy
 * waits in line.
 *
 * What must hold: each check is answered once, and within `timeoutMs` of its start; one process has one check at a time. A
 * process that can't be ended keeps its place, so that there are never more than `most`.
 */

import type { PamRequest, PamResult } from "../../os/pam.ts";
import type { Verdict } from "./verdict.ts";
import { frameOf, MOST_FRAME_BYTES } from "./pam_helper.ts";

/** How helpers are started, and their bounds. */
export interface PamLimits {
  command: { path: string; args: string[] };
  most: number;
  /** Checks in line. */
  waiting: number;
  timeoutMs: number;
}

/** Memory that modules leak goes with the process. */
const MOST_CHECKS = 1000;
const IDLE_MS = 60_000;
const HEAD_BYTES = 4;
/** PAM itself has failed. All others are a no: modules give `SYSTEM_ERR` for a wrong password, too (pam_exec does). */
const FAILURES: ReadonlySet<number> = new Set([
  -1, // there is no libpam
  1, // OPEN_ERR
  2, // SYMBOL_ERR
  5, // BUF_ERR
  9, // AUTHINFO_UNAVAIL
  19, // CONV_ERR
  26, // ABORT
  28, // MODULE_UNKNOWN
]);

interface Check {
  request: PamRequest;
  done: (verdict: Verdict) => void;
}

export class PamChecks {
  #limits: PamLimits;
  readonly #line = new Set<Check>();
  readonly #idle: Helper[] = [];
  /** Processes that are not gone. */
  readonly #alive = new Set<Helper>();

  constructor(limits: PamLimits) {
    this.#limits = limits;
  }

  /** For checks that begin from now on. */
  limit(limits: Pick<PamLimits, "most" | "timeoutMs">): void {
    this.#limits = { ...this.#limits, ...limits };
  }

  /** Gets in line. The answer gives the check up. */
  ask(request: PamRequest, done: (verdict: Verdict) => void): () => void {
    const check: Check = { request, done };
    if (this.#line.size >= this.#limits.waiting) {
      queueMicrotask(() => check.done(failed("too many passwords wait for PAM")));
    } else {
      this.#line.add(check);
      this.#next();
    }
    return () => {
      this.#line.delete(check);
      check.done = () => {};
    };
  }

  /** Ends the helpers that rest; resolves when all are gone. */
  async close(): Promise<void> {
    for (const helper of this.#idle.splice(0)) helper.end();
    await Promise.all(Array.from(this.#alive, ({ gone }) => gone));
  }

  #next(): void {
    for (const check of this.#line) {
      const helper = this.#idle.pop() ?? this.#start();
      if (helper === undefined) return;
      this.#line.delete(check);
      if (typeof helper === "string") check.done(failed(helper));
      else void this.#run(helper, check);
    }
  }

  /** Another process; `undefined`: there are as many as may be. */
  #start(): Helper | string | undefined {
    if (this.#alive.size >= this.#limits.most) return undefined;
    try {
      const helper = new Helper(this.#limits.command);
      this.#alive.add(helper);
      void helper.gone.then(() => this.#gone(helper));
      return helper;
    } catch (error) {
      return `a process for PAM does not start: ${
        error instanceof Error ? error.message : String(error)
      }`;
    }
  }

  #gone(helper: Helper): void {
    this.#alive.delete(helper);
    const at = this.#idle.indexOf(helper);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#next();
  }

  async #run(helper: Helper, check: Check): Promise<void> {
    const { timeoutMs } = this.#limits;
    const { service } = check.request;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      helper.kill();
    }, timeoutMs);
    const result = await helper.ask(check.request);
    clearTimeout(timer);
    if (result !== undefined && !late) {
      if (helper.checks >= MOST_CHECKS) helper.end();
      else this.#rest(helper);
      check.done(verdictOf(service, result));
    } else {
      helper.kill();
      const why = late ? `has not answered for ${timeoutMs} ms` : "has taken its process with it";
      check.done(failed(`PAM service ${JSON.stringify(service)} ${why}`));
    }
    this.#next();
  }

  #rest(helper: Helper): void {
    this.#idle.push(helper);
    helper.rest(IDLE_MS, () => {
      const at = this.#idle.indexOf(helper);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      helper.end();
    });
  }
}

function failed(cause: string): Verdict {
  return { kind: "failed", cause };
}

function verdictOf(service: string, { step, code, text }: PamResult): Verdict {
  if (code === 0) return { kind: "right" };
  const cause = `PAM service ${JSON.stringify(service)}, ${step}: ${text}`;
  return { kind: FAILURES.has(code) ? "failed" : "wrong", cause };
}

/** One process. */
class Helper {
  /** When it has ended. */
  readonly gone: Promise<unknown>;
  checks = 0;
  readonly #child: Deno.ChildProcess;
  readonly #questions: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<Uint8Array>;
  #idle: number | undefined;

  constructor({ path, args }: PamLimits["command"]) {
    this.#child = new Deno.Command(path, { args, stdin: "piped", stdout: "piped" }).spawn();
    this.#questions = this.#child.stdin.getWriter();
    this.#answers = this.#child.stdout.getReader();
    this.gone = this.#child.status;
  }

  /** What PAM says; `undefined`: the process has ended or talks nonsense. */
  async ask(request: PamRequest): Promise<PamResult | undefined> {
    clearTimeout(this.#idle);
    this.checks++;
    try {
      await this.#questions.write(frameOf(request));
      return await this.#answer();
    } catch (error) {
      if (error instanceof TypeError || error instanceof Deno.errors.BrokenPipe) return undefined;
      throw error;
    }
  }

  async #answer(): Promise<PamResult | undefined> {
    let bytes = new Uint8Array(0);
    for (;;) {
      const { value, done } = await this.#answers.read();
      if (done) return undefined;
      const grown = new Uint8Array(bytes.length + value.length);
      grown.set(bytes);
      grown.set(value, bytes.length);
      bytes = grown;
      if (bytes.length < HEAD_BYTES) continue;
      const length = new DataView(bytes.buffer).getUint32(0);
      if (length > MOST_FRAME_BYTES || bytes.length > HEAD_BYTES + length) return undefined;
      if (bytes.length < HEAD_BYTES + length) continue;
      return JSON.parse(new TextDecoder().decode(bytes.subarray(HEAD_BYTES))) as PamResult;
    }
  }

  /** Tells when it has rested for so long. */
  rest(ms: number, over: () => void): void {
    this.#idle = setTimeout(over, ms);
    Deno.unrefTimer(this.#idle);
  }

  /** It ends by itself: nobody asks any more. */
  end(): void {
    this.#letGo();
  }

  kill(): void {
    this.#letGo();
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  #letGo(): void {
    clearTimeout(this.#idle);
    const closed = () => {};
    this.#questions.abort().catch(closed);
    this.#answers.cancel().catch(closed);
  }
}

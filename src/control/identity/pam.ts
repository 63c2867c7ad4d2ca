/**
 * Passwords that PAM is to check. Its modules run in processes of their own (`pam_helper.ts`), a few at most, kept for the
 * next password; one that does not answer in time, or dies, is ended and nobody else notices.
 *
 * What must hold: one process has one check at a time. A process that can't be ended keeps its place, so that there are
 * never more than `atOnce`.
 */

import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";
import type { PamRequest, PamResult } from "../../os/pam.ts";
import { type CheckTerms, ConfiguredCheck } from "./configured_check.ts";
import { frameOf, MOST_FRAME_BYTES } from "./pam_helper.ts";

/** How PAM is asked. */
export interface PamTerms extends CheckTerms {
  /** Starts a helper. */
  command: { path: string; args: string[] };
  configDirectory: string | undefined;
}

/** As PostgreSQL has it. */
const DEFAULT_SERVICE = "postgresql";
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

export class PamCheck extends ConfiguredCheck<PamTerms> {
  readonly #idle: Helper[] = [];
  /** Processes that are not gone. */
  readonly #alive = new Set<Helper>();

  /** Goes on when nobody waits any more: a process is not worth less than the time that is left to it. */
  override async check(
    { user, address, password, options }: ExternalRequest,
  ): Promise<ExternalVerdict> {
    const { timeoutMs, configDirectory } = this.terms;
    const text = textOf(password);
    if (text === undefined) return { kind: "refused", why: "the password is not UTF-8" };
    const service = options.pamservice ?? DEFAULT_SERVICE;
    const helper = this.#idle.pop() ?? this.#start();
    if (typeof helper === "string") return { kind: "error", why: helper };
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      helper.kill();
    }, timeoutMs);
    const request = { service, user, password: text, remoteHost: address, configDirectory };
    const result = await helper.ask(request);
    clearTimeout(timer);
    if (result === undefined || late) {
      helper.kill();
      const why = late ? `has not answered for ${timeoutMs} ms` : "has taken its process with it";
      // The place is free when the process is gone.
      await helper.gone;
      return { kind: "error", why: `PAM service ${JSON.stringify(service)} ${why}` };
    }
    if (helper.checks >= MOST_CHECKS) helper.end();
    else this.#rest(helper);
    return verdictOf(service, result);
  }

  /** Ends the helpers that rest; resolves when all are gone. */
  async close(): Promise<void> {
    for (const helper of this.#idle.splice(0)) helper.end();
    await Promise.all(Array.from(this.#alive, ({ gone }) => gone));
  }

  /** Another process, or why there is none. */
  #start(): Helper | string {
    try {
      const helper = new Helper(this.terms.command);
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

/** As it is written; `undefined`: PAM's modules would be asked about another password than was sent. */
function textOf(password: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(password);
  } catch {
    return undefined;
  }
}

function verdictOf(service: string, { step, code, text }: PamResult): ExternalVerdict {
  if (code === 0) return { kind: "accepted" };
  const why = `PAM service ${JSON.stringify(service)}, ${step}: ${text}`;
  return { kind: FAILURES.has(code) ? "error" : "refused", why };
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

  constructor({ path, args }: PamTerms["command"]) {
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

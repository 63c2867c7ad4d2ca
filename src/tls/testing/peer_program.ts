/** Programs with a TLS of their own, for tests: openssl and GnuTLS. */

import { eventually } from "./conversation.ts";

/** A program as a peer of ours: lines that we write to it are sent, what it receives is what it prints. */
export class PeerProgram implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #output = "";
  readonly #reading: Promise<unknown>;

  constructor(command: string, args: readonly string[]) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    const { stdout, stderr } = this.#process;
    this.#reading = Promise.all([this.#read(stdout), this.#read(stderr)]);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this.#output += decoder.decode(bytes);
  }

  /** Lines of one letter are commands to openssl: `K` new keys both ways, `k` new keys of its own, `Q` the end. */
  async write(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /** Waits for a text in what it prints, behind what was waited for before. */
  async hear(text: string): Promise<void> {
    await eventually(`"${text}"`, () => {
      const at = this.#output.indexOf(text);
      if (at < 0) return undefined;
      this.#output = this.#output.slice(at + text.length);
      return true;
    });
  }

  /** Its input ends, and it leaves. */
  async end(): Promise<void> {
    await this.#input.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch (error) {
      // It has left already, as it does after an alert.
      if (!(error instanceof TypeError)) throw error;
    }
    await this.#process.status;
    await this.#reading;
    await this.#input.close().catch(() => undefined);
  }
}

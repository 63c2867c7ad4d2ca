/** Our handshake and record layer against other implementations: the openssl program and Node's TLS. */

import assert from "node:assert/strict";
import { Authority } from "../../tests/support/certificates.ts";
import type { TlsLimits } from "./context.ts";
import { SUITES, TLS_1_3 } from "./suites.ts";
import { Conversation, eventually, Port } from "./testing/conversation.ts";
import { serving } from "./testing/ends.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-tls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const identities = {
  ec: authority.issue({ name: "localhost", kind: "ec" }),
  rsa: authority.issue({ name: "localhost", kind: "rsa" }),
};

/** The openssl program as a peer: lines that we write to it are sent, what it receives is what it prints. */
class Openssl implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #output = "";
  readonly #reading: Promise<unknown>;

  constructor(args: readonly string[]) {
    this.#process = new Deno.Command("openssl", {
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

  /** Lines of one letter are commands to it: `K` new keys both ways, `k` new keys of its own, `Q` the end. */
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#reading;
    await this.#input.close().catch(() => undefined);
  }
}

for (const suite of SUITES) {
  const kind = suite.name.includes("RSA") ? "rsa" : "ec";
  const version = suite.version === TLS_1_3 ? "-tls1_3" : "-tls1_2";
  const limits: TlsLimits = suite.version === TLS_1_3
    ? { ciphersuites: suite.name }
    : { ciphers: suite.name };

  Deno.test(`tls with openssl s_client: ${suite.name}`, async () => {
    using port = new Port();
    await using client = new Openssl([
      ...["s_client", "-connect", `127.0.0.1:${port.number}`, "-servername", "localhost"],
      ...["-CAfile", authority.certificatePath, "-verify_return_error", version],
    ]);
    using talk = await Conversation.accept(await port.accept(), serving(identities[kind], limits));
    assert.equal(talk.finished.info.cipher, suite.name);
    await client.write("hello\n");
    await talk.hear("hello\n");
    talk.say("and hello\n");
    await client.hear("and hello");
    talk.move();
    if (suite.version === TLS_1_3) {
      // What stands behind a command is not looked at.
      await client.write("K\n");
      await client.hear("KEYUPDATE");
      await client.write("after both keys\n");
      await talk.hear("after both keys\n");
      talk.say("with new keys of ours\n");
      await client.hear("with new keys of ours");
      talk.move();
      await client.write("k\n");
      await client.hear("KEYUPDATE");
      await client.write("after its keys\n");
      await talk.hear("after its keys\n");
    }
    talk.say("x".repeat(100_000) + "end of much\n");
    await client.hear("end of much");
    await client.write("y".repeat(5000) + "\n");
    await talk.hear("y\n");
    await client.write("Q\n");
    assert.equal(await talk.ending(), 0);
  });
}

/**
 * Our handshake and record layer against GnuTLS as a client. Its server listens on all addresses of the machine, and so is
 * not tried.
 */

import assert from "node:assert/strict";
import { Authority } from "../../tests/support/certificates.ts";
import { available } from "../../tests/drivers/environment.ts";
import { SUITES, TLS_1_3 } from "./suites.ts";
import { Conversation, Port } from "./testing/conversation.ts";
import { serving } from "./testing/ends.ts";
import { PeerProgram } from "./testing/peer_program.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-gnutls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const identities = {
  ec: authority.issue({ name: "localhost", kind: "ec" }),
  rsa: authority.issue({ name: "localhost", kind: "rsa" }),
};
const ignore = !await available("gnutls-cli", ["--version"]);

/** What it may speak. */
function priority(version: number): string {
  return `--priority=NORMAL:-VERS-ALL:+VERS-TLS${version === TLS_1_3 ? "1.3" : "1.2"}`;
}

/** gnutls-cli, connected to a port of ours, and the server verified. */
function client(port: Port, version: number): PeerProgram {
  return new PeerProgram("gnutls-cli", [
    ...["--x509cafile", authority.certificatePath, "--port", String(port.number)],
    ...[priority(version), "--inline-commands", "127.0.0.1"],
  ]);
}

for (const { name, version } of SUITES) {
  Deno.test({
    name: `tls with gnutls-cli: ${name}`,
    ignore,
    async fn() {
      using port = new Port();
      await using peer = client(port, version);
      const limits = version === TLS_1_3 ? { ciphersuites: name } : { ciphers: name };
      const identity = identities[name.includes("RSA") ? "rsa" : "ec"];
      using talk = await Conversation.accept(await port.accept(), serving(identity, limits));
      assert.equal(talk.finished.info.cipher, name);
      await peer.hear("Handshake was completed");
      await peer.write("hello\n");
      await talk.hear("hello\n");
      talk.say("and hello\n");
      await peer.hear("and hello");
      talk.move();
      if (version === TLS_1_3) {
        await peer.write("^rekey^\n");
        await talk.until("new keys", (stream) => stream.freeze().receive.sequence === 0);
        await peer.write("after its keys\n");
        await talk.hear("after its keys\n");
      }
      talk.say("x".repeat(100_000) + "end of much\n");
      await peer.hear("end of much");
      await peer.write("y".repeat(4000) + "\n");
      await talk.hear("y\n");
      await peer.end();
      assert.equal(await talk.ending(), 0);
    },
  });
}

Deno.test({
  name: "tls with gnutls-cli: a new handshake is refused, in TLS 1.2",
  ignore,
  async fn() {
    using port = new Port();
    await using peer = client(port, 0x0303);
    using talk = await Conversation.accept(await port.accept(), serving(identities.ec));
    await peer.hear("Handshake was completed");
    await peer.write("^renegotiate^\n");
    assert.ok(await talk.ending() < 0);
    assert.match(talk.stream.fault, /no_renegotiation/);
  },
});

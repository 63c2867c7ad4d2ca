import assert from "node:assert/strict";
import { EAGAIN } from "../os/errno.ts";
import { Authority } from "../../tests/support/certificates.ts";
import { asking, Ends, serving, take } from "./testing/ends.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-tls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const certificate = authority.issue({ name: "localhost" });
const encoder = new TextEncoder();

Deno.test("tls stream: what one end sends the other receives", () => {
  using ends = new Ends(serving(certificate), asking());
  assert.deepEqual(ends.server.info, { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" });
  assert.equal(take(ends.server), -EAGAIN);
  const hello = encoder.encode("hello");
  assert.equal(ends.client.send(hello, 0, 5), 5);
  assert.deepEqual(take(ends.server), hello);
  assert.equal(ends.server.send(hello, 1, 3), 2);
  assert.deepEqual(take(ends.client, 7), hello.slice(1, 3));
  ends.client.sayEnd();
  assert.equal(take(ends.server), 0);
});

import assert from "node:assert/strict";
import { Authority } from "../../tests/support/certificates.ts";
import { openOpenssl } from "../os/openssl.ts";
import { namesOf } from "./certificate_names.ts";

// For as long as the thread: no test opens it.
openOpenssl();

Deno.test("certificate names: as PostgreSQL reads them", () => {
  const folder = Deno.makeTempDirSync();
  const authority = Authority.create(folder);
  const names = (subject: string) => namesOf(authority.issue({ name: "", subject }).der);
  assert.deepEqual(names("/O=Acme/OU=Ops, and more/CN=ann"), {
    commonName: "ann",
    distinguishedName: "CN=ann,OU=Ops\\, and more,O=Acme",
  });
  assert.deepEqual(names("/CN=first/CN=second"), {
    commonName: "first",
    distinguishedName: "CN=second,CN=first",
  });
  assert.deepEqual(names("/O=Acme"), { commonName: undefined, distinguishedName: "O=Acme" });
  assert.deepEqual(names("/CN=jürgen"), {
    commonName: "jürgen",
    distinguishedName: "CN=j\\C3\\BCrgen",
  });
  assert.equal(names("/CN=\ufeffann")?.commonName, "\ufeffann", "somebody else");
  const long = "x".repeat(60);
  assert.equal(names(`/CN=${long}`)?.commonName, long);
  assert.equal(namesOf(Uint8Array.of(1, 2, 3)), undefined);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("certificate names: a zero byte names nobody", () => {
  const folder = Deno.makeTempDirSync();
  const { der } = Authority.create(folder).issue({ name: "ann.evil" });
  const at = findLast(der, new TextEncoder().encode("ann.evil"));
  der[at + 3] = 0;
  assert.equal(namesOf(der)?.commonName, undefined);
  assert.match(namesOf(der)!.distinguishedName, /^CN=ann\\00evil$/);
  Deno.removeSync(folder, { recursive: true });
});

/** Where a text begins for the last time: the subject comes behind the issuer. */
function findLast(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = bytes.length - wanted.length; at >= 0; at--) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return assert.fail("it is not there");
}

import assert from "node:assert/strict";
import { CERTIFICATE, ENCRYPTED_KEY, KEY, OTHER_KEY } from "../../tests/support/pem.ts";
import { readCertificates, readPrivateKey, validityWarning } from "./certificates.ts";

Deno.test("certificates: validity that is over, not begun, or near its end is told", () => {
  const [certificate] = readCertificates(CERTIFICATE) as Exclude<
    ReturnType<typeof readCertificates>,
    string
  >;
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  const day = 86_400_000;
  assert.equal(validityWarning(certificate, from + day), undefined);
  assert.equal(validityWarning(certificate, to - 31 * day), undefined);
  assert.match(
    validityWarning(certificate, to - 30 * day + 1)!,
    /^expires on 2126-\d\d-\d\d, in 29 days$/,
  );
  assert.match(validityWarning(certificate, to + 1)!, /^expired on 2126/);
  assert.match(validityWarning(certificate, from - 1)!, /^is not valid before 2026/);
});

Deno.test("certificates: a bundle has all of its certificates", () => {
  const bundle = readCertificates(`# first\n${CERTIFICATE}\n# second\n${CERTIFICATE}`);
  assert.equal(bundle.length, 2);
  assert.equal(readCertificates(KEY), "it holds no certificate");
});

Deno.test("certificates: a key is found behind other blocks, an encrypted one is told apart", () => {
  assert.ok(typeof readPrivateKey(KEY) === "object");
  assert.ok(typeof readPrivateKey(CERTIFICATE + OTHER_KEY) === "object");
  assert.match(String(readPrivateKey(ENCRYPTED_KEY)), /is encrypted/);
  const old = OTHER_KEY.replace(
    "-----\n",
    "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
  );
  assert.match(String(readPrivateKey(old)), /is encrypted/);
  assert.equal(readPrivateKey(CERTIFICATE), "it holds no private key");
  // What another library may still read.
  assert.equal(readPrivateKey(KEY.replace("MHcCAQEE", "MHcCAQEA")), undefined);
});

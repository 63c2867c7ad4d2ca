/**
 * TLS in the configuration: what -t says of certificates, keys and authorities, and what a start without OpenSSL says.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Authority, bundle, type Certificate } from "../support/certificates.ts";
import { runDoorman } from "../support/doorman_command.ts";
import { freePort } from "../support/ports.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

let folder: string;
let authority: Authority;
let certificate: Certificate;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("tls-config");
  authority = Authority.create(folder);
  certificate = authority.issue({ name: "localhost" });
});

Deno.test.afterAll(() => removeFolder(folder));

/** A file with this in it. */
function file(name: string, bytes: Uint8Array, mode = 0o600): string {
  const path = join(folder, name);
  Deno.writeFileSync(path, bytes);
  Deno.chmodSync(path, mode);
  return path;
}

/** A configuration with these lines in `[general]`. */
function config(lines: string): string {
  const path = join(folder, "pg_doorman.toml");
  Deno.writeTextFileSync(
    path,
    `[general]
host = "127.0.0.1"
port = ${freePort()}
admin_username = "admin"
admin_password = "word-of-the-admin"
${lines}
[pools.app]
server_host = "127.0.0.1"
[[pools.app.users]]
username = "app"
password = "word-of-the-user"
pool_size = 1
`,
  );
  return path;
}

async function check(lines: string, env: Record<string, string> = {}): Promise<string> {
  const { code, stderr } = await runDoorman(["-t", config(lines)], { env });
  assert.equal(code, /^Config parse error/.test(stderr) ? 78 : 0, stderr);
  return stderr;
}

function pair(certificatePath: string, keyPath: string, more = ""): string {
  return `tls_certificate = "${certificatePath}"\ntls_private_key = "${keyPath}"\n${more}`;
}

Deno.test("tls config: a pair that fits draws nothing", async () => {
  const { certificatePath, keyPath } = certificate;
  const ca = `tls_mode = "verify-full"\ntls_ca_cert = "${authority.certificatePath}"`;
  assert.equal(await check(pair(certificatePath, keyPath, ca)), "");
  const rsa = authority.issue({ name: "localhost", kind: "rsa" });
  const key = file("traditional.key", rsa.keyAs("traditional"));
  assert.equal(await check(pair(rsa.certificatePath, key)), "");
});

Deno.test("tls config: files that will not do are faults, each with its key", async () => {
  const { certificatePath, keyPath } = certificate;
  const other = authority.issue({ name: "other", kind: "rsa" });
  const encrypted = file("encrypted.key", certificate.keyAs("encrypted"));
  const old = file("old.key", certificate.keyAs("encrypted-traditional"));
  const cut = file("cut.pem", certificate.certificate.subarray(0, 200));
  const broken = file("broken.pem", bundle(certificate.certificate, cutInside(certificate)));
  const table: [string, RegExp][] = [
    [pair(certificatePath, other.keyPath), /tls_private_key: is not the key of /],
    [pair(certificatePath, encrypted), /tls_private_key: .*the private key is encrypted/],
    [pair(certificatePath, old), /tls_private_key: .*the private key is encrypted/],
    [pair(certificatePath, certificatePath), /tls_private_key: .*holds no private key/],
    [pair(keyPath, keyPath), /tls_certificate: .*holds no certificate/],
    [pair(cut, keyPath), /tls_certificate: .*has no end/],
    [pair(broken, keyPath), /tls_certificate: .*certificate 2 of it can't be read/],
    [pair(join(folder, "none"), keyPath), /tls_certificate: could not open .*no such file/],
    [
      pair(certificatePath, keyPath, `tls_mode = "verify-ca"\ntls_ca_cert = "${keyPath}"`),
      /tls_ca_cert: .*holds no certificate/,
    ],
    [pair(certificatePath, keyPath, 'tls_mode = "verify-ca"'), /verify-ca needs tls_ca_cert/],
    [
      pair(certificatePath, keyPath, 'tls_ciphers = "ECDHE-RSA-AES128-SHA256"'),
      /tls_ciphers: "ECDHE-RSA-AES128-SHA256" is not known here/,
    ],
    [
      pair(certificatePath, keyPath, 'tls_min_version = "1.1"'),
      /tls_min_version: "1.1" is not known here/,
    ],
  ];
  for (const [lines, wanted] of table) assert.match(await check(lines), wanted);
});

/** A certificate with something else in its middle. */
function cutInside({ certificate }: Certificate): Uint8Array {
  const text = new TextDecoder().decode(certificate);
  return new TextEncoder().encode(text.replace(/(CERTIFICATE-----\n.{40}).{8}/, "$1AAAAAAAA"));
}

Deno.test("tls config: a file without end, or nearly so, is a fault", async () => {
  const path = file("large.crt", new Uint8Array());
  Deno.truncateSync(path, (64 << 20) + 1);
  for (const name of [path, "/dev/zero"]) {
    assert.match(
      await check(pair(name, certificate.keyPath)),
      /tls_certificate: could not open ".*": it has more than 64 MB/,
    );
  }
});

Deno.test("tls config: what OpenSSL refuses is a fault before anybody is served", async () => {
  const key = join(folder, "small.key");
  const small = join(folder, "small.crt");
  const { success } = await new Deno.Command("openssl", {
    args: [
      ...["req", "-x509", "-newkey", "rsa:512", "-nodes", "-keyout", key, "-out", small],
      ...["-subj", "/CN=localhost", "-days", "100"],
    ],
    stdout: "null",
    stderr: "null",
  }).output();
  assert.ok(success);
  Deno.chmodSync(key, 0o600);
  assert.match(await check(pair(small, key)), /tls_certificate: .*key too small/);
});

Deno.test("tls config: an end that is near or past, and a key that others may read, are warnings", async () => {
  const { certificatePath } = certificate;
  const open = file("open.key", certificate.key, 0o644);
  assert.match(
    await check(pair(certificatePath, open)),
    /^warning: .*tls_private_key: .*open to others/,
  );
  const late = authority.issue({ name: "late", days: -1 });
  assert.match(
    await check(pair(late.certificatePath, late.keyPath)),
    /^warning: .*tls_certificate: the certificate \(CN=late\) expired on \d{4}-\d\d-\d\d/,
  );
  const soon = authority.issue({ name: "soon", days: 20 });
  assert.match(
    await check(pair(soon.certificatePath, soon.keyPath)),
    /^warning: .*tls_certificate: the certificate \(CN=soon\) expires on .* in (19|20) days/,
  );
});

Deno.test("tls config: certificates out of order, and a file of authorities without one, are warnings", async () => {
  const between = authority.issueAuthority("Between");
  const leaf = between.issue({ name: "leaf" });
  const chain = (...those: Certificate[]) =>
    file("chain.crt", new TextEncoder().encode(those.map(textOf).join("")));
  assert.equal(await check(pair(chain(leaf, between, authority), leaf.keyPath)), "");
  assert.match(
    await check(pair(chain(leaf, authority, between), leaf.keyPath)),
    /^warning: .*tls_certificate: certificate 2 is not that of the issuer of certificate 1/,
  );
  const { certificatePath, keyPath } = certificate;
  const trusting = (file: string) =>
    pair(certificatePath, keyPath, `tls_mode = "verify-ca"\ntls_ca_cert = "${file}"`);
  assert.match(
    await check(trusting(leaf.certificatePath)),
    /^warning: .*tls_ca_cert: none of its certificates is an authority's/,
  );
});

function textOf({ certificate }: Certificate): string {
  return new TextDecoder().decode(certificate);
}

Deno.test("tls config: without OpenSSL a start with TLS names the package, and one without needs none", async () => {
  const libraries = join(folder, "libraries");
  Deno.mkdirSync(libraries);
  Deno.writeTextFileSync(join(libraries, "libssl.so.3"), "this is no library");
  const env = { LD_LIBRARY_PATH: libraries };
  const { certificatePath, keyPath } = certificate;
  const lines = pair(certificatePath, keyPath);
  const missing = /tls_certificate: TLS needs OpenSSL 3 .*package libssl3 on Debian/;
  assert.match(await check(lines, env), missing);
  const { code, stderr } = await runDoorman([config(lines)], { env });
  assert.equal(code, 78);
  assert.match(stderr, missing);
  assert.equal(await check("", env), "");
  assert.equal(await check(`${lines}\ntls_mode = "disable"`, env), "");
  for (const mode of ["prefer", "require"]) {
    assert.match(
      await check(`server_tls_mode = "${mode}"`, env),
      /pools\.app\.server_tls_mode: TLS needs OpenSSL 3 .*package libssl3 on Debian/,
    );
  }
  // It needs none before PostgreSQL insists on it.
  assert.equal(await check('server_tls_mode = "allow"', env), "");
});

Deno.test("tls config: what is shown to PostgreSQL, and who is trusted, is looked at like the rest", async () => {
  const { certificatePath, keyPath } = certificate;
  const own = (key: string) =>
    `server_tls_certificate = "${certificatePath}"\nserver_tls_private_key = "${key}"`;
  const trust = (ca: string) => `server_tls_mode = "verify-full"\nserver_tls_ca_cert = "${ca}"`;
  assert.equal(await check(`${own(keyPath)}\n${trust(authority.certificatePath)}`), "");
  const other = authority.issue({ name: "other" });
  assert.match(await check(own(other.keyPath)), /server_tls_private_key: is not the key of /);
  assert.match(await check(trust(keyPath)), /server_tls_ca_cert: .*holds no certificate/);
  assert.match(
    await check('server_tls_mode = "prefer"\nserver_tls_direct = true'),
    /server_tls_direct: needs server_tls_mode require/,
  );
});

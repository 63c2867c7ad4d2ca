import assert from "node:assert/strict";
import { mergedTls, ServerTlsReader } from "./server_tls.ts";
import type { GeneralConfig, PoolConfig, ServerTlsConfig } from "./types.ts";

const GENERAL: ServerTlsConfig = {
  server_tls_mode: "verify-ca",
  server_tls_direct: false,
  server_tls_ca_cert: "ca.pem",
  server_tls_certificate: "own.crt",
  server_tls_private_key: "own.key",
};

function reader(files: Record<string, string>, read: string[] = []) {
  const one = new ServerTlsReader((name) => {
    read.push(name);
    if (files[name] === undefined) throw new Deno.errors.NotFound(name);
    return new TextEncoder().encode(files[name]);
  });
  return (pool: Partial<ServerTlsConfig> = {}) =>
    one.resolve(GENERAL as GeneralConfig, pool as PoolConfig);
}

const FILES = { "ca.pem": "CA", "own.crt": "CRT", "own.key": "KEY", "other.pem": "OTHER" };

Deno.test("server tls: a pool's keys take the place of the general ones, one by one", () => {
  assert.deepEqual(mergedTls(GENERAL, {}), GENERAL);
  const pools: Partial<ServerTlsConfig>[] = [
    { server_tls_mode: "disable" },
    { server_tls_direct: true },
    { server_tls_ca_cert: "x" },
    { server_tls_certificate: "x" },
    { server_tls_private_key: "x" },
  ];
  for (const pool of pools) assert.deepEqual(mergedTls(GENERAL, pool), { ...GENERAL, ...pool });
});

Deno.test("server tls: files are read once, and pools that name the same ones share them", () => {
  const read: string[] = [];
  const resolve = reader(FILES, read);
  const one = resolve();
  const strict = resolve({ server_tls_mode: "verify-full" });
  const other = resolve({ server_tls_ca_cert: "other.pem" });
  assert.deepEqual(read, ["ca.pem", "own.crt", "own.key", "other.pem"]);
  assert.equal(one.files, strict.files);
  assert.equal(new TextDecoder().decode(one.files.ca!.text), "CA");
  assert.deepEqual([other.files.ca!.name, other.files.key!.name], ["other.pem", "own.key"]);
  assert.notEqual(other.files.digest, one.files.digest);
});

Deno.test("server tls: no file is read that is not needed", () => {
  const read: string[] = [];
  const { mode, files } = reader({}, read)({ server_tls_mode: "disable" });
  assert.equal(mode, "disable");
  assert.deepEqual([files.ca, files.certificate, files.key], [undefined, undefined, undefined]);
  assert.deepEqual(read, []);
  // Nor does who verifies nothing need an authority's.
  assert.equal(reader(FILES, read)({ server_tls_mode: "require" }).files.ca, undefined);
  assert.deepEqual(read, ["own.crt", "own.key"]);
  assert.throws(() => reader({})(), Deno.errors.NotFound);
});

Deno.test("server tls: other contents under the same name are other files", () => {
  const digest = (change: Record<string, string>) => reader({ ...FILES, ...change })().files.digest;
  const digests = [
    digest({}),
    digest({ "ca.pem": "CA2" }),
    digest({ "own.crt": "CRT2" }),
    digest({ "own.key": "KEY2" }),
    // What moves from one file to the next is not the same.
    digest({ "own.crt": "CR", "own.key": "TKEY" }),
  ];
  assert.equal(new Set(digests).size, digests.length);
  assert.equal(digest({}), digests[0]);
});

Deno.test("server tls: what has not changed since the last load is the same object", () => {
  const { files } = reader(FILES)();
  const read = (name: string) => new TextEncoder().encode(FILES[name as keyof typeof FILES]);
  const again = new ServerTlsReader(read, new Map([[files.digest, files]]));
  const resolve = (pool: Partial<ServerTlsConfig>) =>
    again.resolve(GENERAL as GeneralConfig, pool as PoolConfig).files;
  assert.equal(resolve({}), files);
  assert.notEqual(resolve({ server_tls_ca_cert: "other.pem" }), files);
});

/**
 * TLS towards clients: what tls_mode lets in and keeps out, the ways to begin it, whom certificates let in, and what
 * operators see of it.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import type { Config } from "../support/instance.ts";
import { Authority, type Certificate } from "../support/certificates.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

let postgres: Postgres;
let folder: string;
let authority: Authority;
let certificate: Certificate;

Deno.test.beforeAll(async () => {
  [postgres, folder] = await Promise.all([Postgres.start(), makeTestFolder("certificates")]);
  authority = Authority.create(folder);
  certificate = authority.issue({ name: "localhost" });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** A doorman with a certificate. */
async function start(general: Config = {}, more: Config = {}): Promise<Doorman> {
  return await Doorman.start({
    config: {
      general: {
        tls_certificate: certificate.certificatePath,
        tls_private_key: certificate.keyPath,
        ...general,
      },
      pools: { app: poolOf(postgres) },
      ...more,
    },
  });
}

/** What psql says, or why it fails. */
async function psql(
  doorman: Doorman,
  settings: string,
  sql = "SELECT 'in'",
): Promise<string> {
  const place =
    `host=localhost hostaddr=127.0.0.1 port=${doorman.port} user=postgres password=postgres`;
  const { success, stdout, stderr } = await new Deno.Command("psql", {
    args: [
      "-XAtq",
      `${place} dbname=app sslrootcert=${authority.certificatePath} ${settings}`,
      "-c",
      sql,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  return new TextDecoder().decode(success ? stdout : stderr).trim();
}

Deno.test("tls clients: psql, with the server verified in full, on each version and suite", async () => {
  await using doorman = await start();
  assert.equal(await psql(doorman, "sslmode=verify-full"), "in");
  assert.equal(await psql(doorman, "sslmode=disable"), "in");
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    const settings =
      `sslmode=verify-full ssl_min_protocol_version=${version} ssl_max_protocol_version=${version}`;
    assert.equal(await psql(doorman, settings), "in", version);
  }
});

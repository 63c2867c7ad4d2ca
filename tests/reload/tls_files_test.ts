/** Files for TLS towards PostgreSQL that were replaced under their names: a reload takes them for new connections. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Authority } from "../support/certificates.ts";
import { waitFor } from "../support/detached_process.ts";
import type { Config, Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import type { WireClient } from "../support/wire_client.ts";
import { configOf, login, refusal, reload, startDoorman, userOf } from "./support.ts";

let folder: string;
let first: Authority;
let second: Authority;
let postgres: Postgres;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("tls-files");
  first = Authority.create(folder, "First");
  second = Authority.create(folder, "Second");
  postgres = await Postgres.start({
    tls: { certificate: first.issue({ name: "localhost" }), ca: first, only: true },
    hba: ["hostssl all certified 127.0.0.1/32 cert"],
  });
  await postgres.query("CREATE ROLE certified LOGIN");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** Puts the contents of a file into another one's place, by rename. */
async function replace(file: string, contents: Uint8Array | string): Promise<void> {
  const bytes = typeof contents === "string" ? new TextEncoder().encode(contents) : contents;
  await Deno.writeFile(`${file}.new`, bytes, { mode: 0o600 });
  await Deno.rename(`${file}.new`, file);
}

/** PostgreSQL shows another certificate to whoever connects from now on. */
async function show(authority: Authority): Promise<void> {
  await postgres.useCertificate(authority.issue({ name: "localhost" }));
  postgres.reload();
  await waitFor(`PostgreSQL shows a certificate of ${authority.label}`, 10_000, async () => {
    const { stdout } = await new Deno.Command("openssl", {
      args: [
        ...["s_client", "-starttls", "postgres", "-connect", `127.0.0.1:${postgres.port}`],
        ...["-CAfile", authority.certificatePath, "-verify_return_error"],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout).includes("Verify return code: 0 (ok)") || undefined;
  });
}

const PID = "SELECT pg_backend_pid()";

/** Holds the pool's server, so that whoever comes next needs a new one. */
async function holding(doorman: Doorman): Promise<{ client: WireClient; pid: string | null }> {
  const client = await login(doorman);
  await client.query("BEGIN");
  return { client, pid: await client.value(PID) };
}

Deno.test("tls files: other contents of the authority's file are for new connections, of every pool", async () => {
  const ca = join(folder, "reloaded-ca.pem");
  await replace(ca, first.certificate);
  await show(first);
  const config: Config = configOf(postgres, {
    general: { server_tls_mode: "verify-full", server_tls_ca_cert: ca },
  });
  (config.pools as Config).own = {
    ...(config.pools as Record<string, Config>).app,
    server_tls_ca_cert: ca,
  };
  await using doorman = await startDoorman(config, { allowLog: [/server login failed/] });
  const { client, pid } = await holding(doorman);
  using _ = client;
  await show(second);
  assert.match((await refusal(login(doorman, { database: "own" }))).M!, /verify failed/);
  await replace(ca, second.certificate);
  const log = await reload(doorman);
  assert.match(
    log,
    /configuration reloaded in .*2 pools changed; general\.server_tls_ca_cert \(content of the file\), pools\.own/,
  );
  for (const database of ["app", "own"]) {
    using other = await login(doorman, { database });
    assert.equal(
      await other.value("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
      "true",
    );
  }
  // What is open is not looked at again.
  assert.equal(await client.value(PID), pid);
  await client.query("COMMIT");
  assert.equal(await client.value(PID), pid);
  // Nothing has changed since.
  assert.match(await reload(doorman), /nothing has changed/);
});

Deno.test("tls files: a broken file changes nothing, and the log says which", async () => {
  const ca = join(folder, "broken-ca.pem");
  await replace(ca, first.certificate);
  await show(first);
  await using doorman = await startDoorman(
    configOf(postgres, { pool: { server_tls_mode: "verify-ca", server_tls_ca_cert: ca } }),
    { allowLog: [/broken-ca\.pem/, /configuration rejected/] },
  );
  const { client, pid } = await holding(doorman);
  using _ = client;
  for (const broken of ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"]) {
    await replace(ca, broken);
    const log = await reload(doorman);
    assert.equal(log.match(/ERROR.*broken-ca\.pem/g)?.length, 1, log);
    assert.match(log, /configuration rejected, nothing has changed: 1 fault/);
    using other = await login(doorman);
    await other.query("BEGIN");
    assert.notEqual(await other.value(PID), pid);
    assert.equal(await client.value(PID), pid);
  }
  await Deno.remove(ca);
  assert.match(await reload(doorman), /configuration rejected, nothing has changed/);
  assert.equal(await client.value(PID), pid);
});

Deno.test("tls files: certificate and key that were replaced are shown to PostgreSQL from then on", async () => {
  const pair = { certificate: join(folder, "own.crt"), key: join(folder, "own.key") };
  const serial = "SELECT client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  await show(first);
  const use = async (one: ReturnType<Authority["issue"]>) => {
    await replace(pair.certificate, one.certificate);
    await replace(pair.key, one.key);
  };
  await use(first.issue({ name: "certified" }));
  const user = userOf({
    username: "certified",
    password: "",
    server_username: "certified",
    server_password: "none",
  });
  await using doorman = await startDoorman(
    configOf(postgres, {
      pool: {
        server_tls_mode: "require",
        server_tls_certificate: pair.certificate,
        server_tls_private_key: pair.key,
        users: [user],
      },
      general: { pg_hba: "host all all 127.0.0.1/32 trust" },
    }),
    { allowLog: [/is not the key of/, /configuration rejected/] },
  );
  using client = await login(doorman, { user: "certified" });
  await client.query("BEGIN");
  const before = await client.value(serial);
  const next = first.issue({ name: "certified" });
  // Between the two files a reload finds a key of another certificate.
  await replace(pair.certificate, next.certificate);
  assert.match(await reload(doorman), /configuration rejected/);
  {
    using other = await login(doorman, { user: "certified" });
    assert.equal(await other.value(serial), before);
    await other.query("BEGIN; SELECT 1");
    await replace(pair.key, next.key);
    assert.match(await reload(doorman), /configuration reloaded/);
    using third = await login(doorman, { user: "certified" });
    assert.notEqual(await third.value(serial), before);
  }
  assert.equal(await client.value(serial), before);
});

/**
 * "What does not reload": each bullet of the operators' page has its test here, named after it. A warning names every
 * key and says what it needs; all else in the same file is applied.
 */

import assert from "node:assert/strict";
import { type Config, isListening } from "../support/doorman.ts";
import { freePort } from "../support/ports.ts";
import { Postgres } from "../support/postgres.ts";
import { configOf, consoleOf, login, reload, show, startDoorman } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const NOT_APPLIED = /has changed and is not applied|not in effect yet/;

function config(general: Config, pool_size = 3): Config {
  return configOf(postgres, { general, user: { pool_size } });
}

async function shownValue(doorman: Parameters<typeof consoleOf>[0], key: string) {
  using admin = await consoleOf(doorman);
  return (await show(admin, "CONFIG")).find((row) => row.key === key)?.value;
}

Deno.test("what does not reload: general.host, general.port", async () => {
  const port = freePort();
  await using doorman = await startDoorman(config({}), { allowLog: [NOT_APPLIED] });
  const log = await reload(doorman, config({ host: "0.0.0.0", port }, 5));
  assert.match(log, /general\.host has changed and is not applied: .* needs a restart/);
  assert.match(log, /general\.port has changed and is not applied: .* needs a restart/);
  assert.ok(!isListening(port));
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "1");
  assert.equal(await shownValue(doorman, "port"), String(port), "SHOW CONFIG has the new value");
  assert.equal(
    await shownValue(doorman, "pools.app.users.postgres.pool_size"),
    "5",
    "the rest is applied",
  );
  const again = await reload(doorman);
  assert.match(again, /general\.port has changed and is not applied/, "as long as it differs");
  assert.doesNotMatch(await reload(doorman, config({})), NOT_APPLIED);
});

Deno.test("what does not reload: general.tcp_socket_buffer_size on existing sockets", async () => {
  await using doorman = await startDoorman(config({ tcp_socket_buffer_size: "64KB" }), {
    allowLog: [/applied to sockets opened from now on/],
  });
  using old = await login(doorman);
  await old.query("SELECT 1");
  const before = await buffers(doorman.pid);
  const log = await reload(doorman, config({ tcp_socket_buffer_size: "256KB" }));
  assert.match(
    log,
    /general\.tcp_socket_buffer_size has changed: applied to sockets opened from now on/,
  );
  const after = await buffers(doorman.pid);
  assert.deepEqual(after, before, "open sockets keep theirs");
  using fresh = await login(doorman);
  assert.equal(await fresh.value("SELECT 1"), "1");
  const grown = (await buffers(doorman.pid)).filter((size) => size >= 2 * 256 * 1024);
  assert.ok(grown.length >= 1, "a new client's socket has the new size");
});

/** Receive buffers of the established TCP sockets of a process, in bytes. */
async function buffers(pid: number): Promise<number[]> {
  const { stdout } = await new Deno.Command("ss", { args: ["-tnpmH", "state", "established"] })
    .output();
  const sizes: number[] = [];
  for (const block of new TextDecoder().decode(stdout).split(/\n(?=\S)/)) {
    if (!block.includes(`pid=${pid},`)) continue;
    sizes.push(Number(/skmem:\(r\d+,rb(\d+)/.exec(block)![1]));
  }
  return sizes.sort((a, b) => a - b);
}

Deno.test("what does not reload: client-facing TLS certificates", async () => {
  await using doorman = await startDoorman(config({}), { allowLog: [NOT_APPLIED] });
  const certificate = `${doorman.dir}/client.pem`;
  const key = `${doorman.dir}/client.key`;
  await makeCertificate(certificate, key);
  const log = await reload(doorman, config({ tls_certificate: certificate, tls_private_key: key }));
  for (const name of ["tls_certificate", "tls_private_key"]) {
    assert.match(
      log,
      new RegExp(
        `general\\.${name} has changed and is not applied: TLS towards clients .* restart`,
      ),
    );
  }
});

async function makeCertificate(certificate: string, key: string): Promise<void> {
  const { success } = await new Deno.Command("openssl", {
    args: ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
      .concat(["-subj", "/CN=localhost", "-days", "365", "-keyout", key, "-out", certificate]),
    stdout: "null",
    stderr: "null",
  }).output();
  assert.ok(success, "openssl makes a certificate");
}

Deno.test("what does not reload: worker thread count", async () => {
  await using doorman = await startDoorman(config({ worker_threads: 2 }), {
    allowLog: [NOT_APPLIED],
  });
  const threads = () => [...Deno.readDirSync(`/proc/${doorman.pid}/task`)].length;
  const before = threads();
  const log = await reload(doorman, config({ worker_threads: 4 }, 4));
  assert.match(
    log,
    /general\.worker_threads has changed and is not applied: .* binary upgrade or a restart/,
  );
  assert.ok(threads() <= before + 1, "no worker was started");
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("what does not reload: runtime parameters of upstream, which have no meaning here", async () => {
  await using doorman = await startDoorman(config({}));
  const log = await reload(doorman, config({ tokio_event_interval: 61 }));
  assert.match(log, /configuration reloaded/);
  assert.doesNotMatch(log, NOT_APPLIED);
});

Deno.test("after reload SHOW CONFIG has the new values, secrets masked", async () => {
  await using doorman = await startDoorman(config({}));
  await reload(doorman, config({ idle_timeout: "77s", query_wait_timeout: "3s" }));
  using admin = await consoleOf(doorman);
  const rows = await show(admin, "CONFIG");
  const value = (key: string) => rows.find((row) => row.key === key)?.value;
  assert.match(value("idle_timeout")!, /^(77000|77s)$/);
  assert.match(value("query_wait_timeout")!, /^(3000|3s)$/);
  assert.ok(!rows.some((row) => row.value === "admin-secret"), "secrets are masked");
  assert.ok(rows.some((row) => row.key === "admin_password"));
});

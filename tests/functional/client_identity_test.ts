/**
 * Log-ins by certificate and by the user of this machine, with the configurations of docs/authentication.md: who gets in,
 * what the others hear, and what the operator reads of it.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Authority, type Certificate } from "../support/certificates.ts";
import { Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

let postgres: Postgres;
let folder: string;
let authority: Authority;
let server: Certificate;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("certificates");
  authority = Authority.create(folder);
  server = authority.issue({ name: "localhost" });
  postgres = await Postgres.start({ auth: "scram-sha-256" });
  await postgres.query(
    "CREATE ROLE billing LOGIN PASSWORD 'of billing, in PostgreSQL'; " +
      "CREATE ROLE ann LOGIN PASSWORD 'a password of ann''s'; " +
      "CREATE ROLE app LOGIN PASSWORD 'of app, in PostgreSQL'",
  );
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

/** A configuration of the page, for the servers and files of this test. */
function documented(name: string, ...replaced: [string, string][]): string {
  const page = Deno.readTextFileSync(
    new URL("../../docs/authentication.md", import.meta.url),
  );
  const [, toml] = new RegExp(`<!-- test: ${name} -->\\n+\`\`\`toml\\n([^]*?)\`\`\``).exec(page)!;
  let text = toml!;
  for (
    const [from, to] of [
      [
        "[general]\n",
        '[general]\nhost = "127.0.0.1"\nport = ${PORT}\nadmin_username = "admin"\n' +
        'admin_password = "a secret"\nworker_threads = 2\n',
      ],
      [
        'server_host = "db.internal"\n',
        `server_host = "127.0.0.1"\nserver_port = ${postgres.port}\nserver_database = "postgres"\n`,
      ],
      ...replaced,
    ] as const
  ) {
    assert.ok(text.includes(from), `${name}: ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** What psql says, or why it fails. */
async function psql(settings: string, sql = "SELECT current_user"): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("psql", {
    args: ["-XAtq", `dbname=app connect_timeout=10 ${settings}`, "-c", sql],
    env: { PGSSLCERT: join(folder, "none"), PGSSLKEY: join(folder, "none") },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  return new TextDecoder().decode(success ? stdout : stderr).trim();
}

Deno.test("certificates: services by map, people by both, and what the others hear", async () => {
  await using doorman = await Doorman.start({
    config: documented(
      "certificates",
      ["/etc/pg_doorman/tls/server.crt", server.certificatePath],
      ["/etc/pg_doorman/tls/server.key", server.keyPath],
      ["/etc/pg_doorman/tls/ca.crt", authority.certificatePath],
      ["10.0.0.0/8  ", "127.0.0.0/8"],
    ),
    allowLog: [/login from/, /TLS handshake/],
  });
  const place = `host=localhost hostaddr=127.0.0.1 port=${doorman.port}`;
  const at = (user: string, shown?: Certificate, more = "") => {
    const own = shown && `sslcert=${shown.certificatePath} sslkey=${shown.keyPath}`;
    return psql(`${place} sslmode=require user=${user} ${own ?? ""} ${more}`);
  };
  const [billing, legacy, ann, bob] = ["billing.svc.example", "legacy-billing", "ann", "bob"]
    .map((name) => authority.issue({ name }));
  const password = "password='a password of ann\\'s'";
  // Several, so that some come to the worker that does not have the pool.
  const all = await Promise.all([
    ...Array.from({ length: 3 }, () => at("billing", billing)),
    ...Array.from({ length: 2 }, () => at("ann", ann, password)),
    at("billing", legacy),
  ]);
  assert.deepEqual(all, [
    ...Array.from({ length: 3 }, () => "billing"),
    ...Array.from({ length: 2 }, () => "ann"),
    "billing",
  ]);
  const stranger = Authority.create(folder, "Strangers").issue({ name: "ann" });
  // Of several that fail alike from one address, the log tells the first in full.
  const byBob = await at("ann", bob, password);
  const refused = await Promise.all([
    at("billing", ann),
    at("billing"),
    byBob,
    at("ann", ann, "password=wrong"),
    at("ann", undefined, password),
    at("ann", stranger, password),
    psql(`${place} sslmode=disable user=ann ${password}`),
  ]);
  for (
    const [at, wanted] of [
      /FATAL: {2}certificate authentication failed for user "billing"/,
      /FATAL: {2}connection requires a valid client certificate/,
      /FATAL: {2}password authentication failed for user "ann"/,
      /FATAL: {2}password authentication failed for user "ann"/,
      /FATAL: {2}connection requires a valid client certificate/,
      /alert unknown ca|tlsv1 alert|SSL/,
      /no pg_hba.conf entry for host "127.0.0.1", user "ann", database "app", no encryption\nDETAIL: .*ann@app \(TLS: false\)/,
    ].entries()
  ) assert.match(refused[at]!, wanted);
  await doorman.waitForLog(
    /as "billing" to "app" failed: certificate .*\(method cert, general.pg_hba line 2\): client certificate: no line of map "services" fits "ann"/,
  );
  await doorman.waitForLog(
    /as "ann" to "app" failed: password .*\(method scram-sha-256, general.pg_hba line 4\): client certificate: the user's own name is "bob"/,
  );
});

async function ownName(): Promise<string> {
  const { stdout } = await new Deno.Command("id", { args: ["-un"] }).output();
  return new TextDecoder().decode(stdout).trim();
}

Deno.test("peer: who has opened the other end of the socket, by map", async () => {
  const me = await ownName();
  await using doorman = await Doorman.start({
    config: documented(
      "peer",
      ["/run/pg_doorman", "${DIR}"],
      ["machine  deploy ", `machine  ${me} `],
    ),
    allowLog: [/login from/],
  });
  const at = (user: string) => psql(`host=${doorman.dir} port=${doorman.port} user=${user}`);
  assert.deepEqual(
    await Promise.all(Array.from({ length: 4 }, () => at("app"))),
    Array.from({ length: 4 }, () => "app"),
  );
  assert.match(await at("batch_x"), /FATAL: {2}Peer authentication failed for user "batch_x"/);
  await doorman.waitForLog(
    new RegExp(
      `as "batch_x" to "app" failed: Peer .*\\(method peer, general.pg_hba line 1\\): ` +
        `peer: no line of map "machine" fits "${me}"`,
    ),
  );
});

Deno.test("console: users by pg_hba, and those who may only look", async () => {
  const me = await ownName();
  await using doorman = await Doorman.start({
    config: documented(
      "console",
      ["/run/pg_doorman", "${DIR}"],
      ["{ deploy", `{ ${me}`],
      ["deploy   peer", `${me}  peer`],
      ["10.0.0.7/32 ", "127.0.0.1/32"],
    ),
    allowLog: [/login from/],
  });
  const socket = `host=${doorman.dir} port=${doorman.port} dbname=pgdoorman`;
  const tcp = `host=127.0.0.1 port=${doorman.port} dbname=pgdoorman user=monitor`;
  const password = "password='a password of the monitoring\\'s'";
  assert.match(await psql(`${tcp} ${password}`, "SHOW VERSION"), /^PgDoorman/);
  for (const sql of ["PAUSE", "KILL_CLIENT 1", "SHOW PREPARED_STATEMENTS"]) {
    assert.match(await psql(`${tcp} ${password}`, sql), /ERROR: {2}permission denied/, sql);
  }
  assert.match(
    await psql(`${tcp} password=wrong`, "SHOW VERSION"),
    /password authentication failed/,
  );
  assert.equal(await psql(`${socket} user=${me}`, "PAUSE app"), "");
  assert.equal(await psql(`${socket} user=${me}`, "RESUME app"), "");
  assert.match(
    await psql(`${socket} user=monitor ${password}`),
    /no pg_hba.conf entry for host "\[local\]"/,
  );
});

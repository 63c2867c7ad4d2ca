/** Log-ins that others check, by the configurations of docs/authentication.md: PAM, a directory, tokens, Talos. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { signingKey, token } from "../../src/auth/testing/tokens.ts";
import { Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Slapd, slapdMissing, USERS } from "../support/slapd.ts";
import { Refused, WireClient } from "../support/wire_client.ts";

let postgres: Postgres;
let folder: string;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  folder = await Deno.makeTempDir({ prefix: "pg_doorman_others_" });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await Deno.remove(folder, { recursive: true });
});

const WRONG = [/ login from .* failed: /];

/** A configuration of the page: its addresses become those of this test, and TLS is left out. */
function recipe(name: string, replaced: readonly (readonly [string, string])[]): string {
  const page = Deno.readTextFileSync(new URL("../../docs/authentication.md", import.meta.url));
  const [, toml] = new RegExp(`<!-- test: ${name} -->\\n+\`\`\`toml\\n([^]*?)\`\`\``).exec(page)!;
  let text = toml!;
  const place =
    `server_host = "127.0.0.1"\nserver_port = ${postgres.port}\nserver_database = "postgres"\n`;
  const general = '[general]\nhost = "127.0.0.1"\nport = ${PORT}\nadmin_username = "admin"\n' +
    'admin_password = "a secret"\nworker_threads = 2\n';
  for (
    const [from, to] of [
      ["[general]\n", general],
      ['server_host = "db.internal"\n', place],
      ["hostssl", "host"],
      ['server_username = "app"', 'server_username = "postgres"'],
      ["of app, in PostgreSQL", "postgres"],
      ...replaced,
    ] as const
  ) {
    assert.ok(text.includes(from), `${name}: ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Logs in and asks PostgreSQL something: "in", or the SQLSTATE that it is refused with. */
async function outcome(
  doorman: Doorman,
  user: string,
  password: string,
  database = "app",
): Promise<string> {
  try {
    using client = await WireClient.login({ port: doorman.port, user, password, database });
    await client.query("SELECT 1");
    return "in";
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.fields.C!;
  }
}

Deno.test("PAM: the service of the rule decides", async () => {
  const services = join(folder, "pam.d");
  const script = join(folder, "check.sh");
  await Deno.mkdir(services);
  await Deno.writeTextFile(
    script,
    '#!/bin/sh\nread -r password\n[ "$PAM_USER/$PAM_RHOST/$password" = "ann/127.0.0.1/of ann" ]\n',
    { mode: 0o755 },
  );
  await Deno.writeTextFile(
    join(services, "pg_doorman"),
    `auth required pam_exec.so quiet expose_authtok ${script}\naccount required pam_permit.so\n`,
  );
  await using doorman = await Doorman.start({
    config: recipe("pam", [[
      "worker_threads = 2\n",
      `worker_threads = 2\npam_config_dir = "${services}"\n`,
    ]]),
    allowLog: WRONG,
  });
  assert.equal(await outcome(doorman, "ann", "of ann"), "in");
  assert.equal(await outcome(doorman, "ann", "wrong"), "28000");
  assert.equal(await outcome(doorman, "nobody", "of ann"), "28000");
  assert.match(doorman.logs, /PAM service "pg_doorman", authenticate: /);
});

const missing = slapdMissing();
const named = missing === undefined ? "LDAP" : `LDAP (left out, ${missing})`;
Deno.test(`${named}: bind, and search and bind, after StartTLS`, {
  ignore: missing !== undefined,
}, async () => {
  const place = join(folder, "slapd");
  await Deno.mkdir(place);
  const slapd = await Slapd.start(place);
  try {
    const user = '[[pools.app.users]]\nusername = "ann"';
    const other = user.replace("ann", "bob*(x)") +
      '\npassword = ""\nserver_username = "postgres"\nserver_password = "postgres"\npool_size = 1\n\n';
    await using doorman = await Doorman.start({
      config: recipe("ldap", [
        ["/etc/pg_doorman/tls/directory-ca.crt", slapd.authorityFile],
        ["ldap.internal ldap2.internal", `localhost:1 localhost:${slapd.port}`],
        ["ldapserver=ldap.internal", `ldapserver=localhost:${slapd.port}`],
        [user, other + user],
      ]),
      allowLog: WRONG,
    });
    assert.equal(await outcome(doorman, "ann", USERS.ann), "in");
    assert.equal(await outcome(doorman, "ann", "wrong"), "28000");
    assert.equal(await outcome(doorman, "ann", ""), "28000");
    assert.equal(await outcome(doorman, "bob*(x)", USERS["bob*(x)"]), "in");
    assert.equal(await outcome(doorman, "*", USERS.ann), "28000");
    await slapd.stop();
    assert.equal(await outcome(doorman, "ann", USERS.ann), "28000");
  } finally {
    await slapd.stop();
  }
});

Deno.test("JWT: keys of a rule and of a user, and others after a reload", async () => {
  const issuer = signingKey("ES256");
  const reports = signingKey("RS256");
  const next = signingKey("RS256");
  const issuerFile = join(folder, "issuer.json");
  const reportsFile = join(folder, "reports.pem");
  await Deno.writeTextFile(issuerFile, JSON.stringify({ keys: [{ ...issuer.jwk, kid: "1" }] }));
  await Deno.writeTextFile(reportsFile, reports.pem);
  await using doorman = await Doorman.start({
    config: recipe("jwt", [
      ["/etc/pg_doorman/issuer.json", issuerFile],
      ["/etc/pg_doorman/reports.pem", reportsFile],
    ]),
    allowLog: WRONG,
  });
  const exp = Math.floor(Date.now() / 1000) + 600;
  const ann = { preferred_username: "ann", exp, aud: "databases", iss: "https://id.example" };
  assert.equal(await outcome(doorman, "ann", token(issuer, ann, { kid: "1" })), "in");
  const foreign = token(issuer, { ...ann, aud: "x" }, { kid: "1" });
  assert.equal(await outcome(doorman, "ann", foreign), "28P01");
  assert.equal(await outcome(doorman, "ann", "no token"), "28P01");
  const claims = { preferred_username: "reports", exp };
  assert.equal(await outcome(doorman, "reports", token(reports, claims)), "in");
  assert.equal(await outcome(doorman, "reports", token(reports, ann)), "28P01");
  assert.equal(await outcome(doorman, "reports", token(next, claims)), "28P01");
  await Deno.writeTextFile(reportsFile, next.pem);
  doorman.signal("SIGHUP");
  await doorman.waitForLog(/configuration reloaded in/);
  assert.equal(await outcome(doorman, "reports", token(next, claims)), "in");
  assert.equal(await outcome(doorman, "reports", token(reports, claims)), "28P01");
  assert.ok(!doorman.logs.includes('user "ann" is not'), "no client hears whose token it is");
});

Deno.test("Talos: the role of the database that is asked for", async () => {
  const key = signingKey("RS256");
  const file = join(folder, "prod.pem");
  await Deno.writeTextFile(file, key.pem);
  await using doorman = await Doorman.start({
    config: recipe("talos", [["/etc/pg_doorman/talos/prod.pem", file]]),
    allowLog: WRONG,
  });
  const exp = Math.floor(Date.now() / 1000) + 600;
  const shown = (access: object, kid = "prod") =>
    token(key, { exp, clientId: "svc", resource_access: access }, { kid });
  const reads = { "pg:app": { roles: ["read_only"] } };
  assert.equal(await outcome(doorman, "talos", shown(reads)), "in");
  // There is no such user in the pool.
  assert.equal(await outcome(doorman, "talos", shown({ "pg:app": { roles: ["owner"] } })), "28P01");
  assert.equal(
    await outcome(doorman, "talos", shown({ "pg:b": { roles: ["read_only"] } })),
    "28P01",
  );
  assert.equal(await outcome(doorman, "talos", shown(reads, "other")), "28P01");
  assert.equal(await outcome(doorman, "read_only", "x"), "28P01");
});

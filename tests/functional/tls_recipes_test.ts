/** The set-ups of docs/tls.md work as they stand there. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { parse } from "smol-toml";
import { Authority, bundle, type Certificate } from "../support/certificates.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

const PAGE = new URL("../../docs/tls.md", import.meta.url);
const PLACE = "/etc/pg_doorman/tls";

interface Recipe {
  title: string;
  config: string;
  psql: string;
}

function recipes(): Recipe[] {
  const page = Deno.readTextFileSync(PAGE);
  const found = page.matchAll(/^### (.*)\n\n```toml\n([^`]*)```\n\n```sh\npsql "(.*)"\n```$/gm);
  return Array.from(found, ([, title, config, psql]) => ({
    title: title!,
    config: config!,
    psql: psql!,
  }));
}

let postgres: Postgres;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("recipes");
  const authority = Authority.create(folder);
  const write = (name: string, { certificate, key }: Certificate) => {
    Deno.writeFileSync(join(folder, `${name}.crt`), bundle(certificate));
    Deno.writeFileSync(join(folder, `${name}.key`), key, { mode: 0o600 });
  };
  write("ca", authority);
  write("server", authority.issue({ name: "pooler", for: ["DNS:pooler.example"] }));
  write("client", authority.issue({ name: "app" }));
  postgres = await Postgres.create({
    auth: "scram-sha-256",
    settings: ["ssl = on", "ssl_ca_file = 'root.crt'"],
    hba: ["hostssl all app 127.0.0.1/32 scram-sha-256", "hostnossl all app all reject"],
  });
  const { certificate, key } = authority.issue({ name: "localhost" });
  const decoder = new TextDecoder();
  await postgres.writeFile("root.crt", decoder.decode(authority.certificate));
  await postgres.writeFile("server.crt", decoder.decode(certificate));
  await postgres.writeFile("server.key", decoder.decode(key));
  await postgres.start();
  await postgres.query("CREATE ROLE app LOGIN PASSWORD 'app'");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

Deno.test("docs: there are five set-ups", () => {
  assert.equal(recipes().length, 5);
});

for (const { title, config, psql } of recipes()) {
  Deno.test(`docs: ${title}`, async () => {
    const { general } = parse(config.replaceAll(PLACE, folder)) as Config;
    const users: Config[] = [{ username: "app", password: "app", pool_size: 2 }];
    await using doorman = await Doorman.start({
      config: { general: general!, pools: { app: poolOf(postgres, { users }) } },
    });
    const place = psql.replaceAll(/=(\w+\.(?:crt|key))/g, `=${folder}/$1`);
    const { success, stdout, stderr } = await new Deno.Command("psql", {
      args: [
        "-XAtq",
        `${place} hostaddr=127.0.0.1 port=${doorman.port} password=app`,
        "-c",
        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    assert.ok(success, `${decoder.decode(stderr)}\n${doorman.logs}`);
    // PostgreSQL lets this user in with TLS alone, which `allow` finds out by itself.
    assert.equal(decoder.decode(stdout).trim(), "t");
  });
}

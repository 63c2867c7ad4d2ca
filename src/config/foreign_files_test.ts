import assert from "node:assert/strict";
import type { LoadResult } from "./load.ts";
import { loadConfig } from "./load.ts";
import { formatFault } from "./source.ts";

const GENERAL = '[general]\nadmin_username = "a"\nadmin_password = "b"\nport = 6432\n';
const USER = '[[pools.app.users]]\nusername = "u"\npassword = "p"\npool_size = 1\n';

function load(text: string, name = "pg_doorman.toml"): LoadResult {
  return loadConfig(name, {
    readText: (path) => {
      if (path === name) return text;
      throw new Deno.errors.NotFound(path);
    },
    parseHba: () => ({ rules: [], faults: [], warnings: [] }),
    parseIdent: () => ({ rules: [], faults: [], warnings: [] }),
  });
}

function faults(text: string, name?: string): string[] {
  return load(text, name).faults.map(formatFault);
}

/** Faults and warnings of a pool with these keys, without where they stand. */
function ofPool(keys: string, general = GENERAL): string[] {
  const { faults, warnings } = load(`${general}[pools.app]\n${keys}\n${USER}`);
  return [...faults, ...warnings].map(({ path, message }) => `${path}: ${message}`);
}

Deno.test("foreign files: PgBouncer's is told key by key, with what each is here", () => {
  const text = [
    ";; a comment = not a key",
    "[databases]",
    "app = host=10.0.0.1,10.0.0.2 port=5432 dbname='my ''db' user=u password=secret1",
    "* = host=10.0.0.3",
    '"my db" = auth_query=x',
    "",
    "[pgbouncer]",
    "listen_addr = *",
    " listen_port=6432",
    "auth_file = /etc/secret2",
    "made_up = 1",
    "#pidfile = /x",
    "%include other.ini",
    "[users]",
    "bob = pool_mode=session",
    "[peers]",
    "1 = host=/tmp",
  ].join("\n");
  for (const name of ["pgbouncer.ini", "pg_doorman.toml", "x.yaml"]) {
    const found = faults(text, name);
    assert.deepEqual(found.map((line) => line.replace(/ \(.*/, "")), [
      `${name}: this is a configuration of PgBouncer, which is not read here`,
      `${name}:3: databases.app: is a database of PgBouncer's`,
      `${name}:4: databases."*": stands for any database of PostgreSQL`,
      `${name}:5: databases."my db": is a database of PgBouncer's`,
      `${name}:8: pgbouncer.listen_addr: is PgBouncer's`,
      `${name}:9: pgbouncer.listen_port: is PgBouncer's`,
      `${name}:10: pgbouncer.auth_file: is PgBouncer's`,
      `${name}:11: pgbouncer.made_up: is not known here`,
      `${name}:13: %include: is PgBouncer's`,
      `${name}:15: users.bob: is a user of PgBouncer's`,
      `${name}:17: peers.1: is a peer of PgBouncer's`,
    ]);
    assert.ok(!/secret/.test(found.join()), "a value is repeated");
    assert.match(found[1]!, /server_host, port is server_port, dbname is server_database, user is/);
    assert.match(found[5]!, /\(port in \[general\]\)/);
  }
});

Deno.test("foreign files: PgCat's shards are a fault, its other keys have a hint", () => {
  const text = `${GENERAL}ban_time = 60\nautoreload = true\nenable_prometheus_exporter = true
[pools.app]
query_parser_enabled = true
[pools.app.users.0]
username = "u"
password = "p"
pool_size = 1
statement_timeout = 5
[pools.app.shards.0]
servers = [["10.0.0.1", 5432, "primary"]]
database = "app"
`;
  const { faults, warnings } = load(text);
  assert.deepEqual(faults.map(({ path, line }) => `${path} ${line}`), ["pools.app.shards 15"]);
  assert.match(faults[0]!.hint!, /server_host, server_port and server_database in the pool itself/);
  const hints = warnings.map(({ path, hint }) => `${path}: ${hint}`);
  assert.deepEqual(hints.map((line) => line.replace(/: PgCat's: .*/, "")), [
    "general.ban_time",
    "general.autoreload",
    "general.enable_prometheus_exporter",
    "pools.app.query_parser_enabled",
    "pools.app.users.0.statement_timeout",
  ]);
});

Deno.test("foreign files: keys of upstream's older versions and of PgBouncer have a hint", () => {
  const { warnings } = load(
    `${GENERAL}listen_port = 1\n[pools.app]\nserver_host = "10.0.0.1"\nserver_tls = true\n` +
      `verify_server_certificate = true\nserver_idle_timeout = 600\n${USER}virtual_pool_count = 2\n`,
  );
  assert.deepEqual(warnings.map(({ path, hint }) => `${path}: ${hint?.slice(0, 48)}`), [
    "general.listen_port: PgBouncer's: port in [general]",
    'pools.app.server_tls: of an older version: server_tls_mode = "require"',
    'pools.app.verify_server_certificate: of an older version: server_tls_mode = "verify-f',
    "pools.app.server_idle_timeout: PgBouncer's: idle_timeout; a bare number is mill",
    "pools.app.users[0].virtual_pool_count: of an older version: pools are spread over threa",
  ]);
});

Deno.test("foreign files: hosts that are none", () => {
  const at = "pools.app.server_host";
  const several = `${at}: holds several hosts: a pool leads to one server`;
  for (
    const [host, fault] of [
      ["a,b", several],
      ["10.0.0.1 10.0.0.2", several],
      ["@/run/pg", `${at}: sockets in the abstract namespace (@…) are not supported`],
      ["postgres://u:p@h/db", `${at}: is a URL, not a host`],
      ["db:5433", `${at}: holds a port`],
      ["[::1]:5433", `${at}: holds a port`],
      ["", `${at}: must not be empty`],
    ]
  ) assert.deepEqual(ofPool(`server_host = "${host}"`), [fault], host);
  for (const host of ["db", "10.0.0.1", "::2", "fe80::1", "[::2]", "/run/postgresql", "/a,b"]) {
    assert.deepEqual(ofPool(`server_host = "${host}"`), [], host);
  }
  for (
    const [key, path] of [
      ['host = "10.0.0.1,10.0.0.2"', "general.host"],
      ['host = "*"', "general.host"],
      ['host = "/run"', "general.host"],
      ['unix_socket_dir = "@pg"', "general.unix_socket_dir"],
    ]
  ) {
    assert.deepEqual(
      load(`${GENERAL}${key}\n[pools]\n`).faults.map((one) => one.path),
      [path],
      key,
    );
  }
});

Deno.test("foreign files: a pool that leads back to the pooler itself, and those that do not", () => {
  const back = /: leads back to the pooler itself, which listens on port 6432$/;
  const pool = (host: string, general: string) =>
    ofPool(`server_host = "${host}"\nserver_port = 6432`, `${GENERAL}${general}\n`);
  for (
    const [general, host] of [
      ["", "127.0.0.1"],
      ["", "127.9.9.9"],
      ["", "LocalHost"],
      ['host = "127.0.0.1"', "localhost"],
      ['host = "127.0.0.1"', "127.0.0.1"],
      ['host = "[::]"', "::1"],
      ['host = "[::]"', "127.0.0.1"],
      ['host = "db.example"', "DB.example"],
      ['unix_socket_dir = "/run/p/"', "/run/p"],
    ]
  ) {
    const found = pool(host!, general!);
    assert.equal(found.length, 1, `${general} ${host}`);
    assert.match(found[0]!, back);
  }
  for (
    const [general, host] of [
      ['host = "10.0.0.1"', "127.0.0.1"],
      ['host = "127.0.0.1"', "10.0.0.1"],
      ["", "::1"],
      ["", "db.example"],
      ['unix_socket_dir = "/run/p"', "/run/postgresql"],
    ]
  ) assert.deepEqual(pool(host!, general!), [], `${general} ${host}`);
  assert.deepEqual(ofPool('server_host = "127.0.0.1"'), []);
});

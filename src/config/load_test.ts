import assert from "node:assert/strict";
import {
  configOf,
  diskIo,
  GENERAL,
  loadText,
  memoryIo,
  validConfig,
} from "../../tests/support/config_io.ts";
import type { LoadResult } from "./load.ts";
import { loadConfig } from "./load.ts";
import type { Fault } from "./source.ts";
import { formatFault } from "./source.ts";

const FIXTURES = "tests/fixtures";

/** Loads a fixture with the repository as working directory, wherever the test is run from. */
function loadFixture(name: string): LoadResult {
  const root = new URL("../../", import.meta.url).pathname;
  const { readText, parseHba, parseIdent } = diskIo;
  return loadConfig(`${FIXTURES}/${name}`, {
    readText: (path) => readText(path.startsWith("/") ? path : root + path),
    parseHba,
    parseIdent,
  });
}

function messages(faults: readonly Fault[]): string[] {
  return faults.map(formatFault);
}

/** Every fault of a text, as `path: message`. */
function faultsOf(text: string, name = "test.toml"): string[] {
  return loadText(text, name).faults.map(({ path, message }) => `${path}: ${message}`);
}

function warningsOf(text: string, name = "test.toml"): string[] {
  return loadText(text, name).warnings.map(({ path, message }) => `${path}: ${message}`);
}

Deno.test("load: the older shape of a config", () => {
  const result = loadFixture("legacy.toml");
  const config = validConfig(result);
  assert.equal(config.path, "tests/fixtures/legacy.toml");
  const { general, web } = config;
  assert.equal(general.port, 6432);
  assert.equal(general.connect_timeout, 3000);
  assert.equal(general.query_wait_timeout, 5000);
  assert.equal(general.idle_timeout, 600_000);
  assert.equal(general.unix_socket_mode, 0o660);
  assert.equal(general.max_memory_usage, 268_435_456);
  assert.equal(general.client_anonymous_prepared_cache_size, 100);
  assert.deepEqual(general.hba, ["10.0.0.0/8", "::1/128"]);
  assert.equal(web.port, 9127);
  const pool = config.pools.get("app");
  assert.equal(pool?.pool_mode, "transaction");
  assert.equal(pool?.idle_timeout, 40_000);
  assert.equal(pool?.connect_timeout, undefined);
  assert.deepEqual(pool?.users, [
    {
      username: "two",
      password: "",
      pool_size: 10,
      min_pool_size: 2,
      pool_mode: "session",
      server_username: "app",
      server_password: "of the server",
    },
    { username: "ten", password: "md5dd9896acdc55227b7d5fe85f2dbd5d9d", pool_size: 40 },
  ]);
  assert.deepEqual(messages(result.warnings), [
    "tests/fixtures/legacy.toml:7: general.pool_mode: unknown key, ignored (it is a key of [pools.NAME])",
    "tests/fixtures/legacy.toml:16: general.client_prepared_statements_cache_size: is deprecated " +
    "(write client_anonymous_prepared_cache_size)",
  ]);
  assert.deepEqual(messages(result.notices), [
    "tests/fixtures/legacy.toml:12: general.tokio_event_interval: has no effect: " +
    "the scheduler it tunes does not exist here",
    "tests/fixtures/legacy.toml:16: general.client_anonymous_prepared_cache_size: has no effect: " +
    "a client has one unnamed statement, as at PostgreSQL, and that one is kept",
  ]);
});

Deno.test("load: the present shape of a config, in YAML", () => {
  const result = loadFixture("sample.yaml");
  const config = validConfig(result);
  assert.deepEqual(messages(result.warnings), []);
  const { general } = config;
  assert.equal(general.unix_socket_mode, 0o600);
  assert.equal(general.shutdown_timeout, 30_000);
  assert.equal(general.syslog_prog_name, undefined);
  assert.deepEqual([...general.startup_parameters], [["TimeZone", "UTC"], ["work_mem", "64MB"]]);
  assert.deepEqual(general.pg_hba?.rules.map(({ type, method }) => `${type} ${method}`), [
    "local scram-sha-256",
    "host scram-sha-256",
    "hostssl md5",
  ]);
  assert.equal(general.pg_hba?.path, undefined);
  assert.deepEqual([...config.pools.keys()], ["app", "my db.x", "numbered", "nobody"]);
  assert.equal(config.pools.get("app")?.users[0]?.server_lifetime, 3_600_000);
  assert.deepEqual(config.pools.get("my db.x")?.users, config.pools.get("app")?.users);
  assert.equal(config.pools.get("numbered")?.users[0]?.username, "zero");
  assert.deepEqual(config.pools.get("nobody")?.users, []);
});

Deno.test("load: includes are merged in order, whatever their format", () => {
  const result = loadFixture("includes/main.yaml");
  const { general, pools, include } = validConfig(result);
  assert.deepEqual(include.files, ["tests/fixtures/includes/pools.toml", "users.yaml"]);
  assert.equal(general.port, 6433);
  assert.deepEqual(general.hba, ["10.0.0.0/8", "192.168.0.0/16"]);
  assert.deepEqual([...general.startup_parameters.keys()], ["work_mem", "statement_timeout"]);
  assert.equal(pools.get("app")?.server_host, "second");
  assert.deepEqual(pools.get("app")?.users.map((user) => user.username), ["main", "included"]);
  assert.deepEqual(pools.get("other")?.users, [
    { username: "merged", password: "", pool_size: 4, min_pool_size: 1 },
    { username: "second", password: "", pool_size: 5 },
  ]);
  assert.deepEqual(messages(result.notices), [
    "tests/fixtures/includes/main.yaml:2: include.files: " +
    "includes of tests/fixtures/includes/pools.toml are not followed",
    "tests/fixtures/includes/main.yaml:2: include.files[1]: users.yaml is not in the working " +
    "directory: tests/fixtures/includes/users.yaml is read",
  ]);
});

Deno.test("load: a fault in an included file names that file and its line", () => {
  const { faults } = loadConfig(
    "a.toml",
    memoryIo({
      "a.toml": `${GENERAL}[include]\nfiles = ["b.yaml", "c.toml"]\n[pools.app]\n`,
      "b.yaml": "pools:\n  app:\n    users:\n      - {username: u, password: x, pool_size: 0}\n",
      "c.toml": "[[pools.app.users]]\nusername = 'v'\npassword = ''\npool_size = -1\n",
    }),
  );
  assert.deepEqual(messages(faults), [
    "b.yaml:4: pools.app.users[0].pool_size: must not be 0 (the pool could serve nobody)",
    "c.toml:4: pools.app.users[1].pool_size: must not be negative, is -1",
  ]);
});

Deno.test("load: all faults of a file at once, each with its line and without secrets", () => {
  const result = loadFixture("faults.toml");
  assert.equal(result.config, undefined);
  assert.deepEqual(
    messages(result.faults),
    [
      "2: general.admin_username: is missing (add admin_username with a string)",
      "3: general.port: must be at most 65535, is 70000",
      '4: general.host: must be a string, is an integer (quote it: "5")',
      '6: general.query_wait_timeout: "5x" is not a duration ' +
      '(a whole number of milliseconds, or a number with ms, s, m, h or d, as in "30s")',
      "7: general.worker_threads: must not be 0 (nobody would serve clients)",
      '8: general.unix_socket_mode: "0999" is not a file mode (three octal digits in quotes, as in "0660")',
      '9: general.max_memory_usage: "5TB" is not a size ' +
      '(a whole number of bytes, or a number with K, M or G, as in "256MB")',
      "10: general.tcp_no_delay: must be a boolean, is a string (write true or false, without quotes)",
      '11: general.tls_mode: "Require" is not known here (one of allow, disable, require, verify-ca, verify-full)',
      '12: general.hba[0]: "10.0.0.1" is not a network ' +
      "(an address and the length of its prefix, as in 10.0.0.0/8)",
      "12: general.hba: excludes pg_hba (keep one of the two)",
      "13: general.pg_hba: line 1 of the rules: the line ends before the method " +
      "(write: host DATABASE USER ADDRESS METHOD)",
      "16: general.admin_password: must be a string, is an integer (quote it)",
      "17: general.startup_parameters.work_mem: must be a string, is an integer (quote it)",
      '17: general.startup_parameters.role: "role" is reserved: the pooler decides it itself',
      '20: pools.app.pool_mode: "query" is not known here (one of transaction, session, statement)',
      "21: pools.app.server_tls_mode: verify-full needs server_tls_ca_cert",
      "22: pools.app.patroni_api_urls: must not be empty (leave the key out instead)",
      "26: pools.app.users[0].password: starts like a SCRAM verifier and is none " +
      "(copy the whole rolpassword of pg_authid)",
      "27: pools.app.users[0].pool_size: must not be 0 (the pool could serve nobody)",
      '30: pools.app.users[1].username: "alice" is already a user of this pool',
      "33: pools.app.users[1].min_pool_size: 4 is more than pool_size, which is 3",
      "34: pools.app.users[1].server_password: needs server_username as well",
    ].map((line) => `${FIXTURES}/faults.toml:${line}`),
  );
  assert.doesNotMatch(JSON.stringify(result), /secret|12345/);
  const unknown = result.warnings.find(({ path }) => path === "general.conect_timeout");
  assert.equal(unknown?.hint, "did you mean connect_timeout?");
});

Deno.test("load: a file that is not there, or that is no TOML, is a fault", () => {
  assert.deepEqual(messages(loadConfig("x/none.toml", memoryIo({})).faults), [
    "x/none.toml: could not open the file: no such file",
  ]);
  const [fault] = loadText('{"general": {}}', "config.json").faults;
  assert.match(fault?.message ?? "", /^TOML parse error/);
  assert.match(loadText("general: [", "A.YML").faults[0]?.message ?? "", /^YAML parse error/);
  const folder = loadConfig("/tmp", diskIo);
  assert.deepEqual(messages(folder.faults), [
    "/tmp: could not open the file: it is a directory",
  ]);
});

Deno.test("load: an included file that is missing, or wrong, is a fault", () => {
  const main = `${GENERAL}[include]\nfiles = ["b.toml"]\n[pools]\n`;
  assert.deepEqual(messages(loadConfig("a.toml", memoryIo({ "a.toml": main })).faults), [
    'a.toml:5: include.files[0]: could not open "b.toml": no such file',
  ]);
  assert.deepEqual(messages(loadConfig("etc/a.toml", memoryIo({ "etc/a.toml": main })).faults), [
    'etc/a.toml:5: include.files[0]: could not open "b.toml": no such file, nor is there etc/b.toml',
  ]);
  const broken = memoryIo({ "a.toml": main, "b.toml": "x = " });
  assert.equal(loadConfig("a.toml", broken).faults[0]?.file, "b.toml");
});

Deno.test("load: kinds that cannot be merged are a fault, two simple values are not", () => {
  const main = `${GENERAL}connect_timeout = 3000\n[include]\nfiles = ["b.toml"]\n` +
    `[pools.app.users.0]\nusername = "a"\npassword = ""\npool_size = 1\n`;
  const merged = loadConfig(
    "a.toml",
    memoryIo({ "a.toml": main, "b.toml": '[general]\nconnect_timeout = "4s"\n' }),
  );
  assert.equal(validConfig(merged).general.connect_timeout, 4000);
  const list = '[[pools.app.users]]\nusername = "b"\npassword = ""\npool_size = 1\n';
  assert.deepEqual(
    messages(loadConfig("a.toml", memoryIo({ "a.toml": main, "b.toml": list })).faults),
    ["b.toml:1: pools.app.users: is a list here and a table in a.toml: the two cannot be merged"],
  );
});

Deno.test("load: general and pools are required, and may be almost empty", () => {
  assert.deepEqual(faultsOf(""), ["general: is missing", "pools: is missing"]);
  assert.deepEqual(faultsOf("general:\npools:\n", "a.yaml"), [
    "general: is missing",
    "pools: is missing",
  ]);
  assert.deepEqual(faultsOf("[general]\n[pools]\n"), [
    "general.admin_username: is missing",
    "general.admin_password: is missing",
  ]);
  assert.equal(configOf(`${GENERAL}[pools]\n`).pools.size, 0);
  assert.deepEqual(faultsOf("general = 1\npools = []\n"), [
    "general: must be a table, is an integer",
    "pools: must be a table of pools, is a list",
  ]);
});

Deno.test("load: web and prometheus are one section", () => {
  const web = "[prometheus]\nport = 9999\nui = true\n";
  assert.equal(configOf(`${GENERAL}[pools]\n${web}`).web.port, 9999);
  assert.deepEqual(faultsOf(`${GENERAL}[pools]\n${web}[web]\n`), [
    "prometheus: is the old name of web: keep one section",
  ]);
});

Deno.test("load: an old key and its new name exclude each other", () => {
  const text = `${GENERAL}client_prepared_statements_cache_size = 1
client_anonymous_prepared_cache_size = 1
[pools]\n`;
  assert.deepEqual(faultsOf(text), [
    "general.client_prepared_statements_cache_size: is the old name of " +
    "client_anonymous_prepared_cache_size: keep one",
  ]);
});

Deno.test("load: what has no effect yet is said, unless nothing is asked for", () => {
  const text = `${GENERAL}prepared_statements = true
server_tls_mode = "prefer"
tls_rate_limit_per_second = 0
[web]
enabled = true
ui = true
sso_enabled = false
[talos]
keys = []
databases = []
[pools.app]
max_db_connections = 10
server_tls_mode = "disable"
[pools.app.auth_query]
query = "select 1"
user = "x"
`;
  assert.deepEqual(warningsOf(text).map((line) => line.replace(/^.*: /, "")).sort(), [
    "web.ui",
  ]);
  assert.ok(warningsOf(text).every((line) => line.includes("not in effect yet: ")));
  assert.deepEqual(
    warningsOf(`${GENERAL}prepared_statements = false\n[web]\nenabled = false\n[pools]\n`),
    [],
  );
});

Deno.test("load: unknown keys are warned about everywhere, with the nearest known one", () => {
  const text = `generall = 1
${GENERAL}talos = 1
prot = 1
[pools.app]
server_hots = "x"
[[pools.app.users]]
username = "a"
password = ""
pool_size = 1
poolmode = "session"
frobnicate = 1
`;
  assert.deepEqual(messages(loadText(text).warnings), [
    "test.toml:1: generall: unknown key, ignored (did you mean general?)",
    "test.toml:5: general.talos: unknown key, ignored (it is a key of the top level)",
    "test.toml:6: general.prot: unknown key, ignored (did you mean port?)",
    "test.toml:8: pools.app.server_hots: unknown key, ignored (did you mean server_host?)",
    "test.toml:13: pools.app.users[0].poolmode: unknown key, ignored (did you mean pool_mode?)",
    "test.toml:14: pools.app.users[0].frobnicate: unknown key, ignored",
  ]);
});

Deno.test("load: users are tables in a list or under numbers", () => {
  const pool = `${GENERAL}[pools.app]\n`;
  assert.deepEqual(faultsOf(`${pool}users = ["a"]`), [
    "pools.app.users[0]: must be a table, is a string",
  ]);
  assert.deepEqual(faultsOf(`${pool}users = "a"`), [
    "pools.app.users: must be a list of users, is a string",
  ]);
  const named = '[pools.app.users.alice]\nusername = "a"\npassword = ""\npool_size = 1\n';
  assert.deepEqual(faultsOf(`${pool}${named}`), [
    "pools.app.users.alice: users are a list, or a map with numbers as keys",
  ]);
  assert.deepEqual(faultsOf(`${pool}[[pools.app.users]]\n`), [
    "pools.app.users[0].username: is missing",
    "pools.app.users[0].password: is missing",
    "pools.app.users[0].pool_size: is missing",
  ]);
});

Deno.test("load: numbers in quotes and strings without them are told apart", () => {
  assert.deepEqual(messages(loadText(`${GENERAL}port = "6432"\n[pools]\n`).faults), [
    "test.toml:4: general.port: must be a whole number, is a string (write it without quotes)",
  ]);
  const yaml = "general:\n  admin_username: a\n  admin_password: 12345\n  port: 5.0\npools: {}\n";
  assert.deepEqual(messages(loadText(yaml, "a.yaml").faults), [
    "a.yaml:3: general.admin_password: must be a string, is an integer (quote it)",
    "a.yaml:4: general.port: must be a whole number, is a number with a fraction",
  ]);
});

Deno.test("load: seconds are whole, or have their unit", () => {
  const of = (value: string) => `${GENERAL}tcp_user_timeout = ${value}\n[pools]\n`;
  assert.equal(configOf(of("30")).general.tcp_user_timeout, 30);
  assert.equal(configOf(of('"30s"')).general.tcp_user_timeout, 30);
  assert.equal(configOf(of('"2m"')).general.tcp_user_timeout, 120);
  for (const value of ['"30"', '"1500ms"', '"x"']) {
    assert.match(faultsOf(of(value))[0] ?? "", /is not a number of seconds/, value);
  }
});

Deno.test("load: pool durations take units, which upstream's do not", () => {
  const { pools } = configOf(
    `${GENERAL}[pools.app]\nconnect_timeout = "1s"\nquery_wait_timeout = "2s"\n` +
      'idle_timeout = "3s"\nserver_lifetime = 4000\nreserve_pool_timeout = "5s"\n',
  );
  const pool = pools.get("app");
  assert.deepEqual(
    [
      pool?.connect_timeout,
      pool?.query_wait_timeout,
      pool?.idle_timeout,
      pool?.server_lifetime,
      pool?.reserve_pool_timeout,
    ],
    [1000, 2000, 3000, 4000, 5000],
  );
});

Deno.test("load: numbers too large to count are faults", () => {
  for (const value of ["9007199254740992", "9223372036854775807"]) {
    assert.match(
      faultsOf(`${GENERAL}max_connections = ${value}\n[pools]\n`)[0] ?? "",
      /is too large/,
    );
  }
});

Deno.test("load: pg_hba as text, as a file beside the config, as content", () => {
  const file = validConfig(loadFixture("hba_file.toml")).general.pg_hba;
  assert.equal(file?.path, "tests/fixtures/pg_hba.conf");
  assert.deepEqual(file?.rules.map((rule) => rule.method), ["trust", "scram-sha-256"]);
  const hba = (value: string) => `${GENERAL}pg_hba = ${value}\n[pools]\n`;
  const text = configOf(hba('"host all all all reject"')).general.pg_hba;
  assert.deepEqual(text?.rules.map((rule) => rule.method), ["reject"]);
  const both = hba('{ path = "/none", content = "local all all trust" }');
  assert.deepEqual(configOf(both).general.pg_hba?.rules.length, 1);
  assert.match(warningsOf(both)[0] ?? "", /^general.pg_hba.path: is not read/);
  assert.deepEqual(faultsOf(hba("{}")), ["general.pg_hba: holds neither path nor content"]);
  assert.deepEqual(faultsOf(hba('{ file = "x" }')), ["general.pg_hba.file: unknown member"]);
  assert.deepEqual(faultsOf(hba("5")), ["general.pg_hba: must be text or a table, is an integer"]);
  assert.deepEqual(faultsOf(hba('{ path = "/none" }')), [
    'general.pg_hba.path: could not open "/none": no such file',
  ]);
});

Deno.test("load: a bad rule is a fault at its own line", () => {
  const text = `${GENERAL}pg_hba = { path = "hba" }\n[pools]\n`;
  const files = { "a.toml": text, hba: "local all all trust\n\nhost all all bad-name md5\n" };
  const [fault] = loadConfig("a.toml", memoryIo(files)).faults;
  assert.deepEqual([fault?.file, fault?.line, fault?.path], ["hba", 3, "general.pg_hba"]);
  const inline = loadText(`${GENERAL}pg_hba = """\n\nhost all all\n"""\n[pools]\n`).faults[0];
  assert.equal(inline?.line, 4);
  assert.match(inline?.message ?? "", /^line 2 of the rules: /);
});

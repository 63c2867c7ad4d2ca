import assert from "node:assert/strict";
import { loadConfig } from "./load.ts";
import { configOf, GENERAL, memoryIo, resolvingWith } from "../../tests/support/config_io.ts";
import type { Resolving } from "./effective.ts";
import { resolveSettings } from "./effective.ts";
import { poolKey } from "./homes.ts";
import type { PoolSettings, Settings } from "./settings.ts";

const MD5 = "md5DD9896ACDC55227B7D5FE85F2DBD5D9D";
const VERIFIER = "SCRAM-SHA-256$4096:uSCLZSlfF0HPpbjGqLBFLQ==" +
  "$sn5wSzRPdTkU0bBEzEaOMaLCWgRLcGrtiXf0qXMdQo0=:iDLZ8hVb0U8HLAFAKXUmRQCjhvbwW6AXHCb7xFQaYJ0=";

function settingsOf(text: string, change: Partial<Resolving> = {}): Settings {
  return resolveSettings(configOf(text), resolvingWith(change));
}

function user(lines: string): string {
  return `[[pools.app.users]]\nusername = "u"\npool_size = 10\n${lines}\n`;
}

function poolOf(userLines: string, poolLines = "", generalLines = ""): PoolSettings {
  const text = `${GENERAL}${generalLines}\n[pools.app]\n${poolLines}\n${user(userLines)}`;
  return settingsOf(text).pools[0] as PoolSettings;
}

Deno.test("effective: a password that has to wait is looked at before the login's time is over", () => {
  const most = (lines: string) =>
    settingsOf(`${GENERAL}${lines}\n[pools]\n`).general.auth_failure_delay_max;
  assert.equal(most(""), 5000);
  assert.equal(most('client_login_timeout = "8s"'), 4000);
  assert.equal(most('client_login_timeout = 0\nauth_failure_delay_max = "9m"'), 540_000);
});

Deno.test("effective: user beats pool beats general", () => {
  const general = `pooler_check_query = "select 1"
connect_timeout = 1
query_wait_timeout = 2
idle_timeout = 3
server_lifetime = 4
server_idle_check_timeout = 5
scaling_warm_pool_ratio = 6
scaling_fast_retries = 7
max_concurrent_creates = 8
scaling_max_parallel_creates = 9
server_round_robin = true
sync_server_parameters = true`;
  const pick = (pool: PoolSettings) => [
    pool.pool_mode,
    pool.connect_timeout,
    pool.query_wait_timeout,
    pool.idle_timeout,
    pool.server_lifetime,
    pool.server_idle_check_timeout,
    pool.scaling_warm_pool_ratio,
    pool.scaling_fast_retries,
    pool.max_concurrent_creates,
    pool.scaling_max_parallel_creates,
    pool.server_round_robin,
    pool.sync_server_parameters,
  ];
  const plain = poolOf('password = ""', "", general);
  assert.deepEqual(pick(plain), ["transaction", 1, 2, 3, 4, 5, 6, 7, 8, 9, true, true]);
  const poolLines = `pool_mode = "session"
connect_timeout = 11
query_wait_timeout = 12
idle_timeout = 13
server_lifetime = 14
scaling_warm_pool_ratio = 16
scaling_fast_retries = 17`;
  const pool = poolOf('password = ""', poolLines, general);
  assert.deepEqual(pick(pool), ["session", 11, 12, 13, 14, 5, 16, 17, 8, 9, true, true]);
  const own = poolOf(
    'password = ""\npool_mode = "transaction"\nidle_timeout = 23\nserver_lifetime = 24',
    poolLines,
    general,
  );
  assert.deepEqual(pick(own), ["transaction", 11, 12, 23, 24, 5, 16, 17, 8, 9, true, true]);
});

Deno.test("effective: limits for clients, user beats pool beats general, and 0 is a value", () => {
  const keys = [
    "query_timeout",
    "transaction_timeout",
    "idle_transaction_timeout",
    "client_idle_timeout",
    "query_wait_notify",
  ] as const;
  for (const key of keys) {
    const of = (user: string, pool: string, general: string) =>
      poolOf(
        `password = ""\n${user}`,
        pool,
        `pooler_check_query = "select 1"\n${general}`,
      )[key];
    assert.equal(of("", "", ""), 0);
    assert.equal(of("", "", `${key} = "1s"`), 1000);
    assert.equal(of("", `${key} = 2`, `${key} = "1s"`), 2);
    assert.equal(of(`${key} = "3m"`, `${key} = 2`, `${key} = "1s"`), 180_000);
    assert.equal(of("", `${key} = 0`, `${key} = "1s"`), 0);
    assert.equal(of(`${key} = 0`, `${key} = 2`, ""), 0);
  }
});

Deno.test("effective: caches follow each other", () => {
  const sizes = (poolLines: string, generalLines: string) => {
    const pool = poolOf('password = ""', poolLines, generalLines);
    return [
      pool.prepared_statements_cache_size,
      pool.server_prepared_statements_cache_size,
      pool.client_anonymous_prepared_cache_size,
    ];
  };
  assert.deepEqual(sizes("", ""), [8192, 8192, 8192]);
  assert.deepEqual(sizes("prepared_statements_cache_size = 5", ""), [5, 5, 5]);
  assert.deepEqual(sizes("", "server_prepared_statements_cache_size = 7"), [8192, 7, 8192]);
  assert.deepEqual(
    sizes("server_prepared_statements_cache_size = 6", "server_prepared_statements_cache_size = 7"),
    [8192, 6, 8192],
  );
  assert.deepEqual(
    sizes("prepared_statements_cache_size = 0", "server_prepared_statements_cache_size = 7"),
    [0, 0, 0],
  );
  assert.deepEqual(sizes("", "client_anonymous_prepared_cache_size = 9"), [8192, 8192, 9]);
});

Deno.test("effective: where a pool leads", () => {
  const plain = poolOf('password = ""');
  assert.deepEqual(
    [plain.database, plain.user, plain.server_database, plain.server_username],
    ["app", "u", "app", "u"],
  );
  const led = poolOf(
    'password = ""\nserver_username = "role"\nmin_pool_size = 3',
    'server_host = "db"\nserver_port = 5433\nserver_database = "real"',
  );
  assert.deepEqual(
    [led.server_host, led.server_port, led.server_database, led.server_username],
    ["db", 5433, "real", "role"],
  );
  assert.deepEqual([led.pool_size, led.min_pool_size, plain.min_pool_size], [10, 3, 0]);
});

Deno.test("effective: stored passwords by form", () => {
  const stored = (password: string, more = "") =>
    poolOf(`password = "${password}"\n${more}`).password;
  assert.deepEqual(stored(""), { kind: "empty" });
  assert.deepEqual(stored(MD5), { kind: "md5", hash: MD5.toLowerCase() });
  assert.deepEqual(stored(VERIFIER), { kind: "scram", verifier: VERIFIER });
  assert.deepEqual(stored("plain"), {
    kind: "plain",
    password: "plain",
    verifier: "verifier of u, 5 letters",
    // printf plainu | md5sum
    md5: "md5570bdebdeb88e945cc1e294f2139a167",
  });
  assert.deepEqual(stored("plain", 'auth_pam_service = "x"'), {
    kind: "unsupported",
    what: "auth_pam_service",
  });
  const { general } = settingsOf(
    `${GENERAL}admin_users = { ann = "", eve = "${MD5}" }\nstats_users.monitor = "x"\n[pools]\n`,
  );
  assert.deepEqual(
    general.console_users.map(({ user, role, password }) => [user, role, password.kind]),
    [
      ["admin", "admin", "plain"],
      ["ann", "admin", "empty"],
      ["eve", "admin", "md5"],
      ["monitor", "stats", "plain"],
    ],
  );
});

Deno.test("effective: which secret a pool uses towards PostgreSQL", () => {
  const secret = (lines: string) => poolOf(lines).credentials;
  const withPassword = (password: string, more = "") => secret(`password = "${password}"\n${more}`);
  assert.deepEqual(withPassword(MD5), { kind: "md5", hash: MD5.toLowerCase() });
  assert.deepEqual(withPassword(VERIFIER), { kind: "scram_passthrough", verifier: VERIFIER });
  assert.deepEqual(withPassword("plain"), { kind: "password", password: "plain" });
  assert.deepEqual(withPassword(""), { kind: "none" });
  const same = 'server_username = "u"';
  assert.deepEqual(withPassword(VERIFIER, same).kind, "scram_passthrough");
  const other = 'server_username = "role"';
  for (const password of [MD5, VERIFIER, "plain", ""]) {
    assert.deepEqual(withPassword(password, other), { kind: "none" });
  }
  assert.deepEqual(withPassword(VERIFIER, `${other}\nserver_password = "s"`), {
    kind: "password",
    password: "s",
  });
  assert.deepEqual(withPassword(MD5, `${same}\nserver_password = "s"`), {
    kind: "password",
    password: "s",
  });
  const text = `${GENERAL}[pools.app]\n` +
    user(`password = "${MD5}"\n${other}\nserver_password = "jwt-priv-key-fpath:key.pem"`);
  const files = { "test.toml": text, "key.pem": "-----BEGIN PRIVATE KEY-----" };
  const { config } = loadConfig("test.toml", memoryIo(files));
  assert.deepEqual(resolveSettings(config!, resolvingWith({})).pools[0]!.credentials, {
    kind: "fetched",
    source: { from: "token", file: "key.pem", role: "role" },
  });
});

Deno.test("effective: startup parameters are merged by canonical name and sorted", () => {
  const pool = poolOf(
    'password = ""',
    'startup_parameters = { timezone = "Asia/Tokyo", Work_Mem = "4MB" }',
    'startup_parameters = { TimeZone = "UTC", datestyle = "ISO", zed = "1" }',
  );
  assert.deepEqual(pool.startup_parameters, [
    ["DateStyle", "ISO"],
    ["TimeZone", "Asia/Tokyo"],
    ["work_mem", "4MB"],
    ["zed", "1"],
  ]);
  assert.equal(pool.application_name, "pg_doorman");
  assert.ok(!pool.application_name_pinned);
});

Deno.test("effective: application_name as a startup parameter beats the pool's key", () => {
  const pool = poolOf(
    'password = ""',
    'application_name = "key"',
    'startup_parameters = { Application_Name = "pinned", a = "1" }',
  );
  assert.equal(pool.application_name, "pinned");
  assert.ok(pool.application_name_pinned);
  assert.deepEqual(pool.startup_parameters, [["a", "1"]]);
});

Deno.test("effective: rules come from pg_hba, else from hba, else there are none", () => {
  const hba = (lines: string) => settingsOf(`${GENERAL}${lines}\n[pools]\n`).general.hba;
  assert.equal(hba(""), undefined);
  assert.equal(hba("hba = []"), undefined);
  assert.deepEqual(
    hba('hba = ["10.0.0.0/8"]')?.map((rule) => `${rule.type} ${rule.method}`),
    ["local auto", "host auto"],
  );
  assert.deepEqual(
    hba('pg_hba = "host all all all reject"')?.map((rule) => `${rule.type} ${rule.method}`),
    ["host reject"],
  );
});

Deno.test("effective: pools keep their home, new ones go where the fewest are", () => {
  const users = (names: string[]) =>
    names.map((name) => `[[pools.app.users]]\nusername = "${name}"\npassword = ""\npool_size = 1\n`)
      .join("");
  const homes = new Map<string, number>();
  const homesOf = (names: string[], workers = 3) => {
    const settings = settingsOf(`${GENERAL}[pools.app]\n${users(names)}`, { workers, homes });
    return settings.pools.map((pool) => `${pool.user}${pool.home}`);
  };
  assert.deepEqual(homesOf(["a", "b", "c", "d"]), ["a0", "b1", "c2", "d0"]);
  assert.deepEqual(homesOf(["e", "d", "c", "f"]), ["e1", "d0", "c2", "f0"]);
  // A pool that comes back finds the home where its last clients may still be.
  assert.deepEqual(homesOf(["b", "e"]), ["b1", "e1"]);
  assert.equal(homes.get(poolKey("app", "f")), 0);
  assert.deepEqual(homesOf(["c"], 1), ["c0"]);
});

Deno.test("effective: max_user_connections is the user's in every database, else general's", () => {
  const one = (database: string, name: string, lines: string) =>
    `[[pools.${database}.users]]\nusername = "${name}"\npassword = ""\npool_size = 1\n${lines}\n`;
  const settings = settingsOf(
    `${GENERAL}max_user_connections = 9\n[pools.x]\n${one("x", "a", "")}` +
      one("x", "b", "") + `[pools.y]\n${one("y", "a", "max_user_connections = 4")}` +
      one("y", "c", "max_user_connections = 0"),
  );
  assert.deepEqual(
    settings.pools.map((pool) => `${pool.user}@${pool.database} ${pool.max_user_connections}`),
    ["a@x 4", "b@x 9", "a@y 4", "c@y 0"],
  );
});

Deno.test("effective: limits on clients, the wait of a user, and what servers are greeted with", () => {
  const settings = settingsOf(
    `${GENERAL}max_user_client_connections = 9\nmax_db_client_connections = 8\n` +
      `server_fast_close = true\nclient_login_timeout = 0\nlogin_notify_message = "hello"\n` +
      `query_wait_timeout = "2s"\n[pools.x]\nconnect_query = "SELECT 1"\n` +
      `[[pools.x.users]]\nusername = "a"\npassword = ""\npool_size = 1\n` +
      `query_wait_timeout = "9s"\n[pools.y]\nmax_db_client_connections = 3\n` +
      `[[pools.y.users]]\nusername = "a"\npassword = ""\npool_size = 1\n` +
      `max_user_client_connections = 4\n`,
  );
  const [x, y] = settings.pools as [PoolSettings, PoolSettings];
  for (const [pool, wanted] of [[x, [8, 4, 9000, "SELECT 1", true]], [y, [3, 4, 2000, "", true]]]) {
    const { max_db_client_connections, max_user_client_connections } = pool as PoolSettings;
    const { query_wait_timeout, connect_query, server_fast_close } = pool as PoolSettings;
    assert.deepEqual([
      max_db_client_connections,
      max_user_client_connections,
      query_wait_timeout,
      connect_query,
      server_fast_close,
    ], wanted);
  }
  assert.equal(settings.general.client_login_timeout, 0);
  assert.equal(settings.general.login_notify_message, "hello");
});

Deno.test("effective: an md5 hash as server_password is one, and connect_query is part of the login", () => {
  const { credentials } = poolOf(
    `password = ""\nserver_username = "b"\nserver_password = "${MD5}"`,
  );
  assert.deepEqual(credentials, { kind: "md5", hash: MD5.toLowerCase() });
  const digest = (lines: string) => poolOf('password = ""', lines).server_digest;
  assert.notEqual(digest('connect_query = "SELECT 1"'), digest(""));
});

Deno.test("effective: plain passwords are made into a verifier once", () => {
  let made = 0;
  const verifiers = new Map<string, string>();
  const makeVerifier = () => `verifier ${++made}`;
  const text = `${GENERAL}[pools.app]\n${user('password = "x"')}[pools.b]\n` +
    user('password = "x"').replace("app", "b");
  const first = settingsOf(text, { verifiers, makeVerifier });
  const again = settingsOf(text, { verifiers, makeVerifier });
  // The admin's and the one that both pools' user has.
  assert.equal(made, 2);
  assert.deepEqual(first, again);
});

Deno.test("effective: the digest changes with what server connections depend on, and with nothing else", () => {
  const base = poolOf('password = "a"').server_digest;
  assert.match(base, /^[0-9a-f]{64}$/);
  const same = [
    poolOf('password = "a"\nserver_lifetime = 5\npool_mode = "session"'),
    poolOf('password = "a"', "idle_timeout = 5\ncleanup_server_connections = false"),
    poolOf('password = "a"', "", "connect_timeout = 7"),
  ];
  for (const pool of same) assert.equal(pool.server_digest, base);
  const others = [
    poolOf('password = "b"'),
    poolOf('password = "a"\nserver_username = "u2"'),
    poolOf('password = "a"\nserver_username = "u"\nserver_password = "c"'),
    poolOf('password = "a"', 'server_host = "elsewhere"'),
    poolOf('password = "a"', "server_port = 1"),
    poolOf('password = "a"', 'server_database = "x"'),
    poolOf('password = "a"', 'application_name = "x"'),
    poolOf('password = "a"', 'startup_parameters = { a = "1" }'),
    poolOf('password = "a"', "", 'startup_parameters = { a = "2" }'),
    poolOf('password = "a"', 'server_tls_mode = "disable"'),
  ];
  const digests = new Set([base, ...others.map((pool) => pool.server_digest)]);
  assert.equal(digests.size, others.length + 1);
});

Deno.test("effective: settings are plain data", () => {
  const settings = settingsOf(
    `${GENERAL}pg_hba = "local all all trust"\n[pools.app]\n${user('password = "x"')}`,
  );
  assert.deepEqual(structuredClone(settings), settings);
});

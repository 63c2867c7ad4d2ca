import assert from "node:assert/strict";
import { configOf, GENERAL, loadText, memoryIo } from "../../tests/support/config_io.ts";
import { CERTIFICATE, ENCRYPTED_KEY, KEY, OTHER_KEY } from "../../tests/support/pem.ts";
import { loadConfig } from "./load.ts";

const BROKEN = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const FILES = {
  "a.pem": CERTIFICATE,
  "b.pem": KEY,
  "other.pem": OTHER_KEY,
  "encrypted.pem": ENCRYPTED_KEY,
  "broken.pem": BROKEN,
  "cut.pem": `${CERTIFICATE}${CERTIFICATE.slice(0, 300)}`,
  "empty.pem": "nothing\n",
};
const USER = '[[pools.app.users]]\nusername = "a"\npassword = ""\npool_size = 10\n';

/** `path: message` of every fault, with the files named `*.pem` readable. */
function faultsOf(text: string): string[] {
  const { faults } = loadConfig("t.toml", memoryIo({ ...FILES, "t.toml": text }));
  return faults.map(({ path, message }) => `${path}: ${message}`);
}

function generalFaults(lines: string): string[] {
  return faultsOf(`${GENERAL}${lines}\n[pools]\n`);
}

function poolFaults(lines: string): string[] {
  return faultsOf(`${GENERAL}[pools.app]\n${lines}\n`);
}

/** Warnings that are not about features to come. */
function warningsOf(text: string): string[] {
  const { warnings } = loadText(text);
  return warnings.map(({ path, message }) => `${path}: ${message}`)
    .filter((line) => !line.includes("not in effect yet"));
}

Deno.test("validate: zero is refused where nothing could run with it", () => {
  for (
    const key of [
      "max_connections",
      "connect_timeout",
      "retain_connections_time",
      "proxy_copy_data_timeout",
      "max_concurrent_creates",
      "scaling_max_parallel_creates",
      "max_memory_usage",
      "worker_threads",
      "max_blocking_threads",
      "tokio_event_interval",
      "tokio_global_queue_interval",
      "fallback_cooldown",
      "patroni_api_timeout",
      "fallback_connect_timeout",
      "fallback_lifetime",
      "query_interner_gc_interval_seconds",
    ]
  ) assert.deepEqual(generalFaults(`${key} = 0`), [`general.${key}: must not be 0`]);
  for (
    const key of [
      "server_port",
      "connect_timeout",
      "fallback_cooldown",
      "patroni_api_timeout",
      "fallback_connect_timeout",
      "fallback_lifetime",
    ]
  ) assert.deepEqual(poolFaults(`${key} = 0`), [`pools.app.${key}: must not be 0`]);
});

Deno.test("validate: zero is kept where it means something", () => {
  const { general } = configOf(`${GENERAL}
port = 0
backlog = 0
query_wait_timeout = 0
idle_timeout = 0
server_lifetime = 0
server_idle_check_timeout = 0
retain_connections_max = 0
shutdown_timeout = 0
message_size_to_be_stream = 0
scaling_warm_pool_ratio = 0
scaling_fast_retries = 0
query_interner_anon_idle_ttl_seconds = 0
server_prepared_statements_cache_size = 0
[pools]
`);
  assert.equal(general.idle_timeout, 0);
});

Deno.test("validate: percentages, socket modes and rates", () => {
  assert.deepEqual(generalFaults("scaling_warm_pool_ratio = 101"), [
    "general.scaling_warm_pool_ratio: must be at most 100, is 101",
  ]);
  assert.equal(generalFaults("scaling_warm_pool_ratio = 100").length, 0);
  for (const mode of ['""', '"8"', '"1777"', '"rw"']) {
    assert.match(generalFaults(`unix_socket_mode = ${mode}`)[0] ?? "", /is not a file mode/, mode);
  }
  for (const rate of [1, 99, 150]) {
    assert.deepEqual(generalFaults(`tls_rate_limit_per_second = ${rate}`), [
      `general.tls_rate_limit_per_second: must be a multiple of 100, is ${rate}`,
    ]);
  }
  assert.deepEqual(generalFaults("tls_rate_limit_per_second = 200"), []);
});

/** Lines of pg_hba that open the console, and lines that do not. */
function consoleWarnings(rules: string, lines = ""): string[] {
  return warningsOf(`${GENERAL}${lines}pg_hba = """\n${rules}\n"""\n[pools]\n`);
}

Deno.test("validate: trust for all opens the console, and that is said", () => {
  for (
    const rules of [
      "host all all all trust",
      "host all all 0.0.0.0/0 trust",
      "host all all ::/0 trust",
      "host pgbouncer admin all trust",
      "hostnossl all all all trust",
      "host app all all md5\nhost all all 127.0.0.1/32 reject\nhost all all all trust",
      "host pgdoorman all all md5\nhost all all all trust",
      "host all all 0.0.0.0/0 md5\nhost all all all trust",
      "hostssl all all all md5\nhost all all all trust",
    ]
  ) {
    const line = rules.split("\n").length;
    assert.deepEqual(consoleWarnings(rules), [
      `general.pg_hba: line ${line} of the rules lets everybody who can connect into the admin ` +
      "console without a password",
    ], rules);
    assert.deepEqual(consoleWarnings(rules, 'host = "127.0.0.1"\n'), []);
    assert.deepEqual(consoleWarnings(rules, 'host = "[::1]"\n'), []);
  }
  for (
    const rules of [
      "local all all trust",
      "host all all 127.0.0.1/32 trust",
      "host all all samehost trust",
      "host all app all trust",
      "host app all all trust",
      "host all all all scram-sha-256",
      "host pgdoorman,pgbouncer all all scram-sha-256\nhost all all all trust",
      "host all admin all md5\nhost all all all trust",
    ]
  ) assert.deepEqual(consoleWarnings(rules), [], rules);
});

Deno.test("validate: hba and pg_hba exclude each other, an empty hba is none", () => {
  const rules = 'pg_hba = "local all all trust"';
  assert.deepEqual(generalFaults(`${rules}\nhba = ["10.0.0.0/8"]`), [
    "general.hba: excludes pg_hba",
  ]);
  assert.deepEqual(generalFaults(`${rules}\nhba = []`), []);
  assert.deepEqual(
    warningsOf(`${GENERAL}hba = ["10.0.0.0/8"]\nunix_socket_dir = "/run"\n[pools]\n`),
    ["general.hba: does not hold for clients on the Unix socket"],
  );
});

Deno.test("validate: small buffers draw a warning; sizes of caches", () => {
  assert.deepEqual(warningsOf(`${GENERAL}tcp_socket_buffer_size = 65535\n[pools]\n`), [
    "general.tcp_socket_buffer_size: 65535 bytes are few",
  ]);
  assert.deepEqual(warningsOf(`${GENERAL}tcp_socket_buffer_size = "64KB"\n[pools]\n`), []);
  assert.deepEqual(
    warningsOf(`${GENERAL}client_anonymous_prepared_cache_size = 0\n[pools]\n`),
    [],
  );
  assert.deepEqual(generalFaults("prepared_statements_cache_size = 0"), [
    "general.prepared_statements_cache_size: must not be 0 while prepared_statements is true",
  ]);
  assert.deepEqual(
    generalFaults("prepared_statements_cache_size = 0\nprepared_statements = false"),
    [],
  );
});

Deno.test("validate: paths of Unix sockets must be short enough for the kernel", () => {
  const long = "x".repeat(93);
  assert.deepEqual(generalFaults(`unix_socket_dir = "/${long}"`), [
    "general.unix_socket_dir: the socket's path would have 108 bytes",
  ]);
  assert.deepEqual(generalFaults(`unix_socket_dir = "${long}"`), []);
  assert.deepEqual(poolFaults(`server_host = "/${long}"`), [
    "pools.app.server_host: the socket's path would have 108 bytes",
  ]);
  assert.deepEqual(poolFaults('server_host = ""'), ["pools.app.server_host: must not be empty"]);
});

Deno.test("validate: client TLS needs its files, in pairs", () => {
  assert.deepEqual(generalFaults('tls_certificate = "a.pem"'), [
    "general.tls_certificate: needs the private key as well",
  ]);
  assert.deepEqual(generalFaults('tls_private_key = "a.pem"'), [
    "general.tls_private_key: needs the certificate as well",
  ]);
  assert.deepEqual(generalFaults('tls_mode = "require"'), [
    "general.tls_mode: require needs tls_certificate and tls_private_key",
  ]);
  const pair = 'tls_certificate = "a.pem"\ntls_private_key = "b.pem"\n';
  assert.deepEqual(generalFaults(`${pair}tls_mode = "verify-full"`), [
    "general.tls_mode: verify-full needs tls_ca_cert",
  ]);
  assert.deepEqual(generalFaults(`${pair}tls_mode = "verify-full"\ntls_ca_cert = "a.pem"`), []);
  assert.deepEqual(generalFaults('tls_certificate = "none"\ntls_private_key = "empty.pem"'), [
    'general.tls_certificate: could not open "none": no such file',
    'general.tls_private_key: "empty.pem" holds no PEM block',
  ]);
  const unused = 'tls_certificate = "none"\ntls_private_key = "none"\ntls_mode = "disable"';
  assert.deepEqual(generalFaults(unused), []);
});

Deno.test("validate: server TLS is judged after merging", () => {
  assert.deepEqual(generalFaults('server_tls_mode = "VERIFY-CA"'), [
    "general.server_tls_mode: verify-ca needs server_tls_ca_cert",
  ]);
  assert.deepEqual(generalFaults('server_tls_certificate = "a.pem"'), [
    "general.server_tls_certificate: needs the private key as well",
  ]);
  assert.deepEqual(poolFaults('server_tls_mode = "verify-full"'), [
    "pools.app.server_tls_mode: verify-full needs server_tls_ca_cert",
  ]);
  assert.deepEqual(poolFaults('server_tls_certificate = "x"'), [
    "pools.app.server_tls_certificate: needs the private key as well",
  ]);
  const general = 'server_tls_ca_cert = "a.pem"\nserver_tls_certificate = "a.pem"\n' +
    'server_tls_private_key = "b.pem"\n';
  const text = `${GENERAL}${general}[pools.app]\nserver_tls_mode = "verify-full"\n` +
    'server_tls_certificate = "./a.pem"\n';
  assert.deepEqual(faultsOf(text), [
    'pools.app.server_tls_certificate: could not open "./a.pem": no such file',
  ]);
  assert.deepEqual(faultsOf(text.replace("./a.pem", "a.pem")), []);
  assert.deepEqual(faultsOf(text.replace("./a.pem", "broken.pem")), [
    'pools.app.server_tls_certificate: "broken.pem": certificate 1 of it can\'t be read',
  ]);
});

Deno.test("validate: direct TLS needs a server that must have TLS", () => {
  assert.deepEqual(generalFaults("server_tls_direct = true"), [
    "general.server_tls_direct: needs server_tls_mode require, verify-ca or verify-full, is allow",
  ]);
  assert.deepEqual(generalFaults('server_tls_direct = true\nserver_tls_mode = "require"'), []);
  assert.deepEqual(poolFaults('server_tls_direct = true\nserver_tls_mode = "require"'), []);
  const general = 'server_tls_direct = true\nserver_tls_mode = "require"\n';
  assert.deepEqual(faultsOf(`${GENERAL}${general}[pools.app]\nserver_tls_mode = "prefer"\n`), [
    "pools.app.server_tls_direct: needs server_tls_mode require, verify-ca or verify-full, is prefer",
  ]);
});

Deno.test("validate: the files of client TLS are what they are said to be", () => {
  const pair = (certificate: string, key: string, more = "") =>
    generalFaults(`tls_certificate = "${certificate}"\ntls_private_key = "${key}"\n${more}`);
  assert.deepEqual(pair("a.pem", "b.pem"), []);
  assert.deepEqual(pair("a.pem", "other.pem"), [
    'general.tls_private_key: is not the key of "a.pem"',
  ]);
  assert.deepEqual(pair("a.pem", "a.pem"), [
    'general.tls_private_key: "a.pem": it holds no private key',
  ]);
  assert.deepEqual(pair("b.pem", "b.pem"), [
    'general.tls_certificate: "b.pem": it holds no certificate',
  ]);
  assert.match(
    pair("a.pem", "encrypted.pem").join(),
    /"encrypted.pem": the private key is encrypted/,
  );
  assert.deepEqual(pair("cut.pem", "b.pem"), [
    'general.tls_certificate: "cut.pem": certificate 2 of it has no end',
  ]);
  assert.deepEqual(pair("a.pem", "b.pem", 'tls_mode = "verify-ca"\ntls_ca_cert = "b.pem"'), [
    'general.tls_ca_cert: "b.pem": it holds no certificate',
  ]);
  assert.deepEqual(pair("a.pem", "b.pem", 'tls_mode = "verify-ca"'), [
    "general.tls_mode: verify-ca needs tls_ca_cert",
  ]);
});

Deno.test("validate: what the TLS library says of files that look right is a fault", () => {
  const text = `${GENERAL}tls_certificate = "a.pem"\ntls_private_key = "b.pem"\n[pools]\n`;
  const asked: unknown[] = [];
  const { faults } = loadConfig("t.toml", {
    ...memoryIo({ ...FILES, "t.toml": text }),
    clientTlsFaults: ({ mode, files: { certificate, key, ca } }) => {
      const decode = (text: Uint8Array) => new TextDecoder().decode(text);
      asked.push([decode(certificate.text), decode(key.text), mode, ca]);
      return ["the key is too small"];
    },
  });
  assert.deepEqual(faults.map(({ path, message }) => [path, message]), [
    ["general.tls_certificate", "the key is too small"],
  ]);
  assert.deepEqual(asked, [[CERTIFICATE, KEY, "allow", undefined]]);
});

Deno.test("validate: what the TLS library says of files for PostgreSQL is a fault, once for those who share them", () => {
  const pool = (name: string, keys = "") =>
    `[pools.${name}]\n${keys}\n[[pools.${name}.users]]\nusername = "u"\npassword = "md5${
      "0".repeat(32)
    }"\npool_size = 1\n`;
  const text = `${GENERAL}server_tls_mode = "verify-ca"\nserver_tls_ca_cert = "a.pem"\n` +
    pool("one") + pool("two") + pool("off", 'server_tls_mode = "disable"') +
    pool("plain", 'server_tls_mode = "allow"') + pool("loose", 'server_tls_mode = "require"');
  const asked: unknown[] = [];
  const { faults } = loadConfig("t.toml", {
    ...memoryIo({ ...FILES, "t.toml": text }),
    serverTlsFaults: ({ mode, files: { ca } }) => {
      asked.push([mode, ca?.name]);
      return mode === "verify-ca" ? ["nobody to trust"] : [];
    },
  });
  assert.deepEqual(faults.map(({ path, message }) => [path, message]), [
    ["pools.one.server_tls_mode", "nobody to trust"],
  ]);
  assert.deepEqual(asked, [["verify-ca", "a.pem"], ["require", undefined]]);
});

Deno.test("validate: suites are those that can be taken over", () => {
  assert.deepEqual(generalFaults('tls_ciphers = "ECDHE-RSA-AES256-SHA384"'), [
    'general.tls_ciphers: "ECDHE-RSA-AES256-SHA384" is not known here',
  ]);
  assert.deepEqual(generalFaults('tls_ciphersuites = "TLS_AES_128_CCM_SHA256"'), [
    'general.tls_ciphersuites: "TLS_AES_128_CCM_SHA256" is not known here',
  ]);
  assert.deepEqual(generalFaults('tls_ciphers = ""'), [
    "general.tls_ciphers: holds an empty name",
  ]);
  const fine = 'tls_ciphers = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305"\n' +
    'tls_ciphersuites = "TLS_AES_256_GCM_SHA384"\ntls_min_version = "1.3"';
  assert.deepEqual(generalFaults(fine), []);
  assert.deepEqual(warningsOf(`${GENERAL}${fine}\n[pools]\n`), [
    "general.tls_ciphers: has no effect with tls_min_version 1.3",
  ]);
});

Deno.test("validate: an authority that nobody is verified by is warned about", () => {
  const warnings = (general: string, pool = "") =>
    warningsOf(`${GENERAL}${general}\n[pools.app]\n${pool}\n`);
  const pair = 'tls_certificate = "a.pem"\ntls_private_key = "b.pem"\ntls_ca_cert = "a.pem"\n';
  // Lines of pg_hba may want the certificate that clients are asked for.
  for (const mode of ["allow", "require", "verify-full", "disable"]) {
    assert.deepEqual(warnings(`${pair}tls_mode = "${mode}"`), []);
  }
  const ca = 'server_tls_ca_cert = "a.pem"';
  assert.deepEqual(warnings(ca), [
    "general.server_tls_ca_cert: has no effect: server_tls_mode allow verifies nothing",
  ]);
  const verify = 'server_tls_mode = "verify-ca"';
  assert.deepEqual(warnings(`${ca}\n${verify}`), []);
  assert.deepEqual(warnings(ca, verify), []);
  assert.deepEqual(warnings(verify + '\nserver_tls_ca_cert = "a.pem"', ca), []);
  assert.deepEqual(warnings('server_tls_mode = "require"', ca), [
    "pools.app.server_tls_ca_cert: has no effect: server_tls_mode require verifies nothing",
  ]);
});

Deno.test("validate: a key that others may read is warned about", () => {
  const text = `${GENERAL}tls_certificate = "a.pem"\ntls_private_key = "b.pem"\n[pools]\n`;
  for (const [mode, told] of [[0o600, 0], [0o640, 0], [0o644, 1], [undefined, 0]] as const) {
    const io = { ...memoryIo({ ...FILES, "t.toml": text }), fileMode: () => mode };
    const { warnings } = loadConfig("t.toml", io);
    assert.equal(warnings.length, told, String(mode));
  }
});

Deno.test("validate: Patroni addresses and times", () => {
  assert.deepEqual(generalFaults("patroni_api_urls = []"), [
    "general.patroni_api_urls: must not be empty",
  ]);
  assert.deepEqual(poolFaults('patroni_api_urls = ["http://a", "ftp://user:secret@b"]'), [
    "pools.app.patroni_api_urls[1]: must start with http:// or https://",
  ]);
  assert.deepEqual(
    warningsOf(`${GENERAL}[pools.app]\nfallback_cooldown = 500\nfallback_lifetime = 600\n`),
    [
      "pools.app.fallback_cooldown: 500 ms are few",
      "pools.app.fallback_lifetime: is longer than fallback_cooldown",
    ],
  );
});

Deno.test("validate: startup parameters of each layer, together, and in the packet", () => {
  assert.deepEqual(
    generalFaults('startup_parameters = { "_pq_.x" = "1", TimeZone = "a", timezone = "b" }'),
    [
      'general.startup_parameters."_pq_.x": "_pq_.x" is a protocol option, not a parameter',
      'general.startup_parameters.timezone: "timezone" and "TimeZone" are the same parameter: keep one',
    ],
  );
  const half = "x".repeat(5000);
  assert.deepEqual(generalFaults(`startup_parameters = { a = "${half}", b = "${half}" }`), [
    "general.startup_parameters: takes 10006 bytes",
  ]);
  const both = `${GENERAL}startup_parameters = { a = "${half}" }\n[pools.app]\n` +
    `startup_parameters = { b = "${half}" }\n`;
  assert.deepEqual(faultsOf(both), [
    "pools.app.startup_parameters: takes 10006 bytes with those of general",
  ]);
  const full = `${GENERAL}[pools.app]\nstartup_parameters = { a = "${"x".repeat(9400)}" }\n`;
  const longName = "u".repeat(600);
  const user = (name: string) =>
    `[[pools.app.users]]\nusername = "${name}"\npassword = ""\npool_size = 1\n`;
  assert.deepEqual(faultsOf(full + user("u")), []);
  assert.match(
    faultsOf(full + user(longName))[0] ?? "",
    /^pools\.app\.users\[0\]: the StartupMessage would have 100\d\d bytes$/,
  );
});

Deno.test("validate: users are unique, named, and their sizes fit", () => {
  assert.deepEqual(poolFaults(USER + USER), [
    'pools.app.users[1].username: "a" is already a user of this pool',
  ]);
  assert.deepEqual(poolFaults(USER.replace('"a"', '""')), [
    "pools.app.users[0].username: must not be empty",
  ]);
  assert.deepEqual(poolFaults(`${USER}min_pool_size = 11`), [
    "pools.app.users[0].min_pool_size: 11 is more than pool_size, which is 10",
  ]);
  assert.deepEqual(poolFaults(`${USER}min_pool_size = 10`), []);
  assert.deepEqual(poolFaults(`${USER}server_password = "x"`), [
    "pools.app.users[0].server_password: needs server_username as well",
  ]);
  const text = `${GENERAL}[pools.app]\n${USER.replace('password = ""', 'password = "md5 secret"')}`;
  assert.deepEqual(warningsOf(text), [
    "pools.app.users[0].password: starts with md5 and is no md5 hash: it is taken as plain text",
  ]);
});

Deno.test("validate: key files of tokens must be readable", () => {
  const user = (file: string) => USER.replace('""', `"jwt-pkey-fpath:${file}"`);
  assert.deepEqual(poolFaults(user("none")), [
    'pools.app.users[0].password: could not open "none": no such file',
  ]);
  assert.deepEqual(poolFaults(user("a.pem")), []);
  assert.deepEqual(
    poolFaults(`${USER}server_username = "x"\nserver_password = "jwt-priv-key-fpath:none"\n`),
    ['pools.app.users[0].server_password: could not open "none": no such file'],
  );
  const talos =
    `${GENERAL}[pools]\n[talos]\nkeys = ["a.pem", "dir/.pem", "none"]\ndatabases = []\n`;
  assert.deepEqual(faultsOf(talos), [
    'talos.keys[1]: could not open "dir/.pem": no such file',
    "talos.keys[1]: the file's name without its ending is empty",
    'talos.keys[2]: could not open "none": no such file',
  ]);
  assert.deepEqual(faultsOf(`${GENERAL}[pools]\n[talos]\n`), [
    "talos.keys: is missing",
    "talos.databases: is missing",
  ]);
});

Deno.test("validate: Talos leads to databases with a pool", () => {
  const talos = `${GENERAL}[pools.app]\n${USER}[talos]\nkeys = ["a.pem"]\n`;
  assert.deepEqual(warningsOf(`${talos}databases = ["app"]\n`), []);
  assert.deepEqual(warningsOf(`${talos}databases = ["app", "other"]\n`), [
    "talos.databases[1]: there is no pool of that name: nobody gets into it",
  ]);
});

Deno.test("validate: the role of those who are found is no listed user with another role", () => {
  const faults = (more: string, user: string) =>
    poolFaults(
      `${more}auth_query = { query = "q", user = "u", server_user = "a" }\n${USER}${user}`,
    );
  const fault = (role: string) => [
    `pools.app.auth_query.server_user: "a" is a listed user, whose pool logs in as "${role}"`,
  ];
  assert.deepEqual(faults("", 'server_username = "postgres"\n'), fault("postgres"));
  assert.deepEqual(faults('server_username = "owner"\n', ""), fault("owner"));
  assert.deepEqual(faults('server_username = "owner"\n', 'server_username = "a"\n'), []);
  assert.deepEqual(faults("", ""), []);
});

Deno.test("validate: the connections that users share", () => {
  const shared = (lines: string, user = USER) => `max_db_connections = 5\n${lines}\n${user}`;
  assert.deepEqual(poolFaults(shared("", `${USER}min_pool_size = 6\n`)), [
    "pools.app.max_db_connections: 5 is less than the users' min_pool_size together, which is 6",
  ]);
  const text = shared(
    "reserve_pool_size = 6\nidle_timeout = 1000\nmin_guaranteed_pool_size = 11\n" +
      "reserve_pool_timeout = 6000",
  );
  assert.deepEqual(warningsOf(`${GENERAL}[pools.app]\n${text}`).sort(), [
    "pools.app.min_connection_lifetime: is longer than idle_timeout: " +
    "no connection can be closed for another user",
    'pools.app.min_guaranteed_pool_size: is more than the pool_size of "a"',
    "pools.app.reserve_pool_size: is more than max_db_connections, which is 5",
    "pools.app.reserve_pool_timeout: is longer than query_wait_timeout, after which clients are refused anyway",
  ]);
  const capped = (reserve: number) =>
    warningsOf(`${GENERAL}[pools.app]\n${shared(`reserve_pool_size = ${reserve}`)}`);
  assert.deepEqual(capped(0), ["pools.app.users[0].pool_size: max_db_connections caps it at 5"]);
  assert.deepEqual(capped(2), [
    "pools.app.users[0].pool_size: max_db_connections and reserve_pool_size cap it at 7",
  ]);
  assert.deepEqual(capped(5), []);
  const off = text.replace("max_db_connections = 5", "max_db_connections = 0");
  assert.deepEqual(warningsOf(`${GENERAL}[pools.app]\n${off}`), []);
});

Deno.test("validate: max_user_connections is one number a user, with room for min_pool_size", () => {
  const pools = (general: string, a: string, b: string) =>
    `${GENERAL}${general}\n[pools.x]\n${USER.replace("pools.app", "pools.x")}${a}\n` +
    `[pools.y]\n${USER.replace("pools.app", "pools.y")}${b}\n`;
  assert.deepEqual(faultsOf(pools("", "max_user_connections = 3", "max_user_connections = 4")), [
    'pools.y.users[0].max_user_connections: "a" has 3 at pools.x.users[0].max_user_connections: ' +
    "one limit a user",
  ]);
  assert.deepEqual(
    faultsOf(pools("max_user_connections = 3", "min_pool_size = 2", "min_pool_size = 2")),
    [
      'general.max_user_connections: 3 is less than the min_pool_size of "a" in all databases, ' +
      "which is 4",
    ],
  );
  assert.deepEqual(
    faultsOf(pools("", "min_pool_size = 2", "max_user_connections = 1")),
    [
      'pools.y.users[0].max_user_connections: 1 is less than the min_pool_size of "a" in all ' +
      "databases, which is 2",
    ],
  );
  assert.deepEqual(
    faultsOf(pools("max_user_connections = 3", "max_user_connections = 0\nmin_pool_size = 4", "")),
    [],
  );
});

Deno.test("validate: max_user_client_connections is one number a user", () => {
  const pool = (name: string, max: number) =>
    `[pools.${name}]\n${USER.replace("pools.app", `pools.${name}`)}` +
    `max_user_client_connections = ${max}\nmin_pool_size = 2\n`;
  assert.deepEqual(faultsOf(GENERAL + pool("x", 1) + pool("y", 1)), []);
  assert.deepEqual(faultsOf(GENERAL + pool("x", 1) + pool("y", 2)), [
    'pools.y.users[0].max_user_client_connections: "a" has 1 at ' +
    "pools.x.users[0].max_user_client_connections: one limit a user",
  ]);
});

Deno.test("validate: the pool of any database", () => {
  const any = (lines: string) => `${GENERAL}[pools."*"]\n${lines}`;
  const query = '[pools."*".auth_query]\nquery = "q"\nuser = "u"\n';
  assert.deepEqual(faultsOf(any(query)), []);
  assert.deepEqual(faultsOf(any("")), ['pools."*".auth_query: is missing']);
  const users = '[[pools."*".users]]\nusername = "u"\npassword = ""\npool_size = 1\n';
  assert.deepEqual(faultsOf(any(`server_database = "x"\n${query}${users}`)), [
    'pools."*".server_database: is what the client asks for',
    'pools."*".users: are of one database: list them in a pool of its name',
  ]);
});

Deno.test("validate: auth_query", () => {
  const query = (lines: string) => `[pools.app.auth_query]\n${lines}`;
  assert.deepEqual(poolFaults(query("")), [
    "pools.app.auth_query.query: is missing",
    "pools.app.auth_query.user: is missing",
  ]);
  assert.deepEqual(
    poolFaults(
      query(
        'query = ""\nuser = ""\nworkers = 0\nserver_password = "x"\npool_size = 1\nmin_pool_size = 2',
      ),
    ),
    [
      "pools.app.auth_query.query: must not be empty",
      "pools.app.auth_query.user: must not be empty",
      "pools.app.auth_query.workers: must not be 0",
      "pools.app.auth_query.server_password: needs server_user as well",
      "pools.app.auth_query.min_pool_size: 2 is more than pool_size, which is 1",
    ],
  );
});

Deno.test("validate: pools under the console's names cannot be reached", () => {
  assert.deepEqual(warningsOf(`${GENERAL}[pools.pgbouncer]\n[pools.pgdoorman]\n`), [
    "pools.pgbouncer: cannot be reached: the name is the admin console's",
    "pools.pgdoorman: cannot be reached: the name is the admin console's",
  ]);
});

Deno.test("validate: the admin's password may be a hash, not half of one", () => {
  const text = (password: string) =>
    `[general]\nadmin_username = "a"\nadmin_password = "${password}"\n[pools]\n`;
  assert.deepEqual(faultsOf(text("SCRAM-SHA-256$1")), [
    "general.admin_password: starts like a SCRAM verifier and is none",
  ]);
  assert.deepEqual(faultsOf(text("md5d41d8cd98f00b204e9800998ecf8427e")), []);
});

Deno.test("validate: server_auth names methods, in general and in a pool", () => {
  assert.deepEqual(generalFaults('server_auth = "md5,kerberos"'), [
    'general.server_auth: there is no method "kerberos"',
  ]);
  assert.deepEqual(poolFaults('server_host = "h"\nserver_auth = "md5,!none"'), [
    "pools.app.server_auth: names methods both with and without a !",
  ]);
  assert.deepEqual(generalFaults('server_auth = "!none, !password"'), []);
});

Deno.test("validate: the log goes to one place, which can be had", () => {
  assert.deepEqual(generalFaults('syslog_prog_name = "doorman"'), []);
  assert.deepEqual(generalFaults('syslog_prog_name = "doorman"\nlog_file = "/var/log/doorman"'), [
    "general.syslog_prog_name: excludes log_file",
  ]);
  assert.deepEqual(generalFaults('syslog_prog_name = ""'), [
    "general.syslog_prog_name: must not be empty",
  ]);
  assert.deepEqual(generalFaults(`syslog_socket = "/${"x".repeat(107)}"`), [
    "general.syslog_socket: the path has 108 bytes",
  ]);
});

Deno.test("validate: rules of pg_hba against maps and certificates", () => {
  const faults = (pgHba: string, more = "") =>
    faultsOf(`${GENERAL}pg_hba = "${pgHba}"\n${more}\n[pools]\n`);
  assert.deepEqual(faults("local all all peer map=m"), [
    'general.pg_hba: line 1 of the rules: there is no map "m"',
  ]);
  assert.deepEqual(faults("local all all peer map=m", 'pg_ident = "m root app"'), []);
  assert.deepEqual(faults("local all all peer map=m", 'pg_ident = "m root"'), [
    "general.pg_ident: line 1 of the rules: the line ends before the database user",
  ]);
  assert.deepEqual(faults("local all all trust\\nhostssl all all all cert"), [
    "general.pg_hba: line 2 of the rules: method cert needs tls_ca_cert",
  ]);
  assert.deepEqual(faults("hostssl all all all md5 clientcert=verify-ca"), [
    "general.pg_hba: line 1 of the rules: clientcert needs tls_ca_cert",
  ]);
});

Deno.test("validate: a user of the console has one password and one role", () => {
  assert.deepEqual(generalFaults('admin_users = { ann = "" }\nstats_users = { eve = "x" }'), []);
  assert.deepEqual(generalFaults('admin_users = { ann = "", admin = "x" }'), [
    "general.admin_users.admin: is in admin_username already",
  ]);
  assert.deepEqual(generalFaults('admin_users.ann = "x"\nstats_users.ann = "x"'), [
    "general.stats_users.ann: is in admin_users already",
  ]);
  assert.deepEqual(generalFaults('stats_users.ann = "SCRAM-SHA-256$4096:"'), [
    "general.stats_users.ann: starts like a SCRAM verifier and is none",
  ]);
  assert.equal(generalFaults('stats_users = "ann, eve"').length, 1);
});

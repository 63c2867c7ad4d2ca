import assert from "node:assert/strict";
import { configOf, GENERAL } from "../../tests/support/config_io.ts";
import { configRows, diffConfig } from "./diff.ts";
import { MASK } from "./format_setting.ts";
import { GENERAL_KEYS } from "./schema_general.ts";
import { POOL_KEYS, USER_KEYS } from "./schema_pool.ts";

const BASE = `${GENERAL}port = 6432
startup_parameters = { a = "1", b = "2" }
pg_hba = "local all all trust"
[pools.app]
server_host = "one"
[[pools.app.users]]
username = "alice"
password = "first secret"
pool_size = 10
[[pools.app.users]]
username = "bob"
password = ""
pool_size = 5
server_username = "role"
server_password = "second secret"
[pools."my db"]
`;

/** The differences that replacing one piece of the text makes. */
function changesOf(from: string, to: string): string[] {
  assert.ok(BASE.includes(from), from);
  const changes = diffConfig(configOf(BASE), configOf(BASE.replace(from, to)));
  return changes.map(({ path, kind, reload }) => `${kind} ${path} ${reload}`);
}

Deno.test("diff: the same configuration has no differences, however it is written", () => {
  assert.deepEqual(diffConfig(configOf(BASE), configOf(BASE)), []);
  assert.deepEqual(changesOf('a = "1", b = "2"', 'b = "2", a = "1"'), []);
  const swapped = BASE.replace("alice", "tmp").replace("bob", "alice").replace("tmp", "bob")
    .replace("pool_size = 10", "pool_size = 5").replace(
      "pool_size = 5\nserver",
      "pool_size = 10\nserver",
    );
  const changed = diffConfig(configOf(BASE), configOf(swapped)).map(({ path }) => path);
  assert.ok(changed.every((path) => path.startsWith("pools.app.users.")), changed.join());
});

Deno.test("diff: keys that changed, came or went, with their reload class", () => {
  assert.deepEqual(changesOf("port = 6432", "port = 6433"), ["changed general.port R"]);
  assert.deepEqual(changesOf("port = 6432", 'idle_timeout = "1m"\nport = 6432'), [
    "changed general.idle_timeout P",
  ]);
  assert.deepEqual(changesOf("port = 6432", 'log_level = "debug"\nport = 6432'), [
    "added general.log_level A",
  ]);
  assert.deepEqual(changesOf('b = "2"', 'b = "3"'), ["changed general.startup_parameters B"]);
  assert.deepEqual(changesOf("local all all trust", "local all all reject"), [
    "changed general.pg_hba N",
  ]);
  assert.deepEqual(changesOf('pg_hba = "local all all trust"', ""), ["removed general.pg_hba N"]);
  assert.deepEqual(changesOf("admin_username", "max_connections = 5\nadmin_username"), [
    "changed general.max_connections A",
  ]);
  assert.deepEqual(changesOf('server_host = "one"', 'server_host = "two"'), [
    "changed pools.app.server_host B",
  ]);
  assert.deepEqual(changesOf("first secret", "changed secret"), [
    "changed pools.app.users.alice.password B",
  ]);
  assert.deepEqual(changesOf("pool_size = 5", "pool_size = 6\nmin_pool_size = 1"), [
    "changed pools.app.users.bob.pool_size P",
    "added pools.app.users.bob.min_pool_size P",
  ]);
});

Deno.test("diff: pools and users that came or went are named once", () => {
  assert.deepEqual(changesOf('[pools."my db"]', '[pools."new db"]\nserver_port = 1'), [
    'removed pools."my db" P',
    'added pools."new db" P',
  ]);
  assert.deepEqual(changesOf('"bob"', '"carol"'), [
    "removed pools.app.users.bob P",
    "added pools.app.users.carol P",
  ]);
});

Deno.test("rows: every key once, secrets masked, inherited values shown", () => {
  const config = configOf(BASE);
  const rows = configRows(config);
  const keys = rows.map((row) => row.key);
  assert.equal(new Set(keys).size, keys.length);
  for (const key of GENERAL_KEYS.keys()) assert.ok(keys.includes(key), key);
  for (const [key, spec] of POOL_KEYS) {
    assert.equal(keys.includes(`pools.app.${key}`), spec.type !== "table", key);
  }
  for (const key of USER_KEYS.keys()) assert.ok(keys.includes(`pools.app.users.bob.${key}`), key);
  assert.doesNotMatch(JSON.stringify(rows), /secret/);
  const row = (key: string) => rows.find((each) => each.key === key);
  assert.deepEqual(row("port"), {
    key: "port",
    value: "6432",
    default: "5432",
    changeable: "no",
  });
  assert.deepEqual(row("shutdown_timeout"), {
    key: "shutdown_timeout",
    value: "10000",
    default: "10000",
    changeable: "yes",
  });
  assert.equal(row("admin_password")?.value, MASK);
  assert.equal(row("pools.app.users.bob.server_password")?.value, MASK);
  assert.equal(row("pools.app.users.alice.server_password")?.value, "");
  assert.equal(row("pools.app.users")?.value, "alice, bob");
  assert.equal(row('pools."my db".pool_mode')?.value, "transaction");
  assert.equal(row("unix_socket_mode")?.value, "0600");
  assert.equal(row("startup_parameters")?.value, "a=1, b=2");
  assert.equal(row("pg_hba")?.value, "1 rule");
  assert.equal(row("unix_socket_dir")?.value, "");
  const inherited = row("pools.app.users.alice.server_lifetime");
  assert.deepEqual([inherited?.value, inherited?.default], ["1200000", "the pool's"]);
  assert.equal(row("pools.app.users.alice.pool_mode")?.value, "transaction");
  assert.equal(row("pools.app.idle_timeout")?.value, "600000");
});

import assert from "node:assert/strict";
import { configOf, GENERAL, resolvingWith } from "../../tests/support/config_io.ts";
import { resolveSettings } from "./effective.ts";
import type { AuthQuerySettings, Settings } from "./settings.ts";

function settingsOf(text: string): Settings {
  return resolveSettings(configOf(GENERAL + text), resolvingWith({ workers: 2 }));
}

function authQuery(text: string): AuthQuerySettings {
  return settingsOf(text).auth_queries[0]!;
}

const APP = `[pools.app]
server_host = "db"
server_database = "app_prod"
connect_timeout = 1234
pool_mode = "session"
connect_query = "SET search_path = evil"
max_db_connections = 50
startup_parameters = { search_path = "evil", work_mem = "1MB" }
[pools.app.auth_query]
query = "SELECT passwd FROM pooler.lookup($1)"
user = "finder"
password = "secret"
pool_size = 7
min_pool_size = 3
`;

Deno.test("auth_query: the connections that look up have the pool's address, and nothing of what is for clients", () => {
  const { executor } = authQuery(APP);
  assert.equal(executor.server_host, "db");
  assert.equal(executor.server_database, "app", "the pool's name, unless database is set");
  assert.equal(executor.server_username, "finder");
  assert.deepEqual(executor.credentials, { kind: "password", password: "secret" });
  assert.deepEqual(executor.startup_parameters, [
    ["search_path", "pg_catalog"],
    ["statement_timeout", "1234"],
  ]);
  assert.equal(executor.application_name, "pg_doorman auth_query");
  assert.deepEqual(
    [executor.connect_query, executor.pool_mode, executor.pool_size, executor.max_db_connections],
    ["", "transaction", 2, 0],
  );
  assert.equal(executor.query_wait_timeout, 1234);
  const trusted = authQuery(APP.replace('password = "secret"\n', 'database = "x"\n')).executor;
  assert.deepEqual([trusted.credentials, trusted.server_database], [{ kind: "none" }, "x"]);
});

Deno.test("auth_query: what pools of users are made of", () => {
  const { template, max_dynamic_pools, cache_ttl } = authQuery(APP);
  assert.deepEqual([template.user, template.pool_size, template.min_pool_size], ["", 7, 3]);
  assert.deepEqual([template.server_database, template.pool_mode], ["app_prod", "session"]);
  assert.equal(template.connect_query, "SET search_path = evil");
  assert.equal(template.max_db_connections, 50);
  assert.deepEqual([max_dynamic_pools, cache_ttl], [1000, 3_600_000]);
});

Deno.test("auth_query: under one role, min_pool_size means nothing", () => {
  const { template } = authQuery(`${APP}server_user = "shared"\nserver_password = "word"\n`);
  assert.deepEqual([template.user, template.server_username], ["shared", "shared"]);
  assert.deepEqual([template.pool_size, template.min_pool_size], [7, 0]);
  assert.deepEqual(template.credentials, { kind: "password", password: "word" });
});

Deno.test("auth_query: any database", () => {
  const { auth_queries } = settingsOf(`${APP}[pools."*".auth_query]\nquery = "q"\nuser = "u"\n`);
  const any = auth_queries[1]!;
  assert.deepEqual([any.database, any.executor.server_database], ["*", "postgres"]);
  assert.deepEqual(any.others, ["app"]);
});

Deno.test("auth_query: limits of users, their own before those of all", () => {
  const user = (name: string, limit: string) =>
    `[[pools.other.users]]\nusername = "${name}"\npassword = ""\npool_size = 1\n${limit}\n`;
  const text = `${APP}[pools.other]\n${user("a", "max_user_connections = 4")}${user("b", "")}`;
  assert.deepEqual(authQuery(text).user_limits, [
    ["a", { max_user_connections: 4, max_user_client_connections: 0 }],
  ]);
});

Deno.test("auth_query: the pools of who is found are where the limits are that they share", () => {
  const others = ["x", "y", "z"].map((name) =>
    `[[pools.app.users]]\nusername = "${name}"\npassword = ""\npool_size = 1\n`
  );
  const together = settingsOf(APP + others.join(""));
  const homes = [...together.pools, ...together.auth_queries].map(({ home }) => home);
  assert.equal(new Set(homes).size, 1, "max_db_connections");
  const shared = `${APP.replace("max_db_connections = 50\n", "")}server_user = "y"\n`;
  const apart = settingsOf(shared + others.join(""));
  const [x, y, z] = apart.pools.map(({ home }) => home);
  assert.ok(new Set([x, y, z]).size > 1);
  assert.equal(apart.auth_queries[0]!.home, y, "the role's own pool is the one that all share");
});

Deno.test("auth_query: where users have limits all who may be that user are together", () => {
  const limited = `[pools.far]
[[pools.far.users]]
username = "a"
password = ""
pool_size = 1
max_user_connections = 3
[pools.free]
[[pools.free.users]]
username = "b"
password = ""
pool_size = 1
`;
  const { pools, auth_queries } = settingsOf(limited + APP.replace(/max_db.*\n/, ""));
  assert.equal(auth_queries[0]!.home, pools.find(({ database }) => database === "far")!.home);
  assert.notEqual(auth_queries[0]!.home, pools.find(({ database }) => database === "free")!.home);
});

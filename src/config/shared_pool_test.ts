import assert from "node:assert/strict";
import { configOf, GENERAL, loadText, resolvingWith } from "../../tests/support/config_io.ts";
import { resolveSettings } from "./effective.ts";

const ROLE = 'server_username = "owner"\nserver_password = "secret"\n';
const USERS = `[[pools.app.users]]
username = "alice"
password = "a"
max_user_client_connections = 3
[[pools.app.users]]
username = "bob"
password = "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
`;

function faults(pool: string, users = USERS): string[] {
  return loadText(`${GENERAL}[pools.app]\n${pool}\n${users}`).faults
    .map(({ path, message }) => `${path}: ${message}`);
}

function pools(pool: string, users = USERS) {
  return resolveSettings(configOf(`${GENERAL}[pools.app]\n${pool}\n${users}`), resolvingWith())
    .pools;
}

Deno.test("shared pool: one for all users, as the pool's role, and who they are", () => {
  const [pool, ...others] = pools(`${ROLE}shared_pool_size = 7\nmin_shared_pool_size = 2`);
  assert.equal(others.length, 0);
  assert.deepEqual(
    [pool!.user, pool!.server_username, pool!.pool_size, pool!.min_pool_size],
    ["owner", "owner", 7, 2],
  );
  assert.deepEqual(pool!.credentials, { kind: "password", password: "secret" });
  assert.deepEqual(
    pool!.users!.map(({ user, password, max_user_client_connections }) => [
      user,
      password.kind,
      max_user_client_connections,
    ]),
    [["alice", "plain", 3], ["bob", "md5", 0]],
  );
});

Deno.test("shared pool: without its size the role is each user's that has none of its own", () => {
  const users = `[[pools.app.users]]
username = "alice"
password = "a"
pool_size = 2
[[pools.app.users]]
username = "bob"
password = "b"
pool_size = 2
server_username = "other"
[[pools.app.users]]
username = "carol"
password = "c"
pool_size = 2
server_username = "third"
server_password = "x"
`;
  assert.deepEqual(
    pools(ROLE, users).map(({ user, users, server_username, credentials }) => [
      user,
      users,
      server_username,
      credentials,
    ]),
    [
      ["alice", undefined, "owner", { kind: "password", password: "secret" }],
      ["bob", undefined, "other", { kind: "none" }],
      ["carol", undefined, "third", { kind: "password", password: "x" }],
    ],
  );
});

Deno.test("shared pool: what is the pool's is refused of users, and what needs what", () => {
  assert.deepEqual(faults(`${ROLE}shared_pool_size = 7`), []);
  assert.deepEqual(faults("shared_pool_size = 7"), [
    "pools.app.shared_pool_size: needs server_username as well",
  ]);
  assert.deepEqual(faults('server_password = "x"', ""), [
    "pools.app.server_password: needs server_username as well",
  ]);
  assert.deepEqual(faults(`${ROLE}min_shared_pool_size = 7`, ""), [
    "pools.app.min_shared_pool_size: needs shared_pool_size as well",
  ]);
  assert.deepEqual(faults(`${ROLE}shared_pool_size = 2\nmin_shared_pool_size = 7`), [
    "pools.app.min_shared_pool_size: 7 is more than shared_pool_size, which is 2",
  ]);
  for (const line of ["pool_size = 3", 'pool_mode = "session"', 'server_username = "x"']) {
    const key = line.split(" ")[0];
    assert.deepEqual(faults(`${ROLE}shared_pool_size = 7`, USERS + line), [
      `pools.app.users[1].${key}: belongs to the pool, since its users share one (shared_pool_size)`,
    ]);
  }
  // Without it each needs a size.
  assert.equal(faults(ROLE).length, 2);
});

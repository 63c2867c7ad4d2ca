/**
 * Keys of pools and of their users for roles towards PostgreSQL: one for all users, with a pool that they share
 * (`shared_pool.ts`), and passwords that are fetched (`server_password.ts`).
 */

import type { KeyTable } from "./schema.ts";
import type { PoolConfig, UserConfig } from "./types.ts";

/** The keys of `[[pools.NAME.users]]`. */
export const USER_SERVER_PASSWORD_TABLE: KeyTable<
  Pick<UserConfig, "server_password_file" | "server_password_command">
> = {
  server_password_file: {
    type: "path",
    reload: "B",
    unset: "the pool's",
    doc: "As in the pool; for the role of this user. Excludes `server_password`. Not in upstream.",
  },
  server_password_command: {
    type: "string_list",
    secret: true,
    reload: "B",
    unset: "the pool's",
    doc: "As in the pool; for the role of this user. Excludes `server_password`. Not in upstream.",
  },
};

type PoolKeys =
  | "server_username"
  | "server_password"
  | "shared_pool_size"
  | "min_shared_pool_size"
  | "server_password_file"
  | "server_password_command"
  | "server_password_command_ttl"
  | "server_password_command_timeout";

/** The keys of `[pools.NAME]`. */
export const SERVER_ROLE_TABLE: KeyTable<Pick<PoolConfig, PoolKeys>> = {
  server_username: {
    heading: "Role towards PostgreSQL",
    type: "string",
    reload: "B",
    unset: "each user's own",
    doc:
      "Role towards PostgreSQL of all users that have no `server_username` of their own. Not in upstream.",
  },
  server_password: {
    type: "string",
    secret: true,
    reload: "B",
    unset: "none",
    doc: "Password of that role, plain or its md5 hash; needs `server_username`. Not in upstream.",
  },
  shared_pool_size: {
    type: "u32",
    min: 1,
    zeroFault: "the pool could serve nobody",
    reload: "P",
    unset: "each user has `pool_size` of its own",
    doc:
      "All users of the database share one pool, of so many server connections as `server_username`, at most: what " +
      "PgBouncer does with a forced user. Users then have nothing but a name, a password and " +
      "`max_user_client_connections`. Not in upstream.",
  },
  min_shared_pool_size: {
    type: "u32",
    default: 0,
    reload: "P",
    doc: "Server connections of that pool that are opened ahead and kept. Not in upstream.",
  },
  server_password_file: {
    type: "path",
    reload: "B",
    unset: "none",
    doc:
      "File with the password of the pool's roles towards PostgreSQL, read anew for each new server connection. A " +
      "user's own `server_password` beats it. Not in upstream.",
  },
  server_password_command: {
    type: "string_list",
    secret: true,
    reload: "B",
    unset: "none",
    doc:
      "Program and arguments, without a shell, that says the password of the pool's roles towards PostgreSQL. " +
      "`{user}`, `{database}`, `{host}` and `{port}` in the arguments are the server's. Not in upstream.",
  },
  server_password_command_ttl: {
    type: "duration",
    default: 300_000,
    reload: "B",
    doc:
      "How long what the command has said is used for new connections; when PostgreSQL refuses it, it is run again " +
      "before that. Not in upstream.",
  },
  server_password_command_timeout: {
    type: "duration",
    default: 10_000,
    min: 1,
    zeroFault: "no command could end in time",
    reload: "B",
    doc: "How long the command may take before it is killed. Not in upstream.",
  },
};

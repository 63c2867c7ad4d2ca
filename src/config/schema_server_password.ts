/** Keys of pools and of their users for passwords towards PostgreSQL that are fetched (`server_password.ts`). */

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
  | "server_password_file"
  | "server_password_command"
  | "server_password_command_ttl"
  | "server_password_command_timeout";

/** The keys of `[pools.NAME]`. */
export const SERVER_PASSWORD_TABLE: KeyTable<Pick<PoolConfig, PoolKeys>> = {
  server_password_file: {
    heading: "Passwords towards PostgreSQL that change",
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

/**
 * The one pool that all users of a database share, as one role (`shared_pool_size`): its user is that role, and who may
 * log in to it stands in its `users`.
 */

import type { PoolSettings, StoredPassword } from "./settings.ts";
import type { PoolConfig, UserConfig } from "./types.ts";

/** What a user of such a pool may have; all else is the pool's. */
export const SHARING_USER_KEYS: ReadonlySet<string> = new Set([
  "username",
  "password",
  "max_user_connections",
  "max_user_client_connections",
  "auth_pam_service",
]);

/** The role as a user, whom the pool is made for; `undefined`: each user has a pool of its own. */
export function sharingRole(pool: PoolConfig): UserConfig | undefined {
  const { shared_pool_size, min_shared_pool_size, server_username } = pool;
  if (shared_pool_size === undefined || server_username === undefined) return undefined;
  return {
    username: server_username,
    password: "",
    pool_size: shared_pool_size,
    min_pool_size: min_shared_pool_size,
  };
}

/** Who logs in to a pool, and with what. */
export function usersOf(
  { user, password, max_user_client_connections, users }: PoolSettings,
): { user: string; password: StoredPassword; max_user_client_connections: number }[] {
  return users ?? [{ user, password, max_user_client_connections }];
}

/** What a user of the pool has to prove; `undefined`: it is none. */
export function passwordOf(settings: PoolSettings, user: string): StoredPassword | undefined {
  const { users, password } = settings;
  if (users === undefined) return password;
  return users.find((one) => one.user === user)?.password;
}

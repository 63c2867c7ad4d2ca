/**
 * The checks of one pool: its users, its sizes, its TLS, fallback and startup parameters.
 */

import { ANY_DATABASE } from "./auth_query.ts";
import type { Checked } from "./checks.ts";
import { checkParameterLayer, checkPem, checkServerAuth, checkSocketPath } from "./checks.ts";
import type { DecodedPool } from "./decode_pool.ts";
import { CONSOLE_DATABASES } from "./open_console.ts";
import type { Report } from "./report.ts";
import { checkServerHost } from "./server_address.ts";
import {
  MAX_STARTUP_PACKET_BYTES,
  mergeParameters,
  PARAMETER_BUDGET_BYTES,
  parameterBytes,
  startupPacketBytes,
} from "./startup_parameters.ts";
import { JWT_PRIVATE_KEY_PREFIX, JWT_PUBLIC_KEY_PREFIX, passwordForm } from "./stored_password.ts";
import type { PoolConfig, UserConfig } from "./types.ts";
import { checkServerPasswords } from "./validate_server_password.ts";
import { checkTokenKeys } from "./validate_logins.ts";
import { checkPoolTls } from "./validate_tls.ts";

/** Databases that are the admin console. */

/** Runs every check of one pool. */
export function validatePool(decoded: DecodedPool, checked: Checked): void {
  const { name, path, pool } = decoded;
  const { report } = checked;
  const { general } = checked.config;
  if (CONSOLE_DATABASES.includes(name)) {
    report.warn(path, "cannot be reached: the name is the admin console's");
  }
  checkServerHost(pool, general, path, report);
  if (pool.server_host.startsWith("/")) {
    checkSocketPath(pool.server_host, pool.server_port, `${path}.server_host`, report);
  }
  checkPoolTls(path, pool, checked);
  checkServerAuth(pool.server_auth, path, report);
  checkFallback(path, pool, report);
  checkUsers(decoded, checked);
  checkServerPasswords(decoded, checked);
  checkRole(decoded, report);
  checkSharing(decoded, checked);
  checkAuthQuery(decoded, report);
  checkParameters(decoded, checked);
}

function checkFallback(path: string, pool: PoolConfig, report: Report): void {
  const { fallback_cooldown, fallback_lifetime } = pool;
  if (fallback_cooldown !== undefined && fallback_cooldown < 1000) {
    report.warn(`${path}.fallback_cooldown`, `${fallback_cooldown} ms are few`, "1s and more");
  }
  if (fallback_cooldown !== undefined && (fallback_lifetime ?? 0) > fallback_cooldown) {
    report.warn(`${path}.fallback_lifetime`, "is longer than fallback_cooldown");
  }
}

function checkUsers(decoded: DecodedPool, checked: Checked): void {
  const { report } = checked;
  const names = new Set<string>();
  decoded.pool.users.forEach((user, index) => {
    const path = decoded.userPaths[index] as string;
    if (report.isFaulty(path)) return;
    const namePath = `${path}.username`;
    if (!report.isFaulty(namePath)) {
      if (user.username === "") report.fault(namePath, "must not be empty");
      else if (names.has(user.username)) {
        report.fault(namePath, `"${user.username}" is already a user of this pool`);
      }
      names.add(user.username);
    }
    checkPassword(user, path, checked);
    checkUserSizes(user, path, report);
  });
}

function checkPassword(user: UserConfig, path: string, checked: Checked): void {
  const { report } = checked;
  const { password, server_username, server_password } = user;
  const passwordPath = `${path}.password`;
  switch (passwordForm(password)) {
    case "broken_scram":
      report.fault(
        passwordPath,
        "starts like a SCRAM verifier and is none",
        "copy the whole rolpassword of pg_authid",
      );
      break;
    case "plain_like_md5":
      report.warn(
        passwordPath,
        "starts with md5 and is no md5 hash: it is taken as plain text",
        "a hash is md5 and 32 hex digits",
      );
      break;
    case "jwt":
      checkTokenKeys(passwordPath, password.slice(JWT_PUBLIC_KEY_PREFIX.length), checked);
  }
  if (server_password === undefined) return;
  const serverPath = `${path}.server_password`;
  if (server_username === undefined && !report.isSet(`${path}.server_username`)) {
    report.fault(serverPath, "needs server_username as well");
  }
  if (server_password.startsWith(JWT_PRIVATE_KEY_PREFIX)) {
    checkPem(serverPath, server_password.slice(JWT_PRIVATE_KEY_PREFIX.length), checked);
  }
}

/** The role of all users, and the pool that they may share. */
function checkRole({ path, pool }: DecodedPool, report: Report): void {
  const { server_username, server_password, shared_pool_size, min_shared_pool_size } = pool;
  if (server_username === undefined) {
    for (const key of ["server_password", "shared_pool_size"] as const) {
      if (pool[key] !== undefined) report.fault(`${path}.${key}`, "needs server_username as well");
    }
  }
  if (server_password?.startsWith(JWT_PRIVATE_KEY_PREFIX)) {
    const key = `${path}.server_password`;
    report.warn(key, `not in effect yet: ${JWT_PRIVATE_KEY_PREFIX} in ${key}`);
  }
  if (shared_pool_size === undefined) {
    if (min_shared_pool_size > 0) {
      report.fault(`${path}.min_shared_pool_size`, "needs shared_pool_size as well");
    }
    return;
  }
  if (min_shared_pool_size > shared_pool_size) {
    report.fault(
      `${path}.min_shared_pool_size`,
      `${min_shared_pool_size} is more than shared_pool_size, which is ${shared_pool_size}`,
    );
  }
  if (pool.auth_query !== undefined && pool.auth_query.server_user === server_username) {
    report.fault(
      `${path}.auth_query.server_user`,
      `is the role that listed users share already, "${server_username}"`,
    );
  }
}

function checkUserSizes(user: UserConfig, path: string, report: Report): void {
  const { pool_size, min_pool_size } = user;
  if (min_pool_size === undefined || report.isFaulty(`${path}.pool_size`)) return;
  if (min_pool_size > pool_size) {
    report.fault(
      `${path}.min_pool_size`,
      `${min_pool_size} is more than pool_size, which is ${pool_size}`,
    );
  }
}

/** `max_db_connections` and what belongs to it; without it the others mean nothing. */
function checkSharing(decoded: DecodedPool, checked: Checked): void {
  const { path, pool, userPaths } = decoded;
  const { report } = checked;
  const { general } = checked.config;
  const max = pool.max_db_connections ?? 0;
  if (max === 0) return;
  const guaranteed = pool.users.reduce(
    (sum, user) => sum + (user.min_pool_size ?? 0),
    pool.min_shared_pool_size,
  );
  if (guaranteed > max) {
    report.fault(
      `${path}.max_db_connections`,
      `${max} is less than the users' min_pool_size together, which is ${guaranteed}`,
    );
  }
  if (pool.reserve_pool_size > max) {
    report.warn(`${path}.reserve_pool_size`, `is more than max_db_connections, which is ${max}`);
  }
  const idle = pool.idle_timeout ?? 0;
  if (idle > 0 && pool.min_connection_lifetime > idle) {
    report.warn(
      `${path}.min_connection_lifetime`,
      "is longer than idle_timeout: no connection can be closed for another user",
    );
  }
  const wait = pool.query_wait_timeout ?? general.query_wait_timeout;
  if (pool.reserve_pool_timeout > wait) {
    report.warn(
      `${path}.reserve_pool_timeout`,
      "is longer than query_wait_timeout, after which clients are refused anyway",
    );
  }
  pool.users.forEach((user, index) => {
    if (user.pool_size > max + pool.reserve_pool_size) {
      const most = pool.reserve_pool_size === 0
        ? `max_db_connections caps it at ${max}`
        : `max_db_connections and reserve_pool_size cap it at ${max + pool.reserve_pool_size}`;
      report.warn(`${userPaths[index]}.pool_size`, most);
    }
    if (pool.min_guaranteed_pool_size > user.pool_size) {
      report.warn(
        `${path}.min_guaranteed_pool_size`,
        `is more than the pool_size of "${user.username}"`,
      );
    }
  });
}

/** The pool of all databases that are not configured: who may log in is PostgreSQL's to say. */
function checkAnyDatabase(path: string, pool: PoolConfig, report: Report): void {
  if (pool.auth_query === undefined) {
    report.fault(`${path}.auth_query`, "is missing", "PostgreSQL has to say who may log in");
  }
  if (pool.users.length > 0) {
    report.fault(`${path}.users`, "are of one database: list them in a pool of its name");
  }
  if (pool.server_database !== undefined) {
    report.fault(`${path}.server_database`, "is what the client asks for");
  }
}

function checkAuthQuery({ name, path, pool }: DecodedPool, report: Report): void {
  const query = pool.auth_query;
  const queryPath = `${path}.auth_query`;
  if (name === ANY_DATABASE) checkAnyDatabase(path, pool, report);
  if (query === undefined) return;
  for (const key of ["query", "user"] as const) {
    if (query[key] === "" && !report.isFaulty(`${queryPath}.${key}`)) {
      report.fault(`${queryPath}.${key}`, "must not be empty");
    }
  }
  if (query.server_password !== undefined && query.server_user === undefined) {
    report.fault(`${queryPath}.server_password`, "needs server_user as well");
  }
  const listed = pool.users.find(({ username }) => username === query.server_user);
  const role = listed?.server_username ?? pool.server_username ?? listed?.username;
  // The role's own pool is theirs, too.
  if (listed !== undefined && pool.shared_pool_size === undefined && role !== listed.username) {
    report.fault(
      `${queryPath}.server_user`,
      `"${listed.username}" is a listed user, whose pool logs in as "${role}"`,
      "all who are found would be that one: name the role that they are to have",
    );
  }
  if (query.min_pool_size > query.pool_size) {
    report.fault(
      `${queryPath}.min_pool_size`,
      `${query.min_pool_size} is more than pool_size, which is ${query.pool_size}`,
    );
  }
}

/** The pool's own layer, both layers together, and the StartupMessage of each role. */
function checkParameters(decoded: DecodedPool, checked: Checked): void {
  const { name, pool } = decoded;
  const { report } = checked;
  const { general } = checked.config;
  const path = `${decoded.path}.startup_parameters`;
  checkParameterLayer(pool.startup_parameters, path, report);
  if (report.isFaulty(path) || report.isFaulty("general.startup_parameters")) return;
  const merged = mergeParameters(general.startup_parameters, pool.startup_parameters);
  const bytes = parameterBytes(merged);
  if (bytes > PARAMETER_BUDGET_BYTES) {
    report.fault(
      path,
      `takes ${bytes} bytes with those of general`,
      `at most ${PARAMETER_BUDGET_BYTES}`,
    );
    return;
  }
  const roles = pool.users.map((user, index) => ({
    role: user.server_username ?? pool.server_username ?? user.username,
    rolePath: decoded.userPaths[index] as string,
  }));
  const shared = pool.auth_query?.server_user;
  if (shared !== undefined) roles.push({ role: shared, rolePath: `${decoded.path}.auth_query` });
  for (const { role, rolePath } of roles) {
    const packet = startupPacketBytes({
      user: role,
      database: pool.server_database ?? name,
      applicationName: pool.application_name,
      parameters: merged,
    });
    if (packet > MAX_STARTUP_PACKET_BYTES) {
      report.fault(
        rolePath,
        `the StartupMessage would have ${packet} bytes`,
        `at most ${MAX_STARTUP_PACKET_BYTES}: shorten startup_parameters or names`,
      );
    }
  }
}

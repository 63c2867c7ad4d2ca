/**
 * Checks that a decoded configuration makes sense as a whole: keys that exclude or need each other, sizes that cannot
 * work, files that must be readable. Each check stands alone and adds its faults; one that follows from an earlier fault
 * is left out.
 */

import type { Checked } from "./checks.ts";
import {
  checkParameterLayer,
  checkServerAuth,
  checkSocketPath,
  MAX_SOCKET_PATH_BYTES,
} from "./checks.ts";
import { USER_LIMITS } from "./effective.ts";
import type { Report } from "./report.ts";
import { checkListenHost } from "./server_address.ts";
import type { GeneralConfig } from "./types.ts";
import { checkAccess } from "./validate_access.ts";
import { checkLogins } from "./validate_logins.ts";
import { validatePool } from "./validate_pool.ts";
import { checkClientTls, checkServerContexts, checkServerTls } from "./validate_tls.ts";

/** Runs every check of a whole configuration. */
export function validate(checked: Checked): void {
  const { config, report } = checked;
  checkSockets(config.general, report);
  checkAccess(config.general, report);
  checkPrepared(config.general, report);
  checkLogging(config.general, report);
  checkClientTls(checked);
  checkServerTls(checked);
  checkServerAuth(config.general.server_auth, "general", report);
  checkParameterLayer(config.general.startup_parameters, "general.startup_parameters", report);
  checkLogins(checked);
  for (const pool of checked.pools) validatePool(pool, checked);
  checkUserLimits(checked);
  checkServerContexts(checked);
}

/** A limit of a user holds in all databases: it has one value. */
function checkUserLimits(checked: Checked): void {
  for (const key of USER_LIMITS) checkUserLimit(checked, key);
}

function checkUserLimit({ config, pools, report }: Checked, key: typeof USER_LIMITS[number]): void {
  const limits = new Map<string, { max: number; path: string; kept: number }>();
  for (const { pool, userPaths } of pools) {
    pool.users.forEach(({ username, [key]: own, min_pool_size }, index) => {
      const path = `${userPaths[index]}.${key}`;
      if (report.isFaulty(userPaths[index] as string) || report.isFaulty(path)) return;
      const kept = min_pool_size ?? 0;
      const known = limits.get(username);
      if (known === undefined) limits.set(username, { max: own ?? -1, path, kept });
      else {
        known.kept += kept;
        if (own === undefined) return;
        if (known.max < 0) Object.assign(known, { max: own, path });
        else if (known.max !== own) {
          report.fault(path, `"${username}" has ${known.max} at ${known.path}: one limit a user`);
        }
      }
    });
  }
  if (key !== "max_user_connections") return;
  // There must be room for what is kept.
  for (const [username, { max: own, path, kept }] of limits) {
    const max = own < 0 ? config.general.max_user_connections : own;
    if (max === 0 || kept <= max) continue;
    report.fault(
      own < 0 ? "general.max_user_connections" : path,
      `${max} is less than the min_pool_size of "${username}" in all databases, which is ${kept}`,
    );
  }
}

function checkSockets(general: GeneralConfig, report: Report): void {
  checkListenHost(general, report);
  const size = general.tcp_socket_buffer_size;
  if (size > 0 && size < 65_536) {
    report.warn("general.tcp_socket_buffer_size", `${size} bytes are few`, "0, or 64KB and more");
  }
  if (general.unix_socket_dir !== undefined) {
    checkSocketPath(general.unix_socket_dir, general.port, "general.unix_socket_dir", report);
  }
}

function checkPrepared(general: GeneralConfig, report: Report): void {
  if (general.prepared_statements && general.prepared_statements_cache_size === 0) {
    report.fault(
      "general.prepared_statements_cache_size",
      "must not be 0 while prepared_statements is true",
      "set prepared_statements to false",
    );
  }
}

function checkLogging(general: GeneralConfig, report: Report): void {
  if (general.syslog_prog_name === "") {
    report.fault("general.syslog_prog_name", "must not be empty", "leave the key out instead");
  }
  if (general.syslog_prog_name !== undefined && general.log_file !== undefined) {
    report.fault("general.syslog_prog_name", "excludes log_file", "keep one of the two");
  }
  const bytes = new TextEncoder().encode(general.syslog_socket).length;
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    report.fault(
      "general.syslog_socket",
      `the path has ${bytes} bytes`,
      `at most ${MAX_SOCKET_PATH_BYTES}`,
    );
  }
}

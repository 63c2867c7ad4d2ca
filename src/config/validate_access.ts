/** Checks of who may log in: rules and maps against what else is configured, and the console, which nobody thinks of. */

import type { HbaRule } from "./hba_rule.ts";
import { isReachable, openConsole } from "./open_console.ts";
import type { Report } from "./report.ts";
import { keyPath } from "./source.ts";
import { passwordForm } from "./stored_password.ts";
import type { GeneralConfig } from "./types.ts";

/** `hba`, `pg_hba`, `pg_ident`, and who gets into the console. */
export function checkAccess(general: GeneralConfig, report: Report): void {
  const listed = general.hba.length > 0;
  if (listed && report.isSet("general.pg_hba")) {
    report.fault("general.hba", "excludes pg_hba", "keep one of the two");
  } else if (listed && general.unix_socket_dir !== undefined) {
    report.warn("general.hba", "does not hold for clients on the Unix socket", "use pg_hba");
  }
  checkConsole(general, report);
  for (const rule of general.pg_hba?.rules ?? []) checkRule(rule, general, report);
  checkConsoleUsers(general, report);
}

/** A name has one password and one role. */
function checkConsoleUsers(general: GeneralConfig, report: Report): void {
  const { admin_username, admin_password, admin_users, stats_users } = general;
  const known = new Map([[admin_username, "admin_username"]]);
  checkConsolePassword("general.admin_password", admin_password, report);
  for (
    const [key, users] of [["admin_users", admin_users], ["stats_users", stats_users]] as const
  ) {
    for (const [user, password] of users) {
      const path = ["general", key, user].reduce(keyPath);
      const other = known.get(user);
      if (other !== undefined) report.fault(path, `is in ${other} already`, "keep one of the two");
      known.set(user, key);
      checkConsolePassword(path, password, report);
    }
  }
}

function checkConsolePassword(path: string, password: string, report: Report): void {
  const form = passwordForm(password);
  if (form === "broken_scram") {
    report.fault(path, "starts like a SCRAM verifier and is none", "copy the whole verifier");
  }
}

/** `trust` for all databases has the console in it, which nobody thinks of. */
function checkConsole(
  { host, admin_username, admin_users, pg_hba }: GeneralConfig,
  report: Report,
): void {
  if (pg_hba === undefined || report.isFaulty("general.pg_hba") || !isReachable(host)) return;
  const names = [admin_username, ...admin_users.keys()];
  const rule = names.map((name) => openConsole(pg_hba.rules, name)).find((found) => found);
  if (rule === undefined) return;
  report.warn(
    "general.pg_hba",
    `line ${rule.line} of the rules lets everybody who can connect into the admin console without ` +
      "a password",
    'put "host pgdoorman,pgbouncer all all scram-sha-256" above it',
  );
}

/** What a rule needs besides itself. */
function checkRule(rule: HbaRule, general: GeneralConfig, report: Report): void {
  const { map, method, clientCert } = rule;
  if (map !== undefined && !report.isFaulty("general.pg_ident")) {
    const maps = general.pg_ident?.rules ?? [];
    if (!maps.some((line) => line.map === map)) {
      faultOf(rule, `there is no map "${map}"`, "write its lines into pg_ident", report);
    }
  }
  if ((method === "cert" || clientCert !== undefined) && general.tls_ca_cert === undefined) {
    faultOf(
      rule,
      `${method === "cert" ? "method cert" : "clientcert"} needs tls_ca_cert`,
      "set it to the certificates of the authorities that have signed those of the clients",
      report,
    );
  }
}

function faultOf(rule: HbaRule, message: string, hint: string, report: Report): void {
  const path = "general.pg_hba";
  const { source, line } = rule;
  if (source === path) report.fault(path, `line ${line} of the rules: ${message}`, hint);
  else report.faults.push({ file: source, path, line, message, hint });
}

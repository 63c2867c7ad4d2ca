/**
 * The checks of what logins need: keys of tokens, rules whose method others carry out, PAM, Talos.
 */

import type { Checked } from "./checks.ts";
import { checkPem } from "./checks.ts";
import type { HbaRule } from "./hba_rule.ts";
import { readFailure } from "./include.ts";

/** Runs every check that is not of one user. */
export function checkLogins(checked: Checked): void {
  const { config, report } = checked;
  const { general } = config;
  checkPem("general.ldap_tls_ca_cert", general.ldap_tls_ca_cert, checked);
  if (general.auth_failure_delay > general.auth_failure_delay_max) {
    report.fault("general.auth_failure_delay", "is longer than auth_failure_delay_max");
  }
  checkTalos(checked);
  for (const rule of general.pg_hba?.rules ?? []) checkRule(rule, checked);
  checkPam(checked);
}

function checkTalos(checked: Checked): void {
  const { talos } = checked.config;
  const stems = new Set<string>();
  talos?.keys.forEach((file, index) => {
    const path = `talos.keys[${index}]`;
    checkTokenKeys(path, file, checked);
    const stem = file.slice(file.lastIndexOf("/") + 1).replace(/\.[^.]*$/, "");
    if (stem === "") {
      checked.report.fault(path, "the file's name without its ending is empty", "it is the key id");
    } else if (stems.has(stem)) {
      checked.report.fault(path, `another file is for the key id ${JSON.stringify(stem)}, too`);
    }
    stems.add(stem);
  });
  talos?.databases.forEach((database, index) => {
    if (checked.config.pools.has(database)) return;
    checked.report.warn(
      `talos.databases[${index}]`,
      "there is no pool of that name: nobody gets into it",
      "add the pool, with the users owner, read_write and read_only",
    );
  });
}

function checkRule(rule: HbaRule, checked: Checked): void {
  const { method, options, source, line } = rule;
  if (method !== "pam" && method !== "ldap" && method !== "jwt") return;
  const path = `${source} line ${line}`;
  const found = checked.loginFaults?.options?.(method, options ?? {}) ?? [];
  for (const { message, hint } of found) checked.report.fault(path, message, hint);
  if (method === "jwt") checkTokenKeys(path, options?.key, checked);
}

/** Only who uses PAM needs it. */
function checkPam({ config, pools, report, loginFaults }: Checked): void {
  const path = config.general.pg_hba?.rules.some(({ method }) => method === "pam")
    ? "general.pg_hba"
    : pools.flatMap(({ pool, userPaths }) =>
      pool.users.flatMap(({ auth_pam_service }, index) =>
        auth_pam_service === undefined ? [] : [`${userPaths[index]}.auth_pam_service`]
      )
    )[0];
  if (path === undefined) return;
  const fault = loginFaults?.pam?.();
  if (fault !== undefined) report.fault(path, fault);
}

/** The file must be readable and hold public keys that tokens can be checked with. */
export function checkTokenKeys(path: string, file: string | undefined, checked: Checked): void {
  if (file === undefined) return;
  let text: string;
  try {
    text = checked.readText(file);
  } catch (error) {
    checked.report.fault(path, `could not open ${JSON.stringify(file)}: ${readFailure(error)}`);
    return;
  }
  const fault = checked.loginFaults?.tokenKeys?.(text);
  if (fault !== undefined) checked.report.fault(path, `${JSON.stringify(file)} ${fault}`);
}

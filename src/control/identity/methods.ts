/**
 * Who checks passwords besides the pooler, by method. What is not in here is not available: the configuration that names it
 * is refused.
 */

import type { ExternalCheck, ExternalMethods } from "../../auth/external.ts";
import type { TokenKey } from "../../auth/token_keys.ts";
import type { ExternalMethod } from "../../config/external_check.ts";
import { JWT_PUBLIC_KEY_PREFIX } from "../../config/stored_password.ts";
import type { Config } from "../../config/types.ts";
import type { Program } from "../service/program.ts";
import { LdapCheck } from "./ldap.ts";
import { PamCheck } from "./pam.ts";
import { PAM_HELPER_ARGUMENT } from "./pam_helper.ts";
import { peerCheck } from "./peer.ts";
import { JwtCheck, readKeyFiles, TalosCheck } from "./token_checks.ts";

const DEFAULT_LIMITS = { atOnce: 8, timeoutMs: 10_000 };

const pam = new PamCheck({
  ...DEFAULT_LIMITS,
  command: { path: "", args: [] },
  configDirectory: undefined,
});
const ldap = new LdapCheck({ ...DEFAULT_LIMITS, authorities: undefined });
const jwt = new JwtCheck();
const talos = new TalosCheck();

export const externalMethods: ExternalMethods = new Map<ExternalMethod, ExternalCheck>([
  ["peer", peerCheck],
  ["pam", pam],
  ["ldap", ldap],
  ["jwt", jwt],
  ["talos", talos],
]);

/** Reads what the methods need of the disk, whether or not the configuration names other files than before. */
export function prepareMethods(
  config: Config,
  { readText, program }: { readText: (file: string) => string; program: Program },
): () => void {
  const { general } = config;
  const limits = { atOnce: general.auth_checks_at_once, timeoutMs: general.auth_check_timeout };
  const { ldap_tls_ca_cert: authorityFile, jwt_audience, jwt_issuer, jwt_leeway } = general;
  const authorities = authorityFile === undefined ? undefined : readText(authorityFile);
  const tokenKeys = readKeyFiles(tokenKeyFiles(config), readText);
  const talosKeys: ReadonlyMap<string, readonly TokenKey[]> = readKeyFiles(
    config.talos?.keys ?? [],
    readText,
  );
  return () => {
    pam.configure({
      ...limits,
      command: { path: program.path, args: [...program.prefix, PAM_HELPER_ARGUMENT] },
      configDirectory: general.pam_config_dir,
    });
    ldap.configure({ ...limits, authorities });
    jwt.configure({
      keys: tokenKeys,
      rules: { audience: jwt_audience, issuer: jwt_issuer, leeway: jwt_leeway },
      claim: general.jwt_user_claim,
    });
    talos.configure({ keys: talosKeys, databases: new Set(config.talos?.databases ?? []) });
  };
}

/** Of users, and of rules. */
function tokenKeyFiles({ general, pools }: Config): Set<string> {
  const files = new Set<string>();
  for (const { users } of pools.values()) {
    for (const { password } of users) {
      if (password.startsWith(JWT_PUBLIC_KEY_PREFIX)) {
        files.add(password.slice(JWT_PUBLIC_KEY_PREFIX.length));
      }
    }
  }
  for (const { method, options } of general.pg_hba?.rules ?? []) {
    if (method === "jwt" && options?.key !== undefined) files.add(options.key);
  }
  return files;
}

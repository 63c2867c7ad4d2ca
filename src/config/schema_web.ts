/**
 * Keys of `[web]`, `[talos]` and `[include]`.
 */

import type { KeyTable } from "./schema.ts";
import { keyRows } from "./schema.ts";
import type { IncludeConfig, TalosConfig, WebConfig } from "./types.ts";

const WEB_TABLE: KeyTable<WebConfig> = {
  enabled: {
    type: "bool",
    default: false,
    reload: "R",
    doc: "Serve `/metrics`, `/healthz` and `/readyz`, and the console with `ui`.",
  },
  host: { type: "string", default: "0.0.0.0", reload: "R", doc: "IP address to listen on." },
  port: { type: "u16", default: 9127, reload: "R", doc: "Port to listen on." },
  ui: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Serve the console and `/api/`.",
    later: true,
    inEffectWhen: [false],
  },
  ui_anonymous: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Let the public parts be read without a login.",
    later: true,
    inEffectWhen: [false],
  },
  log_tap_max_entries: {
    type: "u32",
    default: 8192,
    reload: "N",
    doc: "Log lines kept for the console; 0 = none.",
    later: true,
  },
  metrics_max_pools: {
    type: "u32",
    default: 1000,
    reload: "A",
    doc: "Pools with metrics of their own; those beyond are summed up as `other`. 0 = all.",
  },
  sso_enabled: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Accept RS256 tokens.",
    later: true,
    inEffectWhen: [false],
  },
  sso_proxy_url: {
    type: "string",
    reload: "A",
    unset: "no redirect",
    doc: "Where browsers are sent to sign in.",
    later: true,
  },
  sso_public_key_file: {
    type: "path",
    reload: "A",
    unset: "no tokens",
    doc: "RSA public key that tokens are checked with: PEM.",
    later: true,
  },
  sso_audience: {
    type: "string_list",
    default: [],
    reload: "A",
    doc: "Accepted `aud` values of tokens.",
    later: true,
  },
  sso_allowed_users: {
    type: "string_list",
    default: ["*"],
    reload: "A",
    doc: "Users let in by token; `*` or nothing = all.",
    later: true,
  },
  sso_groups_claim: {
    type: "string",
    default: "groups",
    reload: "A",
    doc: "Claim with the names of groups.",
    later: true,
  },
  sso_admin_groups: {
    type: "string_list",
    default: [],
    reload: "A",
    doc: "Groups that become admins.",
    later: true,
  },
  sso_require_https: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Refuse tokens that a trusted proxy does not vouch to have come over HTTPS.",
    later: true,
    inEffectWhen: [false],
  },
  trusted_proxies: {
    type: "cidr_list",
    default: [],
    reload: "A",
    doc: "Networks whose forwarding headers are believed.",
    later: true,
  },
};

const TALOS_TABLE: KeyTable<TalosConfig> = {
  keys: {
    type: "path_list",
    required: true,
    reload: "A",
    doc: "Public keys (PEM) by file name: the stem is the `kid` of tokens.",
  },
  databases: {
    type: "string_list",
    required: true,
    reload: "N",
    doc: "Databases that a token may name in its `resource_access`, and `talos` log in to.",
  },
};

const INCLUDE_TABLE: KeyTable<IncludeConfig> = {
  files: {
    type: "path_list",
    default: [],
    reload: "A",
    doc:
      "More config files, merged in this order: tables are merged, lists joined, later values win.",
  },
};

/** Rows of `[web]`. */
export const WEB_KEYS = keyRows(WEB_TABLE);

/** Rows of `[talos]`. */
export const TALOS_KEYS = keyRows(TALOS_TABLE);

/** Rows of `[include]`. */
export const INCLUDE_KEYS = keyRows(INCLUDE_TABLE);

/** Keys about TLS, towards clients and towards PostgreSQL; see `schema.ts` for what a row means. */

import type { KeyTable } from "./schema.ts";
import { TLS12_SUITES, TLS13_SUITES } from "./tls_suites.ts";
import type { ClientTlsConfig, ServerTlsConfig } from "./types.ts";

/** Rows of `[general]` about TLS towards clients. */
export const CLIENT_TLS_TABLE: KeyTable<ClientTlsConfig> = {
  tls_certificate: {
    heading: "TLS towards clients",
    type: "path",
    reload: "R",
    unset: "clients are offered no TLS",
    doc:
      "Certificate shown to clients: PEM, intermediate certificates may follow. See docs/tls.md.",
  },
  tls_private_key: {
    type: "path",
    reload: "R",
    doc: "Private key of `tls_certificate`: PEM, not encrypted.",
  },
  tls_ca_cert: {
    type: "path",
    reload: "R",
    doc:
      "Authorities whose client certificates are accepted: PEM bundle. Where it is set, clients are asked for one, as by " +
      "PostgreSQL with `ssl_ca_file`; who has none is served unless `tls_mode` or `pg_hba` says otherwise.",
  },
  tls_mode: {
    type: "enum",
    choices: ["allow", "disable", "require", "verify-ca", "verify-full"],
    reload: "R",
    unset: "`allow` if there is a certificate",
    doc:
      "What clients must do: `require` refuses plain TCP, `verify-ca` and `verify-full` demand a certificate " +
      "of `tls_ca_cert`'s as well. Names in it are not compared with the user.",
  },
  tls_min_version: {
    type: "enum",
    choices: ["1.2", "1.3"],
    default: "1.2",
    reload: "R",
    doc: "Oldest version of TLS that clients may speak. Not in upstream.",
  },
  tls_ciphers: {
    type: "string",
    reload: "R",
    unset: "all of them",
    doc: `Suites of TLS 1.2, separated by colons, of: ${TLS12_SUITES.join(", ")}. Not in upstream.`,
  },
  tls_ciphersuites: {
    type: "string",
    reload: "R",
    unset: "all of them",
    doc: `Suites of TLS 1.3, separated by colons, of: ${TLS13_SUITES.join(", ")}. Not in upstream.`,
  },
  tls_rate_limit_per_second: {
    type: "usize",
    default: 0,
    reload: "R",
    doc: "TLS handshakes a second, a multiple of 100; who comes beyond waits. 0 = no limit.",
  },
};

/** Rows of `[general]` about TLS towards PostgreSQL. */
export const SERVER_TLS_TABLE: KeyTable<ServerTlsConfig> = {
  server_tls_mode: {
    heading: "TLS towards PostgreSQL: defaults of pools",
    type: "enum",
    choices: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    anyCase: true,
    default: "allow",
    reload: "B",
    doc: "TLS towards PostgreSQL, by libpq's names. `allow` tries plain first.",
  },
  server_tls_ca_cert: {
    type: "path",
    reload: "B",
    doc: "Authorities for `verify-ca` and `verify-full`: PEM bundle.",
  },
  server_tls_certificate: {
    type: "path",
    reload: "B",
    doc: "Certificate shown to PostgreSQL.",
  },
  server_tls_private_key: {
    type: "path",
    reload: "B",
    doc: "Private key of `server_tls_certificate`.",
  },
  server_tls_direct: {
    type: "bool",
    default: false,
    reload: "B",
    doc:
      "Begin with the TLS handshake, without SSLRequest: needs PostgreSQL 17 and `require` or `verify-…`. " +
      "Not in upstream.",
  },
};

/** Rows of a pool: it takes each from `[general]` that it has not. */
export const POOL_TLS_TABLE: KeyTable<Partial<ServerTlsConfig>> = {
  server_tls_mode: { ...inherited("server_tls_mode"), heading: "TLS towards PostgreSQL" },
  server_tls_ca_cert: inherited("server_tls_ca_cert"),
  server_tls_certificate: inherited("server_tls_certificate"),
  server_tls_private_key: inherited("server_tls_private_key"),
  server_tls_direct: inherited("server_tls_direct"),
};

function inherited<K extends keyof ServerTlsConfig>(key: K): KeyTable<ServerTlsConfig>[K] {
  return {
    ...SERVER_TLS_TABLE[key],
    default: undefined,
    unset: "general",
    doc: "As in `[general]`.",
  };
}

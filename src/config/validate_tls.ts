/**
 * Checks of the keys about TLS and of the files that they name: all of them are read, certificate and key must belong
 * together, and what an operator wants to know before clients tell him (a certificate that expires) is a warning.
 */

import type { X509Certificate } from "node:crypto";
import { readCertificates, readPrivateKey, validityWarning } from "./certificates.ts";
import { type Checked, checkPem } from "./checks.ts";
import type { Report } from "./report.ts";
import { mergedTls, ServerTlsReader } from "./server_tls.ts";
import type { ClientTls, ServerTlsMode } from "./settings.ts";
import { keyPath } from "./source.ts";
import { suitesFault, TLS12_SUITES, TLS13_SUITES } from "./tls_suites.ts";
import type { GeneralConfig, PoolConfig, ServerTlsConfig } from "./types.ts";

/** Permission bits of those who are neither the owner nor of his group. */
const OTHERS = 0o007;

/** TLS towards clients. */
export function checkClientTls(checked: Checked): void {
  const { report } = checked;
  const { general } = checked.config;
  const { tls_certificate, tls_private_key, tls_ca_cert, tls_mode } = general;
  const files = { certificate: tls_certificate, key: tls_private_key };
  checkPair(report, "general.tls_certificate", "general.tls_private_key", files);
  const forced = tls_mode !== undefined && tls_mode !== "allow" && tls_mode !== "disable";
  if (forced && tls_certificate === undefined && tls_private_key === undefined) {
    report.fault("general.tls_mode", `${tls_mode} needs tls_certificate and tls_private_key`);
  }
  if (tls_mode?.startsWith("verify-") && tls_ca_cert === undefined) {
    report.fault("general.tls_mode", `${tls_mode} needs tls_ca_cert`);
  }
  checkSuites(general, report);
  const rate = general.tls_rate_limit_per_second;
  if (rate % 100 !== 0) {
    report.fault("general.tls_rate_limit_per_second", `must be a multiple of 100, is ${rate}`);
  }
  if (tls_mode === "disable") return;
  checkCertificatePair("general", "tls_", files, checked);
  checkAuthorities("general.tls_ca_cert", tls_ca_cert, checked);
  if (report.faults.length > 0 || checked.clientTlsFaults === undefined) return;
  const tls = clientTls(general, checked.readText);
  if (tls === undefined) return;
  for (const fault of checked.clientTlsFaults(tls)) report.fault("general.tls_certificate", fault);
}

/** What clients are served with; `undefined`: they are offered no TLS. Throws when a file can't be read. */
export function clientTls(
  general: GeneralConfig,
  readText: (file: string) => string,
): ClientTls | undefined {
  const { tls_certificate, tls_private_key, tls_ca_cert, tls_mode } = general;
  if (tls_certificate === undefined || tls_private_key === undefined || tls_mode === "disable") {
    return undefined;
  }
  const read = (name: string) => ({ name, text: new TextEncoder().encode(readText(name)) });
  return {
    mode: tls_mode ?? "allow",
    files: {
      certificate: read(tls_certificate),
      key: read(tls_private_key),
      ca: tls_ca_cert === undefined ? undefined : read(tls_ca_cert),
      demanded: tls_mode?.startsWith("verify-") === true,
    },
    limits: {
      minVersion: general.tls_min_version,
      ciphers: general.tls_ciphers,
      ciphersuites: general.tls_ciphersuites,
    },
    ratePerSecond: general.tls_rate_limit_per_second,
  };
}

function checkSuites(general: GeneralConfig, report: Report): void {
  const { tls_ciphers, tls_ciphersuites, tls_min_version } = general;
  for (
    const [key, list, known] of [
      ["tls_ciphers", tls_ciphers, TLS12_SUITES],
      ["tls_ciphersuites", tls_ciphersuites, TLS13_SUITES],
    ] as const
  ) {
    const fault = list === undefined ? undefined : suitesFault(list, known);
    if (fault === undefined) continue;
    report.fault(`general.${key}`, fault, `separated by colons, of ${known.join(", ")}`);
  }
  if (tls_ciphers !== undefined && tls_min_version === "1.3") {
    report.warn("general.tls_ciphers", "has no effect with tls_min_version 1.3");
  }
}

/** TLS towards PostgreSQL in the general section; pools may override each key. */
export function checkServerTls(checked: Checked): void {
  const { report } = checked;
  const { general } = checked.config;
  const { server_tls_mode, server_tls_ca_cert } = general;
  const files = {
    certificate: general.server_tls_certificate,
    key: general.server_tls_private_key,
  };
  checkPair(report, "general.server_tls_certificate", "general.server_tls_private_key", files);
  checkServerCa(server_tls_mode, server_tls_ca_cert, "general", report);
  if (general.server_tls_direct) checkDirect(server_tls_mode, "general", report);
  if (server_tls_mode === "disable") return;
  if (server_tls_mode.startsWith("verify-")) {
    checkAuthorities("general.server_tls_ca_cert", server_tls_ca_cert, checked);
  }
  if (server_tls_ca_cert !== undefined && !verifiesSomewhere(checked.config)) {
    report.warn("general.server_tls_ca_cert", unverified(server_tls_mode));
  }
  checkCertificatePair("general", "server_tls_", files, checked);
}

/** Pool keys override the general ones one by one, so the effective set is judged. */
export function checkPoolTls(path: string, pool: PoolConfig, checked: Checked): void {
  const { report } = checked;
  const merged = mergedTls(checked.config.general, pool);
  const { server_tls_mode: mode } = merged;
  if (pool.server_tls_mode !== undefined) {
    checkServerCa(mode, merged.server_tls_ca_cert, path, report);
  }
  const setsDirect = pool.server_tls_direct !== undefined || pool.server_tls_mode !== undefined;
  if (merged.server_tls_direct && setsDirect) checkDirect(mode, path, report);
  if (pool.server_tls_ca_cert !== undefined) {
    const key = `${path}.server_tls_ca_cert`;
    if (mode.startsWith("verify-")) checkAuthorities(key, pool.server_tls_ca_cert, checked);
    else if (mode !== "disable") report.warn(key, unverified(mode));
  }
  const { server_tls_certificate, server_tls_private_key } = pool;
  if (server_tls_certificate === undefined && server_tls_private_key === undefined) return;
  const files = {
    certificate: merged.server_tls_certificate,
    key: merged.server_tls_private_key,
  };
  checkPair(report, `${path}.server_tls_certificate`, `${path}.server_tls_private_key`, files);
  if (mode !== "disable") checkCertificatePair(path, "server_tls_", files, checked);
}

/** Some connection to PostgreSQL is verified. */
function verifiesSomewhere({ general, pools }: Checked["config"]): boolean {
  return general.server_tls_mode.startsWith("verify-") ||
    [...pools.values()].some((pool) =>
      mergedTls(general, pool).server_tls_mode.startsWith("verify-")
    );
}

/** Who names an authority believes that it is asked. */
function unverified(mode: ServerTlsMode): string {
  return `has no effect: server_tls_mode ${mode} verifies nothing`;
}

/** All else is well: what the library says of the files of each pool, told once for those that have the same. */
export function checkServerContexts(
  { config, report, readText, serverTlsFaults }: Checked,
): void {
  if (report.faults.length > 0 || serverTlsFaults === undefined) return;
  const reader = new ServerTlsReader((file) => new TextEncoder().encode(readText(file)));
  const seen = new Set<string>();
  for (const [name, pool] of config.pools) {
    const tls = reader.resolve(config.general, pool);
    const { mode, files } = tls;
    const key = `${mode} ${files.digest}`;
    const wanted = mode !== "disable" && (mode !== "allow" || files.certificate !== undefined);
    if (!wanted || seen.has(key)) continue;
    seen.add(key);
    const path = ["pools", name, "server_tls_mode"].reduce(keyPath);
    for (const fault of serverTlsFaults(tls)) report.fault(path, fault);
  }
}

/** A certificate and its key come together. */
function checkPair(
  report: Report,
  certificatePath: string,
  keyFilePath: string,
  files: { certificate: string | undefined; key: string | undefined },
): void {
  if (files.certificate !== undefined && files.key === undefined) {
    report.fault(certificatePath, "needs the private key as well", `set ${keyFilePath}`);
  }
  if (files.key !== undefined && files.certificate === undefined) {
    report.fault(keyFilePath, "needs the certificate as well", `set ${certificatePath}`);
  }
}

/** `verify-…` needs somebody to trust. */
function checkServerCa(
  mode: ServerTlsMode,
  ca: string | undefined,
  section: string,
  report: Report,
): void {
  if (!mode.startsWith("verify-") || ca !== undefined) return;
  report.fault(`${section}.server_tls_mode`, `${mode} needs server_tls_ca_cert`);
}

/** A handshake without a question before it leaves no way back to a plain connection. */
function checkDirect(
  mode: ServerTlsConfig["server_tls_mode"],
  section: string,
  report: Report,
): void {
  if (mode === "require" || mode.startsWith("verify-")) return;
  report.fault(
    `${section}.server_tls_direct`,
    `needs server_tls_mode require, verify-ca or verify-full, is ${mode}`,
  );
}

/** Both files of a pair, alone and with each other. */
function checkCertificatePair(
  section: string,
  prefix: "tls_" | "server_tls_",
  files: { certificate: string | undefined; key: string | undefined },
  checked: Checked,
): void {
  if (files.certificate === undefined || files.key === undefined) return;
  const { report } = checked;
  const certificatePath = `${section}.${prefix}certificate`;
  const keyPath = `${section}.${prefix}private_key`;
  const certificates = checkCertificates(certificatePath, files.certificate, checked);
  if (certificates !== undefined) tellOrder(certificatePath, certificates, report);
  const text = checkPem(keyPath, files.key, checked);
  if (text === undefined) return;
  if (((checked.fileMode?.(files.key) ?? 0) & OTHERS) !== 0) {
    report.warn(keyPath, `${JSON.stringify(files.key)} is open to others`, "chmod o-rwx");
  }
  const key = readPrivateKey(text);
  if (typeof key === "string") report.fault(keyPath, `${JSON.stringify(files.key)}: ${key}`);
  else if (key !== undefined && certificates?.[0].checkPrivateKey(key) === false) {
    report.fault(keyPath, `is not the key of ${JSON.stringify(files.certificate)}`);
  }
}

/** Those who are trusted. */
function checkAuthorities(path: string, file: string | undefined, checked: Checked): void {
  const certificates = checkCertificates(path, file, checked);
  // One that has signed itself may be trusted as it is.
  if (certificates?.every(({ ca, subject, issuer }) => !ca && subject !== issuer)) {
    checked.report.warn(path, "none of its certificates is an authority's: nobody will be trusted");
  }
}

/** RFC 5246 §7.4.2: each certifies the one before it. Many clients sort them, and not all. */
function tellOrder(path: string, certificates: X509Certificate[], report: Report): void {
  const at = certificates.findIndex(({ issuer }, i) =>
    i + 1 < certificates.length && certificates[i + 1]!.subject !== issuer
  );
  if (at < 0) return;
  report.warn(
    path,
    `certificate ${at + 2} is not that of the issuer of certificate ${
      at + 1
    }: some clients will refuse them`,
  );
}

function checkCertificates(
  path: string,
  file: string | undefined,
  checked: Checked,
): X509Certificate[] | undefined {
  const text = checkPem(path, file, checked);
  if (text === undefined) return undefined;
  const certificates = readCertificates(text);
  if (typeof certificates === "string") {
    checked.report.fault(path, `${JSON.stringify(file)}: ${certificates}`);
    return undefined;
  }
  tellValidity(path, certificates, checked.report);
  return certificates;
}

function tellValidity(path: string, certificates: X509Certificate[], report: Report): void {
  certificates.forEach((certificate, index) => {
    const warning = validityWarning(certificate, Date.now());
    if (warning === undefined) return;
    const which = certificates.length === 1 ? "the certificate" : `certificate ${index + 1}`;
    report.warn(path, `${which} (${certificate.subject.replaceAll("\n", ", ")}) ${warning}`);
  });
}

/**
 * The cipher suites that connections can be made with: those with an AEAD, whose records the pooler seals and opens
 * itself. Names are OpenSSL's.
 */

/** Of TLS 1.2, all with a key exchange of their own for each connection; the first is preferred. */
export const TLS12_SUITES = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
] as const;

/** Of TLS 1.3, likewise. */
export const TLS13_SUITES = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
] as const;

export type TlsSuiteName = typeof TLS12_SUITES[number] | typeof TLS13_SUITES[number];

/** What is wrong with a colon-separated list of suites; `undefined`: nothing. */
export function suitesFault(list: string, known: readonly string[]): string | undefined {
  const names = list.split(":");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return undefined;
  return unknown === "" ? "holds an empty name" : `${JSON.stringify(unknown)} is not known here`;
}

/**
 * The cipher suites whose connections are data: those with an AEAD, which need a key, a nonce and a counter and nothing
 * else. Others are never offered.
 */

import { TLS12_SUITES, TLS13_SUITES, type TlsSuiteName } from "../config/tls_suites.ts";

export const TLS_1_2 = 0x0303;
export const TLS_1_3 = 0x0304;

export interface Suite {
  /** Its number in the registry of IANA. */
  readonly id: number;
  /** OpenSSL's name of it: as in its lists, and in what operators see. */
  readonly name: string;
  readonly version: number;
  /** OpenSSL's name of its AEAD. */
  readonly cipher: string;
  readonly keyBytes: number;
  readonly hash: "sha256" | "sha384";
  /** TLS 1.2: what is sent of the nonce with each record (RFC 5288 §3), or 0. */
  readonly explicitNonceBytes: number;
}

const AEADS = {
  aes128: { cipher: "AES-128-GCM", keyBytes: 16, hash: "sha256" },
  aes256: { cipher: "AES-256-GCM", keyBytes: 32, hash: "sha384" },
  chacha: { cipher: "ChaCha20-Poly1305", keyBytes: 32, hash: "sha256" },
} as const;

/** Numbers, and what they are made of. */
const TRAITS: Readonly<Record<TlsSuiteName, readonly [id: number, aead: keyof typeof AEADS]>> = {
  "TLS_AES_256_GCM_SHA384": [0x1302, "aes256"],
  "TLS_CHACHA20_POLY1305_SHA256": [0x1303, "chacha"],
  "TLS_AES_128_GCM_SHA256": [0x1301, "aes128"],
  "ECDHE-ECDSA-AES256-GCM-SHA384": [0xc02c, "aes256"],
  "ECDHE-RSA-AES256-GCM-SHA384": [0xc030, "aes256"],
  "ECDHE-ECDSA-CHACHA20-POLY1305": [0xcca9, "chacha"],
  "ECDHE-RSA-CHACHA20-POLY1305": [0xcca8, "chacha"],
  "ECDHE-ECDSA-AES128-GCM-SHA256": [0xc02b, "aes128"],
  "ECDHE-RSA-AES128-GCM-SHA256": [0xc02f, "aes128"],
};

function suite(name: TlsSuiteName, version: number): Suite {
  const [id, aead] = TRAITS[name];
  const explicitNonceBytes = version === TLS_1_2 && aead !== "chacha" ? 8 : 0;
  return { id, name, version, explicitNonceBytes, ...AEADS[aead] };
}

/** In the order in which they are preferred. */
export const SUITES: readonly Suite[] = [
  ...TLS13_SUITES.map((name) => suite(name, TLS_1_3)),
  ...TLS12_SUITES.map((name) => suite(name, TLS_1_2)),
];

export function suiteOf(id: number): Suite | undefined {
  return SUITES.find((each) => each.id === id);
}

function namesOf(version: number): readonly string[] {
  return version === TLS_1_3 ? TLS13_SUITES : TLS12_SUITES;
}

/** OpenSSL's list of all suites of a version. */
export function allSuites(version: number): string {
  return namesOf(version).join(":");
}

/**
 * What is wrong with a list of suites as the operator wrote it (names of OpenSSL's with colons between them), or
 * undefined.
 */
export function faultOfSuites(list: string, version: number): string | undefined {
  const known = namesOf(version);
  for (const name of list.split(":")) {
    if (known.includes(name)) continue;
    return `"${name}" is not a suite that can be used: those are ${known.join(", ")}`;
  }
  return undefined;
}

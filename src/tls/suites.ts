/**
 * The cipher suites whose connections are data: those with an AEAD, which need a key, a nonce and a counter and nothing
 * else. Others are never offered.
 */

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

function suite(id: number, name: string, aead: keyof typeof AEADS): Suite {
  const version = name.startsWith("TLS_") ? TLS_1_3 : TLS_1_2;
  const explicitNonceBytes = version === TLS_1_2 && aead !== "chacha" ? 8 : 0;
  return { id, name, version, explicitNonceBytes, ...AEADS[aead] };
}

/** In the order in which they are preferred. */
export const SUITES: readonly Suite[] = [
  suite(0x1302, "TLS_AES_256_GCM_SHA384", "aes256"),
  suite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", "chacha"),
  suite(0x1301, "TLS_AES_128_GCM_SHA256", "aes128"),
  suite(0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384", "aes256"),
  suite(0xc030, "ECDHE-RSA-AES256-GCM-SHA384", "aes256"),
  suite(0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305", "chacha"),
  suite(0xcca8, "ECDHE-RSA-CHACHA20-POLY1305", "chacha"),
  suite(0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256", "aes128"),
  suite(0xc02f, "ECDHE-RSA-AES128-GCM-SHA256", "aes128"),
];

export function suiteOf(id: number): Suite | undefined {
  return SUITES.find((each) => each.id === id);
}

/** OpenSSL's list of all suites of a version. */
export function allSuites(version: number): string {
  return SUITES.filter((each) => each.version === version).map((each) => each.name).join(":");
}

/**
 * What is wrong with a list of suites as the operator wrote it (names of OpenSSL's with colons between them), or
 * undefined.
 */
export function faultOfSuites(list: string, version: number): string | undefined {
  const known = SUITES.filter((each) => each.version === version).map((each) => each.name);
  for (const name of list.split(":")) {
    if (known.includes(name)) continue;
    return `"${name}" is not a suite that can be used: those are ${known.join(", ")}`;
  }
  return undefined;
}

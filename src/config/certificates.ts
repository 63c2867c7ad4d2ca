/**
 * What can be told of PEM files without a TLS library: whether they hold what their key of the configuration says, whether
 * certificate and private key belong together, and until when a certificate is valid.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

/** An end of validity that is nearer is told. */
const SOON_DAYS = 30;
const DAY_MS = 86_400_000;

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n[\s\S]*?-----END \1-----/g;
const CERTIFICATES: ReadonlySet<string> = new Set(["CERTIFICATE", "TRUSTED CERTIFICATE"]);

/** The certificates of a PEM text in their order, or what is wrong with it. */
export function readCertificates(text: string): X509Certificate[] | string {
  const certificates: X509Certificate[] = [];
  for (const [block, label] of text.matchAll(BLOCK)) {
    if (!CERTIFICATES.has(label)) continue;
    try {
      certificates.push(new X509Certificate(block));
    } catch {
      // What node tells of it is about its own calls.
      return `certificate ${certificates.length + 1} of it can't be read`;
    }
  }
  const begun = text.split("-----BEGIN CERTIFICATE-----").length - 1;
  if (begun > certificates.length) return `certificate ${certificates.length + 1} of it has no end`;
  return certificates.length > 0 ? certificates : "it holds no certificate";
}

/**
 * The private key of a PEM text, or what is wrong with it. `undefined`: it has one, which is for the TLS library to judge.
 */
export function readPrivateKey(text: string): KeyObject | string | undefined {
  const blocks = [...text.matchAll(BLOCK)].filter(([, label]) => label.endsWith("PRIVATE KEY"));
  if (blocks.length === 0) return "it holds no private key";
  const [[block, label]] = blocks;
  if (label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type: 4,ENCRYPTED/m.test(block)) {
    return "the private key is encrypted, and nobody could be asked for its passphrase: " +
      "store it decrypted (openssl pkey -in FILE -out NEW_FILE)";
  }
  try {
    return createPrivateKey(block);
  } catch {
    return undefined;
  }
}

/** What is to be known about a certificate's validity; `undefined`: nothing. */
export function validityWarning(certificate: X509Certificate, nowMs: number): string | undefined {
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  if (to < nowMs) return `expired on ${day(to)}`;
  if (from > nowMs) return `is not valid before ${day(from)}`;
  if (to - nowMs < SOON_DAYS * DAY_MS) {
    return `expires on ${day(to)}, in ${Math.floor((to - nowMs) / DAY_MS)} days`;
  }
  return undefined;
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

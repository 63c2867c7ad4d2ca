/** What operators want to know of a certificate: whose it is, and until when. For checks on the main thread, not for traffic. */

import { X509Certificate } from "node:crypto";

export interface CertificateFacts {
  subject: string;
  issuer: string;
  /** Names and addresses that it is for, as OpenSSL prints them; "" for none. */
  names: string;
  notBefore: Date;
  notAfter: Date;
}

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Facts of each certificate in a PEM text, in their order; those that can't be read are left out. */
export function certificateFacts(text: Uint8Array): CertificateFacts[] {
  const facts: CertificateFacts[] = [];
  for (const [block] of new TextDecoder("latin1").decode(text).matchAll(BLOCK)) {
    try {
      const certificate = new X509Certificate(block);
      facts.push({
        subject: certificate.subject ?? "",
        issuer: certificate.issuer ?? "",
        names: certificate.subjectAltName ?? "",
        notBefore: new Date(certificate.validFrom),
        notAfter: new Date(certificate.validTo),
      });
    } catch {
      // Whoever loads the file says what is wrong with it.
      continue;
    }
  }
  return facts;
}

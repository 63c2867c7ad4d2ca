/**
 * Certificates and keys out of PEM texts, by OpenSSL's readers. What is wrong with a file is said in words for the
 * operator; the pointers belong to whoever asked.
 */

import { lastError, openssl } from "../os/openssl.ts";

/** A file as the control plane has read it. */
export interface PemFile {
  /** Its path, as faults name it. */
  name: string;
  text: Uint8Array<ArrayBuffer>;
}

/** No password: a key that needs one is refused rather than asked about on a terminal. */
const NO_PASSWORD = new Uint8Array(1);

const decoder = new TextDecoder("latin1");
/** More than any bundle has; each is a piece of OpenSSL's memory. */
const MOST_CERTIFICATES = 10_000;

function withBio<T>(text: Uint8Array<ArrayBuffer>, read: (bio: Deno.PointerValue) => T): T {
  const { crypto } = openssl();
  const bio = crypto.BIO_new_mem_buf(text, text.length);
  try {
    return read(bio);
  } finally {
    crypto.BIO_free(bio);
  }
}

/** All certificates of a file, in their order; a text is what is wrong. */
export function readCertificates(file: PemFile): Deno.PointerObject[] | string {
  const { crypto } = openssl();
  crypto.ERR_clear_error();
  const wanted =
    decoder.decode(file.text).split(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/).length - 1;
  if (wanted === 0) return `${file.name} has no certificate in PEM format`;
  if (wanted > MOST_CERTIFICATES) {
    return `${file.name} has more than ${MOST_CERTIFICATES} certificates`;
  }
  const found: Deno.PointerObject[] = [];
  withBio(file.text, (bio) => {
    while (found.length < wanted) {
      const certificate = crypto.PEM_read_bio_X509(bio, null, null, NO_PASSWORD);
      if (certificate === null) break;
      found.push(certificate);
    }
  });
  if (found.length === wanted) {
    crypto.ERR_clear_error();
    return found;
  }
  const why = lastError();
  freeCertificates(found);
  return `certificate ${found.length + 1} of ${file.name} can't be read: ${why}`;
}

export function freeCertificates(certificates: readonly Deno.PointerObject[]): void {
  const { crypto } = openssl();
  for (const certificate of certificates) crypto.X509_free(certificate);
}

/** The private key of a file; a text is what is wrong. */
export function readKey(file: PemFile): Deno.PointerObject | string {
  const { crypto } = openssl();
  crypto.ERR_clear_error();
  const text = decoder.decode(file.text);
  if (text.includes("BEGIN ENCRYPTED PRIVATE KEY") || text.includes("Proc-Type: 4,ENCRYPTED")) {
    return `the private key in ${file.name} is encrypted: decrypt it (openssl pkey -in KEY -out NEW_KEY), since there ` +
      `is nobody to ask for the password`;
  }
  if (!/-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/.test(text)) {
    return `${file.name} has no private key in PEM format`;
  }
  const key = withBio(
    file.text,
    (bio) => crypto.PEM_read_bio_PrivateKey(bio, null, null, NO_PASSWORD),
  );
  if (key !== null) {
    crypto.ERR_clear_error();
    return key;
  }
  return `the private key in ${file.name} can't be read: ${lastError()}`;
}

/** The DER form of a certificate of OpenSSL's. */
export function derOf(certificate: Deno.PointerObject): Uint8Array<ArrayBuffer> {
  const { crypto } = openssl();
  const bio = crypto.BIO_new(crypto.BIO_s_mem());
  crypto.i2d_X509_bio(bio, certificate);
  const der = new Uint8Array(crypto.BIO_ctrl_pending(bio));
  crypto.BIO_read(bio, der, der.length);
  crypto.BIO_free(bio);
  return der;
}

/** OpenSSL's form of a certificate, or undefined if it is none. */
export function certificateOf(der: Uint8Array<ArrayBuffer>): Deno.PointerObject | undefined {
  const { crypto } = openssl();
  const certificate = withBio(der, (bio) => crypto.d2i_X509_bio(bio, null));
  crypto.ERR_clear_error();
  return certificate ?? undefined;
}

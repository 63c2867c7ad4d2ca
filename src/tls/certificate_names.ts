/** Whom a client's certificate names, as PostgreSQL reads it. */

import { openssl } from "../os/openssl.ts";
import { certificateOf } from "./pem.ts";

/** Names of a certificate's subject. */
export interface CertificateNames {
  /** The first common name; `undefined`: it has none, or none that is a text. */
  commonName: string | undefined;
  /** All of it, by RFC 2253: `CN=ann,OU=ops`. */
  distinguishedName: string;
}

const NID_COMMON_NAME = 13;
/** XN_FLAG_RFC2253: control characters and those beyond ASCII are escaped. */
const RFC_2253 = 0x1110317n;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The names in a certificate in DER; `undefined`: it is none. */
export function namesOf(der: Uint8Array<ArrayBuffer>): CertificateNames | undefined {
  const { crypto } = openssl();
  const certificate = certificateOf(der);
  if (certificate === undefined) return undefined;
  const subject = crypto.X509_get_subject_name(certificate);
  const names = { commonName: commonNameOf(subject), distinguishedName: textOf(subject) };
  crypto.X509_free(certificate);
  return names;
}

function commonNameOf(subject: Deno.PointerValue): string | undefined {
  const { crypto } = openssl();
  const length = crypto.X509_NAME_get_text_by_NID(subject, NID_COMMON_NAME, null, 0);
  if (length <= 0) return undefined;
  const bytes = new Uint8Array(length + 1);
  crypto.X509_NAME_get_text_by_NID(subject, NID_COMMON_NAME, bytes, bytes.length);
  // A zero byte ends a name for some and not for others: it names nobody.
  if (bytes.indexOf(0) !== length) return undefined;
  try {
    return utf8.decode(bytes.subarray(0, length));
  } catch {
    return undefined;
  }
}

function textOf(subject: Deno.PointerValue): string {
  const { crypto } = openssl();
  const bio = crypto.BIO_new(crypto.BIO_s_mem());
  crypto.X509_NAME_print_ex(bio, subject, 0, RFC_2253);
  const text = new Uint8Array(crypto.BIO_ctrl_pending(bio));
  crypto.BIO_read(bio, text, text.length);
  crypto.BIO_free(bio);
  return new TextDecoder().decode(text);
}

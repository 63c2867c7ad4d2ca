/**
 * Channel binding `tls-server-end-point` (RFC 5929 §4): a hash of the server's certificate, by the hash of its signature,
 * at least SHA-256. A signature that has no hash of its own (Ed25519) has no such binding.
 */

import { openssl } from "../os/openssl.ts";
import { certificateOf } from "./pem.ts";

const NID_UNDEFINED = 0;
const NID_MD5 = 4;
const NID_SHA1 = 64;
const NID_MD5_SHA1 = 114;
const TOO_WEAK = [NID_MD5, NID_SHA1, NID_MD5_SHA1];
const EVP_MAX_MD_SIZE = 64;

/** The binding of a certificate in DER, or undefined where there is none. */
export function tlsServerEndPoint(
  certificate: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> | undefined {
  const { crypto } = openssl();
  const pointer = certificateOf(certificate);
  if (pointer === undefined) return undefined;
  try {
    const hash = new Int32Array(1);
    const key = new Int32Array(1);
    // A signature that it does not know in full (Ed25519) is told by the missing hash.
    crypto.X509_get_signature_info(pointer, hash, key, null, null);
    if (hash[0] === NID_UNDEFINED) return undefined;
    const method = TOO_WEAK.includes(hash[0])
      ? crypto.EVP_sha256()
      : crypto.EVP_get_digestbyname(crypto.OBJ_nid2sn(hash[0]));
    if (method === null) return undefined;
    const digest = new Uint8Array(EVP_MAX_MD_SIZE);
    const length = new Uint32Array(1);
    if (crypto.X509_digest(pointer, method, digest, length) !== 1) return undefined;
    return digest.slice(0, length[0]);
  } finally {
    crypto.ERR_clear_error();
    crypto.X509_free(pointer);
  }
}

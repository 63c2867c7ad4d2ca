/**
 * OpenSSL 3 by FFI: the symbol tables of libssl and libcrypto, and the calls of the record layer. Opened on first use, so
 * that a machine without it runs what needs no TLS. State of the thread, as all of FFI is.
 *
 * Calls of the record layer take pointers that are made once, and `u32` where C has `size_t` (libc.ts says why). The
 * others may take the slow path.
 */

const SSL_SYMBOLS = {
  // const SSL_METHOD *TLS_method(void)
  TLS_method: { parameters: [], result: "pointer" },
  // SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
  SSL_CTX_new: { parameters: ["pointer"], result: "pointer" },
  // void SSL_CTX_free(SSL_CTX *ctx)
  SSL_CTX_free: { parameters: ["pointer"], result: "void" },
  // long SSL_CTX_ctrl(SSL_CTX *ctx, int cmd, long larg, void *parg)
  SSL_CTX_ctrl: { parameters: ["pointer", "i32", "i64", "pointer"], result: "i64" },
  // uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t op)
  SSL_CTX_set_options: { parameters: ["pointer", "u64"], result: "u64" },
  // int SSL_CTX_set_cipher_list(SSL_CTX *, const char *str)
  SSL_CTX_set_cipher_list: { parameters: ["pointer", "buffer"], result: "i32" },
  // int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *str)
  SSL_CTX_set_ciphersuites: { parameters: ["pointer", "buffer"], result: "i32" },
  // int SSL_CTX_use_certificate(SSL_CTX *ctx, X509 *x)
  SSL_CTX_use_certificate: { parameters: ["pointer", "pointer"], result: "i32" },
  // int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *pkey)
  SSL_CTX_use_PrivateKey: { parameters: ["pointer", "pointer"], result: "i32" },
  // int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t num_tickets)
  SSL_CTX_set_num_tickets: { parameters: ["pointer", "usize"], result: "i32" },
  // void SSL_CTX_set_keylog_callback(SSL_CTX *ctx, void (*cb)(const SSL *ssl, const char *line))
  SSL_CTX_set_keylog_callback: { parameters: ["pointer", "function"], result: "void" },
  // void SSL_CTX_set_alpn_select_cb(SSL_CTX *ctx, int (*cb)(…), void *arg)
  SSL_CTX_set_alpn_select_cb: { parameters: ["pointer", "function", "pointer"], result: "void" },
  // void SSL_CTX_set_client_hello_cb(SSL_CTX *c, int (*cb)(SSL *s, int *al, void *arg), void *arg)
  SSL_CTX_set_client_hello_cb: { parameters: ["pointer", "pointer", "pointer"], result: "void" },
  // int SSL_client_hello_get0_ext(SSL *s, unsigned int type, const unsigned char **out, size_t *outlen)
  SSL_client_hello_get0_ext: { parameters: ["pointer", "u32", "buffer", "buffer"], result: "i32" },
  // void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, int (*callback)(…))
  SSL_CTX_set_verify: { parameters: ["pointer", "i32", "pointer"], result: "void" },
  // X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *)
  SSL_CTX_get_cert_store: { parameters: ["pointer"], result: "pointer" },
  // int SSL_CTX_add_client_CA(SSL_CTX *ctx, X509 *x)
  SSL_CTX_add_client_CA: { parameters: ["pointer", "pointer"], result: "i32" },
  // SSL *SSL_new(SSL_CTX *ctx)
  SSL_new: { parameters: ["pointer"], result: "pointer" },
  // void SSL_free(SSL *ssl)
  SSL_free: { parameters: ["pointer"], result: "void" },
  // void SSL_set_bio(SSL *s, BIO *rbio, BIO *wbio)
  SSL_set_bio: { parameters: ["pointer", "pointer", "pointer"], result: "void" },
  // void SSL_set_accept_state(SSL *s)
  SSL_set_accept_state: { parameters: ["pointer"], result: "void" },
  // void SSL_set_connect_state(SSL *s)
  SSL_set_connect_state: { parameters: ["pointer"], result: "void" },
  // int SSL_do_handshake(SSL *s)
  SSL_do_handshake: { parameters: ["pointer"], result: "i32" },
  // int SSL_get_error(const SSL *s, int ret_code)
  SSL_get_error: { parameters: ["pointer", "i32"], result: "i32" },
  // const SSL_CIPHER *SSL_get_current_cipher(const SSL *s)
  SSL_get_current_cipher: { parameters: ["pointer"], result: "pointer" },
  // uint16_t SSL_CIPHER_get_protocol_id(const SSL_CIPHER *c)
  SSL_CIPHER_get_protocol_id: { parameters: ["pointer"], result: "u16" },
  // int SSL_version(const SSL *ssl)
  SSL_version: { parameters: ["pointer"], result: "i32" },
  // size_t SSL_get_client_random(const SSL *ssl, unsigned char *out, size_t outlen)
  SSL_get_client_random: { parameters: ["pointer", "buffer", "usize"], result: "usize" },
  // size_t SSL_get_server_random(const SSL *ssl, unsigned char *out, size_t outlen)
  SSL_get_server_random: { parameters: ["pointer", "buffer", "usize"], result: "usize" },
  // SSL_SESSION *SSL_get_session(const SSL *ssl)
  SSL_get_session: { parameters: ["pointer"], result: "pointer" },
  // uint8_t SSL_SESSION_get_max_fragment_length(const SSL_SESSION *sess)
  SSL_SESSION_get_max_fragment_length: { parameters: ["pointer"], result: "u8" },
  // void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *len)
  SSL_get0_alpn_selected: { parameters: ["pointer", "buffer", "buffer"], result: "void" },
  // int SSL_set_alpn_protos(SSL *ssl, const unsigned char *protos, unsigned int protos_len)
  SSL_set_alpn_protos: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg)
  SSL_ctrl: { parameters: ["pointer", "i32", "i64", "buffer"], result: "i64" },
  // int SSL_set1_host(SSL *s, const char *hostname)
  SSL_set1_host: { parameters: ["pointer", "buffer"], result: "i32" },
  // int SSL_add1_host(SSL *s, const char *hostname): where it is, for key_log.ts
  SSL_add1_host: { type: "pointer" },
  // X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
  SSL_get0_param: { parameters: ["pointer"], result: "pointer" },
  // long SSL_get_verify_result(const SSL *ssl)
  SSL_get_verify_result: { parameters: ["pointer"], result: "i64" },
  // X509 *SSL_get1_peer_certificate(const SSL *ssl)
  SSL_get1_peer_certificate: { parameters: ["pointer"], result: "pointer" },
} as const;

const CRYPTO_SYMBOLS = {
  // unsigned long OpenSSL_version_num(void)
  OpenSSL_version_num: { parameters: [], result: "u32" },
  // size_t OPENSSL_strnlen(const char *str, size_t maxlen)
  OPENSSL_strnlen: { parameters: ["pointer", "u32"], result: "u32" },
  // void OPENSSL_cleanse(void *ptr, size_t len)
  OPENSSL_cleanse: { parameters: ["pointer", "u32"], result: "void" },
  // const BIO_METHOD *BIO_s_mem(void)
  BIO_s_mem: { parameters: [], result: "pointer" },
  // BIO *BIO_new(const BIO_METHOD *type)
  BIO_new: { parameters: ["pointer"], result: "pointer" },
  // BIO *BIO_new_mem_buf(const void *buf, int len)
  BIO_new_mem_buf: { parameters: ["buffer", "i32"], result: "pointer" },
  // int BIO_free(BIO *a)
  BIO_free: { parameters: ["pointer"], result: "i32" },
  // int BIO_write(BIO *b, const void *data, int dlen)
  BIO_write: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // int BIO_read(BIO *b, void *data, int dlen)
  BIO_read: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // size_t BIO_ctrl_pending(BIO *b)
  BIO_ctrl_pending: { parameters: ["pointer"], result: "u32" },
  // X509 *PEM_read_bio_X509(BIO *bp, X509 **x, pem_password_cb *cb, void *u)
  PEM_read_bio_X509: { parameters: ["pointer", "pointer", "pointer", "buffer"], result: "pointer" },
  // EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bp, EVP_PKEY **x, pem_password_cb *cb, void *u)
  PEM_read_bio_PrivateKey: {
    parameters: ["pointer", "pointer", "pointer", "buffer"],
    result: "pointer",
  },
  // X509 *d2i_X509_bio(BIO *bp, X509 **x509)
  d2i_X509_bio: { parameters: ["pointer", "pointer"], result: "pointer" },
  // int i2d_X509_bio(BIO *bp, const X509 *x509)
  i2d_X509_bio: { parameters: ["pointer", "pointer"], result: "i32" },
  // X509_NAME *X509_get_subject_name(const X509 *a)
  X509_get_subject_name: { parameters: ["pointer"], result: "pointer" },
  // int X509_NAME_get_text_by_NID(const X509_NAME *name, int nid, char *buf, int len)
  X509_NAME_get_text_by_NID: { parameters: ["pointer", "i32", "buffer", "i32"], result: "i32" },
  // int X509_NAME_print_ex(BIO *out, const X509_NAME *nm, int indent, unsigned long flags)
  X509_NAME_print_ex: { parameters: ["pointer", "pointer", "i32", "u64"], result: "i32" },
  // void X509_free(X509 *a)
  X509_free: { parameters: ["pointer"], result: "void" },
  // void EVP_PKEY_free(EVP_PKEY *key)
  EVP_PKEY_free: { parameters: ["pointer"], result: "void" },
  // int X509_STORE_add_cert(X509_STORE *ctx, X509 *x)
  X509_STORE_add_cert: { parameters: ["pointer", "pointer"], result: "i32" },
  // int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *ipasc)
  X509_VERIFY_PARAM_set1_ip_asc: { parameters: ["pointer", "buffer"], result: "i32" },
  // char *X509_VERIFY_PARAM_get0_host(X509_VERIFY_PARAM *param, int idx)
  X509_VERIFY_PARAM_get0_host: { parameters: ["pointer", "i32"], result: "pointer" },
  // void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *param, unsigned int flags)
  X509_VERIFY_PARAM_set_hostflags: { parameters: ["pointer", "u32"], result: "void" },
  // const char *X509_verify_cert_error_string(long n)
  X509_verify_cert_error_string: { parameters: ["i64"], result: "pointer" },
  // int X509_get_signature_info(X509 *x, int *mdnid, int *pknid, int *secbits, uint32_t *flags)
  X509_get_signature_info: {
    parameters: ["pointer", "buffer", "buffer", "pointer", "pointer"],
    result: "i32",
  },
  // int X509_digest(const X509 *data, const EVP_MD *type, unsigned char *md, unsigned int *len)
  X509_digest: { parameters: ["pointer", "pointer", "buffer", "buffer"], result: "i32" },
  // const char *OBJ_nid2sn(int n)
  OBJ_nid2sn: { parameters: ["i32"], result: "pointer" },
  // const EVP_MD *EVP_get_digestbyname(const char *name)
  EVP_get_digestbyname: { parameters: ["pointer"], result: "pointer" },
  // const EVP_MD *EVP_sha256(void)
  EVP_sha256: { parameters: [], result: "pointer" },
  // EVP_MAC *EVP_MAC_fetch(OSSL_LIB_CTX *ctx, const char *algorithm, const char *properties)
  EVP_MAC_fetch: { parameters: ["pointer", "buffer", "pointer"], result: "pointer" },
  // EVP_MAC_CTX *EVP_MAC_CTX_new(EVP_MAC *mac)
  EVP_MAC_CTX_new: { parameters: ["pointer"], result: "pointer" },
  // int EVP_MAC_init(EVP_MAC_CTX *ctx, const unsigned char *key, size_t keylen, const OSSL_PARAM params[])
  EVP_MAC_init: { parameters: ["pointer", "pointer", "u32", "pointer"], result: "i32" },
  // int EVP_MAC_update(EVP_MAC_CTX *ctx, const unsigned char *data, size_t length)
  EVP_MAC_update: { parameters: ["pointer", "pointer", "u32"], result: "i32" },
  // int EVP_MAC_final(EVP_MAC_CTX *ctx, unsigned char *out, size_t *outl, size_t outsize)
  EVP_MAC_final: { parameters: ["pointer", "pointer", "pointer", "u32"], result: "i32" },
  // unsigned long ERR_get_error(void): a library and a reason, in 32 bits
  ERR_get_error: { parameters: [], result: "u32" },
  // unsigned long ERR_peek_last_error(void)
  ERR_peek_last_error: { parameters: [], result: "u32" },
  // void ERR_clear_error(void)
  ERR_clear_error: { parameters: [], result: "void" },
  // const char *ERR_reason_error_string(unsigned long e)
  ERR_reason_error_string: { parameters: ["u64"], result: "pointer" },
  // EVP_CIPHER *EVP_CIPHER_fetch(OSSL_LIB_CTX *ctx, const char *algorithm, const char *properties)
  EVP_CIPHER_fetch: { parameters: ["pointer", "buffer", "pointer"], result: "pointer" },
  // EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void)
  EVP_CIPHER_CTX_new: { parameters: [], result: "pointer" },
  // void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx)
  EVP_CIPHER_CTX_free: { parameters: ["pointer"], result: "void" },
  // int EVP_CipherInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, ENGINE *impl, const unsigned char *key,
  //                       const unsigned char *iv, int enc)
  EVP_CipherInit_ex: {
    parameters: ["pointer", "pointer", "pointer", "buffer", "pointer", "i32"],
    result: "i32",
  },
} as const;

/** What a record needs, where a null pointer is the number 0: it stays on the fast path. */
const RECORD_SYMBOLS = {
  // EVP_CipherInit_ex of a context that has its cipher and key
  begin: {
    name: "EVP_CipherInit_ex",
    parameters: ["pointer", "i32", "i32", "i32", "pointer", "i32"],
    result: "i32",
  },
  // int EVP_CipherUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *in, int inl)
  associate: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", "i32", "pointer", "pointer", "i32"],
    result: "i32",
  },
  update: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", "pointer", "pointer", "pointer", "i32"],
    result: "i32",
  },
  // int EVP_CipherFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *outm, int *outl)
  finish: {
    name: "EVP_CipherFinal_ex",
    parameters: ["pointer", "pointer", "pointer"],
    result: "i32",
  },
  // int EVP_CIPHER_CTX_get_params(EVP_CIPHER_CTX *ctx, OSSL_PARAM params[]): half of what EVP_CIPHER_CTX_ctrl takes
  get: { name: "EVP_CIPHER_CTX_get_params", parameters: ["pointer", "pointer"], result: "i32" },
  // int EVP_CIPHER_CTX_set_params(EVP_CIPHER_CTX *ctx, const OSSL_PARAM params[])
  set: { name: "EVP_CIPHER_CTX_set_params", parameters: ["pointer", "pointer"], result: "i32" },
} as const;

interface Libraries {
  ssl: Deno.DynamicLibrary<typeof SSL_SYMBOLS>["symbols"];
  crypto: Deno.DynamicLibrary<typeof CRYPTO_SYMBOLS>["symbols"];
  records: Deno.DynamicLibrary<typeof RECORD_SYMBOLS>["symbols"];
}

const LIBSSL = "libssl.so.3";
const LIBCRYPTO = "libcrypto.so.3";
const OLDEST_VERSION = 0x30000000;

let libraries: Libraries | undefined;
/** The same symbols, where the record layer finds them without a question. */
let records: Libraries["records"];

/** Opens the libraries: undefined when they are there, else why TLS can't be had, for the log. */
export function openOpenssl(): string | undefined {
  if (libraries !== undefined) return undefined;
  try {
    libraries = {
      ssl: Deno.dlopen(LIBSSL, SSL_SYMBOLS).symbols,
      crypto: Deno.dlopen(LIBCRYPTO, CRYPTO_SYMBOLS).symbols,
      records: Deno.dlopen(LIBCRYPTO, RECORD_SYMBOLS).symbols,
    };
  } catch (error) {
    return `TLS needs OpenSSL 3 (${LIBSSL}, ${LIBCRYPTO}: package libssl3 on Debian and Ubuntu, openssl-libs on ` +
      `Red Hat and its relatives): ${(error as Error).message}`;
  }
  const version = libraries.crypto.OpenSSL_version_num();
  if (version < OLDEST_VERSION) {
    libraries = undefined;
    return `TLS needs OpenSSL 3, and ${LIBCRYPTO} is version ${version.toString(16)}`;
  }
  ({ records } = libraries);
  return undefined;
}

/** The libraries; throws where they can't be had. */
export function openssl(): Libraries {
  const fault = openOpenssl();
  if (fault !== undefined) throw new Error(fault);
  return libraries!;
}

/** A C string of the library's, "" for none. */
export function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

const encoder = new TextEncoder();

/** A string for C. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${text}\0`);
}

/** What OpenSSL says of its last error in this thread, in its words; "" where it says nothing. The queue is empty then. */
export function lastError(): string {
  const { crypto } = openssl();
  const code = crypto.ERR_peek_last_error();
  crypto.ERR_clear_error();
  if (code === 0) return "";
  return textAt(crypto.ERR_reason_error_string(BigInt(code))) || `error ${code.toString(16)}`;
}

// ── ciphers of records ────────────────────────────────────────────────────────────────────────────────────────────

/** A cipher with its key, in OpenSSL's memory; freed by `freeCipher`. */
export type Cipher = Deno.PointerObject & { readonly __cipher: unique symbol };

const fetched = new Map<string, Deno.PointerObject>();

/** What a cipher is for. */
export const OPENS = 0;
export const SEALS = 1;

export const TAG_BYTES = 16;
const NONCE_BYTES = 12;

/** A cipher by OpenSSL's name of it (`AES-256-GCM`). */
export function newCipher(name: string, key: Uint8Array<ArrayBuffer>, purpose: number): Cipher {
  const { crypto } = openssl();
  let algorithm = fetched.get(name);
  if (algorithm === undefined) {
    const found = crypto.EVP_CIPHER_fetch(null, cString(name), null);
    if (found === null) throw new Error(`OpenSSL has no ${name}: ${lastError()}`);
    algorithm = found;
    fetched.set(name, algorithm);
  }
  const cipher = crypto.EVP_CIPHER_CTX_new() as Cipher | null;
  if (cipher === null) throw new Error("OpenSSL is out of memory");
  if (crypto.EVP_CipherInit_ex(cipher, algorithm, null, key, null, purpose) !== 1) {
    crypto.EVP_CIPHER_CTX_free(cipher);
    throw new Error(`${name}: ${lastError()}`);
  }
  return cipher;
}

/** Overwrites and frees a cipher. */
export function freeCipher(cipher: Cipher): void {
  libraries!.crypto.EVP_CIPHER_CTX_free(cipher);
}

const kept: Uint8Array[] = [];

/**
 * Memory for pointers that are made once: it stays where it is, for as long as the thread. V8 keeps arrays of up to 64
 * bytes among its own objects, and moves them, unless they are given a buffer; and what nothing but a pointer knows of
 * is garbage to it.
 */
export function fixedBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  kept.push(bytes);
  return bytes;
}

/** `int *outl`: nobody looks at it, since these ciphers turn a byte into a byte. */
const outLength = fixedBytes(4);
const outLengthAt: Deno.PointerObject = Deno.UnsafePointer.of(outLength)!;
/** Where the nonce of the next record is put, and the additional data of it. */
export const nonce: Uint8Array<ArrayBuffer> = fixedBytes(NONCE_BYTES);
const nonceAt: Deno.PointerObject = Deno.UnsafePointer.of(nonce)!;
export const additional: Uint8Array<ArrayBuffer> = fixedBytes(16);
const additionalAt: Deno.PointerObject = Deno.UnsafePointer.of(additional)!;
/** The tag of the record sealed last, or of the one that is to be opened. */
export const tag: Uint8Array<ArrayBuffer> = fixedBytes(TAG_BYTES);
const tagAt: Deno.PointerObject = Deno.UnsafePointer.of(tag)!;

/** `OSSL_PARAM[2]`, of five words each: name, type, value, its size, the size that came back; and the end of the list. */
function parameters(name: string, type: bigint, value: Uint8Array): Deno.PointerObject {
  const words = new BigUint64Array(fixedBytes(80).buffer);
  words[0] = addressOf(fixedString(name));
  words[1] = type;
  words[2] = addressOf(value);
  words[3] = BigInt(value.length);
  return Deno.UnsafePointer.of(words)!;
}

function addressOf(bytes: Uint8Array): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>)));
}

function fixedString(text: string): Uint8Array {
  const bytes = fixedBytes(text.length + 1);
  bytes.set(cString(text));
  return bytes;
}

const OSSL_PARAM_UTF8_STRING = 4n;
const OSSL_PARAM_OCTET_STRING = 5n;
/** OSSL_CIPHER_PARAM_AEAD_TAG. */
const tagParametersAt = parameters("tag", OSSL_PARAM_OCTET_STRING, tag);

/** All of a record but its tag, which is told before or after: with `nonce` and what is associated. */
function passes(
  cipher: Cipher,
  direction: typeof SEALS | typeof OPENS,
  additionalLength: number,
  source: Deno.PointerObject,
  target: Deno.PointerObject,
  length: number,
): boolean {
  return records.begin(cipher, 0, 0, 0, nonceAt, direction) === 1 &&
    records.associate(cipher, 0, outLengthAt, additionalAt, additionalLength) === 1 &&
    (length === 0 || records.update(cipher, target, outLengthAt, source, length) === 1);
}

/** Seals `length` bytes, with `nonce` and the first `additionalLength` bytes of `additional`; the tag goes to `tag`. */
export function seal(
  cipher: Cipher,
  additionalLength: number,
  source: Deno.PointerObject,
  target: Deno.PointerObject,
  length: number,
): boolean {
  return passes(cipher, SEALS, additionalLength, source, target, length) &&
    records.finish(cipher, tagAt, outLengthAt) === 1 &&
    records.get(cipher, tagParametersAt) === 1;
}

/** Opens `length` bytes: false where they were not sealed with this key, nonce, additional data and `tag`. */
export function open(
  cipher: Cipher,
  additionalLength: number,
  source: Deno.PointerObject,
  target: Deno.PointerObject,
  length: number,
): boolean {
  return passes(cipher, OPENS, additionalLength, source, target, length) &&
    records.set(cipher, tagParametersAt) === 1 &&
    records.finish(cipher, tagAt, outLengthAt) === 1;
}

// ── HMAC ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** HMAC with one hash, kept: OpenSSL looks for both by their names whenever it makes one. */
export type Hmac = Deno.PointerObject & { readonly __hmac: unique symbol };

/** Where key and message of an HMAC are, and where it goes. */
export const macKey: Uint8Array<ArrayBuffer> = fixedBytes(64);
const macKeyAt: Deno.PointerObject = Deno.UnsafePointer.of(macKey)!;
export const macMessage: Uint8Array<ArrayBuffer> = fixedBytes(256);
const macMessageAt: Deno.PointerObject = Deno.UnsafePointer.of(macMessage)!;
export const mac: Uint8Array<ArrayBuffer> = fixedBytes(64);
const macAt: Deno.PointerObject = Deno.UnsafePointer.of(mac)!;

/** An HMAC by OpenSSL's name of its hash (`SHA2-384`), for as long as the thread. */
export function newHmac(hash: string): Hmac {
  const { crypto } = openssl();
  const algorithm = crypto.EVP_MAC_fetch(null, cString("HMAC"), null);
  if (algorithm === null) throw new Error(`OpenSSL has no HMAC: ${lastError()}`);
  const hmac = crypto.EVP_MAC_CTX_new(algorithm) as Hmac | null;
  if (hmac === null) throw new Error("OpenSSL is out of memory");
  const name = fixedString(hash).subarray(0, hash.length);
  const digest = parameters("digest", OSSL_PARAM_UTF8_STRING, name);
  if (crypto.EVP_MAC_init(hmac, macKeyAt, macKey.length, digest) !== 1) {
    throw new Error(`HMAC with ${hash}: ${lastError()}`);
  }
  return hmac;
}

/** HMAC of the first bytes of `macMessage` by the first of `macKey`, to `mac`. Both are overwritten, in OpenSSL too. */
export function computeHmac(hmac: Hmac, keyLength: number, messageLength: number): boolean {
  const { crypto } = libraries!;
  const done = crypto.EVP_MAC_init(hmac, macKeyAt, keyLength, null) === 1 &&
    crypto.EVP_MAC_update(hmac, macMessageAt, messageLength) === 1 &&
    crypto.EVP_MAC_final(hmac, macAt, null, mac.length) === 1;
  macKey.fill(0);
  macMessage.fill(0);
  return crypto.EVP_MAC_init(hmac, macKeyAt, macKey.length, null) === 1 && done;
}

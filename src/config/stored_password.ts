/**
 * Tells the forms of a stored password apart: by the same rules as PostgreSQL where it knows the form, by prefix for
 * the pooler's own. Nothing in here is ever put into a message.
 */

/** Form of a `password`. */
export type PasswordForm =
  | "empty"
  | "scram"
  /** Starts like a SCRAM verifier and is none: cut off, most likely. */
  | "broken_scram"
  | "md5"
  /** Starts with `md5` and is no hash. */
  | "plain_like_md5"
  | "jwt"
  | "plain";

/** Prefix of a `password` that names a public key file for tokens. */
export const JWT_PUBLIC_KEY_PREFIX = "jwt-pkey-fpath:";
/** Prefix of a `server_password` that names a private key file to sign tokens with. */
export const JWT_PRIVATE_KEY_PREFIX = "jwt-priv-key-fpath:";

const SCRAM_VERIFIER =
  /^SCRAM-SHA-256\$[1-9][0-9]{0,9}:[A-Za-z0-9+/]+={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/;
const MD5_HASH = /^md5[0-9a-fA-F]{32}$/;

/** The form of a stored password. */
export function passwordForm(password: string): PasswordForm {
  if (password === "") return "empty";
  if (password.startsWith("SCRAM-SHA-256")) {
    return SCRAM_VERIFIER.test(password) ? "scram" : "broken_scram";
  }
  if (MD5_HASH.test(password)) return "md5";
  if (password.startsWith(JWT_PUBLIC_KEY_PREFIX)) return "jwt";
  return password.startsWith("md5") ? "plain_like_md5" : "plain";
}

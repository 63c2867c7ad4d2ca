/**
 * PostgreSQL's `md5` password method, pure: the stored hash, the answer to a salted challenge, and its check. The hash
 * is password-equivalent (whoever has it can log in), so it is handled as a secret. Manual: "Message Flow, Start-up",
 * AuthenticationMD5Password.
 */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** Length of a stored hash and of an answer: `md5` and 32 hexadecimal digits. */
const HASH_LENGTH = 35;

function hexDigest(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("md5");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

/** The hash that PostgreSQL stores in `pg_authid`: `md5` and md5(password‖user). */
export function md5Hash(password: string | Uint8Array, user: string): string {
  return "md5" + hexDigest(password, user);
}

/** The answer to a challenge with `salt`, made from the stored hash. */
export function md5Response(hash: string, salt: Uint8Array): string {
  return "md5" + hexDigest(hash.slice(3).toLowerCase(), salt);
}

/** Whether `answer` is the right one, in a time that does not tell how much of it is right. */
export function md5Verify(hash: string, salt: Uint8Array, answer: string): boolean {
  return equalText(md5Response(hash, salt), answer);
}

/** Whether a cleartext password belongs to the stored hash, in constant time. */
export function md5VerifyPassword(
  hash: string,
  user: string,
  password: string | Uint8Array,
): boolean {
  return equalText(md5Hash(password, user), hash.toLowerCase());
}

/** A hash that no password has, the same at each attempt, so that an unknown user costs what a known one does. */
export function mockMd5Hash(user: string, secret: Uint8Array): string {
  return "md5" + createHmac("sha256", secret).update("md5\0" + user).digest("hex").slice(0, 32);
}

function equalText(expected: string, answer: string): boolean {
  const encoder = new TextEncoder();
  const given = encoder.encode(answer);
  if (given.length !== HASH_LENGTH) return false;
  return timingSafeEqual(encoder.encode(expected), given);
}

/**
 * A client's side of md5 and SCRAM-SHA-256 (RFC 5802, RFC 7677) for tests, and the three forms in which a password is
 * stored; independent of src/auth, which is under test.
 */

import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { cstring, int32, message, text } from "./wire_messages.ts";

function md5(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("md5");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

function hmac(key: Uint8Array, data: string): Uint8Array {
  return createHmac("sha256", key).update(data).digest();
}

/** A password as PostgreSQL stores it with `password_encryption = md5`. */
export function md5Stored(user: string, password: string): string {
  return "md5" + md5(password, user);
}

/** What answers an md5 challenge. */
export function md5Answer(user: string, password: string, salt: Uint8Array): string {
  return "md5" + md5(md5(password, user), salt);
}

/** A password as PostgreSQL stores it with `password_encryption = scram-sha-256`. */
export function scramStored(password: string, iterations: number = 4096): string {
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const stored = createHash("sha256").update(hmac(salted, "Client Key")).digest("base64");
  const server = createHmac("sha256", salted).update("Server Key").digest("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${stored}:${server}`;
}

/** One SCRAM exchange. Passwords are ASCII here. */
export class ScramLogin {
  readonly #password: string;
  readonly #nonce = randomBytes(18).toString("base64");
  #serverSignature = "";

  constructor(password: string) {
    this.#password = password;
  }

  /** SASLInitialResponse. */
  first(): Uint8Array {
    const data = text(`n,,n=,r=${this.#nonce}`);
    return message("p", cstring("SCRAM-SHA-256"), int32(data.length), data);
  }

  /** SASLResponse to the server's first message. */
  final(serverFirst: Uint8Array): Uint8Array {
    const said = new TextDecoder().decode(serverFirst);
    const { r, s, i } = Object.fromEntries(
      said.split(",").map((part) => [part[0], part.slice(2)]),
    ) as Record<string, string>;
    if (!r?.startsWith(this.#nonce)) throw new Error("SCRAM: the nonce is not an answer to ours");
    const salted = pbkdf2Sync(this.#password, atobBytes(s!), Number(i), 32, "sha256");
    const clientKey = hmac(salted, "Client Key");
    const withoutProof = `c=biws,r=${r}`;
    const all = `n=,r=${this.#nonce},${said},${withoutProof}`;
    const signature = hmac(createHash("sha256").update(clientKey).digest(), all);
    const proof = clientKey.map((byte, at) => byte ^ signature[at]!);
    this.#serverSignature = btoa(String.fromCharCode(...hmac(hmac(salted, "Server Key"), all)));
    return message("p", text(`${withoutProof},p=${btoa(String.fromCharCode(...proof))}`));
  }

  /** Checks the server's last message: it knows the password, too. */
  verify(serverFinal: Uint8Array): void {
    if (new TextDecoder().decode(serverFinal) !== `v=${this.#serverSignature}`) {
      throw new Error("SCRAM: the server's signature is wrong");
    }
  }
}

function atobBytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/**
 * Passwords towards PostgreSQL that are fetched when a connection is opened: `server_password_file` and
 * `server_password_command`, of a user or of its pool. What a file or a command may yield is said here, for the check of
 * a configuration and for who fetches. Nothing of a password is ever put into a message.
 */

import type { PasswordSource, ServerCredentials } from "./settings.ts";
import { JWT_PRIVATE_KEY_PREFIX, passwordForm } from "./stored_password.ts";
import type { PoolConfig, UserConfig } from "./types.ts";

/** PostgreSQL takes no longer ones (`PG_MAX_AUTH_TOKEN_LENGTH`). */
export const MOST_PASSWORD_BYTES = 65_530;

/** What stands for a place in an argument of a command. */
export interface PasswordPlaces {
  user: string;
  database: string;
  host: string;
  port: number;
}

/** Where the password of a user of a pool comes from; `undefined`: it is written in the configuration, or there is none. */
export function passwordSource(
  pool: PoolConfig,
  user: UserConfig,
  places: PasswordPlaces,
): PasswordSource | undefined {
  if (user.server_password?.startsWith(JWT_PRIVATE_KEY_PREFIX)) {
    const file = user.server_password.slice(JWT_PRIVATE_KEY_PREFIX.length);
    return { from: "token", file, role: places.user };
  }
  if (user.server_password !== undefined) return undefined;
  const own = user.server_password_file !== undefined || user.server_password_command !== undefined;
  const { server_password_file: file, server_password_command: command } = own ? user : pool;
  if (command !== undefined) {
    return {
      from: "command",
      command: command.map((part, at) => at === 0 ? part : withPlaces(part, places)),
      ttlMs: pool.server_password_command_ttl,
      timeoutMs: pool.server_password_command_timeout,
    };
  }
  return file === undefined ? undefined : { from: "file", file };
}

/** Braces around anything else are the command's own. */
function withPlaces(part: string, places: PasswordPlaces): string {
  return part.replace(
    /\{(user|database|host|port)\}/g,
    (_, name: keyof PasswordPlaces) => String(places[name]),
  );
}

/** The key that a source is written by, for texts. */
export function sourceKey({ from }: PasswordSource): string {
  if (from === "token") return "server_password";
  return from === "file" ? "server_password_file" : "server_password_command";
}

/** The password that a file or a command holds out, without the end of its line; or what stands against it. */
export function readPassword(bytes: Uint8Array): { password: string } | { fault: string } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { fault: "what it holds is no UTF-8" };
  }
  const password = text.replace(/\r?\n$/, "");
  if (password === "") return { fault: "it holds nothing" };
  if (password.includes("\0")) return { fault: "it holds a zero byte" };
  if (/[\r\n]/.test(password)) return { fault: "it holds more than one line" };
  if (bytes.length - (text.length - password.length) > MOST_PASSWORD_BYTES) {
    return { fault: `it holds more than ${MOST_PASSWORD_BYTES} bytes` };
  }
  return { password };
}

/** How a password that is known proves itself: md5 hashes are as PostgreSQL stores them. */
export function passwordCredentials(password: string): ServerCredentials {
  return passwordForm(password) === "md5"
    ? { kind: "md5", hash: password.toLowerCase() }
    : { kind: "password", password };
}

/**
 * TLS towards PostgreSQL as a pool has it: its own keys, then those of `[general]`, one by one, and what their files hold.
 * The files are read when the configuration is, so that all workers have the same and a reload is all or nothing.
 */

import { createHash } from "node:crypto";
import type { PemFile, ServerTls, ServerTlsFiles, ServerTlsMode } from "./settings.ts";
import type { GeneralConfig, PoolConfig, ServerTlsConfig } from "./types.ts";

/** What a pool's keys and the general ones amount to. */
export function mergedTls(
  general: ServerTlsConfig,
  pool: Partial<ServerTlsConfig>,
): ServerTlsConfig {
  return {
    server_tls_mode: pool.server_tls_mode ?? general.server_tls_mode,
    server_tls_direct: pool.server_tls_direct ?? general.server_tls_direct,
    server_tls_ca_cert: pool.server_tls_ca_cert ?? general.server_tls_ca_cert,
    server_tls_certificate: pool.server_tls_certificate ?? general.server_tls_certificate,
    server_tls_private_key: pool.server_tls_private_key ?? general.server_tls_private_key,
  };
}

/** What of a server's certificate is looked at: nothing, who has signed it, or its name as well. */
export function verificationOf(mode: ServerTlsMode): "none" | "ca" | "full" {
  return mode === "verify-full" ? "full" : mode === "verify-ca" ? "ca" : "none";
}

/** Reads the files of pools, each once; pools that name the same ones share what they hold. */
export class ServerTlsReader {
  readonly #read: (file: string) => Uint8Array<ArrayBuffer>;
  readonly #contents = new Map<string, PemFile>();
  readonly #known = new Map<string, ServerTlsFiles>();
  readonly #before: ReadonlyMap<string, ServerTlsFiles>;

  /** `before`: those of the settings in force, by digest. Who has not changed stays the same object, found so at once. */
  constructor(
    read: (file: string) => Uint8Array<ArrayBuffer>,
    before: ReadonlyMap<string, ServerTlsFiles> = new Map(),
  ) {
    this.#read = read;
    this.#before = before;
  }

  /** Throws when a file can't be read. */
  resolve(general: GeneralConfig, pool: PoolConfig): ServerTls {
    const keys = mergedTls(general, pool);
    const mode = keys.server_tls_mode;
    const names = mode === "disable" ? [] : [
      // Who verifies nothing needs nobody to trust.
      mode.startsWith("verify-") ? keys.server_tls_ca_cert : undefined,
      keys.server_tls_certificate,
      keys.server_tls_private_key,
    ];
    return { mode, direct: keys.server_tls_direct, files: this.#files(names) };
  }

  #files(names: (string | undefined)[]): ServerTlsFiles {
    const key = JSON.stringify(names);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const [ca, certificate, privateKey] = names.map((name) => this.#content(name));
    const digest = createHash("sha256").update(key);
    for (const file of [ca, certificate, privateKey]) {
      digest.update(file === undefined ? "-" : createHash("sha256").update(file.text).digest());
    }
    const hex = digest.digest("hex");
    const files = this.#before.get(hex) ?? { ca, certificate, key: privateKey, digest: hex };
    this.#known.set(key, files);
    return files;
  }

  #content(name: string | undefined): PemFile | undefined {
    if (name === undefined) return undefined;
    let file = this.#contents.get(name);
    if (file === undefined) this.#contents.set(name, file = { name, text: this.#read(name) });
    return file;
  }
}

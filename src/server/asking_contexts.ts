/**
 * The contexts that this thread asks PostgreSQL for TLS by: one for the same files and checks, made when it is first
 * needed. Other contents of the files are other settings (`ServerTlsFiles.digest`), so a connection that is being made
 * keeps what it began with.
 */

import { verificationOf } from "../config/server_tls.ts";
import type { ServerTls } from "../config/settings.ts";
import { openOpenssl } from "../os/openssl.ts";
import { AskingContext } from "../tls/context.ts";
import { Handshake } from "../tls/handshake.ts";
import type { AskedHandshake, TlsSource } from "./encryption.ts";

export class AskingContexts implements TlsSource {
  /** By what they are made of; a text: why there is none. */
  readonly #contexts = new Map<string, AskingContext | string>();

  handshake(tls: ServerTls, serverName: string): AskedHandshake | string {
    const key = keyOf(tls);
    let context = this.#contexts.get(key);
    if (context === undefined) this.#contexts.set(key, context = open(tls));
    return typeof context === "string"
      ? context
      : Handshake.connect(context, { serverName, alpn: true });
  }

  /** Lets go of contexts that no settings ask for any more; handshakes under way are not disturbed. */
  keepOnly(settings: Iterable<ServerTls>): void {
    if (this.#contexts.size === 0) return;
    const wanted = new Set(Array.from(settings, keyOf));
    for (const [key, context] of this.#contexts) {
      if (wanted.has(key)) continue;
      this.#contexts.delete(key);
      if (typeof context !== "string") context.end();
    }
  }
}

function keyOf(tls: ServerTls): string {
  return `${tls.files.digest} ${verificationOf(tls.mode)}`;
}

function open(tls: ServerTls): AskingContext | string {
  const missing = openOpenssl();
  if (missing !== undefined) return missing;
  const opened = AskingContext.open(tls.files, { verification: verificationOf(tls.mode) });
  return opened instanceof AskingContext ? opened : opened.join("; ");
}

/**
 * Passwords that a directory is to check: by a simple bind as the user, or by a search for him and a bind as what was
 * found. Connections are for one password each, as libldap's are in PostgreSQL.
 *
 * What must hold: no bind is ever anonymous where it is to prove something, so neither a name nor a password is empty; no
 * name is taken for a SASL mechanism; nothing that came before TLS is read as if it had come by it.
 */

import type { Socket } from "node:net";
import { Client, type DN, ResultCodeError } from "ldapts";
import {
  bindNameFor,
  filterFor,
  type LdapOptions,
  type LdapServer,
  readLdapOptions,
} from "../../auth/ldap_options.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";
import { type CheckTerms, ConfiguredCheck } from "./configured_check.ts";
import { type DirectoryStream, openDirectory } from "./ldap_connection.ts";

/** How directories are asked. */
export interface LdapTerms extends CheckTerms {
  /** Authorities besides those that everybody knows, PEM. */
  authorities: string | undefined;
}

type Search = LdapOptions["how"] & { kind: "search" };

export class LdapCheck extends ConfiguredCheck<LdapTerms> {
  override async check(request: ExternalRequest, signal: AbortSignal): Promise<ExternalVerdict> {
    const read = readLdapOptions(request.options);
    if ("faults" in read) return { kind: "error", why: read.faults[0]!.message };
    const password = new TextDecoder().decode(request.password);
    if (password === "") return { kind: "refused", why: "the password is empty" };
    // A check that nobody waits for any more must end, too.
    const ends = AbortSignal.any([signal, AbortSignal.timeout(this.terms.timeoutMs)]);
    const directory = new Directory(read.options, this.terms.authorities, ends);
    return await directory.check(request.user, password);
  }
}

/** A rule's servers, for one password. */
class Directory {
  readonly #options: LdapOptions;
  readonly #authorities: string | undefined;
  readonly #ends: AbortSignal;

  constructor(options: LdapOptions, authorities: string | undefined, ends: AbortSignal) {
    this.#options = options;
    this.#authorities = authorities;
    this.#ends = ends;
  }

  async check(user: string, password: string): Promise<ExternalVerdict> {
    const { how } = this.#options;
    const found = how.kind === "bind"
      ? { name: bindNameFor(how.prefix, user, how.suffix) }
      : await this.#withServer((client) => search(client, how, user));
    if ("kind" in found) return found;
    const { name } = found;
    if (name === "") return { kind: "refused", why: "the user has no name in the directory" };
    return await this.#withServer(async (client) => {
      await bind(client, name, password);
      return { kind: "accepted" };
    });
  }

  /** Asks the first server that there is; a server's no is not asked about again elsewhere. */
  async #withServer<T>(ask: (client: Client) => Promise<T>): Promise<T | ExternalVerdict> {
    const causes: string[] = [];
    const { servers, encryption } = this.#options;
    const opening = { encryption, authorities: this.#authorities, ends: this.#ends };
    for (const server of servers) {
      let stream: DirectoryStream;
      try {
        stream = await openDirectory(server, opening);
      } catch (error) {
        causes.push(`${nameOf(server)}: ${textOf(error)}`);
        if (this.#ends.aborted) break;
        continue;
      }
      return await this.#ask(server, stream, ask);
    }
    return { kind: "error", why: `no LDAP server answers (${causes.join("; ")})` };
  }

  async #ask<T>(
    server: LdapServer,
    stream: DirectoryStream,
    ask: (client: Client) => Promise<T>,
  ): Promise<T | ExternalVerdict> {
    const destroy = () => void stream.destroy(new Error("no answer in time"));
    this.#ends.addEventListener("abort", destroy, { once: true });
    const client = new Client({
      // It is connected already.
      url: "ldap://localhost",
      createConnection: () => stream as unknown as Socket,
    });
    try {
      return await ask(client);
    } catch (error) {
      const why = `${nameOf(server)}: ${textOf(error)}`;
      return { kind: error instanceof ResultCodeError ? "refused" : "error", why };
    } finally {
      this.#ends.removeEventListener("abort", destroy);
      // What it says from now on is of no interest, and must not be unheard.
      stream.on("error", () => {});
      stream.destroy();
    }
  }
}

/** The name of the one entry that is the user's. */
async function search(
  client: Client,
  { base, scope, filter, bindName, bindPassword }: Search,
  user: string,
): Promise<{ name: string } | ExternalVerdict> {
  if (bindName !== "") {
    try {
      await bind(client, bindName, bindPassword);
    } catch (error) {
      if (!(error instanceof ResultCodeError)) throw error;
      return { kind: "error", why: `ldapbinddn can't log in: ${textOf(error)}` };
    }
  }
  const { searchEntries } = await client.search(base, {
    scope,
    filter: filterFor(filter, user),
    attributes: ["1.1"],
    sizeLimit: 2,
  });
  if (searchEntries.length === 1) return { name: searchEntries[0]!.dn };
  const why = searchEntries.length === 0
    ? "the directory has no such user"
    : "the directory has more than one such user";
  return { kind: "refused", why };
}

/** As a name that is no text, since the library takes some texts for SASL mechanisms. */
async function bind(client: Client, name: string, password: string): Promise<void> {
  await client.bind({ toString: () => name } as DN, password);
}

function nameOf({ host, port }: LdapServer): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function textOf(error: unknown): string {
  if (error instanceof ResultCodeError) return `${error.name}, result ${error.code}`;
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll("\n", " ");
}

/**
 * Tokens in the place of passwords: those of users and rules (`jwt`), and Talos. Key files are read when the configuration
 * is, and again whenever it is reloaded; until then a check has no use for the disk.
 */

import type { ExternalCheck } from "../../auth/external.ts";
import { kidOfFile, talosRole } from "../../auth/talos.ts";
import { kidOf, type TokenRules, userOf, verifyToken } from "../../auth/token.ts";
import { readTokenKeys, type TokenKey } from "../../auth/token_keys.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";

/** What tokens are held against where neither rule nor user says more. */
export interface TokenTerms {
  /** Keys by the file that they are from. */
  keys: ReadonlyMap<string, readonly TokenKey[]>;
  rules: TokenRules;
  /** Which claim has the user's name. */
  claim: string;
}

/** Tokens of Talos: files of keys, and databases that they may name. */
export interface TalosTerms {
  keys: ReadonlyMap<string, readonly TokenKey[]>;
  databases: ReadonlySet<string>;
}

/** A signature takes a fraction of a millisecond, on another thread. */
const AT_ONCE = 16;
const TIMEOUT_MS = 10_000;
const ANY: TokenRules = { audience: [], issuer: undefined, leeway: 0 };

/** Reads the keys of these files. Throws an Error that names the one that has none. */
export function readKeyFiles(
  files: Iterable<string>,
  readText: (file: string) => string,
): Map<string, readonly TokenKey[]> {
  const keys = new Map<string, readonly TokenKey[]>();
  for (const file of files) {
    const read = readTokenKeys(readText(file));
    if ("fault" in read) throw new Error(`${JSON.stringify(file)} ${read.fault}`);
    keys.set(file, read.keys);
  }
  return keys;
}

/** `jwt` of pg_hba, and users with `jwt-pkey-fpath:`. */
export class JwtCheck implements ExternalCheck {
  readonly atOnce = AT_ONCE;
  readonly timeoutMs = TIMEOUT_MS;
  #terms: TokenTerms = { keys: new Map(), rules: ANY, claim: "preferred_username" };

  /** For checks that begin from now on. */
  configure(terms: TokenTerms): void {
    this.#terms = terms;
  }

  async check({ user, password, options }: ExternalRequest): Promise<ExternalVerdict> {
    const { keys, rules, claim } = this.#terms;
    const found = options.key === undefined ? undefined : keys.get(options.key);
    if (found === undefined) return { kind: "error", why: "there is no key to check a token with" };
    const verdict = await verifyToken(textOf(password), found, {
      audience: options.audience?.split(" ") ?? rules.audience,
      issuer: options.issuer ?? rules.issuer,
      leeway: options.leeway === undefined ? rules.leeway : Number(options.leeway),
    }, Date.now());
    if ("fault" in verdict) return { kind: "refused", why: verdict.fault };
    const name = options.claim ?? claim;
    const named = userOf(verdict.claims, name);
    if (named === undefined) return { kind: "refused", why: `the token has no ${name}` };
    if (named === user) return { kind: "accepted" };
    return { kind: "refused", why: `the token is of ${JSON.stringify(named)}` };
  }
}

/** Users whose token says what they may be. */
export class TalosCheck implements ExternalCheck {
  readonly atOnce = AT_ONCE;
  readonly timeoutMs = TIMEOUT_MS;
  #byKid: ReadonlyMap<string, readonly TokenKey[]> = new Map();
  #databases: ReadonlySet<string> = new Set();

  /** For checks that begin from now on: keys that are gone are good for nothing any more. */
  configure({ keys, databases }: TalosTerms): void {
    this.#byKid = new Map(Array.from(keys, ([file, found]) => [kidOfFile(file), found]));
    this.#databases = databases;
  }

  async check({ database, password }: ExternalRequest): Promise<ExternalVerdict> {
    if (!this.#databases.has(database)) {
      return { kind: "refused", why: "the database is not one of talos.databases" };
    }
    const token = textOf(password);
    const kid = kidOf(token);
    const keys = kid === undefined ? undefined : this.#byKid.get(kid);
    if (keys === undefined) {
      return { kind: "refused", why: "no key of talos.keys has the token's kid" };
    }
    // The file's name is the kid, whatever a set calls the keys in it.
    const unnamed = keys.map((key) => ({ ...key, kid: undefined }));
    const verdict = await verifyToken(token, unnamed, ANY, Date.now());
    if ("fault" in verdict) return { kind: "refused", why: verdict.fault };
    const found = talosRole(verdict.claims, database);
    if ("fault" in found) return { kind: "refused", why: found.fault };
    return { kind: "accepted", user: found.role, applicationName: found.clientId };
  }
}

/** What is no UTF-8 is no token, and is refused as such. */
function textOf(password: Uint8Array): string {
  return new TextDecoder().decode(password);
}

/**
 * What follows the method of a pg_hba record: `name=value`, each for certain methods or record types only, as PostgreSQL has
 * it in `parse_hba_auth_opt`. Values are never put into a message: some are secrets.
 */

import type { HbaExternalMethod, HbaMethod, HbaRule, HbaType } from "../config/hba_rule.ts";

/** What the options say, and what is wrong with them. */
export interface HbaOptions {
  rule: Pick<HbaRule, "clientCert" | "clientName" | "map" | "options">;
  faults: { message: string; hint: string }[];
}

const LDAP_SEARCH: readonly string[] = [
  "ldapbasedn",
  "ldapbinddn",
  "ldapbindpasswd",
  "ldapsearchattribute",
  "ldapsearchfilter",
];

/** Options of methods whose check is elsewhere; what they mean is said there. */
const EXTERNAL: Readonly<Record<HbaExternalMethod, ReadonlySet<string>>> = {
  pam: new Set(["pamservice", "pam_use_hostname"]),
  ldap: new Set([
    "ldapurl",
    "ldapserver",
    "ldapport",
    "ldapscheme",
    "ldaptls",
    "ldapprefix",
    "ldapsuffix",
    ...LDAP_SEARCH,
  ]),
  jwt: new Set(),
};

/** Whether others check the passwords of a method. */
export function isExternal(method: string): method is HbaExternalMethod {
  return Object.hasOwn(EXTERNAL, method);
}

/** Reads the words behind the method of a record. */
export function readHbaOptions(
  words: readonly string[],
  { type, method }: { type: HbaType; method: HbaMethod },
): HbaOptions {
  const reader = new OptionReader(type, method);
  for (const word of words) reader.take(word);
  return reader.end();
}

class OptionReader {
  readonly #type: HbaType;
  readonly #method: HbaMethod;
  readonly #read: HbaOptions = { rule: {}, faults: [] };
  readonly #options = new Map<string, string>();

  constructor(type: HbaType, method: HbaMethod) {
    this.#type = type;
    this.#method = method;
  }

  take(word: string): void {
    const equals = word.indexOf("=");
    if (equals < 0) {
      this.#fault("what follows the method is not an option", "write options as name=value");
      return;
    }
    const name = word.slice(0, equals);
    const value = word.slice(equals + 1);
    switch (name) {
      case "clientcert":
        return this.#clientCert(value);
      case "clientname":
        return this.#clientName(value);
      case "map":
        return this.#map(value);
      default:
        return this.#external(name, value);
    }
  }

  #clientCert(value: string): void {
    if (this.#type !== "hostssl") return this.#forHostssl("clientcert");
    if (value !== "verify-ca" && value !== "verify-full") {
      return this.#fault('invalid value for "clientcert"', "write verify-ca or verify-full");
    }
    if (this.#method === "cert") {
      // The method asks for all of it.
      if (value === "verify-full") return;
      return this.#fault(
        '"clientcert" can only be verify-full with the method "cert"',
        "remove it: cert looks at the name as well",
      );
    }
    this.#read.rule.clientCert = value;
  }

  #clientName(value: string): void {
    if (this.#type !== "hostssl") return this.#forHostssl("clientname");
    if (value === "CN" || value === "DN") this.#read.rule.clientName = value;
    else this.#fault('invalid value for "clientname"', "write CN or DN");
  }

  #map(value: string): void {
    if (this.#method !== "cert" && this.#method !== "peer") {
      return this.#fault('option "map" is for the methods cert and peer alone', "remove it");
    }
    if (value !== "") this.#read.rule.map = value;
    else delete this.#read.rule.map;
  }

  #external(name: string, value: string): void {
    const method = this.#method;
    if (isExternal(method) && EXTERNAL[method].has(name)) {
      this.#options.set(name, value);
      return;
    }
    const owner = Object.entries(EXTERNAL).find(([, names]) => names.has(name))?.[0];
    if (owner === undefined) {
      this.#fault(`unknown option "${name}"`, "remove it, or correct its name");
    } else this.#fault(`option "${name}" is for the method ${owner} alone`, "remove it");
  }

  end(): HbaOptions {
    const { rule, faults } = this.#read;
    if (this.#method === "ldap" && faults.length === 0) this.#ldap();
    if (this.#options.size > 0) rule.options = Object.fromEntries(this.#options);
    return this.#read;
  }

  #ldap(): void {
    const options = this.#options;
    const url = options.get("ldapurl");
    if (url !== undefined && !this.#ldapUrl(url)) return;
    const has = (name: string) => options.has(name);
    const port = options.get("ldapport");
    if (port !== undefined && !(/^\d{1,5}$/.test(port) && +port > 0 && +port < 65_536)) {
      this.#fault('"ldapport" is no port', "write a number from 1 to 65535");
    }
    const scheme = options.get("ldapscheme");
    if (scheme !== undefined && scheme !== "ldap" && scheme !== "ldaps") {
      this.#fault('invalid value for "ldapscheme"', "write ldap or ldaps");
    }
    if (!has("ldapserver") && !has("ldapbasedn")) {
      this.#fault('method "ldap" needs "ldapserver"', "write ldapserver=HOST, or ldapurl=…");
    }
    if (has("ldapprefix") || has("ldapsuffix")) {
      if (LDAP_SEARCH.some(has)) {
        this.#fault(
          "options for simple bind (ldapprefix, ldapsuffix) and for search+bind can't be mixed",
          "remove those of the one or the other",
        );
      }
    } else if (!has("ldapbasedn")) {
      this.#fault(
        'method "ldap" needs "ldapbasedn", "ldapprefix" or "ldapsuffix"',
        "say how a user is found in the directory",
      );
    }
    if (has("ldapsearchattribute") && has("ldapsearchfilter")) {
      this.#fault(
        '"ldapsearchattribute" and "ldapsearchfilter" can\'t be used together',
        "remove one of them",
      );
    }
  }

  /** Puts what a URL (RFC 4516) says in the place of the single options. */
  #ldapUrl(url: string): boolean {
    const parts =
      /^(ldaps?):\/\/(\[[^\]/?]*\]|[^:/?]*)(?::(\d+))?(?:\/([^?]*)(?:\?([^?]*)(?:\?([^?]*)(?:\?([^?]*))?)?)?)?$/i
        .exec(url);
    const decoded = parts?.slice(1).map((part) => part === undefined ? "" : decodedPart(part));
    if (decoded === undefined || decoded.includes(undefined)) {
      this.#fault(
        '"ldapurl" is not an LDAP URL',
        "write ldap[s]://HOST[:PORT]/BASEDN[?[ATTRIBUTE][?[SCOPE][?[FILTER]]]]",
      );
      return false;
    }
    const [scheme, host, port, base, attributes, scope, filter] = decoded as string[];
    const secure = scheme!.toLowerCase() === "ldaps";
    const scopes = ["", "base", "one", "sub"];
    if (!scopes.includes(scope!.toLowerCase())) {
      this.#fault('the scope in "ldapurl" is none', "write base, one or sub");
      return false;
    }
    const found: [string, string][] = [
      ["ldapscheme", secure ? "ldaps" : "ldap"],
      ["ldapserver", host!.replace(/^\[(.*)\]$/, "$1")],
      ["ldapport", port! === "" ? (secure ? "636" : "389") : port!],
      ["ldapbasedn", base!],
      ["ldapsearchattribute", attributes!.split(",", 1)[0]!],
      ["ldapscope", scope === "" ? "base" : scope!.toLowerCase()],
      ["ldapsearchfilter", filter!],
    ];
    this.#options.delete("ldapurl");
    for (const [name, value] of found) if (value !== "") this.#options.set(name, value);
    return true;
  }

  #forHostssl(option: string): void {
    this.#fault(`option "${option}" is for "hostssl" records alone`, "remove it, or write hostssl");
  }

  #fault(message: string, hint: string): void {
    this.#read.faults.push({ message, hint });
  }
}

function decodedPart(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

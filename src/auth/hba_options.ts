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

/** Methods whose options are said to be right or wrong where their check is (method_options.ts). */
const EXTERNAL: Readonly<Record<HbaExternalMethod, true>> = { pam: true, ldap: true, jwt: true };

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
        return this.#other(name, value);
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

  #other(name: string, value: string): void {
    if (name !== "" && isExternal(this.#method)) this.#options.set(name, value);
    else this.#fault(`unknown option "${name}" of this method`, "remove it, or correct its name");
  }

  end(): HbaOptions {
    if (this.#options.size > 0) this.#read.rule.options = Object.fromEntries(this.#options);
    return this.#read;
  }

  #forHostssl(option: string): void {
    this.#fault(`option "${option}" is for "hostssl" records alone`, "remove it, or write hostssl");
  }

  #fault(message: string, hint: string): void {
    this.#read.faults.push({ message, hint });
  }
}

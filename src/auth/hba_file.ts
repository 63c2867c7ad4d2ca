/**
 * The grammar half of pg_hba: records to rules. Every fault of every record is reported, with its line and what would be
 * right, and a text with any fault gives no rules at all: a rule list with a hole in it lets in whom the missing line
 * was to keep out. PostgreSQL's manual, "The pg_hba.conf File"; differences are noted where they are made.
 */

import { hostCidr, maskedCidr, parseAddress, parseCidr } from "../config/address.ts";
import type { ExternalMethod } from "../config/external_check.ts";
import type { IpAddress } from "../config/address.ts";
import type { HbaAddress, HbaMethod, HbaName, HbaRule, HbaType } from "../config/hba_rule.ts";
import { compileHbaPattern } from "./hba.ts";
import { type HbaOptions, isExternal, readHbaOptions } from "./hba_options.ts";
import { tokenizeHba } from "./hba_tokens.ts";
import type { HbaFault, HbaFiles, HbaLine, HbaToken } from "./hba_tokens.ts";

/** Where a pg_hba text comes from, and how its includes are read. */
export interface HbaSource extends HbaFiles {
  /** Checks of passwords by others that there are. */
  externalMethods?: ReadonlySet<ExternalMethod>;
  /** The file's path, or the config key; file names in the text are relative to its directory. */
  source: string;
}

/** What a pg_hba text says. `rules` is empty as soon as there is a fault. */
export interface HbaParse {
  rules: HbaRule[];
  faults: HbaFault[];
  warnings: HbaFault[];
}

/** Spellings that upstream accepts beside PostgreSQL's; all in any case. */
const METHODS: ReadonlyMap<string, HbaMethod> = new Map([
  ["trust", "trust"],
  ["reject", "reject"],
  ["password", "password"],
  ["md5", "md5"],
  ["scram-sha-256", "scram-sha-256"],
  ["scram_sha_256", "scram-sha-256"],
  ["scramsha256", "scram-sha-256"],
  ["cert", "cert"],
  ["peer", "peer"],
]);

const UNSUPPORTED_METHODS: ReadonlySet<string> = new Set(
  ["ident", "gss", "sspi", "radius", "bsd", "oauth"],
);

const TYPES: ReadonlyMap<string, HbaType> = new Map([
  ["local", "local"],
  ["host", "host"],
  ["hostssl", "hostssl"],
  ["hostnossl", "hostnossl"],
  // No connection here is ever encrypted by GSSAPI.
  ["hostnogssenc", "host"],
]);

const METHOD_HINT = "use trust, reject, password, md5, scram-sha-256, cert, peer, pam, ldap or jwt";
const ADDRESS_HINT = 'write a network such as 10.0.0.0/8 or ::1/128, or "all" for any address';

/** Parses a pg_hba text. */
export function parseHba(text: string, from: HbaSource): HbaParse {
  const faults: HbaFault[] = [];
  const warnings: HbaFault[] = [];
  const rules: HbaRule[] = [];
  for (const line of tokenizeHba(text, from.source, from, faults)) {
    const rule = new RecordReader(line, from.externalMethods, faults, warnings).read();
    if (rule !== undefined) rules.push(rule);
  }
  if (rules.length === 0 && faults.length === 0) {
    faults.push({
      source: from.source,
      line: 1,
      message: "no rule at all: nobody could log in",
      hint: 'write at least one, such as "host all all 127.0.0.1/32 scram-sha-256"',
    });
  }
  return { rules: faults.length === 0 ? rules : [], faults, warnings };
}

/** Reads one record from left to right. */
class RecordReader {
  readonly #line: HbaLine;
  readonly #faults: HbaFault[];
  readonly #warnings: HbaFault[];
  readonly #externalMethods: ReadonlySet<string>;
  #next = 0;

  constructor(
    line: HbaLine,
    externalMethods: ReadonlySet<string> = new Set(),
    faults: HbaFault[],
    warnings: HbaFault[],
  ) {
    this.#line = line;
    this.#externalMethods = externalMethods;
    this.#faults = faults;
    this.#warnings = warnings;
  }

  read(): HbaRule | undefined {
    const type = this.#readType();
    if (type === undefined) return undefined;
    const databases = this.#readNames("database", type);
    if (databases === undefined) return undefined;
    const users = this.#readNames("user", type);
    if (users === undefined) return undefined;
    const address = type === "local" ? { kind: "all" as const } : this.#readAddress(type);
    if (address === undefined) return undefined;
    const method = this.#readMethod(type);
    if (method === undefined) return undefined;
    const options = this.#readOptions(type, method);
    const { source, line } = this.#line;
    return { type, databases, users, address, method, ...options, source, line };
  }

  #readType(): HbaType | undefined {
    const token = this.#single("record type");
    if (token === undefined) return undefined;
    const name = token.text.toLowerCase();
    const type = TYPES.get(name);
    if (type !== undefined) return type;
    if (name === "hostgssenc") {
      this.#fault(
        'record type "hostgssenc" is not supported',
        "remove the line: no client is ever connected with GSSAPI encryption",
      );
    } else {
      this.#fault(
        `unknown record type "${token.text}"`,
        "begin the line with local, host, hostssl or hostnossl",
      );
    }
    return undefined;
  }

  #readNames(column: "database" | "user", type: HbaType): HbaName[] | undefined {
    const field = this.#field(column, type);
    if (field === undefined) return undefined;
    const before = this.#faults.length;
    const names = field.map((token) => this.#readName(token, column));
    // One bad name does not hide those beside it; the columns behind are read all the same.
    return this.#faults.length > before ? [] : names;
  }

  #readName(token: HbaToken, column: "database" | "user"): HbaName {
    const { text, quoted } = token;
    // As in PostgreSQL a quote protects a comma in a pattern, and does not make a name of it.
    if (text.startsWith("/")) return this.#readPattern(text.slice(1));
    if (quoted) return { kind: "name", name: text };
    if (text.toLowerCase() === "all") {
      if (text !== "all") {
        this.#warn(
          `"${text}" is read as the keyword "all"; PostgreSQL would read a name`,
          `write all in lower case, or "${text}" in double quotes for the ${column} of that name`,
        );
      }
      return { kind: "all" };
    }
    if (column === "user" && text.startsWith("+")) {
      this.#fault(
        `group "${text}" is not supported: who its members are is known to the server alone`,
        "list the users, or use a pattern such as /^app_",
      );
    }
    if (column === "database") {
      if (text === "sameuser" || text === "replication") return { kind: text };
      if (text === "samerole" || text === "samegroup") {
        this.#fault(
          `"${text}" is not supported: who belongs to a role is known to the server alone`,
          "use sameuser, list the databases, or quote the word if it is a database's name",
        );
      }
    }
    return { kind: "name", name: text };
  }

  #readPattern(pattern: string): HbaName {
    try {
      compileHbaPattern(pattern);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#fault(
        `"/${pattern}" is not a regular expression that is understood here`,
        `use JavaScript's syntax, which lacks some of PostgreSQL's (${error.message})`,
      );
    }
    return { kind: "regex", pattern };
  }

  #readAddress(type: HbaType): HbaAddress | undefined {
    const token = this.#single("address", type);
    if (token === undefined) return undefined;
    const { text, quoted } = token;
    if (!quoted && text.toLowerCase() === "all") return { kind: "all" };
    if (!quoted && (text === "samehost" || text === "samenet")) return { kind: text };
    if (text.includes("/")) {
      const network = parseCidr(text);
      if (network === undefined) {
        this.#fault(`"${text}" is not a network`, ADDRESS_HINT);
        return { kind: "all" };
      }
      return { kind: "network", network };
    }
    const address = parseAddress(text);
    if (address !== undefined) return this.#readMask(address, text);
    if (isMethod(text.toLowerCase())) {
      this.#fault(`the address is missing before "${text}"`, shapeOf(type));
      return undefined;
    }
    this.#fault(`host name "${text}" as address is not supported`, ADDRESS_HINT);
    return { kind: "all" };
  }

  #readMask(address: IpAddress, text: string): HbaAddress | undefined {
    const following = this.#line.fields[this.#next];
    const word = following?.length === 1 ? following[0].text : "";
    const host: HbaAddress = { kind: "network", network: hostCidr(address) };
    if (!/^[0-9.]+$/.test(word) && !word.includes(":")) {
      this.#warn(
        `address "${text}" has no mask: it is read as this one address`,
        `write ${text}/${host.network.prefix}, as PostgreSQL demands`,
      );
      return host;
    }
    this.#next++;
    const mask = parseAddress(word);
    const network = mask === undefined ? undefined : maskedCidr(address, mask);
    if (network === undefined) {
      this.#fault(`"${word}" is not a mask for "${text}"`, ADDRESS_HINT);
      return host;
    }
    return { kind: "network", network };
  }

  #readMethod(type: HbaType): HbaMethod | undefined {
    const token = this.#single("method", type);
    if (token === undefined) return undefined;
    const name = token.text.toLowerCase();
    const method = METHODS.get(name);
    if (method !== undefined) return this.#fits(method, type) ? method : undefined;
    if (isExternal(name)) {
      if (this.#externalMethods.has(name)) return name;
      this.#fault(`method "${name}" is not available`, METHOD_HINT);
    } else if (name === "ident" && type === "local") {
      // As in PostgreSQL: what asks the kernel had that name once.
      return "peer";
    } else if (name === "ident") {
      this.#fault(
        'method "ident" is not supported: it would believe whatever the client\'s machine says',
        METHOD_HINT,
      );
    } else if (UNSUPPORTED_METHODS.has(name)) {
      this.#fault(`method "${name}" is not supported`, METHOD_HINT);
    } else if (type === "local" && looksLikeAddress(token.text)) {
      this.#fault('a "local" record has no address', shapeOf(type));
    } else {
      this.#fault(`unknown method "${token.text}"`, METHOD_HINT);
    }
    return undefined;
  }

  #fits(method: HbaMethod, type: HbaType): boolean {
    if (method === "peer" && type !== "local") {
      this.#fault(
        'method "peer" is for "local" records alone: only there the system knows who it is',
        "use another method, or begin the line with local",
      );
      return false;
    }
    if (method === "cert" && type !== "hostssl") {
      this.#fault(
        'method "cert" is for "hostssl" records alone: without TLS there is no certificate',
        "begin the line with hostssl",
      );
      return false;
    }
    return true;
  }

  #readOptions(type: HbaType, method: HbaMethod): HbaOptions["rule"] {
    const words = this.#line.fields.slice(this.#next).flat().map(({ text }) => text);
    const { rule, faults } = readHbaOptions(words, { type, method });
    for (const { message, hint } of faults) this.#fault(message, hint);
    return rule;
  }

  #field(column: string, type: HbaType | undefined): HbaToken[] | undefined {
    const field = this.#line.fields[this.#next];
    if (field === undefined) this.#fault(`the line ends before the ${column}`, shapeOf(type));
    else this.#next++;
    return field;
  }

  #single(column: string, type?: HbaType): HbaToken | undefined {
    const field = this.#field(column, type);
    if (field === undefined || field.length === 1) return field?.[0];
    this.#fault(`several values for the ${column}`, `write one ${column}, and a line for each`);
    return undefined;
  }

  #fault(message: string, hint: string): void {
    this.#faults.push({ source: this.#line.source, line: this.#line.line, message, hint });
  }

  #warn(message: string, hint: string): void {
    this.#warnings.push({ source: this.#line.source, line: this.#line.line, message, hint });
  }
}

function isMethod(name: string): boolean {
  return METHODS.has(name) || UNSUPPORTED_METHODS.has(name) || isExternal(name);
}

function shapeOf(type: HbaType | undefined): string {
  return type === "local"
    ? "write: local DATABASE USER METHOD"
    : `write: ${type ?? "host"} DATABASE USER ADDRESS METHOD`;
}

function looksLikeAddress(text: string): boolean {
  return ["all", "samehost", "samenet"].includes(text) || parseCidr(text) !== undefined ||
    parseAddress(text) !== undefined;
}

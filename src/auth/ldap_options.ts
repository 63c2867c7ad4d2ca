/**
 * What a rule of pg_hba says of its directory, as PostgreSQL's manual has it ("LDAP Authentication"): where it is, and
 * either how a name of it is made of the user's (simple bind), or where and by what it is searched for (search+bind).
 */

/** How a password is checked. */
export interface LdapOptions {
  /** In the order in which they are tried. */
  servers: LdapServer[];
  /** `starttls`: it begins in clear. */
  encryption: "none" | "tls" | "starttls";
  how:
    | { kind: "bind"; prefix: string; suffix: string }
    | {
      kind: "search";
      base: string;
      scope: "base" | "one" | "sub";
      /** A filter with `$username` in it. */
      filter: string;
      /** Who searches; both empty: anybody. */
      bindName: string;
      bindPassword: string;
    };
}

export interface LdapServer {
  host: string;
  port: number;
}

/** What is wrong with options. Values are left out: a password may be among them. */
export interface OptionFault {
  message: string;
  hint: string;
}

const NAMES = new Set([
  "ldapserver",
  "ldapport",
  "ldapscheme",
  "ldaptls",
  "ldapprefix",
  "ldapsuffix",
  "ldapbasedn",
  "ldapbinddn",
  "ldapbindpasswd",
  "ldapsearchattribute",
  "ldapsearchfilter",
  "ldapscope",
  "ldapurl",
]);
const USER_IN_FILTER = "$username";
const DEFAULT_ATTRIBUTE = "uid";
const SCOPES = ["base", "one", "sub"] as const;
const ATTRIBUTE = /^[A-Za-z][A-Za-z0-9-]*$|^[0-9]+(\.[0-9]+)*$/;

/** Reads them. */
export function readLdapOptions(
  options: Readonly<Record<string, string>>,
): { options: LdapOptions } | { faults: OptionFault[] } {
  const faults: OptionFault[] = [];
  const fault = (message: string, hint: string) => faults.push({ message, hint });
  for (const name of Object.keys(options)) {
    if (!NAMES.has(name)) {
      fault(`option "${name}" is none of ldap's`, "remove it, or correct its name");
    }
  }
  const given = options.ldapurl === undefined ? { ...options } : withUrl(options, fault);
  const scheme = given.ldapscheme ?? "ldap";
  if (scheme !== "ldap" && scheme !== "ldaps") {
    fault("ldapscheme must be ldap or ldaps", "write ldapscheme=ldaps, or leave it out");
  }
  const startTls = given.ldaptls ?? "0";
  if (startTls !== "0" && startTls !== "1") fault("ldaptls must be 0 or 1", "write ldaptls=1");
  if (startTls === "1" && scheme === "ldaps") {
    fault("ldaptls=1 begins in clear, and ldaps does not", "leave one of them out");
  }
  const servers = readServers(given, scheme === "ldaps" ? 636 : 389, fault);
  const how = given.ldapbasedn === undefined ? readBind(given, fault) : readSearch(given, fault);
  if (faults.length > 0) return { faults };
  const encryption = scheme === "ldaps" ? "tls" : startTls === "1" ? "starttls" : "none";
  return { options: { servers, encryption, how } };
}

type Given = Record<string, string | undefined>;
type Tell = (message: string, hint: string) => void;

/** `ldap[s]://host[:port]/base[?[attribute][?[scope][?[filter]]]]` */
function withUrl(options: Readonly<Record<string, string>>, fault: Tell): Given {
  const hint = "write ldap://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]";
  let url: URL;
  try {
    url = new URL(options.ldapurl!);
  } catch {
    fault("ldapurl is no URL", hint);
    return { ...options };
  }
  if (url.protocol !== "ldap:" && url.protocol !== "ldaps:") {
    fault("ldapurl is no URL of LDAP", hint);
  }
  if (url.username !== "" || url.hash !== "") fault("ldapurl has more than PostgreSQL takes", hint);
  const [attribute, scope, filter, extensions] = url.search.slice(1).split("?").map(unescaped);
  if (extensions !== undefined) fault("ldapurl has extensions, which are not supported", hint);
  const said: Given = {
    ldapscheme: url.protocol.slice(0, -1),
    ldapserver: url.hostname === "" ? undefined : url.hostname,
    ldapport: url.port === "" ? undefined : url.port,
    ldapbasedn: unescaped(url.pathname.slice(1)) || undefined,
    ldapsearchattribute: attribute?.split(",")[0] || undefined,
    ldapscope: scope || undefined,
    ldapsearchfilter: filter || undefined,
  };
  const merged: Given = { ...options };
  for (const [name, value] of Object.entries(said)) if (value !== undefined) merged[name] = value;
  return merged;
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function readServers(given: Given, port: number, fault: Tell): LdapServer[] {
  const words = (given.ldapserver ?? "").split(/[ ,]+/).filter((word) => word !== "");
  if (words.length === 0) {
    fault("ldapserver is missing", "write ldapserver=HOST, several with spaces");
  }
  const most = readPort(given.ldapport, port, fault);
  return words.map((word) => {
    const own = /^(\[[0-9A-Fa-f:.]+\]|[^:]+):([0-9]+)$/.exec(word);
    if (own === null) return { host: bare(word), port: most };
    return { host: bare(own[1]!), port: readPort(own[2], port, fault) };
  });
}

function bare(host: string): string {
  return host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
}

function readPort(text: string | undefined, otherwise: number, fault: Tell): number {
  if (text === undefined) return otherwise;
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) {
    fault("the port of ldapserver is none", "write a number from 1 to 65535");
  }
  return port;
}

function readBind(given: Given, fault: Tell): LdapOptions["how"] {
  for (
    const name of [
      "ldapbinddn",
      "ldapbindpasswd",
      "ldapsearchattribute",
      "ldapsearchfilter",
      "ldapscope",
    ]
  ) {
    if (given[name] !== undefined) {
      fault(`${name} needs ldapbasedn`, "write where to search, or leave it out for a simple bind");
    }
  }
  const { ldapprefix: prefix = "", ldapsuffix: suffix = "" } = given;
  if (prefix === "" && suffix === "") {
    fault(
      "neither ldapbasedn nor ldapprefix or ldapsuffix is set",
      "write how the user is found in the directory",
    );
  }
  return { kind: "bind", prefix, suffix };
}

function readSearch(given: Given, fault: Tell): LdapOptions["how"] {
  if (given.ldapprefix !== undefined || given.ldapsuffix !== undefined) {
    fault("ldapprefix and ldapsuffix do not go with a search", "leave them out, or ldapbasedn");
  }
  const { ldapsearchattribute: attribute, ldapsearchfilter, ldapscope: scope = "sub" } = given;
  if (attribute !== undefined && ldapsearchfilter !== undefined) {
    fault("ldapsearchattribute and ldapsearchfilter are both set", "leave one of them out");
  }
  if (attribute !== undefined && !ATTRIBUTE.test(attribute)) {
    fault("ldapsearchattribute is no attribute's name", "write one such as uid");
  }
  if (!(SCOPES as readonly string[]).includes(scope)) {
    fault("the scope is none", `write one of ${SCOPES.join(", ")}`);
  }
  if (ldapsearchfilter !== undefined && !ldapsearchfilter.includes(USER_IN_FILTER)) {
    fault(
      `ldapsearchfilter has no ${USER_IN_FILTER}: every user would be the same`,
      `write it where the name belongs`,
    );
  }
  const { ldapbinddn: bindName = "", ldapbindpasswd: bindPassword = "" } = given;
  if (bindName !== "" && bindPassword === "") {
    fault(
      "ldapbinddn needs ldapbindpasswd: without it the bind would be anonymous",
      "write both, or neither",
    );
  }
  return {
    kind: "search",
    base: given.ldapbasedn!,
    scope: scope as typeof SCOPES[number],
    filter: ldapsearchfilter ?? `(${attribute ?? DEFAULT_ATTRIBUTE}=${USER_IN_FILTER})`,
    bindName,
    bindPassword,
  };
}

/** The filter that finds a user: nothing in a name is anything but the name (RFC 4515 §3). */
export function filterFor(filter: string, user: string): string {
  const escaped = user.replace(/[\\*()\0]/g, hex);
  // As a function, since `$` means something in a replacement.
  const filled = filter.replaceAll(USER_IN_FILTER, () => escaped);
  return filled.startsWith("(") ? filled : `(${filled})`;
}

/** The name that a user binds by. Where it is a distinguished name, nothing in the user's ends its part (RFC 4514 §2.4). */
export function bindNameFor(prefix: string, user: string, suffix: string): string {
  if (!prefix.includes("=") && !suffix.includes("=")) return prefix + user + suffix;
  const escaped = user.replace(/[\\,+"<>;=#\0]|^ | $/g, hex);
  return prefix + escaped + suffix;
}

function hex(letter: string): string {
  return `\\${letter.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/**
 * Access rules: who may log in from where, and how. Rules are plain data, made by `hba_file.ts` from pg_hba text or here
 * from the old `general.hba` list; the first rule that fits a login decides it, and no rule means no. Semantics are
 * those of PostgreSQL's manual, "The pg_hba.conf File"; what upstream does otherwise is noted at `decideMethod`.
 */

import { cidrContains, hostCidr, maskedCidr, parseAddress, parseCidr } from "../config/address.ts";
import type { Cidr, IpAddress } from "../config/address.ts";
import type {
  HbaAddress,
  HbaExternalMethod,
  HbaMethod,
  HbaName,
  HbaRule,
  HbaType,
} from "../config/hba_rule.ts";
import type { StoredPassword } from "../config/settings.ts";

/** A login as the rules see it. `user` and `database` are claims: nothing is proven yet. */
export interface HbaRequest {
  transport: "tcp" | "unix";
  tls: boolean;
  /** The peer's address; not looked at for unix sockets. */
  address: string;
  database: string;
  user: string;
  /** Physical replication, which only the keyword `replication` lets in. */
  replication?: boolean;
}

/** Address and netmask of a local interface, as `Deno.networkInterfaces` gives them. */
export interface LocalInterface {
  address: string;
  netmask: string;
}

/** Forms of a stored password; unknown users count as `empty`, or as what their mock is. */
export type StoredPasswordKind = StoredPassword["kind"];

/** What to do with a login; "scram-sha-256" and "md5" for users without a password run against a mock and fail. */
export type LoginMethod = Exclude<HbaMethod, "auto" | HbaExternalMethod> | "external";

/** Longer names are nobody's (PostgreSQL's end at 63 bytes); patterns are not run on what a stranger may send. */
const MAX_NAME_CHARACTERS = 256;

/** Compiles the pattern of a rule; throws a SyntaxError. PostgreSQL's `.` matches a line break, too. */
export function compileHbaPattern(pattern: string): RegExp {
  return new RegExp(pattern, "us");
}

interface CompiledRule {
  rule: HbaRule;
  databases: NameTest[];
  users: NameTest[];
}

type NameTest = (request: HbaRequest) => boolean;

/** Finds the rule that decides a login. Built once for a set of rules. */
export class HbaMatcher {
  readonly #rules: CompiledRule[];
  readonly #localHosts: Cidr[] = [];
  readonly #localNetworks: Cidr[] = [];

  constructor(rules: readonly HbaRule[], localInterfaces: readonly LocalInterface[]) {
    this.#rules = rules.map((rule) => ({
      rule,
      databases: rule.databases.map(databaseTest),
      users: rule.users.map(userTest),
    }));
    for (const local of localInterfaces) {
      const address = parsePeer(local.address);
      const mask = parseAddress(local.netmask);
      if (address === undefined) continue;
      this.#localHosts.push(hostCidr(address));
      const network = mask === undefined ? undefined : maskedCidr(address, mask);
      if (network !== undefined) this.#localNetworks.push(network);
    }
  }

  /** The first rule that fits; `undefined`: the login is not permitted. */
  match(request: HbaRequest): HbaRule | undefined {
    if (Math.max(request.database.length, request.user.length) > MAX_NAME_CHARACTERS) {
      return undefined;
    }
    const peer = request.transport === "tcp" ? parsePeer(request.address) : undefined;
    // An address that can't be read might be one that a `reject` is meant for.
    if (request.transport === "tcp" && peer === undefined) return undefined;
    const found = this.#rules.find(({ rule, databases, users }) =>
      typeFits(rule.type, request) &&
      (peer === undefined || this.#addressFits(rule.address, peer)) &&
      databases.some((test) => test(request)) &&
      users.some((test) => test(request))
    );
    return found?.rule;
  }

  #addressFits(address: HbaAddress, peer: IpAddress): boolean {
    switch (address.kind) {
      case "all":
        return true;
      case "samehost":
        return this.#localHosts.some((host) => cidrContains(host, peer));
      case "samenet":
        return this.#localNetworks.some((network) => cidrContains(network, peer));
      case "network":
        return cidrContains(address.network, peer);
      default:
        return address satisfies never;
    }
  }
}

/** Addresses that were parsed: clients log in again and again from the same few hosts. */
const peers = new Map<string, IpAddress | undefined>();
const MOST_PEERS = 1000;

function parsePeer(text: string): IpAddress | undefined {
  if (peers.has(text)) return peers.get(text);
  const peer = newPeer(text);
  if (peers.size >= MOST_PEERS) peers.clear();
  peers.set(text, peer);
  return peer;
}

// The kernel names a link-local peer with its zone, `fe80::1%eth0`; rules have none.
function newPeer(text: string): IpAddress | undefined {
  const zone = text.indexOf("%");
  return parseAddress(zone < 0 ? text : text.slice(0, zone));
}

function typeFits(type: HbaType, request: HbaRequest): boolean {
  if (request.transport === "unix") return type === "local";
  switch (type) {
    case "local":
      return false;
    case "host":
      return true;
    case "hostssl":
      return request.tls;
    case "hostnossl":
      return !request.tls;
    default:
      return type satisfies never;
  }
}

function databaseTest(name: HbaName): NameTest {
  const ordinary = nameTest(name, "database");
  if (name.kind === "replication") return (request) => request.replication === true;
  return (request) => request.replication !== true && ordinary(request);
}

function userTest(name: HbaName): NameTest {
  return nameTest(name, "user");
}

function nameTest(name: HbaName, field: "database" | "user"): NameTest {
  switch (name.kind) {
    case "all":
      return () => true;
    case "sameuser":
      return (request) => request.database === request.user;
    case "replication":
      return () => false;
    case "name":
      return (request) => request[field] === name.name;
    case "regex": {
      const pattern = compileHbaPattern(name.pattern);
      return (request) => pattern.test(request[field]);
    }
    default:
      return name satisfies never;
  }
}

/**
 * The rules that the old `general.hba` list of networks stands for: unix sockets always, TCP from these networks or, if
 * there are none, from anywhere. Throws a TypeError for what is no network: the config is validated before.
 */
export function legacyHbaRules(cidrs: readonly string[]): HbaRule[] {
  const rules = [legacyRule("local", { kind: "all" }, 0)];
  if (cidrs.length === 0) rules.push(legacyRule("host", { kind: "all" }, 0));
  for (const [i, cidr] of cidrs.entries()) {
    const network = parseCidr(cidr);
    if (network === undefined) throw new TypeError(`general.hba: "${cidr}" is not a network`);
    rules.push(legacyRule("host", { kind: "network", network }, i + 1));
  }
  return rules;
}

function legacyRule(type: HbaType, address: HbaAddress, line: number): HbaRule {
  return {
    type,
    databases: [{ kind: "all" }, { kind: "replication" }],
    users: [{ kind: "all" }],
    address,
    method: "auto",
    source: "general.hba",
    line,
  };
}

/**
 * How a login goes on once a rule has decided. One rule decides, as in PostgreSQL; upstream walks the list once for md5
 * and once for SCRAM. An `md5` rule takes a SCRAM verifier up to SCRAM; a `scram-sha-256` rule refuses an md5 hash. A
 * stored form that we cannot check is refused even by `trust`, and one that others check is checked: its owner meant every
 * login to be.
 */
export function decideMethod(method: HbaMethod, stored: StoredPasswordKind): LoginMethod {
  if (stored === "unsupported") return "reject";
  // Whoever checks the password, these ask for none, and let nobody in unchecked.
  const proven = method === "cert" || method === "peer" || method === "reject";
  if (stored === "external" && !proven) return "external";
  switch (method) {
    case "cert":
    case "peer":
      return method;
    case "pam":
    case "ldap":
    case "jwt":
      return "external";
    case "trust":
    case "reject":
    case "password":
      return method;
    case "md5":
      return stored === "md5" || stored === "plain" ? "md5" : "scram-sha-256";
    case "scram-sha-256":
      return stored === "md5" ? "reject" : "scram-sha-256";
    case "auto":
      return stored === "md5" ? "md5" : "scram-sha-256";
    default:
      return method satisfies never;
  }
}

import assert from "node:assert/strict";
import { parseCidr } from "../config/address.ts";
import { decideMethod, HbaMatcher, legacyHbaRules } from "./hba.ts";
import type { HbaMethod, HbaRule } from "../config/hba_rule.ts";
import type { HbaRequest, LocalInterface, LoginMethod, StoredPasswordKind } from "./hba.ts";

const INTERFACES: LocalInterface[] = [
  { address: "127.0.0.1", netmask: "255.0.0.0" },
  { address: "192.168.7.5", netmask: "255.255.255.0" },
  { address: "::1", netmask: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
  { address: "fe80::5%eth0", netmask: "ffff:ffff:ffff:ffff::" },
];

function rule(line: number, change: Partial<HbaRule>): HbaRule {
  return {
    type: "host",
    databases: [{ kind: "all" }],
    users: [{ kind: "all" }],
    address: { kind: "all" },
    method: "md5",
    source: "hba.conf",
    line,
    ...change,
  };
}

function request(change: Partial<HbaRequest>): HbaRequest {
  return {
    transport: "tcp",
    tls: false,
    address: "10.1.2.3",
    database: "shop",
    user: "ann",
    ...change,
  };
}

/** The line of the rule that decides, or `undefined`. */
function decide(rules: HbaRule[], change: Partial<HbaRequest> = {}): number | undefined {
  // The matcher gets a clone: rules travel between threads.
  return new HbaMatcher(structuredClone(rules), INTERFACES).match(request(change))?.line;
}

function fits(change: Partial<HbaRule>, asked: Partial<HbaRequest> = {}): boolean {
  return decide([rule(1, change)], asked) === 1;
}

Deno.test("hba: record types against transport and TLS", () => {
  const cases: [HbaRule["type"], boolean, boolean, boolean][] = [
    // type, plain TCP, TLS, unix socket
    ["local", false, false, true],
    ["host", true, true, false],
    ["hostssl", false, true, false],
    ["hostnossl", true, false, false],
  ];
  for (const [type, plain, tls, unix] of cases) {
    assert.equal(fits({ type }, { tls: false }), plain, type);
    assert.equal(fits({ type }, { tls: true }), tls, type);
    assert.equal(fits({ type }, { transport: "unix", address: "" }), unix, type);
  }
});

Deno.test("hba: the first rule that fits decides, whatever its method", () => {
  const rules = [
    rule(1, { users: [{ kind: "name", name: "eve" }], method: "reject" }),
    rule(2, { type: "hostssl", method: "scram-sha-256" }),
    rule(3, { method: "trust" }),
    rule(4, { method: "reject" }),
  ];
  assert.equal(decide(rules, { user: "eve", tls: true }), 1);
  assert.equal(decide(rules, { tls: true }), 2);
  assert.equal(decide(rules), 3);
  assert.equal(decide(rules.slice(0, 2)), undefined);
  assert.equal(decide([]), undefined);
});

Deno.test("hba: names are exact and case-sensitive; any entry of a list will do", () => {
  const users: HbaRule["users"] = [{ kind: "name", name: "ann" }, { kind: "name", name: "Bob" }];
  assert.ok(fits({ users }, { user: "ann" }));
  assert.ok(fits({ users }, { user: "Bob" }));
  assert.ok(!fits({ users }, { user: "bob" }));
  assert.ok(!fits({ users }, { user: "anna" }));
  const databases: HbaRule["databases"] = [{ kind: "name", name: "shop" }];
  assert.ok(!fits({ databases, users }, { database: "shop", user: "eve" }));
  assert.ok(!fits({ databases, users }, { database: "Shop" }));
});

Deno.test("hba: sameuser is the database named like the user", () => {
  const databases: HbaRule["databases"] = [{ kind: "sameuser" }];
  assert.ok(fits({ databases }, { database: "ann" }));
  assert.ok(!fits({ databases }, { database: "shop" }));
});

Deno.test("hba: patterns match anywhere in the name unless anchored", () => {
  const users = (pattern: string): HbaRule["users"] => [{ kind: "regex", pattern }];
  assert.ok(fits({ users: users("nn") }));
  assert.ok(!fits({ users: users("^nn") }));
  assert.ok(fits({ users: users("^a..$") }));
  assert.ok(fits({ users: users("^a.b$") }, { user: "a\nb" }));
  assert.ok(!fits({ users: users("^a$") }, { user: "a\nb" }));
  assert.ok(fits({ users: users("^.$") }, { user: "😀" }));
  assert.ok(fits({ databases: users("^shop_\\d+$") }, { database: "shop_12" }));
});

Deno.test("hba: names beyond any real one match nothing, so that no pattern runs on them", () => {
  const users: HbaRule["users"] = [{ kind: "regex", pattern: "a" }];
  assert.ok(fits({ users }, { user: "a".repeat(256) }));
  assert.ok(!fits({ users }, { user: "a".repeat(257) }));
  assert.ok(!fits({}, { database: "a".repeat(257) }));
});

Deno.test("hba: physical replication enters by its keyword alone, and the keyword lets in nothing else", () => {
  const keyword: HbaRule["databases"] = [{ kind: "replication" }];
  const named: HbaRule["databases"] = [{ kind: "name", name: "replication" }];
  assert.ok(fits({ databases: keyword }, { replication: true }));
  assert.ok(!fits({ databases: keyword }, { database: "replication" }));
  assert.ok(!fits({}, { replication: true }));
  assert.ok(!fits({ databases: named }, { database: "replication", replication: true }));
  assert.ok(fits({ databases: named }, { database: "replication" }));
});

Deno.test("hba: networks of both families; IPv4 in IPv6 clothes meets IPv4 rules", () => {
  const inside = (cidr: string, address: string) =>
    fits({ address: { kind: "network", network: parseCidr(cidr)! } }, { address });
  assert.ok(inside("10.0.0.0/8", "10.9.9.9"));
  assert.ok(inside("10.0.0.0/8", "::ffff:10.9.9.9"));
  assert.ok(!inside("10.0.0.0/8", "11.0.0.1"));
  assert.ok(!inside("::/0", "::ffff:10.9.9.9"));
  assert.ok(inside("::/0", "2001:db8::1"));
  assert.ok(!inside("0.0.0.0/0", "2001:db8::1"));
  assert.ok(inside("fe80::/10", "fe80::1%eth0"));
});

Deno.test("hba: samehost and samenet are the local interfaces and their networks", () => {
  const from = (kind: "samehost" | "samenet", address: string) =>
    fits({ address: { kind } }, { address });
  assert.ok(from("samehost", "192.168.7.5"));
  assert.ok(from("samehost", "::ffff:192.168.7.5"));
  assert.ok(!from("samehost", "192.168.7.6"));
  assert.ok(from("samehost", "fe80::5%eth1"));
  assert.ok(from("samehost", "::1"));
  assert.ok(from("samenet", "192.168.7.6"));
  assert.ok(from("samenet", "127.9.9.9"));
  assert.ok(!from("samenet", "192.168.8.6"));
  assert.ok(from("samenet", "fe80::77"));
  assert.ok(!from("samenet", "fe81::77"));
});

Deno.test("hba: an interface that can't be read matches nobody and hides none", () => {
  const interfaces = [{ address: "?", netmask: "255.0.0.0" }, {
    address: "10.0.0.1",
    netmask: "?",
  }];
  const matcher = new HbaMatcher([rule(1, { address: { kind: "samenet" } })], interfaces);
  assert.equal(matcher.match(request({ address: "10.0.0.1" })), undefined);
  const hosts = new HbaMatcher([rule(1, { address: { kind: "samehost" } })], interfaces);
  assert.equal(hosts.match(request({ address: "10.0.0.1" }))?.line, 1);
});

Deno.test("hba: a peer whose address can't be read is not let in, not even by all", () => {
  assert.ok(!fits({}, { address: "unknown" }));
  assert.ok(!fits({}, { address: "" }));
});

Deno.test("hba: the old list lets in unix sockets always and TCP from its networks", () => {
  const rules = legacyHbaRules(["10.0.0.0/8", "::1/128"]);
  const found = (change: Partial<HbaRequest>) => {
    const match = new HbaMatcher(structuredClone(rules), []).match(request(change));
    assert.ok(match === undefined || match.method === "auto");
    return match?.line;
  };
  assert.equal(found({ address: "10.1.2.3" }), 1);
  assert.equal(found({ address: "10.1.2.3", tls: true }), 1);
  assert.equal(found({ address: "::1" }), 2);
  assert.equal(found({ address: "11.1.2.3" }), undefined);
  assert.equal(found({ transport: "unix", address: "" }), 0);
  assert.equal(found({ address: "10.1.2.3", replication: true }), 1);
});

Deno.test("hba: an empty old list lets in everybody", () => {
  const matcher = new HbaMatcher(legacyHbaRules([]), []);
  assert.equal(matcher.match(request({}))?.method, "auto");
  assert.equal(matcher.match(request({ address: "2001:db8::1", tls: true }))?.method, "auto");
  assert.equal(matcher.match(request({ transport: "unix" }))?.method, "auto");
});

Deno.test("hba: the old list refuses what is no network", () => {
  assert.throws(() => legacyHbaRules(["10.0.0.1"]), TypeError);
});

Deno.test("hba: method by rule and stored password", () => {
  const kinds: StoredPasswordKind[] = ["empty", "scram", "md5", "plain", "unsupported"];
  const table: [HbaMethod, LoginMethod[]][] = [
    ["trust", ["trust", "trust", "trust", "trust", "reject"]],
    ["reject", ["reject", "reject", "reject", "reject", "reject"]],
    ["password", ["password", "password", "password", "password", "reject"]],
    ["md5", ["scram-sha-256", "scram-sha-256", "md5", "md5", "reject"]],
    ["scram-sha-256", ["scram-sha-256", "scram-sha-256", "reject", "scram-sha-256", "reject"]],
    ["auto", ["scram-sha-256", "scram-sha-256", "md5", "scram-sha-256", "reject"]],
  ];
  for (const [method, expected] of table) {
    assert.deepEqual(kinds.map((kind) => decideMethod(method, kind)), expected, method);
  }
});

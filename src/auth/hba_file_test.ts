import assert from "node:assert/strict";
import fc from "fast-check";
import { parseCidr } from "../config/address.ts";
import { HbaMatcher } from "./hba.ts";
import type { HbaName, HbaRule } from "../config/hba_rule.ts";
import { parseHba } from "./hba_file.ts";
import type { HbaFault } from "./hba_tokens.ts";

function parse(text: string, files: Record<string, string> = {}, source = "/etc/hba.conf") {
  return parseHba(text, {
    source,
    readFile: (path) => files[path],
    listDirectory: (path) => {
      const names = Object.keys(files).filter((name) => name.startsWith(path + "/"))
        .map((name) => name.slice(path.length + 1));
      if (names.length === 0) throw Object.assign(new Error("none"), { code: "ENOENT" });
      return names.reverse();
    },
  });
}

/** The rules of a text without faults and warnings. */
function rulesOf(text: string, files: Record<string, string> = {}): HbaRule[] {
  const { rules, faults, warnings } = parse(text, files);
  assert.deepEqual(faults, [], text);
  assert.deepEqual(warnings, [], text);
  return rules;
}

function ruleOf(text: string, files: Record<string, string> = {}): HbaRule {
  const rules = rulesOf(text, files);
  assert.equal(rules.length, 1, text);
  return rules[0];
}

/** The only fault of a text; its rules must be withheld. */
function faultOf(text: string, files: Record<string, string> = {}): HbaFault {
  const { rules, faults } = parse(text, files);
  assert.equal(faults.length, 1, `${text}: ${JSON.stringify(faults)}`);
  assert.deepEqual(rules, []);
  assert.notEqual(faults[0].hint, "");
  return faults[0];
}

function warningOf(text: string): HbaFault {
  const { rules, faults, warnings } = parse(text);
  assert.deepEqual(faults, [], text);
  assert.equal(rules.length, 1, text);
  assert.equal(warnings.length, 1, text);
  return warnings[0];
}

const named = (...names: string[]): HbaName[] => names.map((name) => ({ kind: "name", name }));
const network = (cidr: string) => ({ kind: "network", network: parseCidr(cidr)! });

Deno.test("hba file: each record type, and where a rule stands", () => {
  const rules = rulesOf(
    [
      "# comment",
      "local all all trust",
      "",
      "host shop ann 10.0.0.0/8 md5",
      "hostssl all all ::/0 scram-sha-256",
      "hostnossl all all all reject",
      "hostnogssenc all all all password",
    ].join("\n"),
  );
  assert.deepEqual(rules[0], {
    type: "local",
    databases: [{ kind: "all" }],
    users: [{ kind: "all" }],
    address: { kind: "all" },
    method: "trust",
    source: "/etc/hba.conf",
    line: 2,
  });
  assert.deepEqual(rules[1], {
    type: "host",
    databases: named("shop"),
    users: named("ann"),
    address: network("10.0.0.0/8"),
    method: "md5",
    source: "/etc/hba.conf",
    line: 4,
  });
  const rest = rules.slice(2).map(({ type, method }) => [type, method]);
  assert.deepEqual(rest, [
    ["hostssl", "scram-sha-256"],
    ["hostnossl", "reject"],
    ["host", "password"],
  ]);
  assert.deepEqual(structuredClone(rules), rules);
  assert.deepEqual(JSON.parse(JSON.stringify(rules)), rules);
});

Deno.test("hba file: types and methods in any case and in upstream's spellings", () => {
  assert.equal(ruleOf("HostSSL all all all Trust").type, "hostssl");
  for (const name of ["scram-sha-256", "SCRAM-SHA-256", "scram_sha_256", "scramsha256"]) {
    assert.equal(ruleOf(`host all all all ${name}`).method, "scram-sha-256", name);
  }
});

Deno.test("hba file: blanks are spaces and tabs; line ends may be DOS ones; the last needs none", () => {
  const rules = rulesOf("  local\tall  all\t trust \r\n\t\r\nlocal all all md5\r\n");
  assert.deepEqual(rules.map(({ method, line }) => [method, line]), [["trust", 1], ["md5", 3]]);
});

Deno.test("hba file: comments begin at # anywhere outside quotes", () => {
  const rule = ruleOf('#local x y trust\n # \nlocal "a#b" all trust#md5 map=x');
  assert.deepEqual(rule.databases, named("a#b"));
  assert.equal(rule.method, "trust");
  assert.match(faultOf("local all ann#comment trust").message, /ends before the method/);
});

Deno.test("hba file: a backslash continues a line, in a comment and in quotes too", () => {
  const rules = rulesOf(
    'local all \\\nall trust\nlocal "a\\\nb" all md5 # more \\\n nonsense\nlocal all all reject',
  );
  assert.deepEqual(rules.map(({ method, line }) => [method, line]), [
    ["trust", 1],
    ["md5", 3],
    ["reject", 6],
  ]);
  assert.deepEqual(rules[1].databases, named("ab"));
  assert.equal(ruleOf("local all all trust\\").method, "trust");
  // Of two backslashes the second continues the line and the first stays.
  assert.match(faultOf("local all all tr\\\\\n\\\nust").message, /"tr\\ust"/);
});

Deno.test("hba file: lists, with blanks behind the comma, of names and keywords", () => {
  assert.deepEqual(ruleOf("local a,b, c all trust").databases, named("a", "b", "c"));
  assert.deepEqual(ruleOf("local sameuser,replication,all all trust").databases, [
    { kind: "sameuser" },
    { kind: "replication" },
    { kind: "all" },
  ]);
  // A blank before the comma ends the field, as in PostgreSQL.
  assert.deepEqual(ruleOf("local a ,b trust").users, named("b"));
});

Deno.test("hba file: quotes make a name of a keyword and keep blanks, commas and #", () => {
  const rule = ruleOf('local "all","sameuser","replication","a b","c,d","e#f" "all" trust');
  assert.deepEqual(
    rule.databases,
    named("all", "sameuser", "replication", "a b", "c,d", "e#f"),
  );
  assert.deepEqual(rule.users, named("all"));
});

Deno.test("hba file: quotes within a word, doubled, and empty", () => {
  assert.deepEqual(ruleOf('local a"b c"d all trust').databases, named("ab cd"));
  assert.deepEqual(ruleOf('local "a""b" all trust').databases, named('a"b'));
  assert.deepEqual(ruleOf('local """" all trust').databases, named('"'));
  assert.deepEqual(ruleOf('local "" all trust').databases, named(""));
  // A quote that is not the first character does not protect a keyword, as in PostgreSQL.
  assert.deepEqual(ruleOf('local a"ll" all trust').databases, [{ kind: "all" }]);
});

Deno.test("hba file: keywords of one column are names in the other", () => {
  const rule = ruleOf("local +x sameuser,replication,samerole trust");
  assert.deepEqual(rule.databases, named("+x"));
  assert.deepEqual(rule.users, named("sameuser", "replication", "samerole"));
});

Deno.test("hba file: a keyword in other letters is a name, only all is read as upstream does", () => {
  assert.deepEqual(ruleOf("local SameUser all trust").databases, named("SameUser"));
  assert.match(warningOf("local ALL all trust").message, /"ALL"/);
  assert.deepEqual(parse("local ALL all trust").rules[0].databases, [{ kind: "all" }]);
});

Deno.test("hba file: patterns, quoted for a comma", () => {
  const rule = ruleOf('local "/^db\\d{2,4}$" /^app_ trust');
  assert.deepEqual(rule.databases, [{ kind: "regex", pattern: "^db\\d{2,4}$" }]);
  assert.deepEqual(rule.users, [{ kind: "regex", pattern: "^app_" }]);
});

Deno.test("hba file: a pattern that JavaScript does not take, or would take otherwise, is a fault", () => {
  for (const pattern of ["(", "[[:alpha:]]", "\\mword", "(?i)ann", "a**"]) {
    assert.match(faultOf(`local all /${pattern} trust`).message, /regular expression/, pattern);
  }
});

Deno.test("hba file: addresses in all their forms", () => {
  const address = (text: string) => ruleOf(`host all all ${text} trust`).address;
  assert.deepEqual(address("all"), { kind: "all" });
  assert.deepEqual(address("samehost"), { kind: "samehost" });
  assert.deepEqual(address("samenet"), { kind: "samenet" });
  assert.deepEqual(address("10.1.2.3/8"), network("10.1.2.3/8"));
  assert.deepEqual(address('"10.0.0.0/8"'), network("10.0.0.0/8"));
  assert.deepEqual(address("::1/128"), network("::1/128"));
  assert.deepEqual(address("10.0.0.0 255.0.0.0"), network("10.0.0.0/8"));
  assert.deepEqual(address("0.0.0.0 0.0.0.0"), network("0.0.0.0/0"));
  assert.deepEqual(address("fe80:: ffff:ffff::"), network("fe80::/32"));
});

Deno.test("hba file: a bare address is that one address, with a warning", () => {
  for (const [text, cidr] of [["10.0.0.5", "10.0.0.5/32"], ["::1", "::1/128"]]) {
    const warning = warningOf(`\nhost all all ${text} trust`);
    assert.equal(warning.line, 2);
    assert.match(warning.hint, new RegExp(cidr));
    assert.deepEqual(parse(`host all all ${text} trust`).rules[0].address, network(cidr));
  }
});

Deno.test("hba file: what is no address is a fault, never everybody", () => {
  const cases: [string, RegExp][] = [
    ["10.0.0.0/33", /not a network/],
    ["10.0.0/8", /not a network/],
    ["db.example.com/24", /not a network/],
    ["db.example.com", /host name/],
    [".example.com", /host name/],
    ["localhost", /host name/],
    ['"all"', /host name/],
    ["SAMENET", /host name/],
    ["10.0.0.0 255.0.255.0", /not a mask/],
    ["10.0.0.0 255.0.0", /not a mask/],
    ["10.0.0.0 ffff::", /not a mask/],
    ["::1 255.0.0.0", /not a mask/],
    ["10.0.0.0/8,11.0.0.0/8", /several values/],
  ];
  for (const [text, message] of cases) {
    assert.match(faultOf(`host all all ${text} trust`).message, message, text);
  }
});

Deno.test("hba file: columns that are missing, too many or in the wrong place", () => {
  const cases: [string, RegExp][] = [
    ["local", /ends before the database/],
    ["local all", /ends before the user/],
    ["local all all", /ends before the method/],
    ["host all all", /ends before the address/],
    ["host all all all", /ends before the method/],
    ["host all all 10.0.0.0/8", /ends before the method/],
    ["host all all 10.0.0.0 255.0.0.0", /ends before the method/],
    ["host all all md5", /address is missing/],
    ["host all all peer", /address is missing/],
    ["local all all 127.0.0.1/32 trust", /has no address/],
    ["local all all all trust", /has no address/],
    ["local all all trust,md5", /several values/],
    ["local,host all all trust", /several values/],
    ["hosts all all all trust", /unknown record type "hosts"/],
    ["trust", /unknown record type/],
    ["local all, all trust", /ends before the method/],
    ['local "all all trust', /not closed/],
    ['local all all trust "', /not closed/],
  ];
  for (const [text, message] of cases) assert.match(faultOf(text).message, message, text);
  assert.match(faultOf("local all all").hint, /local DATABASE USER METHOD/);
  assert.match(faultOf("hostssl all all").hint, /hostssl DATABASE USER ADDRESS METHOD/);
});

Deno.test("hba file: what needs the server's catalog or another feature is a clear fault", () => {
  assert.match(faultOf("local all +staff trust").message, /group "\+staff"/);
  assert.match(faultOf("local samerole all trust").message, /"samerole" is not supported/);
  assert.match(faultOf("local samegroup all trust").message, /"samegroup" is not supported/);
  assert.match(faultOf("hostgssenc all all all trust").message, /"hostgssenc" is not supported/);
  for (const method of ["pam", "ldap", "jwt"]) {
    const fault = faultOf(`hostssl all all all ${method}`);
    assert.equal(fault.message, `method "${method}" is not available`);
  }
  for (const method of ["gss", "sspi", "radius", "bsd", "oauth"]) {
    const fault = faultOf(`hostssl all all all ${method}`);
    assert.equal(fault.message, `method "${method}" is not supported`);
  }
  assert.match(faultOf("host all all all ident").message, /"ident" is not supported: it would/);
  assert.equal(ruleOf("local all all ident").method, "peer");
  for (const type of ["host", "hostssl", "hostnossl"]) {
    assert.match(
      faultOf(`${type} all all all peer`).message,
      /"peer" is for "local" records alone/,
    );
  }
  for (const type of ["host all", "local", "hostnossl all"]) {
    const [name, address = ""] = type.split(" ");
    const fault = faultOf(`${name} all all ${address} cert`);
    assert.match(fault.message, /"cert" is for "hostssl" records alone/);
  }
  assert.match(faultOf("local all all secret").message, /unknown method "secret"/);
});

Deno.test("hba file: options of certificates and maps", () => {
  const read = (text: string) => {
    const { clientCert, clientName, map } = ruleOf(text);
    return [clientCert, clientName, map];
  };
  assert.deepEqual(read("hostssl all all all md5 clientcert=verify-ca"), [
    "verify-ca",
    undefined,
    undefined,
  ]);
  assert.deepEqual(read("hostssl all all all trust clientcert=verify-full clientname=DN"), [
    "verify-full",
    "DN",
    undefined,
  ]);
  assert.deepEqual(read('hostssl all all all cert map="a b" clientcert=verify-full'), [
    undefined,
    undefined,
    "a b",
  ]);
  assert.deepEqual(read("local all all peer map=m map=n"), [undefined, undefined, "n"]);
  assert.deepEqual(read("local all all peer map="), [undefined, undefined, undefined]);
  const faults: [text: string, message: RegExp][] = [
    ["host all all all md5 clientcert=verify-ca", /"clientcert" is for "hostssl" records/],
    ["local all all peer clientname=CN", /"clientname" is for "hostssl" records/],
    ["hostssl all all all md5 clientcert=1", /invalid value for "clientcert"/],
    ["hostssl all all all cert clientcert=verify-ca", /only be verify-full with the method "cert"/],
    ["hostssl all all all cert clientname=cn", /invalid value for "clientname"/],
    ["local all all trust map=m", /option "map" is for the methods cert and peer/],
    ["local all all trust colour=red", /unknown option "colour"/],
    ["local all all trust =x", /unknown option/],
    ["local all all trust please", /not an option/],
    ["local all all md5 ldapserver=x", /unknown option "ldapserver"/],
    ["local all all peer pamservice=x", /unknown option "pamservice"/],
  ];
  for (const [text, message] of faults) assert.match(faultOf(text).message, message, text);
});

Deno.test("hba file: options of a method that others carry out are theirs to judge", () => {
  const text = 'host all all all ldap ldapserver="a b" ldapprefix=cn= ldapprefix=uid=';
  const { rules, faults } = parseHba(text, {
    source: "/etc/pg_hba.conf",
    readFile: () => undefined,
    externalMethods: new Set(["ldap"]),
  });
  assert.deepEqual(faults, []);
  assert.deepEqual(rules[0]!.options, { ldapserver: "a b", ldapprefix: "uid=" });
});

Deno.test("hba file: no message repeats the value of an option", () => {
  const { faults, warnings } = parse(
    'host all all all md5 radiussecrets="hunter2" xx=hunter2 clientcert=hunter2 hunter2\n' +
      "host all all all ldap ldapbindpasswd=hunter2",
  );
  assert.equal(faults.length, 5);
  assert.equal(warnings.length, 0);
  assert.ok(!JSON.stringify([faults, warnings]).includes("hunter2"));
});

Deno.test("hba file: all faults are reported, each with its line, and then there are no rules", () => {
  const { rules, faults } = parse(
    "local all all trust\nhots all all all trust\n\nhost +a,samerole +b,+c far.example 10/8 nope\nlocal all all bsd",
  );
  assert.deepEqual(rules, []);
  assert.deepEqual(faults.map(({ line }) => line), [2, 4, 4, 4, 4, 4, 5]);
});

Deno.test("hba file: a text without a rule is a fault", () => {
  for (const text of ["", "\n# nothing\n", "include_if_exists none.conf"]) {
    assert.match(faultOf(text).message, /no rule at all/);
  }
});

Deno.test("hba file: @file puts the words of a file into a list", () => {
  const files = { "/etc/names": "ann, bob # staff\n\neve\n@more", "/etc/more": '"all"' };
  assert.deepEqual(
    ruleOf("local x,@names,y all trust", files).databases,
    named("x", "ann", "bob", "eve", "all", "y"),
  );
  assert.deepEqual(ruleOf('local @"with space" all trust', { "/etc/with space": "a" }).databases, [
    ...named("a"),
  ]);
  assert.deepEqual(ruleOf('local "@names" @ trust', files).databases, named("@names"));
  assert.deepEqual(ruleOf("local all @ trust").users, named("@"));
});

Deno.test("hba file: @file that is missing or empty is a fault", () => {
  assert.match(faultOf("local @none all trust").message, /"\/etc\/none": no such file/);
  assert.match(
    faultOf("local @empty all trust", { "/etc/empty": "# \n" }).message,
    /holds no name/,
  );
});

Deno.test("hba file: includes put records in their place, relative to the including file", () => {
  const files = {
    "/etc/sub/a.conf": "local a all trust\ninclude b.conf",
    "/etc/sub/b.conf": "\nlocal b all trust",
    "/abs.conf": "local abs all trust",
  };
  const rules = rulesOf(
    'local first all trust\ninclude sub/a.conf\ninclude "/abs.conf"\ninclude_if_exists none\nlocal last all md5',
    files,
  );
  assert.deepEqual(
    rules.map(({ databases, source, line }) => [databases[0], source, line]),
    [
      [named("first")[0], "/etc/hba.conf", 1],
      [named("a")[0], "/etc/sub/a.conf", 1],
      [named("b")[0], "/etc/sub/b.conf", 2],
      [named("abs")[0], "/abs.conf", 1],
      [named("last")[0], "/etc/hba.conf", 5],
    ],
  );
});

Deno.test("hba file: include_dir takes the .conf files in order of their names", () => {
  const files = {
    "/etc/d/10-b.conf": "local b all trust",
    "/etc/d/09-a.conf": "local a all trust",
    "/etc/d/.hidden.conf": "nonsense",
    "/etc/d/notes.txt": "nonsense",
  };
  const rules = rulesOf("include_dir d", files);
  assert.deepEqual(rules.map(({ databases }) => databases), [named("a"), named("b")]);
  assert.match(faultOf("include_dir none").message, /no such directory/);
  const { faults } = parseHba("include_dir d", { source: "x", readFile: () => undefined });
  assert.match(faults[0].message, /not supported here/);
});

Deno.test("hba file: includes that are malformed, missing or unreadable are faults", () => {
  assert.match(faultOf("include").message, /takes the name of one file/);
  assert.match(faultOf("include a b").message, /takes the name of one file/);
  assert.match(faultOf("include a,b").message, /takes the name of one file/);
  assert.match(faultOf("include_dir").message, /takes the name of one directory/);
  assert.match(faultOf("include none").message, /no such file/);
  const readFile = () => {
    throw new Error("permission denied");
  };
  for (const text of ["include x", "include_if_exists x", "local @x all trust"]) {
    const { faults } = parseHba(text, { source: "hba.conf", readFile });
    assert.equal(faults.length, 1);
    assert.match(faults[0].message, /cannot include "x": permission denied/);
  }
});

Deno.test("hba file: a reader may throw ENOENT instead of giving undefined", () => {
  const readFile = () => {
    throw Object.assign(new Error("No such file"), { code: "ENOENT" });
  };
  const { rules, faults } = parseHba("include_if_exists x\nlocal all all trust", {
    source: "hba.conf",
    readFile,
  });
  assert.deepEqual(faults, []);
  assert.equal(rules.length, 1);
  assert.match(
    parseHba("include x", { source: "hba.conf", readFile }).faults[0].message,
    /no such file/,
  );
});

Deno.test("hba file: a fault in an included file names that file", () => {
  const fault = faultOf("include a.conf", { "/etc/a.conf": "\nlocal all all nope" });
  assert.deepEqual([fault.source, fault.line], ["/etc/a.conf", 2]);
});

Deno.test("hba file: a file that includes itself, deep nesting and too many files end in a fault", () => {
  const loop = { "/etc/a": "include b", "/etc/b": "local @a all trust" };
  assert.match(faultOf("include a", loop).message, /includes itself/);
  assert.match(faultOf("include hba.conf").message, /includes itself/);
  const chain = (length: number) =>
    Object.fromEntries(Array.from({ length }, (_, i) => [
      `/etc/${i}`,
      i === length - 1 ? "local all all trust" : `include ${i + 1}`,
    ]));
  assert.equal(rulesOf("include 0", chain(10)).length, 1);
  assert.match(faultOf("include 0", chain(11)).message, /nested more than 10 deep/);
  const fan = Object.fromEntries(
    Array.from({ length: 8 }, (_, i) => [`/etc/${i}`, `include ${i + 1}\n`.repeat(9)]),
  );
  assert.match(
    parse("include 0", { ...fan, "/etc/8": "local all all trust" }).faults[0].message,
    /more than 1000 files/,
  );
});

Deno.test("hba file: names are relative to the working directory for rules within the config", () => {
  const { rules } = parse(
    "include rules.conf",
    { "rules.conf": "local all all md5" },
    "general.pg_hba",
  );
  assert.equal(rules[0].source, "rules.conf");
});

Deno.test("hba file: PostgreSQL's own default file and typical ones", () => {
  const rules = rulesOf(`
# TYPE  DATABASE        USER            ADDRESS                 METHOD
local   all             all                                     trust
host    all             all             127.0.0.1/32            scram-sha-256
host    all             all             ::1/128                 scram-sha-256
local   replication     all                                     trust
host    replication     all             127.0.0.1/32            trust
hostssl "my db"         ann,bob         192.168.0.0 255.255.0.0 md5
host    all             all             0.0.0.0/0               reject
`);
  const matcher = new HbaMatcher(rules, []);
  const asked = { transport: "tcp" as const, tls: false, address: "127.0.0.1", user: "ann" };
  assert.equal(matcher.match({ ...asked, database: "x" })?.method, "scram-sha-256");
  assert.equal(matcher.match({ ...asked, database: "x", replication: true })?.method, "trust");
  const far = { ...asked, address: "192.168.3.4", database: "my db" };
  assert.equal(matcher.match({ ...far, tls: true })?.method, "md5");
  assert.equal(matcher.match(far)?.method, "reject");
  assert.equal(matcher.match({ ...far, address: "2001:db8::1" }), undefined);
});

Deno.test("hba file: any text gives rules or faults, never an exception", () => {
  const word = fc.constantFrom(
    ...[
      "local",
      "host",
      "hostssl",
      "all",
      "sameuser",
      "+g",
      "/^a",
      "/(",
      "@f",
      "@g",
      '"',
      '""',
      ",",
    ],
    ...[
      "10.0.0.0/8",
      "10.0.0.0",
      "255.0.0.0",
      "::1",
      "trust",
      "md5",
      "peer",
      "#",
      "\\\n",
      "\n",
      "a=b",
    ],
    ...["include", "include_dir", "f", "g"],
  );
  const texts = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.array(word, { maxLength: 30 }).map((words) => words.join(" ")),
  );
  const files = { "/etc/f": "ann", "/etc/g": "include g\n@g" };
  fc.assert(
    fc.property(texts, (text) => {
      const { rules, faults } = parse(text, files);
      assert.ok(faults.length > 0 !== rules.length > 0);
      new HbaMatcher(rules, []);
    }),
    { numRuns: 500 },
  );
});

Deno.test("hba file: an address is read as everybody only if it says so", () => {
  const piece = fc.constantFrom(..."0129./:alALsfxz-%*".split(""));
  fc.assert(
    fc.property(fc.string({ unit: piece, minLength: 1, maxLength: 12 }), (address) => {
      const { rules } = parse(`host shop ann ${address} md5`);
      const everybody = rules.some((rule) => rule.address.kind === "all");
      assert.equal(everybody, address.toLowerCase() === "all", address);
    }),
    { numRuns: 500, examples: [["all"], ["ALL"], ["allx"], ["*"], ["0"]] },
  );
});

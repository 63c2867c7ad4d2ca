import assert from "node:assert/strict";
import fc from "fast-check";
import { FilterParser } from "ldapts";
import { bindNameFor, filterFor, type LdapOptions, readLdapOptions } from "./ldap_options.ts";

function read(options: Record<string, string>): LdapOptions {
  const found = readLdapOptions(options);
  assert.ok("options" in found, JSON.stringify(found));
  return found.options;
}

function faults(options: Record<string, string>): string {
  const found = readLdapOptions(options);
  assert.ok("faults" in found, "there should be a fault");
  return found.faults.map(({ message }) => message).join("; ");
}

const SEARCH = { ldapserver: "a", ldapbasedn: "dc=x" };

Deno.test("ldap options: a simple bind", () => {
  assert.deepEqual(read({ ldapserver: "a", ldapprefix: "cn=", ldapsuffix: ",dc=x" }), {
    servers: [{ host: "a", port: 389 }],
    encryption: "none",
    how: { kind: "bind", prefix: "cn=", suffix: ",dc=x" },
  });
});

Deno.test("ldap options: a search, and what is taken where nothing is said", () => {
  assert.deepEqual(read(SEARCH).how, {
    kind: "search",
    base: "dc=x",
    scope: "sub",
    filter: "(uid=$username)",
    bindName: "",
    bindPassword: "",
  });
  const how = read({
    ...SEARCH,
    ldapbinddn: "cn=reader",
    ldapbindpasswd: "s",
    ldapsearchfilter: "(&(mail=$username)(a=b))",
  }).how;
  assert.ok(how.kind === "search");
  assert.equal(how.filter, "(&(mail=$username)(a=b))");
  assert.equal(how.bindName, "cn=reader");
});

Deno.test("ldap options: servers, ports and encryption", () => {
  const servers = (ldapserver: string, more: Record<string, string> = {}) =>
    read({ ...SEARCH, ldapserver, ...more }).servers.map(({ host, port }) => `${host} ${port}`);
  assert.deepEqual(servers("a b:1389  [::1]:7"), ["a 389", "b 1389", "::1 7"]);
  assert.deepEqual(servers("a,b", { ldapport: "5" }), ["a 5", "b 5"]);
  assert.deepEqual(servers("a", { ldapscheme: "ldaps" }), ["a 636"]);
  assert.deepEqual(servers("::1"), ["::1 389"]);
  assert.equal(read({ ...SEARCH, ldaptls: "1" }).encryption, "starttls");
  assert.equal(read({ ...SEARCH, ldapscheme: "ldaps" }).encryption, "tls");
});

Deno.test("ldap options: a URL", () => {
  const found = read({ ldapurl: "ldaps://dir.example:1636/dc=a%20b,dc=c??one?(cn=$username)" });
  assert.deepEqual(found, {
    servers: [{ host: "dir.example", port: 1636 }],
    encryption: "tls",
    how: {
      kind: "search",
      base: "dc=a b,dc=c",
      scope: "one",
      filter: "(cn=$username)",
      bindName: "",
      bindPassword: "",
    },
  } as never);
});

Deno.test("ldap options: what does not go together", () => {
  assert.match(faults({}), /ldapserver is missing; neither ldapbasedn/);
  assert.match(faults({ ...SEARCH, ldapprefix: "cn=" }), /do not go with a search/);
  assert.match(faults({ ldapserver: "a", ldapprefix: "cn=", ldapbinddn: "x" }), /needs ldapbasedn/);
  assert.match(faults({ ...SEARCH, ldaptls: "1", ldapscheme: "ldaps" }), /begins in clear/);
  assert.match(faults({ ...SEARCH, ldaptls: "yes" }), /0 or 1/);
  assert.match(faults({ ...SEARCH, ldapscheme: "http" }), /ldap or ldaps/);
  assert.match(faults({ ...SEARCH, ldapport: "0" }), /port/);
  assert.match(faults({ ...SEARCH, ldapserver: "a:99999" }), /port/);
  assert.match(
    faults({ ...SEARCH, ldapsearchfilter: "(uid=bob)" }),
    /every user would be the same/,
  );
  assert.match(
    faults({ ...SEARCH, ldapsearchfilter: "(u=$username)", ldapsearchattribute: "u" }),
    /both set/,
  );
  assert.match(faults({ ...SEARCH, ldapsearchattribute: "u)(a" }), /no attribute/);
  assert.match(faults({ ...SEARCH, ldapbinddn: "cn=x" }), /would be anonymous/);
  assert.match(faults({ ...SEARCH, pamservice: "x" }), /none of ldap's/);
  assert.match(faults({ ldapurl: "x" }), /no URL/);
  assert.match(faults({ ldapurl: "http://a/dc=x" }), /no URL of LDAP/);
  // A password is among them.
  assert.ok(!faults({ ldapbindpasswd: "hidden" }).includes("hidden"));
});

Deno.test("ldap options: a name is nothing but a name, in a filter", () => {
  assert.equal(filterFor("(uid=$username)", "a*)(b\\"), "(uid=a\\2a\\29\\28b\\5c)");
  assert.equal(filterFor("uid=$username", "$&"), "(uid=$&)");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (user) => {
      const parsed = FilterParser.parseString(filterFor("(&(uid=$username)(ou=x))", user));
      const { filters } = parsed as unknown as { filters: { attribute: string; value?: string }[] };
      assert.equal(filters.length, 2);
      assert.equal(filters[0]!.attribute, "uid");
      assert.equal(filters[0]!.value, user);
      assert.equal(filters[1]!.value, "x");
    }),
    { numRuns: 200 },
  );
});

Deno.test("ldap options: a name is nothing but a name, in another name", () => {
  assert.equal(bindNameFor("cn=", "a,ou=b", ",dc=x"), "cn=a\\2cou\\3db,dc=x");
  assert.equal(bindNameFor("cn=", " a ", ",dc=x"), "cn=\\20a\\20,dc=x");
  assert.equal(bindNameFor("", "bob", "@corp.example"), "bob@corp.example");
  assert.equal(bindNameFor("CORP\\", "bob", ""), "CORP\\bob");
});

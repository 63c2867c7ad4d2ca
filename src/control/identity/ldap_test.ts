import assert from "node:assert/strict";
import type { ExternalVerdict } from "../../config/external_check.ts";
import { BASE, READER, Slapd, slapdMissing, USERS } from "../../../tests/support/slapd.ts";
import { freePort } from "../../../tests/support/ports.ts";
import { LdapCheck } from "./ldap.ts";

const MISSING = slapdMissing();
const ignore = MISSING !== undefined;
const name = MISSING === undefined ? "ldap" : `ldap (left out, ${MISSING})`;
const TERMS = { atOnce: 4, timeoutMs: 60_000, authorities: undefined };

function whyOf(verdict: ExternalVerdict): string {
  return verdict.kind === "accepted" ? "accepted" : `${verdict.kind}: ${verdict.why}`;
}

/** What a rule with these options makes of a user's password. */
function ask(
  ldap: LdapCheck,
  options: Record<string, string>,
  user: string,
  password: string,
): Promise<string> {
  const request = {
    method: "ldap" as const,
    options,
    user,
    database: "db",
    address: "10.0.0.1",
    password: new TextEncoder().encode(password),
  };
  return ldap.check(request, new AbortController().signal).then(whyOf);
}

async function withSlapd(run: (slapd: Slapd) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "pg_doorman_slapd_" });
  try {
    const slapd = await Slapd.start(folder);
    try {
      await run(slapd);
    } finally {
      await slapd.stop();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface FakeServer {
  port: number;
  close(): Promise<void>;
}

/** A server that does what the test says with each connection, and goes when the test does. */
function fakeServer(serve: (connection: Deno.Conn) => Promise<void>): FakeServer {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Deno.Conn[] = [];
  const served: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      connections.push(connection);
      served.push(serve(connection).catch(() => {}));
    }
  })();
  const { port } = listener.addr;
  return {
    port,
    async close() {
      listener.close();
      await accepting;
      for (const connection of connections) connection.close();
      await Promise.all(served);
    },
  };
}

Deno.test(`${name}: binds, searches and encrypts with a real directory`, { ignore }, async (t) => {
  await withSlapd(async (slapd) => {
    const ldap = new LdapCheck(TERMS);
    const bind = {
      ldapserver: `127.0.0.1:${slapd.port}`,
      ldapprefix: "cn=",
      ldapsuffix: `,ou=people,${BASE}`,
    };
    const search = {
      ldapserver: "127.0.0.1",
      ldapport: String(slapd.port),
      ldapbasedn: BASE,
      ldapbinddn: READER.name,
      ldapbindpasswd: READER.password,
    };

    await t.step("a simple bind", async () => {
      assert.equal(await ask(ldap, bind, "Ann", USERS.ann), "accepted");
      assert.match(await ask(ldap, bind, "Ann", "wrong"), /^refused: 127\.0\.0\.1:\d+: /);
      assert.match(await ask(ldap, bind, "nobody", USERS.ann), /^refused/);
      // A name with everything in it that means something.
      assert.equal(await ask(ldap, bind, "bob*(x)", USERS["bob*(x)"]), "accepted");
      assert.match(await ask(ldap, bind, "Ann,ou=people", USERS.ann), /^refused/);
    });

    await t.step("no bind is anonymous", async () => {
      // This server takes a name without a password for nobody, and says yes.
      assert.equal(await ask(ldap, bind, "Ann", ""), "refused: the password is empty");
      assert.equal(await ask(ldap, search, "ann", ""), "refused: the password is empty");
      const nameless = { ldapserver: bind.ldapserver, ldapprefix: "", ldapsuffix: "" };
      assert.match(await ask(ldap, nameless, "", "x"), /^error: neither/);
    });

    await t.step("a search, and a bind as who was found", async () => {
      assert.equal(await ask(ldap, search, "ann", USERS.ann), "accepted");
      assert.match(await ask(ldap, search, "ann", "wrong"), /^refused: 127/);
      assert.equal(await ask(ldap, search, "x", "y"), "refused: the directory has no such user");
      assert.equal(
        await ask(ldap, search, "twin", USERS.twin),
        "refused: the directory has more than one such user",
      );
      assert.equal(await ask(ldap, search, "bob*(x)", USERS["bob*(x)"]), "accepted");
      for (const name of ["*", "a*", "ann)(uid=*", "x)(|(uid=ann)", "ann\\"]) {
        assert.match(await ask(ldap, search, name, USERS.ann), /^refused: .*no such user/, name);
      }
      const filter = {
        ...search,
        ldapsearchfilter: "(&(objectClass=inetOrgPerson)(cn=$username))",
      };
      assert.equal(await ask(ldap, filter, "Ann", USERS.ann), "accepted");
      const wrong = await ask(ldap, { ...search, ldapbindpasswd: "x" }, "ann", USERS.ann);
      assert.match(wrong, /^error: ldapbinddn can't log in/);
    });

    await t.step("a name that the library knows as a mechanism is a name", async () => {
      const plain = { ldapserver: bind.ldapserver, ldapprefix: "", ldapsuffix: "L" };
      assert.match(await ask(ldap, plain, "EXTERNA", "x"), /^refused: .*/);
    });

    await t.step("TLS, from the first byte on and after StartTLS", async () => {
      const authorities = await Deno.readTextFile(slapd.authorityFile);
      const trusting = new LdapCheck({ ...TERMS, authorities });
      for (const host of ["localhost", "127.0.0.1"]) {
        const tls = { ...bind, ldapscheme: "ldaps", ldapserver: `${host}:${slapd.tlsPort}` };
        const startTls = { ...bind, ldaptls: "1", ldapserver: `${host}:${slapd.port}` };
        for (const options of [tls, startTls]) {
          assert.equal(await ask(trusting, options, "Ann", USERS.ann), "accepted");
          assert.match(await ask(trusting, options, "Ann", "wrong"), /^refused/);
          // Nobody is told the password whose certificate is of an unknown authority.
          assert.match(
            await ask(ldap, options, "Ann", USERS.ann),
            /^error: no LDAP server answers/,
          );
        }
      }
      const url = { ldapurl: `ldap://127.0.0.1:${slapd.port}/${BASE}?uid?sub`, ldaptls: "1" };
      const { ldapbinddn, ldapbindpasswd } = search;
      const whole = { ...url, ldapbinddn, ldapbindpasswd };
      assert.equal(await ask(trusting, whole, "ann", USERS.ann), "accepted");
    });

    await t.step("several servers: the first that answers", async () => {
      const dead = `127.0.0.1:${freePort()}`;
      const two = { ...bind, ldapserver: `${dead} 127.0.0.1:${slapd.port}` };
      assert.equal(await ask(ldap, two, "Ann", USERS.ann), "accepted");
      assert.match(await ask(ldap, two, "Ann", "wrong"), /^refused/);
      const none = { ...bind, ldapserver: `${dead} ${dead}` };
      assert.match(
        await ask(ldap, none, "Ann", USERS.ann),
        /^error: no LDAP server answers \(.*; /,
      );
    });
  });
});

Deno.test("ldap: a server that says nothing, or goes, is an error in time", async () => {
  const silent = fakeServer(async (connection) => {
    await connection.read(new Uint8Array(1000));
    await connection.read(new Uint8Array(1000));
  });
  const leaving = fakeServer(async (connection) => {
    await connection.read(new Uint8Array(1));
    await connection.closeWrite();
  });
  const ldap = new LdapCheck({ ...TERMS, timeoutMs: 200 });
  const at = (server: FakeServer, more: Record<string, string> = {}) =>
    ask(
      ldap,
      { ldapserver: `127.0.0.1:${server.port}`, ldapprefix: "cn=", ...more },
      "u",
      "p",
    );
  for (const more of [{}, { ldaptls: "1" }, { ldapscheme: "ldaps" }] as Record<string, string>[]) {
    assert.match(await at(silent, more), /^error: /);
    assert.match(await at(leaving, more), /^error: /);
  }
  await silent.close();
  await leaving.close();
});

Deno.test("ldap: what comes in clear behind the answer to StartTLS is no answer", async () => {
  const YES = "300c02010178070a010004000400";
  // A BindResponse that says yes, which must never be read.
  const injected = fakeServer(async (connection) => {
    await connection.read(new Uint8Array(1000));
    await connection.write(Uint8Array.fromHex(YES + "300c02010261070a010004000400"));
    await connection.read(new Uint8Array(1000));
  });
  const refusing = fakeServer(async (connection) => {
    await connection.read(new Uint8Array(1000));
    await connection.write(Uint8Array.fromHex(YES.replace("0a0100", "0a0134")));
    await connection.read(new Uint8Array(1000));
  });
  const ldap = new LdapCheck({ ...TERMS, timeoutMs: 5000 });
  const at = (server: FakeServer) =>
    ask(
      ldap,
      { ldapserver: `127.0.0.1:${server.port}`, ldapprefix: "cn=", ldaptls: "1" },
      "u",
      "p",
    );
  assert.match(await at(injected), /^error: .*not one message/);
  assert.match(await at(refusing), /^error: .*refused \(result 52\)/);
  await injected.close();
  await refusing.close();
});

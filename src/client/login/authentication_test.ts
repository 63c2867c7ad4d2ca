import assert from "node:assert/strict";
import { shapeOf } from "../../auth/mock_password.ts";
import { md5Hash, md5Response, mockMd5Hash } from "../../auth/md5.ts";
import {
  deriveKeys,
  formatVerifier,
  makeVerifier,
  repeatableSalt,
  saltPassword,
} from "../../auth/scram.ts";
import {
  answerChallenge,
  beginScramClient,
  readServerFirst,
  verifyServerFinal,
} from "../../auth/scram_client.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";
import { parseIdent } from "../../auth/ident_file.ts";
import { UserMaps } from "../../auth/user_maps.ts";
import type { CertificateNames } from "../../tls/certificate_names.ts";
import type { HbaRule } from "../../config/hba_rule.ts";
import type { ConsoleUser, StoredPassword } from "../../config/settings.ts";
import { messagesIn } from "../../protocol/testing/wire.ts";
import { type Reason, reasonText } from "../../reasons.ts";
import {
  type Account,
  answer,
  type AuthenticatingLogin,
  type Challenge,
  challenge,
  consoleAccount,
  knownAccount,
  talosAccount,
  unknownAccount,
} from "./authentication.ts";

const SECRET = Uint8Array.of(1, 2, 3);
const VERIFIER = makeVerifier("pencil", Uint8Array.of(9, 8, 7), 2);
const CLIENT_KEY = deriveKeys("pencil", VERIFIER.salt, VERIFIER.iterations).clientKey;
const EMPTY: StoredPassword = { kind: "empty" };
const SCRAM = { kind: "scram", verifier: formatVerifier(VERIFIER) } as const;
const MD5 = { kind: "md5", hash: md5Hash("pencil", "me") } as const;
const PLAIN: StoredPassword = {
  kind: "plain",
  password: "pencil",
  verifier: SCRAM.verifier,
  md5: MD5.hash,
};
const LATER: StoredPassword = { kind: "unsupported", what: "not there yet" };
const encode = (text: string) => new TextEncoder().encode(text);
const zeroEnded = (text: string) => encode(text + "\0");

/** A login that notes what it is told. */
class FakeLogin implements AuthenticatingLogin {
  readonly state = {
    user: "me",
    database: "db",
    ip: "10.0.0.1",
    unix: false,
    replication: "none" as "none" | "physical" | "logical",
    channelBinding: undefined as Uint8Array | undefined,
    clientCertificate: undefined as CertificateNames | undefined,
  };
  encrypted = false;
  readonly asked: unknown[] = [];
  readonly context: AuthenticatingLogin["context"];
  /** Kind and data of each Authentication message. */
  readonly written: { code: number; data: Uint8Array }[] = [];
  verdict: string | undefined;
  clientKey: Uint8Array | undefined;
  /** Whatever is to be salted waits for the test. */
  waits = false;

  peerUser = 1000;

  /** `method` of the rule that matches; none: no rule does; `undefined`: there are no rules. */
  constructor(method?: HbaRule["method"] | "none", more: Partial<HbaRule> = {}, maps = "") {
    const rule = { method, ...more } as HbaRule;
    const { rules, faults } = parseIdent(maps, { source: "maps", readFile: () => undefined });
    assert.deepEqual(faults, []);
    this.context = {
      userMaps: new UserMaps(rules),
      mockSecret: SECRET,
      hba: method === undefined ? undefined : {
        match: (request) => {
          this.asked.push(request);
          return method === "none" ? undefined : rule;
        },
      },
    };
  }

  write(bytes: Uint8Array): void {
    for (const { type, body } of messagesIn(bytes)) {
      assert.equal(type, "R");
      const code = new DataView(body.buffer, body.byteOffset).getUint32(0);
      this.written.push({ code, data: body.subarray(4) });
    }
  }

  /** Of the password that is being checked. */
  done: ((salted: Uint8Array | undefined) => void) | undefined;

  readonly trail: AuthenticatingLogin["trail"] = { rule: undefined, cause: "" };
  readonly checks: AuthenticatingLogin["checks"] = {
    salt: (password, { salt, iterations }, done) => {
      this.done = done;
      if (!this.waits) done(saltPassword(password, salt, iterations));
    },
    external: (request, done) => this.external.push([request, done]),
  };
  readonly external: [ExternalRequest, (verdict: ExternalVerdict) => void][] = [];

  acceptedAs(user: string, applicationName: string | undefined): void {
    this.verdict = `accepted as ${user}, ${applicationName}`;
  }

  accepted(clientKey: Uint8Array | undefined): void {
    assert.equal(this.verdict, undefined, "one verdict");
    this.verdict = "accepted";
    this.clientKey = clientKey;
  }

  detail = "";

  refused(reason: Reason, first: string, second?: string): void {
    assert.equal(this.verdict, undefined, "one verdict");
    if (reason.detail) this.detail = reasonText({ text: reason.detail }, first, second);
    this.verdict = `${reason.code} ${reason.text.replaceAll("{0}", first)}`;
  }

  get codes(): number[] {
    return this.written.map(({ code }) => code);
  }

  get last(): Uint8Array {
    return this.written.at(-1)!.data;
  }
}

const known = knownAccount;
const MD5_SHAPE = shapeOf(MD5);
const SCRAM_SHAPE = shapeOf(SCRAM);
const WRONG = '28P01 password authentication failed for user "me"';

/** Goes through SCRAM with a password. */
function scram(login: FakeLogin, account: Account, password: string): Challenge | undefined {
  const asked = challenge(login, account);
  assert.equal(new TextDecoder().decode(login.last), "SCRAM-SHA-256\0\0");
  const { state, body } = beginScramClient();
  const next = answer(login, account, asked!, body);
  assert.equal(login.verdict, undefined);
  const first = readServerFirst(state, login.last);
  assert.ok(first.kind === "challenge");
  const keys = deriveKeys(password, first.salt, first.iterations);
  const final = answerChallenge(first, keys);
  const end = answer(login, account, next!, final.body);
  if (login.verdict === "accepted") {
    assert.equal(verifyServerFinal(final.state, login.last).kind, "verified");
    assert.deepEqual(login.clientKey, keys.clientKey);
  }
  return end;
}

/** Goes through md5 with a password. */
function md5(login: FakeLogin, account: Account, password: string): Challenge | undefined {
  const asked = challenge(login, account);
  const text = md5Response(md5Hash(password, login.state.user), login.last);
  return answer(login, account, asked!, zeroEnded(text));
}

/** Goes through a password in clear. */
function cleartext(login: FakeLogin, account: Account, password: string): Challenge | undefined {
  return answer(login, account, challenge(login, account)!, zeroEnded(password));
}

Deno.test("authentication: trust asks for nothing, and an unknown user fails all the same", () => {
  for (const stored of [EMPTY, SCRAM, MD5, PLAIN]) {
    const login = new FakeLogin("trust");
    assert.equal(challenge(login, known(stored)), undefined);
    assert.equal(login.verdict, "accepted");
    assert.equal(login.clientKey, undefined);
    assert.deepEqual(login.written, []);
  }
  const unknown = new FakeLogin("trust");
  assert.equal(challenge(unknown, unknownAccount(unknown, [MD5_SHAPE])), undefined);
  assert.equal(unknown.verdict, WRONG);
});

Deno.test("authentication: what pg_hba is asked, and what it refuses", () => {
  const login = new FakeLogin("none");
  assert.equal(challenge(login, known(PLAIN)), undefined);
  assert.equal(
    login.verdict,
    '28000 no pg_hba.conf entry for host "10.0.0.1", user "me", database "db", no encryption',
  );
  const unix = new FakeLogin("reject");
  Object.assign(unix.state, { unix: true, ip: "", replication: "physical" });
  challenge(unix, known(PLAIN));
  assert.equal(
    unix.verdict,
    "28000 pg_hba.conf rejects connection for replication connection from " +
      'host "[local]", user "me", no encryption',
  );
  assert.equal(
    unix.detail,
    "me@db (TLS: false) from unix socket is not permitted by HBA configuration",
  );
  const request = { transport: "tcp", tls: false, address: "10.0.0.1", database: "db", user: "me" };
  assert.deepEqual(login.asked, [{ ...request, replication: false }]);
  assert.deepEqual(unix.asked, [
    { ...request, transport: "unix", address: "", replication: true },
  ]);
  const logical = new FakeLogin("reject");
  logical.state.replication = "logical";
  challenge(logical, known(PLAIN));
  assert.deepEqual(logical.asked, [{ ...request, replication: false }]);
});

Deno.test("authentication: over TLS pg_hba is told, and -PLUS is offered where there is something to bind to", () => {
  const login = new FakeLogin("none");
  login.encrypted = true;
  challenge(login, known(PLAIN));
  assert.match(login.verdict!, /database "db", SSL encryption$/);
  assert.match(login.detail, /^me@db \(TLS: true\) from/);
  assert.ok((login.asked[0] as { tls: boolean }).tls);
  for (const binding of [undefined, Uint8Array.of(1)]) {
    const offered = new FakeLogin("scram-sha-256");
    offered.encrypted = true;
    offered.state.channelBinding = binding;
    challenge(offered, known(SCRAM));
    const mechanisms = new TextDecoder().decode(offered.last);
    const plus = binding === undefined ? "" : "SCRAM-SHA-256-PLUS\0";
    assert.equal(mechanisms, `${plus}SCRAM-SHA-256\0\0`);
  }
});

Deno.test("authentication: a stored form that can't be checked is refused by name, even by trust", () => {
  for (const method of ["trust", "password", undefined] as const) {
    const login = new FakeLogin(method);
    assert.equal(challenge(login, known(LATER)), undefined);
    assert.equal(login.verdict, "28000 not there yet");
  }
  const md5Only = new FakeLogin("scram-sha-256");
  challenge(md5Only, known(MD5));
  assert.match(md5Only.verdict!, /^28000 pg_hba.conf rejects/);
});

Deno.test("authentication: SCRAM with the right password, of a verifier or a plain one", () => {
  for (const stored of [SCRAM, PLAIN]) {
    for (const method of ["scram-sha-256", "auto", undefined] as const) {
      const login = new FakeLogin(method);
      assert.equal(scram(login, known(stored), "pencil"), undefined);
      assert.equal(login.verdict, "accepted");
      assert.deepEqual(login.codes, [10, 11, 12]);
    }
  }
});

Deno.test("authentication: SCRAM without initial data gets an empty challenge first", () => {
  const login = new FakeLogin();
  const account = known(SCRAM);
  const begun = challenge(login, account);
  const body = Uint8Array.of(...encode("SCRAM-SHA-256\0"), 255, 255, 255, 255);
  assert.equal(answer(login, account, begun!, body)?.method, "scram");
  assert.deepEqual(login.codes, [10, 11]);
  assert.equal(login.last.length, 0);
});

Deno.test("authentication: SCRAM with a wrong password, an unknown user, no password", () => {
  const wrong = new FakeLogin();
  const unknown = new FakeLogin();
  const none = new FakeLogin();
  assert.equal(scram(wrong, known(SCRAM), "pen"), undefined);
  assert.equal(scram(unknown, unknownAccount(unknown, []), "pencil"), undefined);
  assert.equal(scram(none, known(EMPTY), ""), undefined);
  for (const login of [wrong, unknown, none]) {
    assert.equal(login.verdict, WRONG);
    assert.deepEqual(login.codes, [10, 11]);
  }
});

Deno.test("authentication: an unknown user's salt is the same at each attempt", () => {
  const account = unknownAccount(new FakeLogin(), [SCRAM_SHAPE]);
  const salts = [1, 2].map(() => {
    const login = new FakeLogin();
    scram(login, account, "x");
    return new TextDecoder().decode(login.last).split(",")[1];
  });
  assert.equal(salts[0], `s=${repeatableSalt("me", SECRET, VERIFIER.salt.length).toBase64()}`);
  assert.equal(salts[1], salts[0]);
});

Deno.test("authentication: a SCRAM message that is none is a violation", () => {
  const login = new FakeLogin();
  const account = known(SCRAM);
  assert.equal(answer(login, account, challenge(login, account)!, encode("garbage")), undefined);
  assert.match(login.verdict!, /^08P01 malformed SASLInitialResponse/);
  assert.deepEqual(login.codes, [10]);
});

Deno.test("authentication: md5, of a hash or a plain password", () => {
  for (const [stored, method] of [[MD5, "auto"], [MD5, "md5"], [PLAIN, "md5"]] as const) {
    const right = new FakeLogin(method);
    assert.equal(md5(right, known(stored), "pencil"), undefined);
    assert.equal(right.verdict, "accepted");
    assert.equal(right.clientKey, undefined);
    assert.deepEqual(right.codes, [5]);
    assert.equal(right.last.length, 4);
    const wrong = new FakeLogin(method);
    md5(wrong, known(stored), "pen");
    assert.equal(wrong.verdict, WRONG);
  }
});

Deno.test("authentication: an unknown user among users with md5 gets an md5 challenge and fails", () => {
  const login = new FakeLogin();
  const account = unknownAccount(login, [MD5_SHAPE, MD5_SHAPE]);
  md5(login, account, "pencil");
  assert.equal(login.verdict, WRONG);
  assert.deepEqual(login.codes, [5]);
  // Not even by the hash that stands in for his.
  const guessing = new FakeLogin();
  const asked = challenge(guessing, account);
  const text = md5Response(mockMd5Hash("me", SECRET), guessing.last);
  answer(guessing, account, asked!, zeroEnded(text));
  assert.equal(guessing.verdict, WRONG);
});

Deno.test("authentication: an unknown user's challenge is one that the known users have", () => {
  for (
    const [stored, code] of [[SCRAM, 10], [PLAIN, 10], [EMPTY, 10], [LATER, 10], [MD5, 5]] as const
  ) {
    const login = new FakeLogin();
    challenge(login, unknownAccount(login, [shapeOf(stored)]));
    assert.deepEqual(login.codes, [code]);
  }
  const nobody = new FakeLogin();
  challenge(nobody, unknownAccount(nobody, []));
  assert.deepEqual(nobody.codes, [10]);
});

Deno.test("authentication: a password in clear, against each stored form", () => {
  for (const stored of [SCRAM, PLAIN, MD5]) {
    const right = new FakeLogin("password");
    const next = cleartext(right, known(stored), "pencil");
    assert.equal(next?.method, stored === MD5 ? undefined : "checking");
    assert.equal(right.verdict, "accepted");
    assert.deepEqual(right.codes, [3]);
    assert.deepEqual(right.clientKey, stored === MD5 ? undefined : CLIENT_KEY);
    const wrong = new FakeLogin("password");
    cleartext(wrong, known(stored), "pen");
    assert.equal(wrong.verdict, WRONG);
  }
});

Deno.test("authentication: a password in clear of an unknown user, or of one without a password", () => {
  const unknown = new FakeLogin("password");
  cleartext(unknown, unknownAccount(unknown, [MD5_SHAPE]), "pencil");
  // As the console's: its password is known, its user is another.
  const stranger = new FakeLogin("password");
  cleartext(stranger, { stored: undefined, shape: shapeOf(PLAIN) }, "pencil");
  const none = new FakeLogin("password");
  cleartext(none, known(EMPTY), "");
  for (const login of [unknown, stranger, none]) assert.equal(login.verdict, WRONG);
});

Deno.test("authentication: there is no verdict before a password in clear is checked, and no entry when that fails", () => {
  const login = new FakeLogin("password");
  login.waits = true;
  cleartext(login, known(SCRAM), "pencil");
  assert.equal(login.verdict, undefined);
  login.done!(undefined);
  assert.match(login.verdict!, /^XX000/);
});

Deno.test("authentication: a password without its terminator is a violation", () => {
  for (const method of ["password", "md5"] as const) {
    const login = new FakeLogin(method);
    const account = known(PLAIN);
    answer(login, account, challenge(login, account)!, encode("pencil"));
    assert.equal(login.verdict, "08P01 invalid password packet");
  }
});

const TERMS = { method: "jwt", options: { key: "/keys/a.pem" } } as const;
const EXTERNAL: StoredPassword = { kind: "external", terms: TERMS };

/** Whose password was sent, and who is asked whether it is right. */
function sent(login: FakeLogin, account: Account): ExternalRequest {
  const asked = challenge(login, account);
  assert.deepEqual(login.codes, [3]);
  assert.deepEqual(answer(login, account, asked, zeroEnded("token")), { method: "checking" });
  return login.external[0]![0];
}

Deno.test("authentication: what others check is asked for in clear, and they are asked", () => {
  const login = new FakeLogin("ldap");
  assert.deepEqual(sent(login, knownAccount(SCRAM)), {
    method: "ldap",
    options: {},
    user: "me",
    database: "db",
    address: "10.0.0.1",
    password: encode("token"),
  });
  assert.equal(login.verdict, undefined);
  login.external[0]![1]({ kind: "accepted" });
  assert.equal(login.verdict, "accepted");
});

Deno.test("authentication: others refuse or do not answer: the client hears no, the log why", () => {
  for (const kind of ["refused", "error"] as const) {
    const login = new FakeLogin("pam");
    sent(login, knownAccount(SCRAM));
    login.external[0]![1]({ kind, why: "account is locked" });
    assert.equal(login.verdict, '28000 PAM authentication failed for user "me"');
    assert.equal(login.trail.cause, "account is locked");
  }
});

Deno.test("authentication: a user who does not exist is checked like another, and never let in", () => {
  for (const method of ["ldap", undefined] as const) {
    const login = new FakeLogin(method);
    const known = knownAccount(EXTERNAL);
    const account = unknownAccount(login, [known.shape]);
    const { password, options } = sent(login, account);
    assert.deepEqual(password, encode("token"));
    assert.deepEqual(options, method === "ldap" ? {} : TERMS.options);
    login.external[0]![1]({ kind: "accepted" });
    assert.match(login.verdict!, method === "ldap" ? /^28000 LDAP/ : /^28P01 password/);
  }
});

Deno.test("authentication: a user whose password others check is checked by them whatever the rule", () => {
  for (const method of ["trust", "password", "md5", "scram-sha-256", "auto"] as const) {
    const login = new FakeLogin(method);
    assert.deepEqual(sent(login, knownAccount(EXTERNAL)).options, TERMS.options, method);
    assert.equal(login.verdict, undefined);
  }
  const rejected = new FakeLogin("reject");
  assert.equal(challenge(rejected, knownAccount(EXTERNAL)), undefined);
  assert.match(rejected.verdict!, /^28000/);
});

Deno.test("authentication: nobody is asked about an empty password", () => {
  const login = new FakeLogin("ldap");
  const account = knownAccount(SCRAM);
  assert.equal(answer(login, account, challenge(login, account), zeroEnded("")), undefined);
  assert.match(login.verdict!, /^28000 LDAP/);
  assert.equal(login.external.length, 0);
});

/** A login with a certificate, to the user "me". */
function withCertificate(
  more: Partial<HbaRule>,
  commonName: string | undefined,
  maps = "",
): FakeLogin {
  const login = new FakeLogin(more.method ?? "cert", more, maps);
  login.encrypted = true;
  login.state.clientCertificate = { commonName, distinguishedName: `CN=${commonName},O=x` };
  return login;
}

Deno.test("authentication: cert: the name in the certificate is the user's, or the map says so", () => {
  const cases: [more: Partial<HbaRule>, name: string | undefined, maps: string, cause?: RegExp][] =
    [
      [{}, "me", ""],
      [{}, "Me", "", /own name is "Me"/],
      [{}, undefined, "", /no common name/],
      [{}, "", "", /no common name/],
      [{ map: "m" }, "ann", "m ann me"],
      [{ map: "m" }, "ann", "m /^(a)nn$ me"],
      [{ map: "m" }, "me", "m ann me", /no line of map "m" fits "me"/],
      [{ map: "other" }, "me", "m me me", /no line of map "other"/],
      [{ clientName: "DN" }, "me", "", /own name is "CN=me,O=x"/],
      [{ clientName: "DN", map: "m" }, "me", 'm "/^CN=([a-z]+),O=x$" \\1'],
      [{ clientName: "DN", map: "m" }, "me,O=y", 'm "/^CN=([a-z]+),O=x$" \\1', /no line/],
    ];
  for (const [more, name, maps, cause] of cases) {
    const login = withCertificate(more, name, maps);
    assert.equal(challenge(login, known(SCRAM)), undefined);
    assert.deepEqual(login.codes, []);
    if (cause === undefined) assert.equal(login.verdict, "accepted", maps);
    else {
      assert.equal(login.verdict, '28000 certificate authentication failed for user "me"');
      assert.match(login.trail.cause, cause);
    }
  }
});

Deno.test("authentication: cert: no certificate, and a user who does not exist", () => {
  const without = new FakeLogin("cert");
  challenge(without, known(SCRAM));
  assert.equal(without.verdict, "28000 connection requires a valid client certificate");
  const unknown = withCertificate({}, "me");
  challenge(unknown, unknownAccount(unknown, []));
  assert.equal(unknown.verdict, WRONG);
  // Who checks his password is all the same: the certificate is a proof of its own.
  const external = withCertificate({}, "me");
  challenge(external, knownAccount(EXTERNAL));
  assert.equal(external.verdict, "accepted");
});

Deno.test("authentication: cert: whose name is another's hears nothing of who exists", () => {
  for (const missing of ["user", "database"] as const) {
    const login = withCertificate({}, "you");
    challenge(login, unknownAccount(login, [], missing));
    assert.equal(login.verdict, '28000 certificate authentication failed for user "me"', missing);
  }
});

Deno.test("authentication: talos: only a token says who he is, and no rule but reject changes that", () => {
  for (const method of ["cert", "peer", "trust", "pam", "reject"] as const) {
    const login = withCertificate({ method }, "talos");
    Object.assign(login.state, { user: "talos", unix: method === "peer" });
    const account = talosAccount({ ...login.state, proven: false }, ["db"])!;
    if (method === "reject") {
      challenge(login, account);
      assert.match(login.verdict!, /^28000 /);
      continue;
    }
    assert.equal(sent(login, account).method, "talos", method);
    assert.equal(login.verdict, undefined, method);
    login.external[0]![1]({ kind: "accepted", user: "owner" });
    assert.equal(login.verdict, "accepted as owner, undefined", method);
  }
});

Deno.test("authentication: clientcert: a certificate besides the method, and its name with verify-full", () => {
  for (const method of ["trust", "scram-sha-256", "md5", "ldap", "reject"] as const) {
    const login = new FakeLogin(method, { clientCert: "verify-ca" });
    challenge(login, known(PLAIN));
    assert.equal(login.verdict, "28000 connection requires a valid client certificate", method);
  }
  const trusted = withCertificate({ method: "trust", clientCert: "verify-full" }, "you");
  challenge(trusted, known(SCRAM));
  assert.equal(trusted.verdict, '28000 "trust" authentication failed for user "me"');
  for (const [clientCert, wanted] of [["verify-ca", "accepted"], ["verify-full", WRONG]] as const) {
    const shown = () => withCertificate({ method: "scram-sha-256", clientCert }, "you");
    const login = shown();
    scram(login, known(SCRAM), "pencil");
    assert.equal(login.verdict, wanted);
    const hashed = withCertificate({ method: "md5", clientCert }, "you");
    md5(hashed, known(MD5), "pencil");
    assert.equal(hashed.verdict, wanted);
    const clear = withCertificate({ method: "password", clientCert }, "you");
    cleartext(clear, known(SCRAM), "pencil");
    assert.equal(clear.verdict, wanted);
    const other = withCertificate({ method: "ldap", clientCert }, "you");
    sent(other, known(SCRAM));
    other.external[0]![1]({ kind: "accepted" });
    assert.equal(other.verdict === "accepted", clientCert === "verify-ca");
  }
  const both = withCertificate({ method: "scram-sha-256", clientCert: "verify-full" }, "me");
  scram(both, known(SCRAM), "pencil");
  assert.equal(both.verdict, "accepted");
  const wrongPassword = withCertificate({ method: "password", clientCert: "verify-full" }, "me");
  cleartext(wrongPassword, known(SCRAM), "pen");
  assert.equal(wrongPassword.verdict, WRONG);
});

Deno.test("authentication: peer: whom the system names, by the map or by name", () => {
  const cases: [more: Partial<HbaRule>, maps: string, identity: string, cause?: RegExp][] = [
    [{}, "", "me"],
    [{}, "", "root", /own name is "root"/],
    [{ map: "m" }, "m root me", "root"],
    [{ map: "m" }, "m root you", "root", /no line of map "m" fits "root"/],
  ];
  for (const [more, maps, identity, cause] of cases) {
    const login = new FakeLogin("peer", more, maps);
    login.state.unix = true;
    assert.deepEqual(challenge(login, known(SCRAM)), { method: "checking" });
    assert.deepEqual(login.codes, []);
    const [request, done] = login.external[0]!;
    assert.deepEqual([request.method, request.options], ["peer", { uid: "1000" }]);
    done({ kind: "accepted", identity });
    if (cause === undefined) assert.equal(login.verdict, "accepted");
    else {
      assert.equal(login.verdict, '28000 Peer authentication failed for user "me"');
      assert.match(login.trail.cause, cause);
    }
  }
});

Deno.test("authentication: peer: nobody is named, or the user does not exist", () => {
  const nameless = new FakeLogin("peer");
  challenge(nameless, known(SCRAM));
  nameless.external[0]![1]({ kind: "refused", why: "user 1000 of this machine has no name" });
  assert.match(nameless.verdict!, /^28000 Peer/);
  const silent = new FakeLogin("peer");
  silent.peerUser = -92;
  challenge(silent, known(SCRAM));
  assert.match(silent.verdict!, /^28000 Peer/);
  assert.equal(silent.external.length, 0);
  const unknown = new FakeLogin("peer");
  challenge(unknown, unknownAccount(unknown, []));
  unknown.external[0]![1]({ kind: "accepted", identity: "me" });
  assert.equal(unknown.verdict, WRONG);
});

Deno.test("authentication: users of the console, and one that nobody knows", () => {
  const login = new FakeLogin("scram-sha-256");
  const users: ConsoleUser[] = [
    { user: "admin", password: SCRAM, role: "admin" },
    { user: "me", password: MD5, role: "stats" },
  ];
  assert.deepEqual(consoleAccount(login, users).stored, MD5);
  login.state.user = "nobody";
  const unknown = consoleAccount(login, users.slice(0, 1));
  assert.equal(unknown.stored, undefined);
  assert.deepEqual(unknown.shape, SCRAM_SHAPE);
});

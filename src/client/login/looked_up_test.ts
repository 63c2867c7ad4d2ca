import assert from "node:assert/strict";
import type { Looked } from "../../auth/lookup_cache.ts";
import { shapeOf } from "../../auth/mock_password.ts";
import { md5Hash, md5Response } from "../../auth/md5.ts";
import { deriveKeys, formatVerifier, makeVerifier } from "../../auth/scram.ts";
import {
  answerChallenge,
  beginScramClient,
  readServerFirst,
  type ScramChallenge,
} from "../../auth/scram_client.ts";
import type { HbaRule } from "../../config/hba_rule.ts";
import type { StoredPassword } from "../../config/settings.ts";
import type { FoundUser } from "../../pool/auth_query/answer.ts";
import type { Pool } from "../../pool/pool.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { UserLookup } from "../context.ts";
import { newSessionState } from "../state.ts";
import { type Account, answer, type Challenge, challenge } from "./authentication.ts";
import { LookedUp, type LookingLogin } from "./looked_up.ts";

const SALT = new Uint8Array(16).fill(7);

function scram(password: string, salt = SALT): StoredPassword {
  return { kind: "scram", verifier: formatVerifier(makeVerifier(password, salt, 2)) };
}

function md5(password: string): StoredPassword {
  return { kind: "md5", hash: md5Hash(password, "me") };
}

function found(password: StoredPassword): Looked<FoundUser> & { kind: "found" } {
  return { kind: "found", found: { password, parameters: [], dropped: [] } };
}

/** A login, and PostgreSQL's answers in the test's hands. */
class Login implements LookingLogin {
  readonly state = { ...newSessionState(7, 0), user: "me", database: "db" };
  readonly encrypted = false;
  readonly peerUser = -1;
  readonly trail = { rule: undefined, cause: "" };
  readonly context: LookingLogin["context"];
  readonly written: Uint8Array[] = [];
  readonly events: string[] = [];
  /** What is asked, and who is told. */
  readonly asked: { what: string; told: (looked: Looked<FoundUser>) => void }[] = [];
  ended = false;
  entered: FoundUser | undefined;
  readonly lookedUp: LookedUp;
  asks: Challenge | undefined;
  account: Account | undefined;
  readonly checks: LookingLogin["checks"] = {
    salt: () => assert.fail("nothing is to be salted"),
    external: (_request, done) => done({ kind: "refused", why: "no" }),
    lookUp: (ask, done) => void ask(done),
  };

  constructor(method: HbaRule["method"] = "auto") {
    const rule = { method, source: "hba", line: 1 } as HbaRule;
    this.context = {
      hba: { match: () => rule },
      mockSecret: Uint8Array.of(1),
      userMaps: { refusal: () => undefined },
    };
    const asks = (what: string, told: (looked: Looked<FoundUser>) => void) => {
      this.asked.push({ what, told });
      return () => {};
    };
    const login = this as Login;
    const users: UserLookup = {
      shapes: [shapeOf(scram("any"))],
      get ended() {
        return login.ended;
      },
      find: (_, told) => asks("find", told),
      refetch: (_user, _seen, told) => asks("refetch", told),
      count: (what) => this.events.push(what),
      enter: (_, user) => {
        this.entered = user;
        return { enter: () => {} } as Pool;
      },
    };
    const session = { state: { stage: 0 }, login: this, pool: undefined, takeKept: () => {} };
    this.lookedUp = new LookedUp(session, this, users);
  }

  authenticate(account: Account): void {
    this.account = account;
    this.asks = challenge(this, account);
  }

  takeProof(account: Account, asked: Challenge | undefined, body: Uint8Array): void {
    this.account = account;
    this.asks = answer(this, account, asked, body);
  }

  write(bytes: Uint8Array): void {
    this.written.push(bytes);
  }

  accepted(): void {
    this.lookedUp.enter();
    this.events.push("accepted");
  }

  acceptedAs(): void {
    assert.fail("nobody else is looked up");
  }

  refused(reason: Reason): void {
    if (reason === REASONS.authenticationFailed && this.lookedUp.triesAgain()) return;
    this.events.push(reason.name);
  }

  waits(): void {}

  begin(): boolean {
    this.events.push("begins again");
    return true;
  }

  // ── the client ──────────────────────────────────────────────────────────────────────────────────────────────────

  found(looked: Looked<FoundUser>): this {
    this.lookedUp.begin();
    this.tell(looked);
    return this;
  }

  tell(looked: Looked<FoundUser>): void {
    this.asked.shift()!.told(looked);
  }

  /** What the client sends. */
  sends(body: Uint8Array): void {
    this.lookedUp.notes(this.asks, body);
    this.takeProof(this.account!, this.asks, body);
  }

  sendsMd5(password: string): void {
    const { salt } = this.asks as Challenge & { method: "md5" };
    this.sends(new TextEncoder().encode(md5Response(md5Hash(password, "me"), salt) + "\0"));
  }

  sendsScram(password: string): void {
    const { state, body } = beginScramClient();
    this.sends(body);
    const first = readServerFirst(state, this.written.at(-1)!.subarray(9)) as ScramChallenge;
    this.sends(answerChallenge(first, deriveKeys(password, first.salt, first.iterations)).body);
  }
}

Deno.test("looked up: a SCRAM proof that fits the new verifier of the same salt gets in at once", () => {
  const login = new Login().found(found(scram("old")));
  login.sendsScram("new");
  assert.deepEqual([login.events, login.asked.length], [[], 1]);
  const fresh = found(scram("new"));
  login.tell(fresh);
  assert.deepEqual(login.events, ["accepted"]);
  assert.equal(login.entered, fresh.found);
});

Deno.test("looked up: of another salt, of another kind or of nobody it tells nothing", () => {
  const others: Looked<FoundUser>[] = [
    found(scram("new", new Uint8Array(16))),
    found(md5("new")),
    { kind: "missing" },
    { kind: "failed", message: "no" },
  ];
  for (const looked of others) {
    const login = new Login().found(found(scram("old")));
    login.sendsScram("new");
    login.tell(looked);
    assert.deepEqual(login.events, ["authentication_failed"]);
  }
});

Deno.test("looked up: md5 is looked at again, and asked for once a login", () => {
  for (
    const [password, end] of [["new", "accepted"], ["wrong", "authentication_failed"]] as const
  ) {
    const login = new Login().found(found(md5("old")));
    login.sendsMd5(password);
    login.tell(found(md5("new")));
    assert.deepEqual([login.events, login.asked.length], [[end], 0]);
  }
  const same = found(md5("old"));
  const login = new Login().found(same);
  login.sendsMd5("new");
  login.tell(same);
  assert.deepEqual(login.events, ["authentication_failed"]);
});

Deno.test("looked up: who is unknown, or has no hash, is asked like the others, and never gets in", () => {
  const nobodies: Looked<FoundUser>[] = [
    { kind: "missing" },
    found({ kind: "unsupported", what: "plain" }),
  ];
  for (const looked of nobodies) {
    const login = new Login().found(looked);
    assert.equal(login.asks?.method, "scram");
    login.sendsScram("any");
    assert.deepEqual(login.asked.map(({ what }) => what), ["refetch"]);
    login.tell(looked);
    assert.deepEqual(login.events, ["authentication_failed"]);
    const trusted = new Login("trust").found(looked);
    assert.deepEqual(trusted.events, ["authentication_failed"], "not even where everybody is");
  }
});

Deno.test("looked up: pg_hba comes first", () => {
  const login = new Login("reject");
  login.lookedUp.begin();
  assert.deepEqual([login.events, login.asked.length], [["hba"], 0]);
});

Deno.test("looked up: a lookup that fails is told, one that has moved begins anew", () => {
  const failed: Looked<FoundUser> = { kind: "failed", message: "no" };
  assert.deepEqual(new Login().found(failed).events, ["lookup_failed"]);
  const moved = new Login();
  moved.ended = true;
  assert.deepEqual(moved.found(failed).events, ["begins again"]);
});

Deno.test("looked up: what others check is not theirs to know anew", () => {
  const login = new Login("pam").found(found(scram("any")));
  login.sends(new TextEncoder().encode("secret\0"));
  assert.equal(login.asked.length, 0);
  assert.equal(login.events.length, 1);
});

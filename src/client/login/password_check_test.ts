import assert from "node:assert/strict";
import { formatVerifier, makeVerifier, saltPassword } from "../../auth/scram.ts";
import { concat, frontend, messagesIn, query, startup } from "../../protocol/testing/wire.ts";
import { readError } from "../../protocol/error_response.ts";
import { type FakeClient, World } from "../../testing/world.ts";
import { Stage } from "../state.ts";

const VERIFIER = formatVerifier(makeVerifier("right", new Uint8Array(16), 2));

function world(): World {
  return new World(
    { password: { kind: "scram", verifier: VERIFIER } },
    { method: "password" },
  );
}

function password(text: string): Uint8Array {
  return frontend("p", text);
}

/** A client that sends its password, and what it has behind it, in one piece. */
function login(world: World, text: string, behind = new Uint8Array(0)): FakeClient {
  const client = world.addNewClient(
    concat(startup({ user: "me", database: "db" }), password(text), behind),
  );
  world.settle();
  return client;
}

/** Types of the messages that a client got. */
function types({ received }: FakeClient): string {
  return messagesIn(received).map(({ type }) => type).join("");
}

/** The oldest check that was begun is done. */
function check(world: World): void {
  const [text, salt, iterations, done] = world.checks.shift()!;
  done(saltPassword(text, salt, iterations));
  world.settle();
}

function errorCode({ received }: FakeClient): string {
  const last = messagesIn(received).at(-1)!;
  assert.equal(last.type, "E");
  return readError(received, received.length - last.body.length, received.length).code;
}

Deno.test("login: a password in clear is checked elsewhere, and what follows it waits", () => {
  const place = world();
  place.addServer();
  const client = login(place, "right", query("none"));
  assert.equal(types(client), "R");
  assert.equal(client.session.state.stage, Stage.Login);
  check(place);
  assert.equal(client.session.state.stage, Stage.Idle);
  assert.match(types(client), /^RRS+KZCZ$/);
});

Deno.test("login: a wrong password is refused when it has been checked", () => {
  const place = world();
  const client = login(place, "wrong", query("none"));
  check(place);
  assert.equal(types(client), "RE");
  assert.equal(errorCode(client), "28P01");
});

Deno.test("login: a derivation that fails lets nobody in", () => {
  const place = world();
  const client = login(place, "right");
  place.checks.shift()![3](undefined);
  place.settle();
  assert.equal(errorCode(client), "XX000");
});

Deno.test("login: who leaves gives up the check, and makes room", () => {
  const place = world();
  const first = login(place, "right");
  const second = login(place, "right");
  const third = login(place, "right");
  // One at once, and one in line.
  assert.equal(errorCode(third), "53300");
  second.session.close({ name: "", code: "", text: "", level: "info" }, "");
  const fourth = login(place, "right");
  assert.equal(types(fourth), "R");
  first.session.close({ name: "", code: "", text: "", level: "info" }, "");
  check(place);
  assert.equal(types(first), "R");
  check(place);
  assert.equal(fourth.session.state.stage, Stage.Idle);
  assert.equal(place.checks.length, 0);
});

/** What a client is told after StartupMessage and password, of a user who exists and of one who does not. */
function bothTold(world: World, password: Uint8Array): [FakeClient, FakeClient] {
  const clients = ["me", world.stranger].map((user) => {
    const client = world.addNewClient(concat(startup({ user, database: "db" }), password));
    world.settle();
    return client;
  });
  return clients as [FakeClient, FakeClient];
}

Deno.test("login: the password of a user who does not exist costs as much to check as another's", () => {
  const place = world();
  bothTold(place, password("wrong"));
  const [known, unknown] = [place.checks[0]!, (check(place), place.checks[0]!)];
  assert.equal(unknown[2], known[2]);
  assert.equal(unknown[1].length, known[1].length);
  const md5 = new World(
    { password: { kind: "md5", hash: `md5${"0".repeat(32)}` } },
    { method: "password" },
  );
  const [one, other] = bothTold(md5, password("wrong"));
  assert.equal(types(one), "RE");
  assert.equal(types(other), "RE");
  assert.equal(md5.checks.length, 0);
});

Deno.test("login: the SCRAM challenge of a user who does not exist looks like another's", () => {
  const place = new World(
    { password: { kind: "scram", verifier: VERIFIER } },
    { method: "scram-sha-256" },
  );
  const first = new TextEncoder().encode("n,,n=,r=abc");
  const message = frontend("p", "SCRAM-SHA-256", [0, 0, 0, first.length], first);
  const [known, unknown] = bothTold(place, message).map(({ received }) =>
    new TextDecoder().decode(messagesIn(received)[1]!.body)
  );
  assert.match(known!, /i=2$/);
  assert.match(unknown!, /i=2$/);
  assert.equal(unknown!.length, known!.length);
});

Deno.test("login: who has others check his password waits for them, and is not waited for when he leaves", () => {
  const place = new World(
    { password: { kind: "external", terms: { method: "jwt", options: {} } } },
    { method: "auto" },
  );
  place.addServer();
  const client = login(place, "token", query("none"));
  const leaving = login(place, "token");
  assert.equal(types(client), "R");
  leaving.session.close({ name: "", code: "", text: "", level: "info" }, "");
  const [[asked, done]] = place.external;
  assert.equal(new TextDecoder().decode(asked.password), "token");
  done({ kind: "accepted" });
  place.settle();
  assert.match(types(client), /^RRS+KZCZ$/);
  assert.equal(place.external.length, 1, "who has left is not asked about");
});

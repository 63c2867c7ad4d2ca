import assert from "node:assert/strict";
import { md5Hash } from "../../auth/md5.ts";
import type { ExternalVerdict } from "../../config/external_check.ts";
import { readError } from "../../protocol/error_response.ts";
import { concat, frontend, messagesIn, startup } from "../../protocol/testing/wire.ts";
import { REASONS } from "../../reasons.ts";
import { type FakeClient, World } from "../../testing/world.ts";
import { Stage } from "../state.ts";

/** Passwords are told at once: the wait is all that there is. */
function world(): World {
  const place = new World(
    { password: { kind: "md5", hash: md5Hash("right", "me") } },
    { method: "password" },
  );
  place.addServer();
  return place;
}

function login(place: World, password: string, { user = "me", ip = "10.0.0.1" } = {}): FakeClient {
  const client = place.addNewClient(
    concat(startup({ user, database: "db" }), frontend("p", password)),
  );
  client.session.state.ip = ip;
  place.settle();
  return client;
}

/** How it ended, or that it has not. */
function outcome({ session, received }: FakeClient): string {
  const last = messagesIn(received).at(-1)!;
  if (last.type === "E") {
    return readError(received, received.length - last.body.length, received.length).code;
  }
  return session.state.stage === Stage.Idle ? "in" : "waits";
}

function later(place: World, ms: number): void {
  place.reactor.now += ms;
  place.reactor.timers.expire(place.reactor.now);
  place.settle();
}

Deno.test("proof delay: after some wrong passwords the next one waits, right or wrong", () => {
  const place = world();
  for (let i = 0; i < 3; i++) assert.equal(outcome(login(place, "wrong")), "28P01");
  const wrong = login(place, "wrong");
  assert.equal(outcome(wrong), "waits");
  later(place, 99);
  assert.equal(outcome(wrong), "waits");
  later(place, 1);
  assert.equal(outcome(wrong), "28P01");
  const right = login(place, "right");
  assert.equal(outcome(right), "waits");
  later(place, 200);
  assert.equal(outcome(right), "in");
  assert.equal(outcome(login(place, "right")), "in", "it has made good");
});

Deno.test("proof delay: nobody waits who comes from elsewhere, or is another", () => {
  const place = world();
  for (let i = 0; i < 10; i++) login(place, "wrong");
  assert.equal(outcome(login(place, "right", { ip: "10.0.0.2" })), "in");
  assert.equal(outcome(login(place, "right")), "waits");
});

Deno.test("proof delay: a user who does not exist waits like one who does", () => {
  const place = world();
  const ends = ["me", place.stranger].map((user) => {
    const told: string[] = [];
    for (let i = 0; i < 5; i++) {
      const client = login(place, "wrong", { user });
      told.push(outcome(client));
      later(place, 150);
      told.push(outcome(client));
    }
    return told;
  });
  assert.deepEqual(ends[0], ends[1]);
  assert.ok(ends[0]!.includes("waits"));
});

Deno.test("proof delay: many at once are no faster than one by one", () => {
  const place = world();
  for (let i = 0; i < 3; i++) login(place, "wrong");
  const clients = Array.from({ length: 10 }, () => login(place, "wrong"));
  const checked = () => clients.filter((client) => outcome(client) !== "waits").length;
  assert.equal(checked(), 0);
  const counts: number[] = [];
  for (let ms = 0; ms < 3500; ms += 50) {
    later(place, 50);
    counts.push(checked());
  }
  // 100 ms, then 200, 400, 800, 1600.
  assert.equal(counts[1], 1);
  assert.equal(counts[5], 2);
  assert.equal(counts.at(-1), 5);
});

Deno.test("proof delay: client_login_timeout goes on", () => {
  const place = world();
  for (let i = 0; i < 10; i++) login(place, "wrong");
  const client = place.addNewClient(startup({ user: "me", database: "db" }));
  client.session.state.ip = "10.0.0.1";
  place.settle();
  later(place, 59_900);
  for (let i = 0; i < 10; i++) {
    login(place, "wrong");
    later(place, 1);
  }
  client.unsent = frontend("p", "right");
  place.settle();
  assert.equal(outcome(client), "waits");
  later(place, 100);
  assert.ok(client.session.state.stage >= Stage.Closing);
  later(place, 10_000);
  assert.ok(client.session.state.stage >= Stage.Closing);
});

Deno.test("proof delay: that nobody could tell is no failure", () => {
  const place = new World(
    { password: { kind: "external", terms: { method: "ldap", options: {} } } },
    { method: "auto" },
  );
  for (let i = 0; i < 10; i++) {
    const client = login(place, "x");
    place.external.shift()![1]({ kind: "error", why: "the directory is gone" });
    place.settle();
    assert.equal(outcome(client), "28000");
  }
  for (let i = 0; i < 3; i++) {
    login(place, "x");
    place.external.shift()![1]({ kind: "refused", why: "no" });
    place.settle();
  }
  assert.equal(outcome(login(place, "x")), "waits");
  assert.equal(place.external.length, 0, "nobody is asked before");
});

/** Passwords that others check. */
function checkedWorld(): World {
  return new World(
    { password: { kind: "external", terms: { method: "pam", options: {} } } },
    { method: "auto" },
  );
}

function answer(place: World, verdict: ExternalVerdict): void {
  place.external.shift()![1](verdict);
  place.settle();
}

const NO: ExternalVerdict = { kind: "refused", why: "no" };

Deno.test("proof delay: many at once are no faster where others check", () => {
  const place = checkedWorld();
  place.addServer();
  for (let i = 0; i < 3; i++) {
    login(place, "x");
    answer(place, NO);
  }
  const clients = Array.from({ length: 10 }, () => login(place, "x"));
  const over = () => clients.filter((client) => outcome(client) !== "waits").length;
  for (const [ms, before] of [[100, 0], [200, 1], [400, 2]] as const) {
    later(place, ms);
    assert.deepEqual([place.external.length, over()], [1, before]);
    later(place, ms);
    later(place, ms);
    assert.deepEqual([place.external.length, over()], [1, before], "one after the other");
    answer(place, NO);
  }
  later(place, 800);
  answer(place, { kind: "accepted" });
  later(place, 800);
  assert.equal(place.external.length, 1, "the others wait no longer");
  assert.equal(outcome(login(place, "x")), "53300", "for more than the line");
});

Deno.test("proof delay: without a failure all are looked at", () => {
  const place = checkedWorld();
  for (let i = 0; i < 2; i++) assert.equal(outcome(login(place, "x")), "waits");
  assert.equal(outcome(login(place, "x")), "53300", "the line of the test is full");
});

Deno.test("proof delay: who does not wait for the answer was wrong", () => {
  const place = checkedWorld();
  for (let i = 0; i < 3; i++) {
    login(place, "x").session.close(REASONS.clientGone, "");
    place.external.shift();
  }
  assert.equal(outcome(login(place, "x")), "waits");
  assert.equal(place.external.length, 0);
  later(place, 99);
  assert.equal(place.external.length, 0);
  later(place, 1);
  assert.equal(place.external.length, 1);
});

Deno.test("talos: who has a role goes on as that user; who has none is refused", () => {
  const place = world();
  const ask = (user: string, database = "talos_db") => {
    const client = place.addNewClient(concat(startup({ user, database }), frontend("p", "token")));
    place.settle();
    return client;
  };
  const client = ask("talos");
  const [request, done] = place.external.shift()!;
  assert.deepEqual([request.method, request.user, request.database], [
    "talos",
    "talos",
    "talos_db",
  ]);
  done({ kind: "accepted", user: "owner", applicationName: "svc" });
  place.settle();
  assert.equal(outcome(client), "in");
  const { user, applicationName, proven } = client.session.state;
  assert.deepEqual([user, applicationName, proven], ["owner", "svc", false]);

  const refused = ask("talos");
  place.external.shift()![1]({ kind: "refused", why: "no role" });
  place.settle();
  assert.equal(outcome(refused), "28P01");

  const unknown = ask("talos");
  place.external.shift()![1]({ kind: "accepted", user: place.stranger, applicationName: "svc" });
  place.settle();
  assert.equal(outcome(unknown), "28P01");

  // A yes that names nobody is none.
  const nobody = ask("talos");
  place.external.shift()![1]({ kind: "accepted" });
  place.settle();
  assert.equal(outcome(nobody), "28P01");

  // Elsewhere he is a user like others.
  ask("talos", "db");
  assert.equal(place.external.length, 0);
});

import assert from "node:assert/strict";
import { deriveKeys, formatVerifier, makeVerifier } from "../../auth/scram.ts";
import { answerChallenge, beginScramClient, readServerFirst } from "../../auth/scram_client.ts";
import { firstPacket, frontend, messagesIn, startup } from "../../protocol/testing/wire.ts";
import { REASONS } from "../../reasons.ts";
import { Shared } from "../../stats/shared.ts";
import { FakeStream } from "../../testing/fake_stream.ts";
import { type FakeClient, World } from "../../testing/world.ts";
import { Stage } from "../state.ts";

const VERIFIER = formatVerifier(makeVerifier("right", new Uint8Array(16), 2));

/** Its pool waits for a key, as one does that passes logins through. */
function world(): World {
  const password = { kind: "scram", verifier: VERIFIER } as const;
  return new World(
    { password, credentials: { kind: "scram_passthrough", verifier: VERIFIER } },
    { method: "scram-sha-256" },
  );
}

/** A client whose sends fail at once, as those by TLS do when what came behind its message was no record. */
function newClient(place: World, unsent: Uint8Array): FakeClient {
  let client = place.addNewClient(unsent);
  if (client.stream.fd % 2 === 0) return client;
  client.session.close(REASONS.clientGone, "");
  client = place.addNewClient(unsent);
  return client;
}

/** How often a client leaves. */
function leaving(place: World, { session }: FakeClient): () => number {
  let times = 0;
  Object.assign(session.context, { leave: () => times++ });
  return () => {
    place.settle();
    return times;
  };
}

function isGone(place: World, { session }: FakeClient): void {
  assert.equal(session.state.stage, Stage.Closed);
  assert.equal(session.pool, undefined);
  assert.equal(place.pool.clients, 0);
  assert.equal(session.context.shared[Shared.LoggedIn], 0);
}

function breakOff({ stream }: FakeClient): void {
  (stream as FakeStream).broken = true;
}

Deno.test("login: who is gone when his protocol is answered leaves once", () => {
  const place = world();
  const client = newClient(place, firstPacket(196617, "user", "me", "database", "db", [0]));
  const left = leaving(place, client);
  breakOff(client);
  assert.equal(left(), 1);
  isGone(place, client);
});

Deno.test("login: who is gone when his proof is answered leaves once", () => {
  const place = world();
  const client = newClient(place, startup({ user: "me", database: "db" }));
  const left = leaving(place, client);
  place.settle();
  const { state, body } = beginScramClient();
  client.unsent = frontend("p", body);
  place.settle();
  const last = messagesIn(client.received).at(-1)!.body.subarray(4);
  const first = readServerFirst(state, last);
  assert.ok(first.kind === "challenge");
  const keys = deriveKeys("right", first.salt, first.iterations);
  breakOff(client);
  client.unsent = frontend("p", answerChallenge(first, keys).body);
  assert.equal(left(), 1);
  isGone(place, client);
});

Deno.test("login: who is gone when the console greets him leaves once", () => {
  const place = world();
  const client = newClient(place, startup({ user: "admin", database: "pgdoorman" }));
  Object.assign(client.session.context, { hba: { match: () => ({ method: "trust" }) } });
  const password = { kind: "empty" } as const;
  Object.assign(client.session.context.general, {
    console_users: [{ user: "admin", password, role: "admin" }],
  });
  const left = leaving(place, client);
  breakOff(client);
  assert.equal(left(), 1);
  isGone(place, client);
  assert.deepEqual(place.mail.map(({ kind }) => kind), ["admin_closed"]);
});

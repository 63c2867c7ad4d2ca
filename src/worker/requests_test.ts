import assert from "node:assert/strict";
import type { WorkerToControl } from "../mail.ts";
import type { ServerAddress } from "../server/dial.ts";
import { Requests } from "./requests.ts";

type Asked = WorkerToControl & { kind: "resolve" | "derive" | "check" | "check_over" };

function asking(): { requests: Requests; asked: Asked[] } {
  const asked: Asked[] = [];
  return { requests: new Requests((mail) => void asked.push(mail as Asked)), asked };
}

function ports(addresses: ServerAddress[]): number {
  return addresses.length;
}

Deno.test("requests: an address needs nobody, a name is asked for", () => {
  const { requests, asked } = asking();
  const answers: [number, string | undefined][] = [];
  const done = (found: ServerAddress[], error: string | undefined) =>
    void answers.push([ports(found), error]);
  requests.addresses("127.0.0.1", 5432, done);
  assert.deepEqual(answers.splice(0), [[1, undefined]]);
  assert.equal(asked.length, 0);
  requests.addresses("db.test", 5432, done);
  assert.deepEqual(asked.map(({ kind }) => kind), ["resolve"]);
  requests.resolved(asked[0]!.request, ["127.0.0.1", "::1"], undefined);
  assert.deepEqual(answers, [[2, undefined]]);
});

Deno.test("requests: answers find who asked in any order, and once", () => {
  const { requests, asked } = asking();
  const heard: string[] = [];
  requests.addresses("a.test", 1, (found) => heard.push(`a ${ports(found)}`));
  requests.derive("secret", new Uint8Array(4), 4096, (key) => heard.push(`key ${key?.length}`));
  requests.addresses("b.test", 1, (found) => heard.push(`b ${ports(found)}`));
  const [a, key, b] = asked.map(({ request }) => request);
  requests.resolved(b!, ["10.0.0.1"], undefined);
  requests.derived(key!, new Uint8Array(32));
  requests.resolved(a!, ["10.0.0.1", "10.0.0.2"], undefined);
  for (const request of [a!, b!, 99]) requests.resolved(request, [], undefined);
  requests.derived(key!, undefined);
  assert.deepEqual(heard, ["b 1", "key 32", "a 2"]);
});

Deno.test("requests: no address is an error, and one that the resolver gives is told as it is", () => {
  const { requests, asked } = asking();
  const errors: (string | undefined)[] = [];
  for (const host of ["empty.test", "lost.test"]) {
    requests.addresses(host, 1, (_, error) => errors.push(error));
  }
  requests.resolved(asked[0]!.request, [], undefined);
  requests.resolved(asked[1]!.request, [], "no such host");
  assert.deepEqual(errors, ["no address found", "no such host"]);
});

Deno.test("requests: what is taken back is said once, and not answered", () => {
  const { requests, asked } = asking();
  const heard: string[] = [];
  const password = Uint8Array.of(1);
  const check = (user: string) =>
    requests.check(
      { method: "pam", options: {}, user, database: "db", address: "", password },
      (verdict) => heard.push(`${user} ${verdict.kind}`),
    );
  const takeBack = check("a");
  const tooLate = check("b");
  takeBack();
  takeBack();
  const [a, b] = asked.map(({ request }) => request);
  requests.checked(b!, { kind: "accepted" });
  requests.checked(a!, { kind: "accepted" });
  tooLate();
  assert.deepEqual(heard, ["b accepted"]);
  assert.deepEqual(asked.map(({ kind }) => kind), ["check", "check", "check_over"]);
});

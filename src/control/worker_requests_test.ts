import assert from "node:assert/strict";
import type { ExternalVerdict } from "../config/external_check.ts";
import type { ControlToWorker } from "../mail.ts";
import { WorkerRequests } from "./worker_requests.ts";

type Sent = [worker: number, mail: ControlToWorker];

Deno.test("worker requests: a name's addresses go to the worker that asked, errors too", async () => {
  const sent: Sent[] = [];
  const requests = new WorkerRequests((worker, mail) => void sent.push([worker, mail]), {
    resolve: (host) =>
      host === "db.test"
        ? Promise.resolve(["10.0.0.1"])
        : Promise.reject(new Error("no such host")),
  });
  await requests.resolve(3, { kind: "resolve", request: 8, host: "db.test" });
  await requests.resolve(1, { kind: "resolve", request: 9, host: "lost.test" });
  assert.deepEqual(sent, [
    [3, { kind: "resolved", request: 8, addresses: ["10.0.0.1"], error: undefined }],
    [1, { kind: "resolved", request: 9, addresses: [], error: "no such host" }],
  ]);
});

Deno.test("worker requests: a password is salted as SCRAM has it", async () => {
  const sent = Promise.withResolvers<Sent>();
  const requests = new WorkerRequests((worker, mail) => sent.resolve([worker, mail]));
  // RFC 7677 §3: user, pencil, and what their salted password is by Python's hashlib.pbkdf2_hmac.
  const salt = Uint8Array.fromBase64("W22ZaJ0SNY7soEsUEjb6gQ==");
  requests.derive(2, { kind: "derive", request: 5, password: "pencil", salt, iterations: 4096 });
  const [worker, mail] = await sent.promise;
  assert.equal(worker, 2);
  assert.ok(mail.kind === "derived" && mail.request === 5);
  assert.equal(
    mail.saltedPassword!.toHex(),
    "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d",
  );
});

Deno.test("worker requests: an answer goes to the worker that asked, and none to who is gone", () => {
  const sent: Sent[] = [];
  const given: [string, (verdict: ExternalVerdict) => void][] = [];
  const givenUp: string[] = [];
  const requests = new WorkerRequests((worker, mail) => void sent.push([worker, mail]), undefined, {
    ask: ({ user }, done) => {
      given.push([user, done]);
      return () => givenUp.push(user);
    },
  });
  const check = (worker: number, request: number, user: string) =>
    requests.check(worker, {
      kind: "check",
      request,
      asked: {
        method: "ldap",
        options: {},
        user,
        database: "db",
        address: "",
        password: Uint8Array.of(1),
      },
    });
  check(0, 1, "a");
  check(0, 2, "b");
  check(1, 1, "c");
  check(1, 2, "d");
  requests.checkOver(0, { kind: "check_over", request: 2 });
  given[0]![1]({ kind: "refused", why: "no" });
  requests.checkOver(0, { kind: "check_over", request: 1 });
  requests.lost(1);
  requests.lost(1);
  assert.deepEqual(givenUp, ["b", "c", "d"]);
  assert.deepEqual(sent, [
    [0, { kind: "checked", request: 1, verdict: { kind: "refused", why: "no" } }],
  ]);
});

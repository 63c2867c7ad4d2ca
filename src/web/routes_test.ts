import assert from "node:assert/strict";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import type { Readiness, WebEnvironment } from "./environment.ts";
import { Routes } from "./routes.ts";

class Site {
  readiness: Readiness = "ready";
  answers = true;
  readonly lines: string[] = [];
  readonly routes: Routes;

  constructor() {
    const environment: WebEnvironment = {
      log: createRecordLog({
        filter: levelFilter("debug"),
        emit: ({ level, message }) => this.lines.push(`${level} ${message}`),
      }),
      version: "1.2.3",
      readiness: () => this.readiness,
      pools: () => Promise.resolve([]),
      counts: () => Promise.resolve([]),
      limits: () => Promise.resolve([]),
      authQueries: () => Promise.resolve([]),
      preparedMemory: () => Promise.resolve([]),
      interner: () => Promise.resolve([]),
      sockets: () => [],
      logLevel: () => "info",
      workersAnswer: () => Promise.resolve(this.answers),
      processCounts: () => ({
        rejections: [],
        namedEvictions: 0,
        anonymousEvictions: 0,
        lostLogLines: 0,
      }),
      configuredUsers: () => [],
      sever: () => {},
      mostPools: () => 0,
      residentBytes: () => 0,
    };
    this.routes = new Routes(environment);
  }

  /** Status and body. */
  async ask(path: string, method = "GET"): Promise<[number, string]> {
    const { status, body } = await this.routes.handle({
      method,
      path,
      query: "",
      headers: new Headers(),
      peer: "10.0.0.1:1",
    });
    return [status, new TextDecoder().decode(body).trim()];
  }
}

Deno.test("routes: ready as long as clients are taken and workers answer, alive always", async () => {
  const site = new Site();
  assert.deepEqual(await site.ask("/readyz"), [200, "ready"]);
  for (const why of ["starting", "draining"] as const) {
    site.readiness = why;
    assert.deepEqual(await site.ask("/readyz"), [503, `not ready: ${why}`]);
    assert.deepEqual(await site.ask("/healthz", "HEAD"), [200, "alive"]);
  }
  site.readiness = "upgrading";
  assert.deepEqual(await site.ask("/readyz"), [200, "ready: handing over"]);
  site.readiness = "ready";
  site.answers = false;
  assert.deepEqual(await site.ask("/readyz"), [503, "not ready: a worker does not answer"]);
});

Deno.test("routes: metrics for everybody, nothing else, and nothing but to be read", async () => {
  const site = new Site();
  const [status, text] = await site.ask("/metrics");
  assert.equal(status, 200);
  assert.match(text, /^# HELP pg_doorman_build_info /);
  assert.match(text, /^pg_doorman_build_info\{version="1\.2\.3"\} 1$/m);
  for (const path of ["/", "/metrics/", "/api/version", "/assets/x"]) {
    assert.equal((await site.ask(path))[0], 404, path);
  }
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"]) {
    assert.equal((await site.ask("/metrics", method))[0], 405, method);
  }
});

Deno.test("routes: a line for each answer, in which a client can't break out of its value", () => {
  const site = new Site();
  const head = {
    method: "GET",
    path: '/a"b=c',
    query: "token=secret",
    headers: new Headers(),
    keepAlive: true,
    bodyBytes: 0,
  };
  const answer = { status: 404, headers: {}, body: new Uint8Array(9) };
  site.routes.answered(head, answer, "10.0.0.1:1");
  site.routes.answered({ ...head, path: "/healthz" }, { ...answer, status: 200 }, "[::1]:2");
  site.routes.answered(undefined, { ...answer, status: 400 }, "10.0.0.1:3");
  assert.deepEqual(site.lines, [
    'info method=GET path="/a\\"b=c" query=true status=404 bytes=9 peer=10.0.0.1:1 ' +
    "auth_role=anonymous auth_source=- auth_user=-",
    "debug method=GET path=/healthz query=true status=200 bytes=9 peer=[::1]:2 " +
    "auth_role=anonymous auth_source=- auth_user=-",
    "info method=- path=- query=false status=400 bytes=9 peer=10.0.0.1:3 " +
    "auth_role=anonymous auth_source=- auth_user=-",
  ]);
});

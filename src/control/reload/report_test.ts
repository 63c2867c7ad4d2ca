import assert from "node:assert/strict";
import type { ConfigChange } from "../../config/diff.ts";
import type { PoolSettings } from "../../config/settings.ts";
import { appliedInPart, notApplied, summaryOf } from "./report.ts";

function changed(path: string, reload: ConfigChange["reload"]): ConfigChange {
  return { path, kind: "changed", reload };
}

const NONE = {
  general: undefined,
  places: [],
  pools: [],
  gone: [],
  authQueries: [],
  goneAuthQueries: [],
  added: new Set<never>(),
};

Deno.test("reload report: counts of pools, then keys; nothing is nothing", () => {
  assert.equal(summaryOf([], NONE), "");
  const pools = [{}, {}, {}] as PoolSettings[];
  const change = {
    ...NONE,
    pools,
    added: new Set([pools[0]!]),
    gone: [{ database: "a", user: "b" }],
  };
  assert.equal(
    summaryOf([changed("general.idle_timeout", "P"), {
      path: "pools.x",
      kind: "added",
      reload: "P",
    }], change),
    "1 pool added; 1 pool removed; 2 pools changed; general.idle_timeout, pools.x (added)",
  );
});

Deno.test("reload report: a long list of keys is cut", () => {
  const many = Array.from({ length: 100 }, (_, i) => changed(`pools.p${i}.pool_mode`, "P"));
  assert.match(summaryOf(many, NONE), /p11\.pool_mode and 88 more$/);
});

Deno.test("reload report: each key that is not applied says what it needs", () => {
  const [port, tls, threads, web, ...rest] = notApplied([
    changed("general.port", "R"),
    changed("general.tls_certificate (content of the file)", "R"),
    changed("general.worker_threads", "R"),
    changed("web.port", "R"),
    changed("general.worker_cpu_affinity_pinning", "R"),
    changed("general.idle_timeout", "P"),
  ]);
  assert.match(port!, /^general\.port has changed and is not applied: .* needs a restart$/);
  assert.match(
    tls!,
    /^general\.tls_certificate \(content of the file\) has .* needs a binary upgrade or a restart$/,
  );
  assert.match(threads!, /needs a binary upgrade or a restart$/);
  assert.match(web!, /^web\.port .* needs a binary upgrade or a restart$/);
  assert.deepEqual(rest, [], "ignored keys and applied ones draw no warning");
});

Deno.test("reload report: socket buffers hold for new sockets", () => {
  assert.equal(appliedInPart([changed("general.tcp_socket_buffer_size", "N")]).length, 1);
  assert.equal(appliedInPart([changed("general.tcp_no_delay", "N")]).length, 0);
});

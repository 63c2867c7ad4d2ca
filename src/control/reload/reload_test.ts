import assert from "node:assert/strict";
import type { LoadResult } from "../../config/load.ts";
import type { Config } from "../../config/types.ts";
import { createRecordLog } from "../../log/log.ts";
import type { LogRecord } from "../../log/format.ts";
import { levelFilter } from "../../log/filter.ts";
import { Reloader, type SectionRule } from "./reload.ts";

function config(general: Record<string, unknown> = {}, pools: string[] = []): Config {
  return {
    path: "x.toml",
    general: { startup_parameters: new Map(), hba: [], ...general },
    web: {},
    include: { files: [] },
    pools: new Map(pools.map((name) => [name, { users: [], startup_parameters: new Map() }])),
  } as unknown as Config;
}

interface Bench {
  reloader: Reloader;
  records: LogRecord[];
  /** What happened, in order. */
  events: string[];
}

function bench(load: () => LoadResult, rules: (events: string[]) => SectionRule[]): Bench {
  const records: LogRecord[] = [];
  const events: string[] = [];
  const reloader = new Reloader({
    log: createRecordLog({ filter: levelFilter("info"), emit: (record) => records.push(record) }),
    config: config(),
    load: () => {
      events.push("load");
      return load();
    },
    readFile: () => new Uint8Array(),
    rules: rules(events),
    begun: () => events.push("begun"),
    ended: ({ ok }) => events.push(ok ? "ended" : "rejected"),
  });
  return { reloader, records, events };
}

function valid(found: Config): LoadResult {
  return { config: found, faults: [], warnings: [], notices: [] };
}

Deno.test("reload: every rule prepares before the first is published", async () => {
  const rule = (name: string, events: string[]): SectionRule => ({
    section: name,
    prepare() {
      events.push(`prepare ${name}`);
      return { summary: name, publish: () => void events.push(`publish ${name}`) };
    },
  });
  const { reloader, events } = bench(
    () => valid(config({ idle_timeout: 1 })),
    (events) => [rule("a", events), rule("b", events)],
  );
  assert.deepEqual(await reloader.request("test"), { ok: true, summary: "a; b", faults: [] });
  assert.deepEqual(events, [
    "begun",
    "load",
    "prepare a",
    "prepare b",
    "publish a",
    "publish b",
    "ended",
  ]);
  assert.equal(reloader.config.general.idle_timeout, 1);
});

Deno.test("reload: a rule that refuses leaves all as it was", async () => {
  const { reloader, events, records } = bench(
    () => valid(config({ idle_timeout: 1 })),
    (events) => [
      { section: "a", prepare: () => ({ publish: () => void events.push("publish a") }) },
      {
        section: "b",
        prepare() {
          throw new Error("no such key");
        },
      },
    ],
  );
  const outcome = await reloader.request("test");
  assert.deepEqual(outcome, { ok: false, summary: "", faults: ["[b]: no such key"] });
  assert.deepEqual(events, ["begun", "load", "rejected"]);
  assert.equal(reloader.config.general.idle_timeout, undefined);
  assert.ok(records.some(({ level, message }) => level === "error" && /rejected/.test(message)));
});

Deno.test("reload: requests that come during a run share the one after it", async () => {
  let loads = 0;
  let reached = Promise.withResolvers<() => void>();
  const { reloader, events } = bench(
    () => valid(config({ idle_timeout: ++loads })),
    () => [{
      section: "a",
      prepare: () => ({ publish: () => new Promise<void>((done) => reached.resolve(done)) }),
    }],
  );
  const release = async () => {
    const done = await reached.promise;
    reached = Promise.withResolvers();
    done();
  };
  const first = reloader.request("one");
  const second = reloader.request("two");
  const third = reloader.request("three");
  assert.equal(loads, 1);
  await release();
  await first;
  await release();
  assert.equal(await second, await third);
  assert.equal(loads, 2, "two and three are one");
  assert.equal(reloader.config.general.idle_timeout, 2);
  assert.deepEqual(events, ["begun", "load", "ended", "begun", "load", "ended"]);
  const fourth = reloader.request("four");
  await release();
  await fourth;
  assert.equal(loads, 3);
});

Deno.test("reload: a defect in publishing does not stop later reloads", async () => {
  let broken = true;
  const { reloader } = bench(() => valid(config()), () => [{
    section: "a",
    prepare: () => ({
      publish() {
        if (broken) throw new Error("defect");
      },
    }),
  }]);
  assert.ok(!(await reloader.request("one")).ok);
  broken = false;
  assert.ok((await reloader.request("two")).ok);
});

Deno.test("reload: what waits for a restart is no change, and is warned of as long as it differs", async () => {
  const seen: string[][] = [];
  const { reloader, records } = bench(
    () => valid(config({ port: 7000, idle_timeout: 5 })),
    () => [{
      section: "a",
      prepare({ changes }) {
        seen.push(changes.map(({ path }) => path));
        return undefined;
      },
    }],
  );
  await reloader.request("one");
  await reloader.request("two");
  assert.deepEqual(seen, [["general.idle_timeout"], []]);
  assert.equal(
    records.filter(({ message }) => /^general\.port has changed/.test(message)).length,
    2,
  );
});

/**
 * The alerts, recording rules and the dashboard in packaging/, and docs/monitoring.md: that each metric and label they
 * name is exported, that each alert is explained and tested, and, by promtool where it is installed, that rules are valid
 * and alerts fire when they should.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { fakeEnvironment } from "../src/admin/testing/fake_environment.ts";
import { GENERAL_KEYS } from "../src/config/schema_general.ts";
import { POOL_KEYS, USER_KEYS } from "../src/config/schema_pool.ts";
import { WEB_KEYS } from "../src/config/schema_web.ts";
import { levelFilter } from "../src/log/filter.ts";
import { createRecordLog } from "../src/log/log.ts";
import { families } from "../src/web/metrics/families.ts";
import { Gathering } from "../src/web/metrics/gather.ts";
import { say } from "./say.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PROMETHEUS = join(ROOT, "packaging/prometheus");
const DASHBOARD = join(ROOT, "packaging/grafana/pg_doorman_dashboard.json");
const PAGE = Deno.readTextFileSync(join(ROOT, "docs/monitoring.md"));

interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
  panels?: Panel[];
}

interface Dashboard {
  panels: Panel[];
  templating: { list: { name: string; query: string | { query: string } }[] };
}

function rulesOf(file: string): Rule[] {
  const text = Deno.readTextFileSync(join(PROMETHEUS, file));
  return (parse(text) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules);
}

const RECORDED = rulesOf("recording_rules.yml");
const ALERTS = rulesOf("alerts.yml");
const dashboard = JSON.parse(Deno.readTextFileSync(DASHBOARD)) as Dashboard;
const panels = dashboard.panels.flatMap((panel) => [panel, ...panel.panels ?? []]);

/** Expressions by where they are; `label_values` of the dashboard's variables are none, but name metrics as well. */
function expressions(): { where: string; expr: string }[] {
  const ofRules = [...RECORDED, ...ALERTS].map(({ record, alert, expr }) => ({
    where: (record ?? alert)!,
    expr,
  }));
  const ofPanels = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ where: `panel "${title}"`, expr }))
  );
  const ofVariables = dashboard.templating.list.flatMap(({ name, query }) =>
    typeof query === "string" ? [] : [{ where: `variable ${name}`, expr: query.query }]
  );
  return [...ofRules, ...ofPanels, ...ofVariables];
}

/** Labels of a family, and their values. */
type Labels = Map<string, Set<string>>;

/** All series that are exported, by name. */
async function exported(): Promise<Map<string, { family: string; labels: Labels }>> {
  const { environment } = fakeEnvironment();
  const gathering = new Gathering({
    ...environment,
    log: createRecordLog({ filter: levelFilter("off"), emit: () => {} }),
    sockets: () => new Array<number>(34).fill(1),
    readiness: () => "ready",
    workersAnswer: () => Promise.reject(new Error("nobody asks")),
    processCounts: () => ({
      rejections: [],
      namedEvictions: 0,
      anonymousEvictions: 0,
      lostLogLines: 0,
    }),
    configuredUsers: () => [{ user: "alice", database: "app", pool_mode: "session" }],
    mostPools: () => 1000,
    sever: () => {},
    residentBytes: () => 1,
  });
  for (const status of [200, 404, 503]) gathering.countAnswer(status);
  const all = new Map<string, { family: string; labels: Labels }>();
  for (const { name, type, points } of families(await gathering.gather())) {
    const labels: Labels = new Map();
    for (const point of points) {
      for (const [, label, value] of point.labels.matchAll(/([a-z_]+)="([^"]*)"/g)) {
        labels.set(label!, (labels.get(label!) ?? new Set()).add(value!));
      }
    }
    const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    for (const suffix of suffixes) {
      const more: Labels = suffix === "_bucket" ? new Map([...labels, ["le", new Set()]]) : labels;
      all.set(`${name}${suffix}`, { family: name, labels: more });
    }
  }
  return all;
}

/** Values are anybody's. */
const FREE = ["database", "user", "instance", "job", "le"];

function labelFaults(labels: Labels, matchers: string): string[] {
  const faults: string[] = [];
  for (const matcher of matchers.matchAll(/([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)) {
    const [, label, operator, value] = matcher as unknown as [string, string, string, string];
    if (label === "job" || label === "instance") continue;
    const values = labels.get(label);
    if (values === undefined) faults.push(`no label ${label}`);
    else if (!FREE.includes(label)) {
      for (const one of operator.endsWith("~") ? value.split("|") : [value]) {
        if (!values.has(one)) faults.push(`no ${label}="${one}"`);
      }
    }
  }
  return faults;
}

Deno.test("monitoring: rules and dashboard name metrics, labels and values that are exported", async () => {
  const known = await exported();
  const recorded = new Set(RECORDED.map(({ record }) => record));
  const faults: string[] = [];
  let selectors = 0;
  for (const { where, expr } of expressions()) {
    for (
      const [, name, matchers = ""] of expr.matchAll(/\b(pg_doorman[a-z0-9_:]*)(?:\{([^}]*)\})?/g)
    ) {
      selectors++;
      if (name!.includes(":")) {
        if (!recorded.has(name)) faults.push(`${where}: ${name} is not recorded`);
        continue;
      }
      const labels = known.get(name!)?.labels;
      // The name of the job.
      if (name === "pg_doorman" && expr.includes('job="pg_doorman"')) continue;
      if (labels === undefined) faults.push(`${where}: ${name} is not exported`);
      else {faults.push(
          ...labelFaults(labels, matchers).map((fault) => `${where}: ${name}: ${fault}`),
        );}
    }
  }
  assert.deepEqual(faults, []);
  assert.ok(selectors > 150, `${selectors}`);
});

Deno.test("monitoring: what is grouped by are labels of what is grouped", async () => {
  const known = await exported();
  const ALWAYS = ["job", "instance"];
  for (const { where, expr } of expressions()) {
    const names = [...expr.matchAll(/\bpg_doorman_[a-z0-9_]+/g)].map(([name]) => name);
    if (names.length === 0 || expr.includes("pg_doorman:")) continue;
    const labels = new Set(names.flatMap((name) => [...known.get(name)?.labels.keys() ?? []]));
    for (const [, list] of expr.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)) {
      for (const label of list!.split(",").map((each) => each.trim())) {
        assert.ok(ALWAYS.includes(label) || labels.has(label), `${where}: by ${label}`);
      }
    }
  }
});

/** How names of metrics begin, without the prefix that all of them have. */
const METRIC =
  /^(build_info|log_lines|users_|total_memory|connections?_|listener_|pools?_|clients_|servers_|query_interner_|pooler_|web_)/;

Deno.test("monitoring: docs/monitoring.md names what is exported, and all of it", async () => {
  const short = (name: string) => name.replace(/^pg_doorman_/, "");
  const series = await exported();
  const known = new Set([...series.keys()].map(short));
  const families = new Set([...series.values()].map(({ family }) => short(family)));
  const tables = [GENERAL_KEYS, POOL_KEYS, USER_KEYS, WEB_KEYS];
  const keys = new Set(tables.flatMap((table) => [...table.keys()]));
  const code = [...PAGE.matchAll(/`([^`\n]+)`/g)].map(([, text]) => text!);
  const words = new Set(
    code.flatMap((text) => text.match(/\b[a-z][a-z0-9]*(?:_[a-z0-9]+)*\b/g) ?? []),
  );
  const unknown = [...words].filter((word) =>
    METRIC.test(word) && !known.has(word) && !families.has(word) && !keys.has(word)
  );
  assert.deepEqual(unknown, [], "not exported");
  assert.deepEqual([...families].filter((name) => !words.has(name)), [], "not in the page");
});

Deno.test("monitoring: each alert is explained in docs/monitoring.md, and tested", () => {
  const names = ALERTS.map(({ alert }) => alert!).sort();
  assert.equal(new Set(names).size, names.length);
  const explained = [...PAGE.matchAll(/^\| `(PgDoorman\w+)`/gm)].map(([, name]) => name!).sort();
  assert.deepEqual(explained, names);
  const mentioned = PAGE.match(/\bPgDoorman[A-Z]\w+/g) ?? [];
  assert.deepEqual(mentioned.filter((name) => !names.includes(name)), []);
  const file = Deno.readTextFileSync(join(PROMETHEUS, "alerts_test.yml"));
  const { tests } = parse(file) as {
    tests: { name: string; promql_expr_test: { expr: string; exp_samples: unknown[] }[] }[];
  };
  assert.deepEqual(tests.map(({ name }) => name).sort(), names);
  for (const { name, promql_expr_test: [before, then] } of tests) {
    for (const asked of [before!, then!]) assert.ok(asked.expr.includes(`"${name}"`), name);
    assert.deepEqual([before!.exp_samples.length, then!.exp_samples.length], [0, 1], name);
  }
  for (const { alert, labels, annotations } of ALERTS) {
    assert.equal(labels!.service, "pg_doorman", alert);
    assert.match(labels!.severity!, /^(critical|warning)$/, alert);
    assert.ok(annotations!.summary && annotations!.description, alert);
  }
});

Deno.test("monitoring: panels of the dashboard have their place, and its variables are there", () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const open = dashboard.panels;
  for (const row of [open, ...open.map((panel) => panel.panels ?? [])]) {
    for (const [at, one] of row.entries()) {
      assert.ok(one.gridPos.x + one.gridPos.w <= 24, one.title);
      for (const other of row.slice(at + 1)) {
        const [a, b] = [one.gridPos, other.gridPos];
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
        assert.ok(apart, `"${one.title}" is over "${other.title}"`);
      }
    }
  }
  const variables = new Set(dashboard.templating.list.map(({ name }) => name));
  for (const { where, expr } of expressions()) {
    for (const [, name] of expr.matchAll(/\$([a-z]+)\b/g)) {
      assert.ok(variables.has(name!), `${where}: $${name}`);
    }
  }
});

/** What promtool says, or `undefined` where it is not installed. */
async function promtool(args: string[], cwd: string): Promise<string | undefined> {
  const command = Deno.env.get("PROMTOOL") ?? "promtool";
  try {
    const { code, stdout, stderr } = await new Deno.Command(command, { args, cwd }).output();
    const decoder = new TextDecoder();
    return code === 0
      ? ""
      : `${decoder.decode(stdout)}${decoder.decode(stderr)}` || `status ${code}`;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    say("promtool is not installed (Debian: prometheus): its check of the rules is left out");
    return undefined;
  }
}

Deno.test("monitoring: rules are valid and alerts fire when they should, by promtool where it is installed", async () => {
  const check = await promtool(["check", "rules", "recording_rules.yml", "alerts.yml"], PROMETHEUS);
  if (check === undefined) return;
  assert.equal(check, "");
  assert.equal(await promtool(["test", "rules", "alerts_test.yml"], PROMETHEUS), "");
  // It has no check for single expressions: those of the dashboard as rules.
  const rules = panels.flatMap(({ targets = [] }) => targets).map(({ expr }, at) => ({
    record: `panel:${at}`,
    expr: expr.replaceAll("$__rate_interval", "5m"),
  }));
  const file = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify({ groups: [{ name: "panels", rules }] }));
  assert.equal(await promtool(["check", "rules", file], PROMETHEUS), "");
  await Deno.remove(file);
});

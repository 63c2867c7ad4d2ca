/**
 * Compares two configurations key by key, with the reload class of each difference, and lists one as the rows of SHOW
 * CONFIG. Users are named, not numbered: moving one in the file is no change. Secrets are compared and never shown.
 */

import { formatSetting, MASK } from "./format_setting.ts";
import type { KeyRows, KeySpec, ReloadClass } from "./schema.ts";
import { GENERAL_KEYS } from "./schema_general.ts";
import { AUTH_QUERY_KEYS, POOL_KEYS, USER_KEYS } from "./schema_pool.ts";
import { INCLUDE_KEYS, TALOS_KEYS, WEB_KEYS } from "./schema_web.ts";
import { keyPath } from "./source.ts";
import type { Config, GeneralConfig, PoolConfig, UserConfig } from "./types.ts";

/** One difference between two configurations. */
export interface ConfigChange {
  /** Key path; a pool or user that came or went is named as a whole. */
  path: string;
  kind: "added" | "removed" | "changed";
  reload: ReloadClass;
}

/** One row of SHOW CONFIG. */
export interface ConfigRow {
  /** Keys of `[general]` bare, all others with their section. */
  key: string;
  value: string;
  default: string;
  changeable: "yes" | "no";
}

type Fields = Readonly<Record<string, unknown>>;

/** What differs between the configuration in force and a new one; empty when nothing does. */
export function diffConfig(before: Config, after: Config): ConfigChange[] {
  const changes: ConfigChange[] = [];
  diffSection("general", GENERAL_KEYS, before.general, after.general, changes);
  diffSection("web", WEB_KEYS, before.web, after.web, changes);
  diffSection("talos", TALOS_KEYS, before.talos ?? {}, after.talos ?? {}, changes);
  diffSection("include", INCLUDE_KEYS, before.include, after.include, changes);
  diffNamed(before.pools, after.pools, "pools", changes, diffPool);
  return changes;
}

function diffPool(path: string, before: PoolConfig, after: PoolConfig, changes: ConfigChange[]) {
  for (const [key, spec] of POOL_KEYS) {
    if (spec.type === "user_list") {
      diffNamed(usersByName(before), usersByName(after), `${path}.users`, changes, diffUser);
    } else if (spec.type === "table") {
      const queries = [before.auth_query ?? {}, after.auth_query ?? {}] as const;
      diffSection(`${path}.${key}`, AUTH_QUERY_KEYS, ...queries, changes);
    } else diffKey(path, key, spec, before, after, changes);
  }
}

function diffUser(path: string, before: UserConfig, after: UserConfig, changes: ConfigChange[]) {
  diffSection(path, USER_KEYS, before, after, changes);
}

function usersByName(pool: PoolConfig): Map<string, UserConfig> {
  return new Map(pool.users.map((user) => [user.username, user]));
}

/** Pools or users: those only on one side as a whole, the others key by key. */
function diffNamed<T>(
  before: ReadonlyMap<string, T>,
  after: ReadonlyMap<string, T>,
  section: string,
  changes: ConfigChange[],
  diffEach: (path: string, before: T, after: T, changes: ConfigChange[]) => void,
): void {
  for (const [name, old] of before) {
    const path = keyPath(section, name);
    const fresh = after.get(name);
    if (fresh === undefined) changes.push({ path, kind: "removed", reload: "P" });
    else diffEach(path, old, fresh, changes);
  }
  for (const name of after.keys()) {
    if (before.has(name)) continue;
    changes.push({ path: keyPath(section, name), kind: "added", reload: "P" });
  }
}

function diffSection(
  section: string,
  rows: KeyRows,
  before: object,
  after: object,
  changes: ConfigChange[],
): void {
  for (const [key, spec] of rows) {
    diffKey(section, key, spec, before, after, changes);
  }
}

/** The path is put together only for a key that differs: thousands do not. */
function diffKey(
  section: string,
  key: string,
  spec: KeySpec,
  before: object,
  after: object,
  changes: ConfigChange[],
): void {
  const old = (before as Fields)[key];
  const fresh = (after as Fields)[key];
  if (sameValue(old, fresh)) return;
  const kind = old === undefined ? "added" : fresh === undefined ? "removed" : "changed";
  changes.push({ path: keyPath(section, key), kind, reload: spec.reload });
}

/** Equality of plain data; the order of a map's entries does not matter. */
function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size &&
      [...a].every(([key, value]) => b.has(key) && sameValue(value, b.get(key)));
  }
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && sameValue((a as Fields)[key], (b as Fields)[key]));
}

/** Every key of a configuration; what a user or pool does not set is shown as inherited. */
export function configRows(config: Config): ConfigRow[] {
  const rows: ConfigRow[] = [];
  const { general } = config;
  addRows(rows, "", GENERAL_KEYS, [general]);
  addRows(rows, "web", WEB_KEYS, [config.web]);
  addRows(rows, "talos", TALOS_KEYS, [config.talos ?? {}]);
  addRows(rows, "include", INCLUDE_KEYS, [config.include]);
  for (const [name, pool] of config.pools) addPoolRows(rows, name, pool, general);
  return rows;
}

function addPoolRows(
  rows: ConfigRow[],
  name: string,
  pool: PoolConfig,
  general: GeneralConfig,
): void {
  const path = keyPath("pools", name);
  for (const [key, spec] of POOL_KEYS) {
    if (spec.type === "table") {
      if (pool.auth_query !== undefined) {
        addRows(rows, `${path}.${key}`, AUTH_QUERY_KEYS, [pool.auth_query]);
      }
    } else if (spec.type === "user_list") {
      const names = pool.users.map((user) => user.username).join(", ");
      rows.push({ key: `${path}.${key}`, value: names, default: "-", changeable: "yes" });
    } else {
      const inherits = spec.unset === "general";
      addRow(rows, `${path}.${key}`, key, spec, inherits ? [pool, general] : [pool]);
    }
  }
  for (const user of pool.users) {
    const userPath = keyPath(`${path}.users`, user.username);
    for (const [key, spec] of USER_KEYS) {
      const inherits = spec.unset === "the pool's" || spec.unset === "general";
      addRow(rows, `${userPath}.${key}`, key, spec, inherits ? [user, pool, general] : [user]);
    }
  }
}

function addRows(rows: ConfigRow[], section: string, keys: KeyRows, chain: readonly object[]) {
  for (const [key, spec] of keys) addRow(rows, keyPath(section, key), key, spec, chain);
}

/** `chain` holds the sections to look in, the nearest first. */
function addRow(
  rows: ConfigRow[],
  path: string,
  key: string,
  spec: KeySpec,
  chain: readonly object[],
): void {
  const value = chain.map((fields) => (fields as Fields)[key]).find((each) => each !== undefined);
  rows.push({
    key: path,
    value: value === undefined ? "" : spec.secret ? MASK : formatSetting(spec, value),
    default: defaultText(spec),
    changeable: spec.reload === "R" || spec.ignored !== undefined ? "no" : "yes",
  });
}

function defaultText(spec: KeySpec): string {
  if (spec.default !== undefined) return formatSetting(spec, spec.default);
  return spec.unset ?? "-";
}

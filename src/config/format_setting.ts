/** Values of settings as SHOW CONFIG and the reference print them. */

import type { KeySpec } from "./schema.ts";
import type { RulesSetting } from "./types.ts";

/** Stands for every secret. */
export const MASK = "********";

/** A value on one line: durations as milliseconds and sizes as bytes, as upstream has them. */
export function formatSetting(spec: KeySpec, value: unknown): string {
  if (spec.type === "octal_mode") return Number(value).toString(8).padStart(4, "0");
  if (spec.type === "hba") return formatRules("rule", value as RulesSetting<unknown>);
  if (spec.type === "ident") return formatRules("line", value as RulesSetting<unknown>);
  if (Array.isArray(value)) return value.join(", ");
  if (value instanceof Map) {
    return Array.from(value, ([name, each]) => `${name}=${each}`).join(", ");
  }
  return String(value);
}

function formatRules(one: string, { path, rules }: RulesSetting<unknown>): string {
  const count = rules.length === 1 ? `1 ${one}` : `${rules.length} ${one}s`;
  return path === undefined ? count : `${path}: ${count}`;
}

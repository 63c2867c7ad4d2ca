/** Values of settings as SHOW CONFIG and the reference print them. */

import type { KeySpec } from "./schema.ts";
import type { HbaSetting } from "./types.ts";

/** Stands for every secret. */
export const MASK = "********";

/** A value on one line: durations as milliseconds and sizes as bytes, as upstream has them. */
export function formatSetting(spec: KeySpec, value: unknown): string {
  if (spec.type === "octal_mode") return Number(value).toString(8).padStart(4, "0");
  if (spec.type === "hba") return formatHba(value as HbaSetting);
  if (Array.isArray(value)) return value.join(", ");
  if (value instanceof Map) {
    return Array.from(value, ([name, each]) => `${name}=${each}`).join(", ");
  }
  return String(value);
}

function formatHba({ path, rules }: HbaSetting): string {
  const count = rules.length === 1 ? "1 rule" : `${rules.length} rules`;
  return path === undefined ? count : `${path}: ${count}`;
}

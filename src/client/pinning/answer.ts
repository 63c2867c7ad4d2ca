/**
 * What PostgreSQL says to the question of leftovers.ts, checked: whatever answers in its place may say anything, and that is
 * a fault of that server.
 */

/** Fields that are no plain number or text. */
const FIELDS: Record<string, (value: unknown) => boolean> = {
  set: (value) => isRecordOf(value, isText),
  custom: (value) => isRecordOf(value, (one) => one === null || isText(one)),
  channels: (value) => Array.isArray(value) && value.every(isText),
};

/** The fields of an answer, each of the type that the question makes; `undefined`: that is no answer to it. */
export function checkedAnswer(text: string): Record<string, unknown> | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecordOf(fields, () => true)) return undefined;
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue;
    const fits = Object.hasOwn(FIELDS, name) ? FIELDS[name]!(value) : isPlain(value);
    if (!fits) return undefined;
  }
  return fields;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function isPlain(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

function isRecordOf(
  value: unknown,
  fits: (value: unknown) => boolean,
): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every(fits);
}

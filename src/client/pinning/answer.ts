/**
 * What PostgreSQL says to the question of leftovers.ts, checked: whatever answers in its place may say anything, and that is
 * a fault of that server.
 */

/**
 * What more servers than one are given of a client: each checkout of another one sets all of it, and in that time PostgreSQL
 * does nothing for anybody else.
 */
const MOST_FOLLOWED = 300;
const MOST_FOLLOWED_CHARACTERS = 65_536;

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

/**
 * Whether these parameters, but for those that PostgreSQL reports, are few and short enough to be taken along. If that
 * helps, those that a RESET has left as names without a value are left out: another server does not know them at all.
 */
export function canFollow(values: Map<string, string>, reported: ReadonlySet<string>): boolean {
  if (isLittle(values, reported)) return true;
  for (const [name, value] of values) {
    if (value === "" && name.includes(".")) values.delete(name);
  }
  return isLittle(values, reported);
}

function isLittle(values: ReadonlyMap<string, string>, reported: ReadonlySet<string>): boolean {
  let count = 0;
  let characters = 0;
  for (const [name, value] of values) {
    if (reported.has(name)) continue;
    count++;
    characters += name.length + value.length;
  }
  return count <= MOST_FOLLOWED && characters <= MOST_FOLLOWED_CHARACTERS;
}

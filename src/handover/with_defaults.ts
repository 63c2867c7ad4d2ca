/**
 * Plain data of another version of this program, made into this version's: a field that the other one did not have yet
 * gets its default, one that this version does not know is dropped. So a field can be added to a snapshot without a new
 * version (version.ts), and an older program goes on with what a newer one has frozen.
 */

/** `defaults` with the values of `given` for its own fields, in nested plain objects, too. */
export function withDefaults<T extends object>(defaults: T, given: unknown): T {
  if (typeof given !== "object" || given === null) return defaults;
  const values = given as Record<string, unknown>;
  const result: Record<string, unknown> = {};
  for (const [key, usual] of Object.entries(defaults)) {
    const value = Object.hasOwn(values, key) ? values[key] : undefined;
    if (value === undefined) result[key] = usual;
    else if (hasFields(usual) && isPlain(value)) result[key] = withDefaults(usual, value);
    else result[key] = value;
  }
  return result as T;
}

/** An empty one is a dictionary: any key is its own. */
function hasFields(value: unknown): value is object {
  return isPlain(value) && Object.keys(value).length > 0;
}

/** Maps, lists and bytes are taken as they are. */
function isPlain(value: unknown): value is object {
  return typeof value === "object" && value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
}

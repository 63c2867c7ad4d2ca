/**
 * What every key of the config file is: type, unit, default, bounds, and how a change of it is applied on reload. One
 * row a key, one table a section (`schema_general.ts`, `schema_pool.ts`, `schema_web.ts`); decoding, SHOW CONFIG,
 * reload and docs/config.md all read these rows, and `KeyTable` makes the compiler refuse a key that is in the types
 * but not here, or the reverse.
 */

/**
 * How a changed value comes into force:
 * R at the next start (a binary upgrade counts); A at once, for existing connections too; N for new clients, sockets,
 * logins or server connections; P at the pool's next checkout; B the pool's server connections are replaced.
 */
export type ReloadClass = "R" | "A" | "N" | "P" | "B";

/** Families of values. */
export type KeyType =
  /** Milliseconds, or text with a unit. */
  | "duration"
  /** Whole seconds, or text with a unit. */
  | "seconds"
  | "bytes"
  | "u16"
  | "u32"
  | "usize"
  | "percent"
  | "bool"
  | "string"
  | "path"
  /** File permission bits as octal text. */
  | "octal_mode"
  | "enum"
  | "string_list"
  | "path_list"
  | "cidr_list"
  | "url_list"
  | "string_map"
  | "hba"
  | "ident"
  | "table"
  | "user_list";

/** One key. */
export interface KeySpec<T = unknown> {
  type: KeyType;
  /** Absent: the key is unset unless written, or required. */
  default?: T;
  required?: true;
  /** Accepted values of an `enum`. */
  choices?: readonly string[];
  /** The `enum` is accepted in any letter case. */
  anyCase?: true;
  min?: number;
  max?: number;
  /** Said when `min` is violated by zero. */
  zeroFault?: string;
  reload: ReloadClass;
  /** What holds while the key is unset, for the reference and SHOW CONFIG. */
  unset?: string;
  /** Values never reach a log, an error or SHOW CONFIG. */
  secret?: true;
  /** Older names of the same key. */
  aliases?: readonly string[];
  /** The feature is not there yet: setting the key draws a warning. */
  later?: true;
  /** Values that ask for nothing of a feature that is not there yet, so draw no warning. */
  inEffectWhen?: readonly T[];
  /** Why the key is accepted without effect. */
  ignored?: string;
  /** Starts a group of keys in the reference. */
  heading?: string;
  /** One line for the reference. */
  doc: string;
}

/** The rows of one section: exactly the fields of its type. */
export type KeyTable<T> = { readonly [K in keyof T]-?: KeySpec<Exclude<T[K], undefined>> };

/** The rows of a section, by key, for code that walks them. */
export type KeyRows = ReadonlyMap<string, KeySpec>;

/** Makes a section's table walkable. */
export function keyRows<T>(table: KeyTable<T>): KeyRows {
  return new Map(Object.entries(table) as [string, KeySpec][]);
}

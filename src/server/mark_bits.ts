/**
 * Marks of a text: what it may leave on its server. The lower half are bits of `Dirty`; the upper half tells how the text
 * has to be treated.
 */

import { Dirty } from "./state.ts";

/** The part of the marks that is bits of `Dirty`. */
export const DIRTY_MARKS = 0xffff;

/** The whole text is one SET that ends with its transaction. */
export const LOCAL_SET = 1 << 16;
/** A statement of it is a SET, or calls set_config: it may name parameters that PostgreSQL does not list. */
export const NAMES = 1 << 17;
/** A statement of it is an UNLISTEN. */
export const UNLISTENS = 1 << 18;
/** It sets parameters that PostgreSQL may not list, under names that are not to be found in it or its values. */
export const UNKNOWN_NAMES = 1 << 19;
/** It may bring pg_temp into the search_path: objects that are made later may be temporary without saying so. */
export const TEMP_PATH = 1 << 20;
/** A statement of it is a DEALLOCATE. */
export const DEALLOCATES = 1 << 21;
/** What is parsed behind it may come out otherwise: it may set what a Parse reads, or change the schema. */
export const CHANGES_PARSE = 1 << 22;
/** It may deallocate all prepared statements. */
export const DEALLOCATES_ALL = 1 << 23;
/** It has several statements. */
export const SEVERAL = 1 << 24;
/** It may create what others see, and its tag does not tell. */
export const CREATES = 1 << 25;

/** A value of its Bind may bring pg_temp into the search_path. */
export const PATH_VALUE = 1 << 26;

/** It runs what is written elsewhere (DO, CALL, EXECUTE), which may leave anything. */
export const RUNS: number = Dirty.Any | Dirty.Hidden | Dirty.Config | Dirty.Advisory | Dirty.Temp |
  NAMES;
/** What a call of a function by its number may leave. */
export const CALLED: number = Dirty.Any | Dirty.Hidden | Dirty.Config;
/** Nothing is known of it. */
export const UNKNOWN: number = RUNS | Dirty.Default | TEMP_PATH;

/** What a SHOW of the admin console is: a name, its columns in order, and rows gathered when asked for. */

import type { AdminEnvironment } from "../environment.ts";
import type { Column, Row } from "../rows.ts";

/** The console that asks. */
export interface AskingConsole {
  /** The database that it has logged in to: `pgbouncer` is for tools that were made for PgBouncer. */
  readonly database: string;
}

/** One SHOW, named in lower case. */
export interface Show {
  readonly name: string;
  readonly columns: readonly Column[];
  /** It has texts of queries, with whatever they hold. */
  readonly texts?: true;
  rows(environment: AdminEnvironment, console: AskingConsole): Row[] | Promise<Row[]>;
}

/** Order of rows by (database, user), which readers of tables expect. */
export function byPool(
  a: { database: string; user: string },
  b: { database: string; user: string },
): number {
  return compare(a.database, b.database) || compare(a.user, b.user);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** SHOW STARTUP_PARAMETERS: what each pool sends to PostgreSQL in its StartupMessages, one row a parameter. */

import { text } from "../rows.ts";
import { byPool, type Show } from "./show.ts";

/**
 * `state` is `applied` always: a reload that changes parameters has connections of before replaced, and too long ones are
 * a fault of the configuration.
 */
export const showStartupParameters: Show = {
  name: "startup_parameters",
  columns: [
    text("user"),
    text("database"),
    text("parameter"),
    text("value"),
    text("source"),
    text("state"),
  ],
  rows(environment) {
    return environment.startupParameters().sort(byPool).map((row) => [
      row.user,
      row.database,
      row.parameter,
      row.value,
      row.source,
      "applied",
    ]);
  },
};

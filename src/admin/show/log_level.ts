/** SHOW LOG_LEVEL: the log filter in force. */

import { text } from "../rows.ts";
import type { Show } from "./show.ts";

/** One row: the base level, then `module=level` for each override. */
export const showLogLevel: Show = {
  name: "log_level",
  columns: [text("log_level")],
  rows: (environment) => [[environment.logLevel()]],
};

/** SHOW VERSION: name and version of the program. */

import { text } from "../rows.ts";
import type { Show } from "./show.ts";

/** One row. */
export const showVersion: Show = {
  name: "version",
  columns: [text("version")],
  rows: (environment) => [[`PgDoorman ${environment.version}`]],
};

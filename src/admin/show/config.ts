/** SHOW CONFIG: every key of the configuration in force; secrets come masked. */

import { text } from "../rows.ts";
import type { Show } from "./show.ts";

/** `changeable` says whether a reload applies a new value. */
export const showConfig: Show = {
  name: "config",
  columns: [text("key"), text("value"), text("default"), text("changeable")],
  rows(environment) {
    return environment.configRows().map((row) => [
      row.key,
      row.value,
      row.default,
      row.changeable ? "yes" : "no",
    ]);
  },
};

/** SHOW HELP: one line a command, of those that this build has. */

import type { AdminEnvironment } from "../environment.ts";
import { text } from "../rows.ts";
import type { Show } from "./show.ts";

/** `lines` comes from the table of commands, which lists this SHOW too. */
export function showHelp(lines: (environment: AdminEnvironment) => string[]): Show {
  return {
    name: "help",
    columns: [text("item")],
    rows: (environment) => lines(environment).map((line) => [line]),
  };
}

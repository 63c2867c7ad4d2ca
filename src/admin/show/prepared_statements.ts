/** SHOW PREPARED_STATEMENTS: the statements that each pool knows by a name of its own. */

import { numeric, text } from "../rows.ts";
import { byPool } from "./show.ts";
import type { Show } from "./show.ts";

/**
 * `count_used`: times that clients asked for the statement by Parse. Of those without a name it is how many clients have
 * it now: each is its client's own and has no name on servers.
 */
export const showPreparedStatements: Show = {
  name: "prepared_statements",
  texts: true,
  columns: [
    text("pool"),
    numeric("hash"),
    text("name"),
    text("query"),
    numeric("count_used"),
    text("kind"),
  ],
  async rows(environment) {
    const statements = await environment.prepared();
    return [...statements].sort(byPool).map((statement) => [
      `${statement.user}@${statement.database}`,
      statement.hash,
      statement.name,
      statement.query,
      statement.parses,
      statement.kind,
    ]);
  },
};

/** SHOW INTERNER: how many texts of statements are kept, and how long they are together. */

import { numeric, text } from "../rows.ts";
import type { Show } from "./show.ts";

export const showInterner: Show = {
  name: "interner",
  columns: [text("kind"), numeric("entries"), numeric("bytes")],
  async rows(environment) {
    const workers = await environment.interner();
    return (["named", "anonymous"] as const).map((kind) => {
      let entries = 0;
      let bytes = 0;
      for (const worker of workers) {
        entries += worker[kind].entries;
        bytes += worker[kind].bytes;
      }
      return [kind, entries, bytes];
    });
  },
};

/**
 * SHOW INTERNER: how many texts of statements are kept, and how long they are together. SHOW INTERNER with a number: the
 * longest of them.
 */

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

/** The `most` longest texts. */
export function showInternerTexts(most: number): Show {
  return {
    name: "interner",
    texts: true,
    columns: [text("hash"), text("kind"), numeric("bytes"), numeric("idle_ms"), text("query")],
    async rows(environment) {
      const texts = await environment.internerTexts(most);
      return [...texts].sort((a, b) => b.bytes - a.bytes).slice(0, most).map((each) => [
        `0x${each.hash.toString(16)}`,
        each.kind,
        each.bytes,
        each.idle_ms,
        each.query,
      ]);
    },
  };
}

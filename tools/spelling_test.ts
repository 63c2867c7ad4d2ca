/** The lists of words beside the spell check hold no more than what is needed. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

function words(list: string): string[] {
  return Deno.readTextFileSync(join(ROOT, "tools/spelling", list)).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** All that is checked, in lower case. */
function checkedText(folder = ""): string {
  return [...Deno.readDirSync(join(ROOT, folder))].map(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return /^(?:\.|dist$|node_modules$)/.test(name) ? "" : checkedText(path);
    return /\.(?:md|ts)$/.test(name) ? Deno.readTextFileSync(join(ROOT, path)).toLowerCase() : "";
  }).join("\n");
}

Deno.test("spelling: the lists of words are in order, and each word is needed", () => {
  const text = checkedText();
  for (const list of ["words.txt", "test_words.txt"]) {
    const listed = words(list);
    assert.deepEqual(listed, [...new Set(listed)].sort(), list);
    assert.deepEqual(listed.filter((word) => !text.includes(word)), [], `not needed in ${list}`);
  }
});

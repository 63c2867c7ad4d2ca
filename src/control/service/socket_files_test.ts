import assert from "node:assert/strict";
import { join } from "node:path";
import { SocketFiles } from "./socket_files.ts";

Deno.test("socket files: ours are removed, another's under the same name are not", () => {
  const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-test-" });
  try {
    const [own, others, gone] = ["own", "others", "gone"].map((name) => join(folder, name));
    const files = new SocketFiles();
    for (const path of [own!, others!, gone!]) {
      Deno.writeTextFileSync(path, "");
      files.note([{ transport: "unix", name: path }]);
    }
    // Made first, so that it has another inode.
    Deno.writeTextFileSync(join(folder, "new"), "");
    Deno.renameSync(join(folder, "new"), others!);
    Deno.removeSync(gone!);
    files.remove();
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["others"]);
    files.remove();
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

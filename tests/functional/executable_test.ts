import assert from "node:assert/strict";
import { join } from "node:path";
import project from "../../deno.json" with { type: "json" };
import { build } from "../../tools/build.ts";
import { doormanExecutable } from "../support/doorman.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

async function run(args: string[], options: Deno.CommandOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(await doormanExecutable(), {
    args,
    ...options,
  }).output();
  const decoder = new TextDecoder();
  assert.equal(code, 0, decoder.decode(stderr));
  return decoder.decode(stdout);
}

Deno.test("executable: the same sources give the same bytes", async () => {
  const first = await build({ force: true });
  const second = await build({ force: true });
  assert.equal(first.sha256, second.sha256);
  assert.ok(first.built && second.built);
  const third = await build();
  assert.ok(!third.built);
  assert.equal(third.sha256, first.sha256);
});

Deno.test("executable: knows its version", async () => {
  assert.equal(await run(["--version"]), `pg_doorman ${project.version}\n`);
});

Deno.test("executable: loads nothing from folders that others may write to", async () => {
  const folder = await makeTestFolder("hostile");
  try {
    const cwd = join(folder, "cwd");
    await Deno.mkdir(cwd);
    for (const place of [folder, cwd]) {
      await Deno.writeTextFile(join(place, "package.json"), "no JSON");
      await Deno.writeTextFile(join(place, "deno.json"), "no JSON");
    }
    const planted = join(folder, "deno-compile-pg_doorman", "src");
    await Deno.mkdir(planted, { recursive: true });
    await Deno.writeTextFile(join(planted, "main.ts"), `console.log("planted");`);
    const config = join(cwd, "pg_doorman.yaml");
    await Deno.writeTextFile(
      config,
      "general: {admin_username: admin, admin_password: secret}\npools: {}\n",
    );
    const options = { cwd, env: { TMPDIR: folder } };
    assert.match(await run(["--version"], options), /^pg_doorman /);
    assert.match(await run(["-t", config], options), /test is successful/);
  } finally {
    await removeFolder(folder);
  }
});

Deno.test("executable: has the cache of compiled code in the temporary folder switched off", async () => {
  // The data of `deno compile` begin behind the runtime, with this magic word.
  const bytes = await Deno.readFile(await doormanExecutable());
  const text = new TextDecoder("latin1").decode(bytes.subarray(bytes.length - 10_000_000));
  assert.match(text, /d3n0l4nd[\s\S]{0,40}\{"argv":\[\],"seed":null,"code_cache_key":null,/);
});

import assert from "node:assert/strict";
import { GENERAL_KEYS } from "../src/config/schema_general.ts";
import { formatFault } from "../src/config/source.ts";
import { configOf, GENERAL, loadText } from "../tests/support/config_io.ts";
import { configReference, defaultConfig, GENERATED } from "./config_docs.ts";

const ROOT = new URL("..", import.meta.url);

for (const [path, make] of GENERATED) {
  Deno.test(`config docs: ${path} is as the tables have it`, () => {
    const written = Deno.readTextFileSync(new URL(path, ROOT));
    assert.ok(written === make(), `${path} is stale: run ./denow task docs`);
  });
}

Deno.test("config docs: the reference names every key, and its tables are whole", () => {
  const text = configReference();
  for (const key of GENERAL_KEYS.keys()) assert.ok(text.includes(`| \`${key}\` |`), key);
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  for (const row of rows) {
    assert.equal(row.replaceAll("\\|", "").split("|").length, 7, row);
  }
});

Deno.test("config docs: the default config is valid and draws no warning", () => {
  const { faults, warnings, notices } = loadText(defaultConfig());
  assert.deepEqual([...faults, ...warnings, ...notices].map(formatFault), []);
});

Deno.test("config docs: what the default config shows as a default is one", () => {
  const shown = defaultConfig().split("\n[pools]")[0] as string;
  const uncommented = shown.replace(/^# ([a-z_]+ = .+)$/gm, "$1");
  assert.notEqual(uncommented, shown);
  const { general } = configOf(`${uncommented}\n[pools]\n`);
  const builtIn = configOf(`${GENERAL}[pools]\n`).general;
  assert.deepEqual(general, {
    ...builtIn,
    port: 6432,
    admin_username: "admin",
    admin_password: "",
  });
});

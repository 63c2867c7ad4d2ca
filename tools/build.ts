/**
 * `./denow task build`: makes dist/pg_doorman, the native executable, by `deno compile`.
 *
 * What must hold: the same sources give the same bytes on any machine and in any folder. So nothing is compiled in
 * place: the sources and the npm packages that they import are laid out in a temporary folder with fixed times, and
 * compiled there. Left alone, `deno compile` would record the files' times, the cache's path and every package that
 * deno.json names, those of the tests too (60 MB).
 *
 * A build whose inputs have not changed since the last one is skipped: the stamp beside the executable holds the hash
 * of all that goes in and of what came out, and both are computed anew. The system tests call `build` on that ground.
 */

import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { V8_FLAGS } from "./engine_flags.ts";
import { print, say } from "./say.ts";
import { findRuntime, type Runtime, sha256 } from "./toolchain.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
/** Of the lock: one process builds. */
const EXCLUSIVE = true;
const MAIN = "src/main.ts";
/** Entries that no import statement leads to. */
const WORKERS = ["src/worker/worker.ts"];
/** Packages that are nothing but types: nobody imports them when the program runs. */
const TYPES_ALONE = new Set(["strict-event-emitter-types"]);
/** All files get this time, since `deno compile` records it. */
const FIXED_TIME = new Date("2020-01-01T00:00:00Z");

interface Stamp {
  inputs: string;
  output: string;
}

/** What `build` made or found. */
export interface BuildResult {
  /** Absolute path of the executable. */
  path: string;
  sha256: string;
  /** False if it was up to date already. */
  built: boolean;
  runtime: Runtime;
}

/** Options of `build`. */
export interface BuildOptions {
  /** Type-check first. */
  check?: boolean;
  /** Build even if the inputs are those of the last build. */
  force?: boolean;
  /** Another version of the program, for tests: dist/ stays as it is. */
  variant?: Variant;
}

/** A program of the same sources with a difference. */
export interface Variant {
  /** Where the executable goes. */
  output: string;
  /** The text of each file, as it is laid out. */
  edit: (path: string, text: string) => string;
}

async function deno(
  args: string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`deno ${args[0]}:\n${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}

/** Every regular file below a folder, in an order that does not depend on the file system. */
async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) found.push(...await filesBelow(path));
    else if (entry.isFile) found.push(path);
  }
  return found.sort();
}

async function copyBelow(from: string, to: string, wanted: (path: string) => boolean) {
  for (const path of await filesBelow(from)) {
    const inside = relative(from, path);
    if (!wanted(inside)) continue;
    const target = join(to, inside);
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.copyFile(path, target);
  }
}

/** The part of an `exports` field of package.json that is used here. */
type Exports = string | { [condition: string]: Exports } | undefined;

interface PackageFile {
  name?: string;
  dependencies?: Record<string, string>;
  exports?: Exports;
}

async function readPackageFile(folder: string): Promise<PackageFile> {
  try {
    return JSON.parse(await Deno.readTextFile(join(folder, "package.json"))) as PackageFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
}

/** The folder of an npm package in Deno's cache, found from the file that its import resolves to. */
async function packageFolder(specifier: string, name: string): Promise<string> {
  let folder = dirname(fileURLToPath(import.meta.resolve(specifier)));
  while ((await readPackageFile(folder)).name !== name) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`${specifier}: no folder of package ${name}`);
    folder = parent;
  }
  return folder;
}

/** The npm packages that the program imports, as `name@version`. */
async function importedPackages(): Promise<string[]> {
  const packages = new Set<string>();
  for (const entry of [MAIN, ...WORKERS]) {
    const graph = JSON.parse(await deno(["info", "--json", entry], ROOT)) as {
      modules: { kind: string; npmPackage?: string; specifier: string; error?: string }[];
    };
    for (const module of graph.modules) {
      if (module.error) throw new Error(`${module.specifier}: ${module.error}`);
      if (module.npmPackage) packages.add(module.npmPackage);
    }
  }
  return [...packages].sort();
}

/** Where a package's ECMAScript module begins, by its `exports`; the branch for Node.js may be CommonJS. */
function moduleEntry(exports: Exports): string | undefined {
  if (exports === undefined || typeof exports === "string") return exports;
  for (const condition of [".", "import", "default"]) {
    const entry = moduleEntry(exports[condition]);
    if (entry !== undefined) return entry;
  }
}

/** Lays out an npm package as plain modules, and returns where it begins. */
async function layOutPackage(id: string, stage: string): Promise<[name: string, entry: string]> {
  const name = id.slice(0, id.lastIndexOf("@"));
  const folder = await packageFolder(`npm:${id}`, name);
  const { dependencies, exports } = await readPackageFile(folder);
  if (Object.keys(dependencies ?? {}).some((needed) => !TYPES_ALONE.has(needed))) {
    throw new Error(`${id} has dependencies of its own: tools/build.ts does not lay those out`);
  }
  const entry = moduleEntry(exports);
  if (entry === undefined) throw new Error(`${id} has no module that can be imported`);
  const place = `packages/${name}`;
  await copyBelow(folder, join(stage, place), (path) => /\.m?js$/.test(path));
  return [name, `./${place}/${entry.replace(/^\.\//, "")}`];
}

/**
 * Lays out all that goes into the executable, and nothing else.
 *
 * npm packages become plain modules that an import map leads to. As packages, they would have the executable look for
 * package.json in the folders above its working directory, and one that is no JSON would keep it from starting.
 */
async function layOut(stage: string): Promise<void> {
  await copyBelow(
    join(ROOT, "src"),
    join(stage, "src"),
    (path) => !path.endsWith("_test.ts") && !path.includes("testdata/"),
  );
  const imports: Record<string, string> = {};
  for (const id of await importedPackages()) {
    const [name, entry] = await layOutPackage(id, stage);
    imports[name] = entry;
  }
  const project = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  const { name, version, exports, compilerOptions, unstable } = project;
  await Deno.writeTextFile(
    join(stage, "deno.json"),
    JSON.stringify({ name, version, exports, imports, compilerOptions, unstable }),
  );
}

async function editBelow(stage: string, edit: Variant["edit"]): Promise<void> {
  for (const path of await filesBelow(stage)) {
    const text = await Deno.readTextFile(path);
    const edited = edit(relative(stage, path), text);
    if (edited !== text) await Deno.writeTextFile(path, edited);
  }
}

async function hashOfInputs(stage: string, runtime: Runtime): Promise<string> {
  const lines = [
    `deno ${Deno.version.deno} ${Deno.build.target}`,
    `runtime ${runtime.sha256}`,
    `compile ${compileArguments("").join(" ")}`,
  ];
  for (const path of await filesBelow(stage)) {
    lines.push(`${relative(stage, path)} ${sha256(await Deno.readFile(path))}`);
  }
  return sha256(lines.join("\n"));
}

function compileArguments(output: string): string[] {
  return [
    "compile",
    "--quiet",
    "--allow-all",
    "--no-check",
    "--no-lock",
    "--no-npm",
    // Else the program loads machine code from a file of a fixed name in /tmp, where any user could put one.
    "--no-code-cache",
    `--v8-flags=${V8_FLAGS.join(",")}`,
    ...WORKERS.flatMap((worker) => ["--include", worker]),
    "--output",
    output,
    MAIN,
  ];
}

async function compile(stage: string, runtime: Runtime): Promise<string> {
  for (const path of await filesBelow(stage)) await Deno.utime(path, FIXED_TIME, FIXED_TIME);
  const output = join(stage, "output", "pg_doorman");
  await Deno.mkdir(dirname(output));
  await deno(compileArguments(output), stage, { DENORT_BIN: runtime.path });
  return output;
}

async function isUpToDate(path: string, stampPath: string, inputs: string): Promise<Stamp | null> {
  try {
    const stamp = JSON.parse(await Deno.readTextFile(stampPath)) as Stamp;
    if (stamp.inputs !== inputs) return null;
    return sha256(await Deno.readFile(path)) === stamp.output ? stamp : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Makes dist/pg_doorman, or finds that it is up to date. Calls in several processes at once wait for each other. */
export async function build(options: BuildOptions = {}): Promise<BuildResult> {
  await Deno.mkdir(DIST, { recursive: true });
  using lock = await Deno.open(join(DIST, ".build.lock"), { create: true, write: true });
  await lock.lock(EXCLUSIVE);
  const stage = await Deno.makeTempDir({ prefix: "pg_doorman-build-" });
  try {
    const runtime = await findRuntime();
    if (options.check) await deno(["check", "--quiet", MAIN, ...WORKERS], ROOT);
    await layOut(stage);
    if (options.variant !== undefined) {
      const { output: path, edit } = options.variant;
      await editBelow(stage, edit);
      await Deno.copyFile(await compile(stage, runtime), path);
      await Deno.chmod(path, 0o755);
      return { path, sha256: sha256(await Deno.readFile(path)), built: true, runtime };
    }

    const path = join(DIST, "pg_doorman");
    const stampPath = join(DIST, ".pg_doorman.stamp");
    const inputs = await hashOfInputs(stage, runtime);
    const stamp = options.force ? null : await isUpToDate(path, stampPath, inputs);
    if (stamp) return { path, sha256: stamp.output, built: false, runtime };

    const output = await compile(stage, runtime);
    const made: Stamp = { inputs, output: sha256(await Deno.readFile(output)) };
    const unfinished = join(DIST, ".pg_doorman.unfinished");
    await Deno.copyFile(output, unfinished);
    await Deno.chmod(unfinished, 0o755);
    // By rename, so that a running executable keeps its file.
    await Deno.rename(unfinished, path);
    await Deno.writeTextFile(stampPath, JSON.stringify(made) + "\n");
    return { path, sha256: made.output, built: true, runtime };
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}

if (import.meta.main) {
  const started = performance.now();
  const result = await build({ check: true, force: Deno.args.includes("--force") });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  say(`runtime: ${result.runtime.source} (${result.runtime.sha256.slice(0, 16)}…)`);
  say(result.built ? `built in ${seconds} s` : "up to date");
  print(`${result.sha256}  ${relative(Deno.cwd(), result.path)}`);
}

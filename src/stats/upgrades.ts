/**
 * What an operator can ask about binary upgrades: how many there were, what became of them, and how the last one went.
 * The numbers are the service's, not the process's: they travel to each new process with the hand-over. Kept by
 * `control/upgrade/upgrade.ts` and `control/upgrade/successor.ts`, shown by SHOW UPGRADE.
 */

/** Why an upgrade came to nothing. */
export type UpgradeFault =
  /** The program at the path does not accept the configuration, could not be asked, or is none. */
  | "validation"
  /** It could not be started. */
  | "not_started"
  /** It ran, and was not ready in time. */
  | "not_ready"
  /** It ended before it was ready, or while clients were moving. */
  | "died"
  /** It took nothing for so long that it was killed. */
  | "stuck"
  /** The old process ended before everything had moved; the new one serves. */
  | "old_process_ended";

/** Why a client was closed with the old process. */
export type StayReason =
  | "unknown_pool"
  /** The new program does not know the snapshots of the old one. */
  | "unknown_format"
  /** The new process refused this one. */
  | "refused"
  | "login"
  | "console";

/** How an upgrade went. Times in milliseconds. */
export interface UpgradeOutcome {
  result: "none" | "under_way" | "completed" | UpgradeFault;
  /** When it was asked for, since the epoch; 0: never. */
  beganAtMs: number;
  /** From the start of the new process to its word that it is ready. */
  readyMs: number;
  /** From there to the end. */
  movingMs: number;
  clients: number;
  servers: number;
  bytes: number;
  left: number;
}

/** Totals since the first process of the service was started. Plain data; travels with an upgrade. */
export interface UpgradeTotals {
  /** Upgrades that this process has behind it. */
  generation: number;
  attempts: number;
  completed: number;
  /** Asked for while another one, or a shutdown, was under way. */
  refused: number;
  failed: Record<UpgradeFault, number>;
  clients: number;
  servers: number;
  /** Snapshots, without what the kernel keeps for the descriptors. */
  bytes: number;
  /** Clients that had moved to a process that died. */
  lost: number;
  left: Record<StayReason, number>;
  last: UpgradeOutcome;
}

function nothingYet(): UpgradeOutcome {
  return {
    result: "none",
    beganAtMs: 0,
    readyMs: 0,
    movingMs: 0,
    clients: 0,
    servers: 0,
    bytes: 0,
    left: 0,
  };
}

/** The totals of a process that was started by hand. */
export function newUpgradeTotals(): UpgradeTotals {
  return {
    generation: 0,
    attempts: 0,
    completed: 0,
    refused: 0,
    failed: {
      validation: 0,
      not_started: 0,
      not_ready: 0,
      died: 0,
      stuck: 0,
      old_process_ended: 0,
    },
    clients: 0,
    servers: 0,
    bytes: 0,
    lost: 0,
    left: { unknown_pool: 0, unknown_format: 0, refused: 0, login: 0, console: 0 },
    last: nothingYet(),
  };
}

/** One is asked for and begins. */
export function upgradeBegun(totals: UpgradeTotals, beganAtMs: number): void {
  totals.attempts++;
  totals.last = { ...nothingYet(), result: "under_way", beganAtMs };
}

/** It came to nothing. */
export function upgradeFailed(totals: UpgradeTotals, fault: UpgradeFault): void {
  totals.failed[fault]++;
  totals.last.result = fault;
}

/** What has moved is in its new place. */
export function countMoved(
  totals: UpgradeTotals,
  moved: { clients: number; servers: number; bytes: number },
): void {
  for (const kind of ["clients", "servers", "bytes"] as const) {
    totals[kind] += moved[kind];
    totals.last[kind] = moved[kind];
  }
}

/** The old process closes what is left, and ends. */
export function upgradeCompleted(
  totals: UpgradeTotals,
  left: Record<StayReason, number>,
  movingMs: number,
): void {
  totals.completed++;
  totals.last.result = "completed";
  totals.last.movingMs = movingMs;
  for (const reason of Object.keys(left) as StayReason[]) {
    totals.left[reason] += left[reason];
    totals.last.left += left[reason];
  }
}

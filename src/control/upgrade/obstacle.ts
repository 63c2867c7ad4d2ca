/** What may not move from this process to its successor, although that serves. */

import { SNAPSHOT_VERSION } from "../../handover/version.ts";
import type { PresenceRow } from "../../mail.ts";
import type { Supervisor } from "../supervisor.ts";
import type { ReadyPayload } from "./successor.ts";

/** What is in the way, for the log, and what moves all the same. */
export interface Obstacle {
  why: string;
  moves: "nothing" | "plain_clients";
}

/** `undefined`: nothing is in the way. Asked when nobody is accepted here any more. */
export async function obstacleToMoving(
  ready: Pick<ReadyPayload, "versions" | "tls">,
  supervisor: Pick<Supervisor, "askInTime">,
  answerMs: number,
): Promise<Obstacle | undefined> {
  const { versions, tls } = ready;
  if (!versions.includes(SNAPSHOT_VERSION)) {
    const why = `the new process does not know snapshots of version ${SNAPSHOT_VERSION}, but ` +
      `${versions.join(", ")}: its clients finish here until shutdown_timeout`;
    return { why, moves: "nothing" };
  }
  if (tls === true) return undefined;
  const rows = await supervisor.askInTime<PresenceRow>("presence", answerMs);
  const count = rows.reduce((sum, { encrypted }) => sum + encrypted, 0);
  if (count === 0) return undefined;
  const why = `the new process can't take over connections with TLS: ${count} clients finish ` +
    "here until shutdown_timeout, the others move without their pools";
  return { why, moves: "plain_clients" };
}

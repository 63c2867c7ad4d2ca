/** Why nothing may move from this process to its successor, although that serves. */

import { SNAPSHOT_VERSION } from "../../handover/version.ts";
import type { PresenceRow } from "../../mail.ts";
import type { Supervisor } from "../supervisor.ts";
import type { ReadyPayload } from "./successor.ts";

/** For the log; `undefined`: nothing is in the way. Asked when nobody is accepted here any more. */
export async function obstacleToMoving(
  ready: Pick<ReadyPayload, "versions" | "tls">,
  supervisor: Pick<Supervisor, "askInTime">,
  answerMs: number,
): Promise<string | undefined> {
  const { versions, tls } = ready;
  const stay = "its clients finish here until shutdown_timeout";
  if (!versions.includes(SNAPSHOT_VERSION)) {
    return `the new process does not know snapshots of version ${SNAPSHOT_VERSION}, but ` +
      `${versions.join(", ")}: ${stay}`;
  }
  if (tls === true) return undefined;
  const rows = await supervisor.askInTime<PresenceRow>("presence", answerMs);
  if (rows.every(({ encrypted }) => encrypted === 0)) return undefined;
  return `the new process can't take over connections with TLS, and there are some: ${stay}`;
}

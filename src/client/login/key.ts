/** The key of a SCRAM proof, which logs in to PostgreSQL in the client's name. */

import type { Pool } from "../../pool/pool.ts";
import type { Account } from "./authentication.ts";

/** Gives a pool that passes logins through the key that it has waited for. */
export function keepKey(
  pool: Pick<Pool, "settings" | "clientKey" | "warm">,
  account: Account | undefined,
  clientKey: Uint8Array | undefined,
): void {
  const { credentials } = pool.settings;
  if (clientKey === undefined || credentials.kind !== "scram_passthrough") return;
  // A reload may have brought another verifier since the challenge: this key would not open it.
  const stored = account?.stored;
  const fits = stored?.kind === "scram" && stored.verifier === credentials.verifier;
  if (!fits || pool.clientKey !== undefined) return;
  pool.clientKey = clientKey;
  pool.warm();
}

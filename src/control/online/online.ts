/**
 * What `-t --online` tries: all that the process would connect to, without serving anybody. Each part that connects
 * somewhere registers a trial here.
 */

import type { OnlineFinding } from "../../cli/test_config.ts";
import type { Settings } from "../../config/settings.ts";
import type { Config } from "../../config/types.ts";
import { makeVerifiers, resolve } from "../configuration.ts";
import { tryServers } from "./servers.ts";

/** One kind of connections. Rejects only by a defect: what does not work is a finding. */
export type OnlineTrial = (
  tried: { config: Config; settings: Settings },
) => Promise<OnlineFinding[]>;

const TRIALS: readonly OnlineTrial[] = [tryServers];

/** Runs all trials; the config is valid. */
export async function tryOnline(config: Config): Promise<OnlineFinding[]> {
  await makeVerifiers(config, navigator.hardwareConcurrency);
  const { settings } = resolve(config, 1);
  const findings = await Promise.all(TRIALS.map((trial) => trial({ config, settings })));
  return findings.flat();
}

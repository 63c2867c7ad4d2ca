/**
 * From the config file to what the process runs on: reads the files, keeps the workers' homes and the verifiers from
 * one load to the next, and resolves the settings.
 */

import { legacyHbaRules } from "../auth/hba.ts";
import { parseHba } from "../auth/hba_file.ts";
import { md5Hash } from "../auth/md5.ts";
import { formatVerifier, makeVerifier, repeatableSalt } from "../auth/scram.ts";
import { resolveSettings } from "../config/effective.ts";
import { loadConfig, type LoadResult } from "../config/load.ts";
import type { Settings } from "../config/settings.ts";
import type { Config } from "../config/types.ts";

/** A configuration in force. */
export interface Configured {
  config: Config;
  settings: Settings;
}

const homes = new Map<string, number>();
const verifiers = new Map<string, string>();
/** Makes the salts of plain passwords' verifiers, for the life of the process. */
const saltSecret = crypto.getRandomValues(new Uint8Array(32));

/** Reads and checks the config at `path`, with all that it names. */
export function load(path: string): LoadResult {
  return loadConfig(path, {
    readText: (file) => Deno.readTextFileSync(file),
    listDirectory: (directory) => [...Deno.readDirSync(directory)].map(({ name }) => name),
    parseHba,
  });
}

/** The settings of a valid configuration. */
export function resolve(config: Config): Configured {
  const settings = resolveSettings(config, {
    workers: config.general.worker_threads,
    homes,
    verifiers,
    legacyHbaRules,
    md5Hash,
    makeVerifier: (password, user) =>
      formatVerifier(makeVerifier(password, repeatableSalt(user, saltSecret))),
  });
  return { config, settings };
}

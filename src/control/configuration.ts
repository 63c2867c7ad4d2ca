/**
 * From the config file to what the process runs on: reads the files, keeps the workers' homes and the verifiers from
 * one load to the next, and resolves the settings. Relative names count from the directory that the process was started
 * in, also when a daemon has left it.
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
  /** Verifiers of the plain passwords in it; each costs a millisecond to make. */
  verifiers: Map<string, string>;
}

const homes = new Map<string, number>();
/** Makes the salts of plain passwords' verifiers, for the life of the process. */
let saltSecret = crypto.getRandomValues(new Uint8Array(32));
let startDirectory = Deno.cwd();

/** What salts are made with; a secret. */
export function currentSaltSecret(): Uint8Array {
  return saltSecret;
}

/** Salts as another process made them: a client that logs in around an upgrade sees the same one. */
export function setSaltSecret(secret: Uint8Array): void {
  saltSecret = secret.slice();
}

/** Where relative names count from, if not from where the process is now. */
export function setStartDirectory(directory: string): void {
  startDirectory = directory;
}

/** A name as the operator meant it when the process was started. */
export function fromStartDirectory(file: string): string {
  return file.startsWith("/") ? file : `${startDirectory}/${file}`;
}

/** Reads and checks the config at `path`, with all that it names. */
export function load(path: string): LoadResult {
  return loadConfig(path, {
    readText: (file) => Deno.readTextFileSync(fromStartDirectory(file)),
    listDirectory: (directory) =>
      Array.from(Deno.readDirSync(fromStartDirectory(directory)), ({ name }) => name),
    parseHba,
  });
}

/**
 * The settings of a valid configuration, for so many workers. Verifiers of `before` are used again, and those of
 * passwords that are gone from the configuration are not kept.
 */
export function resolve(config: Config, workers: number, before?: Configured): Configured {
  const verifiers = new CarriedOver(before?.verifiers);
  const settings = resolveSettings(config, {
    workers,
    homes,
    verifiers,
    legacyHbaRules,
    md5Hash,
    makeVerifier: (password, user) =>
      formatVerifier(makeVerifier(password, repeatableSalt(user, saltSecret))),
  });
  return { config, settings, verifiers: verifiers.used };
}

/** A map that looks into an older one, and notes what it was asked for. */
class CarriedOver extends Map<string, string> {
  readonly used = new Map<string, string>();
  readonly #before: ReadonlyMap<string, string> | undefined;

  constructor(before: ReadonlyMap<string, string> | undefined) {
    super();
    this.#before = before;
  }

  override get(key: string): string | undefined {
    const value = this.used.get(key) ?? this.#before?.get(key);
    if (value !== undefined) this.used.set(key, value);
    return value;
  }

  override set(key: string, value: string): this {
    this.used.set(key, value);
    return this;
  }
}

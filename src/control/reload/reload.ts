/**
 * Reloading the configuration: read, check, compare, build what each section needs, and only then put it in force.
 * A fault before that point changes nothing. One reload runs at a time; requests that come meanwhile are answered
 * by one more run after it, so that the file as it is at the last request is what counts.
 *
 * ```
 *            request                     done, nobody has asked meanwhile
 *  [idle] ────────────▶ [running] ──────────────────────────────────────▶ [idle]
 *                          │  ▲
 *                  request │  │ done: the next run is theirs
 *                          ▼  │
 *                     [running, one waits]
 * ```
 */

import type { ReloadOutcome } from "../../admin/environment.ts";
import type { ConfigChange } from "../../config/diff.ts";
import { diffConfig } from "../../config/diff.ts";
import type { LoadResult } from "../../config/load.ts";
import { formatFault } from "../../config/source.ts";
import type { Config } from "../../config/types.ts";
import type { Log } from "../../log/log.ts";
import { contentChanges, digestFiles, type FileDigests } from "./file_digests.ts";
import { appliedInPart, notApplied } from "./report.ts";

const TARGET = "pg_doorman::config";

/** A valid new configuration beside the one in force. */
export interface NewConfiguration {
  before: Config;
  after: Config;
  /** What differs, but for keys that wait for the next start. Contents of files count. */
  changes: readonly ConfigChange[];
}

/** A section's new state, made and checked, not in force yet. */
export interface Prepared {
  /** Puts it in force. Must not fail: all that can go wrong belongs into `prepare`. */
  publish(): void | Promise<void>;
  /** Said of it in the summary, if anything. */
  readonly summary?: string;
}

/** How the keys of one section are applied. Features bring theirs. */
export interface SectionRule {
  /** For the log. */
  readonly section: string;
  /** Builds what the section needs, or `undefined` if nothing of it differs. Throws to reject the configuration. */
  prepare(configuration: NewConfiguration): Prepared | undefined | Promise<Prepared>;
}

/** What reloading needs of the process. */
export interface Reloading {
  log: Log;
  /** The configuration of the start, which is in force for what a reload does not apply. */
  config: Config;
  rules: readonly SectionRule[];
  load: () => LoadResult;
  readFile: (file: string) => Uint8Array;
  /** Called around each run. */
  begun: () => void;
  ended: (outcome: ReloadOutcome) => void;
}

export class Reloader {
  readonly #reloading: Reloading;
  readonly #atStart: Config;
  readonly #filesAtStart: FileDigests;
  #config: Config;
  #files: FileDigests;
  #running: Promise<ReloadOutcome> | undefined;
  #next: Promise<ReloadOutcome> | undefined;

  constructor(reloading: Reloading) {
    const { config, readFile } = reloading;
    this.#reloading = reloading;
    this.#atStart = config;
    this.#config = config;
    this.#filesAtStart = digestFiles(config, readFile);
    this.#files = this.#filesAtStart;
  }

  /** The configuration as it was read last, for SHOW CONFIG. */
  get config(): Config {
    return this.#config;
  }

  /** Reloads; resolves when a run that began after this call has ended. `cause` is for the log. */
  request(cause: string): Promise<ReloadOutcome> {
    if (this.#running === undefined) {
      this.#running = this.#run(cause);
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#run(cause);
      return this.#running;
    });
    return this.#next;
  }

  async #run(cause: string): Promise<ReloadOutcome> {
    const { log, begun, ended } = this.#reloading;
    log.info(TARGET, `${cause}: reading the configuration`);
    begun();
    let outcome: ReloadOutcome;
    try {
      outcome = await this.#reload();
    } catch (error) {
      const text = error instanceof Error ? error.stack ?? error.message : String(error);
      log.error(TARGET, `reload: defect, please report: ${text}`);
      outcome = { ok: false, summary: "", faults: ["internal error, see the log"] };
    }
    if (this.#next === undefined) this.#running = undefined;
    ended(outcome);
    return outcome;
  }

  async #reload(): Promise<ReloadOutcome> {
    const { log, load, rules } = this.#reloading;
    const started = performance.now();
    const result = load();
    for (const warning of result.warnings) log.warn(TARGET, formatFault(warning));
    if (result.config === undefined) return this.#rejected(result.faults.map(formatFault));
    const after = result.config;
    const files = digestFiles(after, this.#reloading.readFile);
    const sinceStart = [
      // Pools have no keys that wait for the next start.
      ...diffConfig(withoutPools(this.#atStart), withoutPools(after)),
      ...contentChanges(this.#filesAtStart, files),
    ];
    const changes = [
      ...diffConfig(this.#config, after),
      ...contentChanges(this.#files, files),
    ].filter(({ reload }) => reload !== "R");
    const prepared: Prepared[] = [];
    for (const rule of rules) {
      try {
        const part = await rule.prepare({ before: this.#config, after, changes });
        if (part !== undefined) prepared.push(part);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return this.#rejected([`[${rule.section}]: ${message}`]);
      }
    }
    for (const part of prepared) await part.publish();
    // Last: after a defect in publishing the next reload compares with what was before, and applies it all.
    this.#config = after;
    this.#files = files;
    for (const warning of notApplied(sinceStart)) log.warn(TARGET, warning);
    for (const warning of appliedInPart(changes)) log.warn(TARGET, warning);
    const summary = prepared.map((part) => part.summary ?? "").filter((text) => text !== "")
      .join("; ");
    const took = Math.round(performance.now() - started);
    log.info(
      TARGET,
      `configuration reloaded in ${took} ms: ${summary === "" ? "nothing has changed" : summary}`,
    );
    return { ok: true, summary, faults: [] };
  }

  #rejected(faults: string[]): ReloadOutcome {
    const { log } = this.#reloading;
    for (const fault of faults) log.error(TARGET, fault);
    log.error(
      TARGET,
      `configuration rejected, nothing has changed: ${faults.length} ${
        faults.length === 1 ? "fault" : "faults"
      }`,
    );
    return { ok: false, summary: "", faults };
  }
}

function withoutPools(config: Config): Config {
  return { ...config, pools: new Map() };
}

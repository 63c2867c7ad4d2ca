/**
 * How the sections that exist today are applied: pools and general settings go to the workers, the log's own keys to
 * the log. Sections of features to come bring rules of their own.
 */

import type { RunOptions } from "../../cli/args.ts";
import type { Config } from "../../config/types.ts";
import { levelFilter } from "../../log/filter.ts";
import type { LogFilter } from "../../log/filter.ts";
import type { LineLog } from "../../log/log.ts";
import type { LogPlace } from "../log_place.ts";
import { type Configured, makeVerifiers, readText, resolve } from "../configuration.ts";
import { prepareMethods } from "../identity/methods.ts";
import type { Program } from "../service/program.ts";
import type { SectionRule } from "./reload.ts";
import { summaryOf } from "./report.ts";
import { isEmpty, settingsChange } from "../settings_change.ts";
import type { Supervisor } from "../supervisor.ts";

const TARGET = "pg_doorman::config";
/** A worker that has not answered by then hangs; the reload must not hang with it. */
const WORKERS_ANSWER_MS = 10_000;

/** What the settings' rule works on. */
export interface SettingsTarget {
  log: LineLog;
  supervisor: Supervisor;
  configured: () => Configured;
  put: (configured: Configured) => void;
  workers: number;
}

/** `[general]` and `[pools]`: resolved as a whole, of which the workers get what differs. */
export function settingsRule(target: SettingsTarget): SectionRule {
  const { log, supervisor, workers } = target;
  return {
    section: "pools",
    async prepare({ after, changes }) {
      const before = target.configured();
      // One thread: the workers need theirs.
      await makeVerifiers(after, 1, before);
      const fresh = resolve(after, workers, before);
      const change = settingsChange(before.settings, fresh.settings);
      return {
        summary: summaryOf(changes, change),
        async publish() {
          target.put(fresh);
          if (isEmpty(change)) return;
          const longest = await within(WORKERS_ANSWER_MS, supervisor.apply(change));
          if (longest === undefined) {
            log.error(TARGET, `reload: a worker has not answered for ${WORKERS_ANSWER_MS} ms`);
          } else log.debug(TARGET, `reload: no worker was held up for ${longest.toFixed(2)} ms`);
        },
      };
    },
  };
}

/** `log_level` and `log_format`; what the command line says beats both. */
export function logRule(
  log: LineLog,
  place: LogPlace,
  options: RunOptions,
  setFilter: (filter: LogFilter) => void,
): SectionRule {
  return {
    section: "general",
    prepare({ before, after }) {
      const level = changed(before, after, "log_level");
      const format = changed(before, after, "log_format");
      if (!level && !format) return undefined;
      return {
        publish() {
          if (level && options.logLevel !== undefined) beaten(log, "log_level");
          else if (level) setFilter(levelFilter(after.general.log_level ?? "info"));
          if (format && options.logFormat !== undefined) beaten(log, "log_format");
          else if (format) log.setFormat(place.format(options, after));
        },
      };
    },
  };
}

/**
 * Who checks passwords besides the pooler, from now on as `config` says: keys on the disk may be others at each reload,
 * under an unchanged configuration.
 */
export function methodsRule(config: Config, program: Program): SectionRule {
  prepareMethods(config, { readText, program })();
  return {
    section: "general",
    prepare: ({ after }) => ({ publish: prepareMethods(after, { readText, program }) }),
  };
}

function changed(before: Config, after: Config, key: "log_level" | "log_format"): boolean {
  return before.general[key] !== after.general[key];
}

function beaten(log: LineLog, key: string): void {
  log.warn(TARGET, `general.${key} has changed and is not applied: the command line beats it`);
}

/** The promise's value, or `undefined` when time is over. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: number | undefined;
  const over = new Promise<undefined>((done) => {
    timer = setTimeout(() => done(undefined), ms);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

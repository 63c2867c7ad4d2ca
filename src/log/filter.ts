/**
 * Which records are written: one base level, and levels of single modules that raise or lower it. `SET log_level` and
 * `SHOW LOG_LEVEL` use this grammar: `info,pg_doorman::pool=debug`. The longest module that a record's target starts
 * with decides, in both directions (upstream's modules can only raise the level).
 */

import type { LogLevel } from "./format.ts";
import { LOG_LEVELS } from "./format.ts";

/** A level as a filter has it: nothing at all is possible, too. */
export type FilterLevel = LogLevel | "off";

/** What is written. */
export interface LogFilter {
  level: FilterLevel;
  /** Longest module first. */
  modules: readonly { module: string; level: FilterLevel }[];
}

/** Longest module name of a filter, in characters. */
const MAX_MODULE_LENGTH = 256;

const LEVEL_NAMES: ReadonlyMap<string, FilterLevel> = new Map<string, FilterLevel>([
  ...LOG_LEVELS.map((level) => [level, level] as const),
  ["warning", "warn"],
  ["off", "off"],
]);

/** The filter that lets a level and worse through. */
export function levelFilter(level: FilterLevel): LogFilter {
  return { level, modules: [] };
}

/** A filter from its text; `start` is what `default` stands for. The fault goes to an SQL client. */
export function parseFilter(
  text: string,
  start: LogFilter,
): { filter: LogFilter } | { fault: string } {
  if (text.trim().toLowerCase() === "default") return { filter: start };
  let level: FilterLevel | undefined;
  const modules = new Map<string, FilterLevel>();
  for (const item of text.split(",").map((part) => part.trim())) {
    if (item === "") continue;
    const equals = item.indexOf("=");
    const levelText = equals < 0 ? item : item.slice(equals + 1).trim();
    const itemLevel = LEVEL_NAMES.get(levelText.toLowerCase());
    if (itemLevel === undefined) {
      return {
        fault: `invalid log level "${levelText}": use ${[...LEVEL_NAMES.keys()].join(", ")}`,
      };
    }
    if (equals >= 0) {
      const module = item.slice(0, equals).trim();
      if (module === "") return { fault: `a module is missing before "=${levelText}"` };
      if (module.length > MAX_MODULE_LENGTH) {
        return { fault: `a module name has more than ${MAX_MODULE_LENGTH} characters` };
      }
      modules.set(module, itemLevel);
    } else if (level !== undefined) {
      return { fault: `two base levels, "${level}" and "${itemLevel}"` };
    } else level = itemLevel;
  }
  const longestFirst = Array.from(modules, ([module, of]) => ({ module, level: of }))
    .sort((a, b) => b.module.length - a.module.length || (a.module < b.module ? -1 : 1));
  return { filter: { level: level ?? "info", modules: longestFirst } };
}

/** The text of a filter: base level, then the modules, longest first. */
export function formatFilter(filter: LogFilter): string {
  const modules = filter.modules.map(({ module, level }) => `${module}=${level}`);
  return [filter.level, ...modules].join(",");
}

/** Numbers severities: error 1 … trace 5, off 0. */
export function severity(level: FilterLevel): number {
  return level === "off" ? 0 : LOG_LEVELS.indexOf(level) + 1;
}

/** A filter made ready for many questions. */
export class CompiledFilter {
  /** Nothing less severe than this passes, whatever the module: the quick way out. */
  readonly #loosest: number;
  readonly #strictest: number;
  readonly #base: number;
  readonly #modules: readonly { module: string; limit: number }[];

  constructor(filter: LogFilter) {
    this.#base = severity(filter.level);
    this.#modules = filter.modules.map(({ module, level }) => ({ module, limit: severity(level) }));
    const limits = [this.#base, ...this.#modules.map(({ limit }) => limit)];
    this.#loosest = Math.max(...limits);
    this.#strictest = Math.min(...limits);
  }

  passes(level: LogLevel, target: string): boolean {
    const number = severity(level);
    if (number > this.#loosest) return false;
    if (number <= this.#strictest) return true;
    for (const { module, limit } of this.#modules) {
      if (target.startsWith(module)) return number <= limit;
    }
    return number <= this.#base;
  }
}

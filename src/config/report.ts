/**
 * Collects what is found in a config: faults that forbid it, warnings, and notices. It knows where every key stands, so
 * that a check that runs long after the parsing still names file and line. Values of secret keys never come in here.
 */

import type { Fault, SourceNode } from "./source.ts";
import { parentPath } from "./source.ts";

/** Findings of one load, and the places of the keys they are about. */
export class Report {
  readonly faults: Fault[] = [];
  readonly warnings: Fault[] = [];
  readonly notices: Fault[] = [];
  readonly #mainFile: string;
  readonly #places = new Map<string, SourceNode>();
  readonly #faulty = new Set<string>();

  constructor(mainFile: string) {
    this.#mainFile = mainFile;
  }

  /** Remembers where a key stands. */
  place(path: string, node: SourceNode): void {
    this.#places.set(path, node);
  }

  /** True when the key was written, in whatever file. */
  isSet(path: string): boolean {
    return this.#places.has(path);
  }

  /** True when the key, or the table it stands in, already drew a fault: a second one would only confuse. */
  isFaulty(path: string): boolean {
    for (let at: string | undefined = path; at !== undefined && at !== ""; at = parentPath(at)) {
      if (this.#faulty.has(at)) return true;
    }
    return false;
  }

  fault(path: string, message: string, hint?: string): void {
    this.#faulty.add(path);
    this.faults.push(this.#found(path, message, hint));
  }

  warn(path: string, message: string, hint?: string): void {
    this.warnings.push(this.#found(path, message, hint));
  }

  note(path: string, message: string, hint?: string): void {
    this.notices.push(this.#found(path, message, hint));
  }

  #found(path: string, message: string, hint: string | undefined): Fault {
    const { file, line } = this.#locate(path);
    return { file, path, line, message, hint };
  }

  /** Place of a key, or of the nearest table around it. */
  #locate(path: string): { file: string; line: number | undefined } {
    for (let at: string | undefined = path; at !== undefined; at = parentPath(at)) {
      const node = this.#places.get(at);
      if (node !== undefined) return { file: node.file.name, line: node.file.line(node.place) };
    }
    return { file: this.#mainFile, line: undefined };
  }
}

/**
 * Reads YAML 1.2 text into a source tree, with upstream's reading of the awkward cases: a key without a value is absent,
 * a scalar with a leading zero (`0600`) is a string, `yes` and `on` are strings, map keys that are numbers become
 * strings, a key given twice counts the second time (here with a warning).
 */

import type { Alias, Document, Node, Pair, Scalar, YAMLMap } from "yaml";
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from "yaml";
import type { Fault, SourceFile, SourceNode, TableNode } from "./source.ts";
import { keyPath } from "./source.ts";

/** A tree nested deeper than this is no config; it also ends aliases that contain themselves. */
const MAX_DEPTH = 64;
/** Aliases can unfold a small text into a huge tree. */
const MAX_NODES = 1_000_000;

/** The tree of a YAML text, or all faults that keep it from being read. */
export function readYaml(
  name: string,
  text: string,
): { tree?: TableNode; faults: Fault[]; warnings: Fault[] } {
  const counter = new LineCounter();
  const document = parseDocument(text, {
    version: "1.2",
    intAsBigInt: true,
    uniqueKeys: false,
    prettyErrors: false,
    lineCounter: counter,
  });
  const file: SourceFile = { name, line: (place) => counter.linePos(Number(place)).line };
  const reader = new Reader(document, file);
  for (const error of document.errors) {
    // What follows a colon in these texts is quoted from the file and may be a secret.
    const [message] = error.message.split(":");
    const several = error.code === "MULTIPLE_DOCS";
    reader.fault(
      "",
      error.pos[0],
      `YAML parse error: ${several ? "the file holds several documents" : message}`,
    );
  }
  for (const warning of document.warnings) {
    if (warning.code !== "TAG_RESOLVE_FAILED") continue;
    reader.fault("", warning.pos[0], "a tag (!…) is not known here", "quote it if it is text");
  }
  if (reader.faults.length > 0) return { faults: reader.faults, warnings: [] };
  const tree = reader.root();
  if (reader.faults.length > 0) return { faults: reader.faults, warnings: reader.warnings };
  return { tree, faults: [], warnings: reader.warnings };
}

class Reader {
  readonly faults: Fault[] = [];
  readonly warnings: Fault[] = [];
  readonly #document: Document.Parsed;
  readonly #file: SourceFile;
  #nodes = 0;
  /** Found at the first alias: most files have none. */
  #targets: Map<Alias, Node> | undefined;
  /** Given up: what follows would only repeat the fault. */
  #tooLarge = false;

  constructor(document: Document.Parsed, file: SourceFile) {
    this.#document = document;
    this.#file = file;
  }

  fault(path: string, offset: number, message: string, hint?: string): void {
    const line = this.#file.line(offset);
    this.faults.push({ file: this.#file.name, path, line, message, hint });
  }

  root(): TableNode {
    const { contents } = this.#document;
    const empty: TableNode = { kind: "table", entries: new Map(), file: this.#file, place: 0 };
    if (contents === null || (isScalar(contents) && contents.value === null)) return empty;
    const tree = this.#node(contents, "", 0, 0);
    if (tree?.kind === "table") return tree;
    if (tree !== undefined) {
      this.fault("", 0, "the file must hold keys and values", 'as in "general:"');
    }
    return empty;
  }

  /** Undefined for null, and after a fault. */
  #node(item: unknown, path: string, offset: number, depth: number): SourceNode | undefined {
    if (this.#tooLarge) return undefined;
    if (depth > MAX_DEPTH || ++this.#nodes > MAX_NODES) {
      this.#tooLarge = true;
      const what = depth > MAX_DEPTH ? "is nested too deeply" : "unfolds to too many values";
      this.fault(path, offset, `the file ${what}`);
      return undefined;
    }
    if (isAlias(item)) return this.#alias(item, path, offset, depth);
    if (isMap(item)) return this.#table(item as YAMLMap, path, offset, depth);
    if (isSeq(item)) {
      const items: SourceNode[] = [];
      item.items.forEach((entry, index) => {
        const entryPath = `${path}[${index}]`;
        const at = offsetOf(entry) ?? offset;
        const before = this.faults.length;
        const node = this.#node(entry, entryPath, at, depth + 1);
        if (node !== undefined) items.push(node);
        else if (this.faults.length === before && !this.#tooLarge) {
          this.fault(entryPath, at, "a list must not hold an empty value", "remove the item");
        }
      });
      return { kind: "list", items, file: this.#file, place: offset };
    }
    return isScalar(item) ? this.#scalar(item, path, offset) : undefined;
  }

  #alias(alias: Alias, path: string, offset: number, depth: number): SourceNode | undefined {
    this.#targets ??= aliasTargets(this.#document);
    const target = this.#targets.get(alias);
    if (target !== undefined) return this.#node(target, path, offset, depth + 1);
    // The name is not repeated: it may be a password that starts with an asterisk and lacks its quotes.
    this.fault(path, offset, "an alias (*…) without its anchor (&…)", "quote it if it is text");
    return undefined;
  }

  #table(map: YAMLMap, path: string, offset: number, depth: number): TableNode {
    const entries = new Map<string, SourceNode>();
    const seen = new Set<string>();
    for (const pair of map.items as Pair[]) {
      const at = offsetOf(pair.key) ?? offset;
      const key = keyText(pair.key);
      if (key === undefined) {
        this.fault(path, at, "a key must be a name");
        continue;
      }
      const entryPath = keyPath(path, key);
      if (seen.has(key)) this.#repeated(entryPath, at);
      seen.add(key);
      const node = this.#node(pair.value, entryPath, at, depth + 1);
      if (node !== undefined) entries.set(key, node);
      else entries.delete(key);
    }
    return { kind: "table", entries, file: this.#file, place: offset };
  }

  #repeated(path: string, offset: number): void {
    if (path === "include") this.fault(path, offset, "the key is given twice");
    else {
      const line = this.#file.line(offset);
      const message = "the key is given twice: the last one counts";
      this.warnings.push({ file: this.#file.name, path, line, message });
    }
  }

  #scalar(scalar: Scalar, path: string, offset: number): SourceNode | undefined {
    const { value } = scalar;
    const file = this.#file;
    const place = offset;
    switch (typeof value) {
      case "string":
        return { kind: "string", value, file, place };
      case "bigint": {
        const source = scalar.source ?? "";
        return /^[+-]?0[0-9]+$/.test(source)
          ? { kind: "string", value: source, file, place }
          : { kind: "integer", value, file, place };
      }
      case "number":
        return { kind: "float", value, file, place };
      case "boolean":
        return { kind: "bool", value, file, place };
    }
    if (value !== null && value !== undefined) {
      this.fault(path, offset, "a value of this kind is not known");
    }
    return undefined;
  }
}

/** What each alias stands for: the last node before it that bears its name. */
function aliasTargets(document: Document.Parsed): Map<Alias, Node> {
  const anchors = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node(_key, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return targets;
}

function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined;
  if (typeof key.value === "string") return key.value;
  return typeof key.value === "bigint" ? String(key.value) : undefined;
}

function offsetOf(item: unknown): number | undefined {
  if (!isScalar(item) && !isMap(item) && !isSeq(item) && !isAlias(item)) return undefined;
  return item.range?.[0];
}

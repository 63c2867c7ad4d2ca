/**
 * Files of PgBouncer: not read, but each of their keys is told with what it is here, so that the translation is done in
 * one go. Values are never repeated: they may hold passwords.
 */

import { PGBOUNCER_DATABASE_KEYS, PGBOUNCER_KEYS } from "./foreign_keys.ts";
import type { Fault } from "./source.ts";
import { keyPath } from "./source.ts";

const SECTION = /^\s*\[\s*(databases|pgbouncer|users|peers)\s*\]\s*(?:[;#].*)?$/;

/** Whether a text is such a file: by a section that no configuration of this program has. */
export function isPgBouncerIni(text: string): boolean {
  return text.split("\n").some((line) => /^(?:databases|pgbouncer)$/.test(section(line) ?? ""));
}

/** What it holds, line by line. */
export function pgBouncerFaults(file: string, text: string): Fault[] {
  const faults: Fault[] = [{
    file,
    path: "",
    message: "this is a configuration of PgBouncer, which is not read here",
    hint: "write a TOML file: each line below says what its key is in it",
  }];
  let inside = "";
  for (const [index, line] of text.split("\n").entries()) {
    const at = { file, line: index + 1 };
    inside = section(line) ?? inside;
    if (/^\s*%include\b/.test(line)) {
      faults.push({ ...at, path: "%include", message: "is PgBouncer's", hint: "include.files" });
      continue;
    }
    const key = /^\s*("(?:[^"]|"")*"|[^\s=;#"[]+)\s*=\s*(.*)$/.exec(line);
    if (key === null) continue;
    const [, written, value] = key as unknown as [string, string, string];
    const name = written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written;
    const found = { ...at, path: keyPath(inside || "pgbouncer", name) };
    if (inside === "databases") faults.push({ ...found, ...ofDatabase(name, value) });
    else if (inside === "users") {
      const hint = `a user ${
        JSON.stringify(name)
      } in [[pools.NAME.users]] of each of its databases`;
      faults.push({ ...found, message: "is a user of PgBouncer's", hint });
    } else if (inside === "peers") {
      const hint = "one process with worker_threads; cancel requests need nothing more";
      faults.push({ ...found, message: "is a peer of PgBouncer's", hint });
    } else {
      const hint = PGBOUNCER_KEYS.get(name);
      faults.push({
        ...found,
        message: hint === undefined ? "is not known here" : "is PgBouncer's",
        hint,
      });
    }
  }
  return faults;
}

function section(line: string): string | undefined {
  return SECTION.exec(line)?.[1];
}

function ofDatabase(name: string, value: string): Pick<Fault, "message" | "hint"> {
  if (name === "*") {
    return {
      message: "stands for any database of PostgreSQL",
      hint: 'here [pools."*"] with an auth_query, or a [pools.NAME] section for each database',
    };
  }
  // Values may be quoted, with quotes doubled inside.
  const keys = [...value.matchAll(/([a-z_]+)\s*=\s*(?:'(?:[^']|'')*'|[^\s']*)/g)]
    .map(([, key]) => key as string);
  const here = keys.map((key) => `${key} is ${PGBOUNCER_DATABASE_KEYS.get(key) ?? "not known"}`);
  const section = `[${keyPath("pools", name)}] with its users in [[${
    keyPath("pools", name)
  }.users]]`;
  return {
    message: "is a database of PgBouncer's",
    hint: here.length === 0 ? section : `${section}: ${here.join(", ")}`,
  };
}

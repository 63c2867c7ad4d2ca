/**
 * What the files that a configuration names hold, as digests: a certificate that was replaced under the same name is a
 * change like any other, and must not wait for an edit of the config file. Rules of pg_hba are read into the
 * configuration and need none.
 */

import { createHash } from "node:crypto";
import type { ConfigChange } from "../../config/diff.ts";
import type { KeyRows, ReloadClass } from "../../config/schema.ts";
import { GENERAL_KEYS } from "../../config/schema_general.ts";
import { POOL_KEYS } from "../../config/schema_pool.ts";
import { WEB_KEYS } from "../../config/schema_web.ts";
import { keyPath } from "../../config/source.ts";
import type { Config } from "../../config/types.ts";

/** A file's digest, by the path of the key that names it. */
export type FileDigests = Map<string, { file: string; digest: string; reload: ReloadClass }>;

/** Paths that are not read but made. */
const NOT_READ = new Set(["unix_socket_dir", "daemon_pid_file"]);
const GENERAL_FILES = fileKeys(GENERAL_KEYS);
const WEB_FILES = fileKeys(WEB_KEYS);
const POOL_FILES = fileKeys(POOL_KEYS);

function fileKeys(rows: KeyRows): [string, ReloadClass][] {
  return Array.from(rows).filter(([key, { type }]) => type === "path" && !NOT_READ.has(key))
    .map(([key, { reload }]) => [key, reload]);
}

/** Digests of all files that the keys of a configuration name; each file is read once. */
export function digestFiles(
  config: Config,
  read: (file: string) => Uint8Array,
): FileDigests {
  const digests: FileDigests = new Map();
  const known = new Map<string, string>();
  const add = (section: string[], keys: [string, ReloadClass][], fields: object) => {
    for (const [key, reload] of keys) {
      const file = (fields as Record<string, unknown>)[key];
      if (typeof file !== "string") continue;
      const digest = known.get(file) ?? digestFile(file, read);
      known.set(file, digest);
      digests.set([...section, key].reduce(keyPath), { file, digest, reload });
    }
  };
  add(["general"], GENERAL_FILES, config.general);
  add(["web"], WEB_FILES, config.web);
  for (const [name, pool] of config.pools) add(["pools", name], POOL_FILES, pool);
  return digests;
}

/** A file that can't be read differs from one that can; whether that is a fault is for the key's own check to say. */
function digestFile(file: string, read: (file: string) => Uint8Array): string {
  let bytes: Uint8Array;
  try {
    bytes = read(file);
  } catch (error) {
    return `unreadable: ${error instanceof Error ? error.name : String(error)}`;
  }
  return createHash("sha256").update(bytes).digest("hex");
}

/** Keys whose file has the same name and other content. */
export function contentChanges(before: FileDigests, after: FileDigests): ConfigChange[] {
  const changes: ConfigChange[] = [];
  for (const [path, { file, digest, reload }] of after) {
    const old = before.get(path);
    if (old === undefined || old.file !== file || old.digest === digest) continue;
    changes.push({ path: `${path} (content of the file)`, kind: "changed", reload });
  }
  return changes;
}

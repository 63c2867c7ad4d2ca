/**
 * Configurations for tests: loading from texts in memory or from fixtures, with the real pg_hba parser.
 */

import assert from "node:assert/strict";
import { legacyHbaRules } from "../../src/auth/hba.ts";
import { parseHba } from "../../src/auth/hba_file.ts";
import { parseIdent } from "../../src/auth/ident_file.ts";
import { md5Hash } from "../../src/auth/md5.ts";
import type { Resolving } from "../../src/config/effective.ts";
import type { ConfigIo, LoadResult } from "../../src/config/load.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatFault } from "../../src/config/source.ts";
import type { Config } from "../../src/config/types.ts";

/** Files that exist in memory alone; any other name fails as a missing file does. */
export function memoryIo(files: Readonly<Record<string, string>>): ConfigIo {
  return {
    readText(path) {
      const text = files[path];
      if (text !== undefined) return text;
      throw Object.assign(new Error(`no file ${path}`), { code: "ENOENT" });
    },
    parseHba,
    parseIdent,
  };
}

/** Files as they are on disk. */
export const diskIo: ConfigIo = { readText: Deno.readTextFileSync, parseHba, parseIdent };

/** Loads one text under a name that decides its format. */
export function loadText(text: string, name = "test.toml"): LoadResult {
  return loadConfig(name, memoryIo({ [name]: text }));
}

/** The configuration of a text that must be valid. */
export function configOf(text: string, name = "test.toml"): Config {
  return validConfig(loadText(text, name));
}

/** The configuration of a load that must have found no fault. */
export function validConfig(result: LoadResult): Config {
  assert.deepEqual(result.faults.map(formatFault), []);
  assert.ok(result.config !== undefined);
  return result.config;
}

/** `[general]` with what is required, for texts that are about something else. */
export const GENERAL = `[general]
admin_username = "admin"
admin_password = "a secret of the admin"
`;

/** What resolving needs, with a verifier that can be recognised. */
export function resolvingWith(change: Partial<Resolving> = {}): Resolving {
  return {
    workers: 2,
    homes: new Map(),
    makeVerifier: (password, user) => `verifier of ${user}, ${password.length} letters`,
    md5Hash,
    legacyHbaRules,
    readFile: (file) => new TextEncoder().encode(`what ${file} holds`),
    ...change,
  };
}

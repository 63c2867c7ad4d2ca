/**
 * What a reload says: one line that sums up what changed, and a warning for each key whose new value is not in force,
 * with what it needs. Pure. Keys are named, values never shown.
 */

import type { ConfigChange } from "../../config/diff.ts";
import type { KeySpec } from "../../config/schema.ts";
import { GENERAL_KEYS } from "../../config/schema_general.ts";
import { WEB_KEYS } from "../../config/schema_web.ts";
import type { ProcessChange } from "../settings_change.ts";

/** Keys named in the summary; the others are counted. */
const MOST_NAMED = 12;
const LISTENING = new Set(["host", "port", "backlog", "unix_socket_dir", "unix_socket_mode"]);
const BUFFERS = new Set(["tcp_socket_buffer_size", "unix_socket_buffer_size"]);

/** `2 pools added, 1 changed; general.idle_timeout`; empty when nothing has changed. */
export function summaryOf(changes: readonly ConfigChange[], settings: ProcessChange): string {
  const { pools, added, gone } = settings;
  const counts = [
    [added.size, "added"],
    [gone.length, "removed"],
    [pools.length - added.size, "changed"],
  ] as const;
  const parts: string[] = [];
  for (const [count, what] of counts) {
    if (count > 0) parts.push(`${count} ${count === 1 ? "pool" : "pools"} ${what}`);
  }
  const keys = changes.map(({ path, kind }) => kind === "changed" ? path : `${path} (${kind})`);
  const named = keys.slice(0, MOST_NAMED).join(", ");
  const rest = keys.length - MOST_NAMED;
  if (keys.length > 0) parts.push(rest > 0 ? `${named} and ${rest} more` : named);
  return parts.join("; ");
}

/** Changes that a reload does not apply, against the configuration of the start: a warning for each. */
export function notApplied(sinceStart: readonly ConfigChange[]): string[] {
  const warnings: string[] = [];
  for (const { path, reload } of sinceStart) {
    if (reload !== "R") continue;
    const [section, key] = splitPath(path);
    if (specOf(section, key)?.ignored !== undefined) continue;
    warnings.push(`${path} has changed and is not applied: ${needOf(section, key)}`);
  }
  return warnings;
}

/** Changes that are in force, but not for what is open already. */
export function appliedInPart(changes: readonly ConfigChange[]): string[] {
  return changes.flatMap(({ path }) => {
    const [section, key] = splitPath(path);
    if (section !== "general" || !BUFFERS.has(key)) return [];
    return [`${path} has changed: applied to sockets opened from now on, open ones keep theirs`];
  });
}

function splitPath(path: string): [section: string, key: string] {
  const [name] = path.split(" ", 1) as [string];
  const dot = name.indexOf(".");
  return [name.slice(0, dot), name.slice(dot + 1)];
}

function specOf(section: string, key: string): KeySpec | undefined {
  return section === "general" ? GENERAL_KEYS.get(key) : WEB_KEYS.get(key);
}

function needOf(section: string, key: string): string {
  if (section === "web") {
    return "the listener of [web] stays as it was opened, it needs a binary upgrade or a restart";
  }
  if (LISTENING.has(key)) return "the listening socket stays as it was opened, it needs a restart";
  if (key.startsWith("tls_")) {
    return "TLS towards clients stays as it was at the start, it needs a binary upgrade or a restart";
  }
  if (key === "worker_threads") {
    return "threads are started once, it needs a binary upgrade or a restart";
  }
  return "it is read at the start only, it needs a binary upgrade or a restart";
}

/**
 * Decodes `[pools.NAME]` with what is nested in it: its users, as a list or in the older form of a map with numeric
 * keys, and its `auth_query`.
 */

import { decodeSection } from "./decode.ts";
import type { Section } from "./decode.ts";
import { AUTH_QUERY_KEYS, POOL_KEYS, USER_KEYS } from "./schema_pool.ts";
import { SHARING_USER_KEYS } from "./shared_pool.ts";
import type { SourceNode } from "./source.ts";
import { keyPath, KIND_NAMES } from "./source.ts";
import type { AuthQueryConfig, PoolConfig, UserConfig } from "./types.ts";

/** A pool with the paths that its checks name. */
export interface DecodedPool {
  name: string;
  path: string;
  pool: PoolConfig;
  /** Path of each user, in the pool's order. */
  userPaths: string[];
}

/** The pool of one `[pools.NAME]` table. */
export function decodePool(
  name: string,
  node: SourceNode,
  around: Pick<Section, "report" | "elsewhere">,
): DecodedPool {
  const path = keyPath("pools", name);
  const userPaths: string[] = [];
  const sharedSize = node.kind === "table" ? node.entries.get("shared_pool_size") : undefined;
  around.report.place(path, node);
  reportShards(path, node, around.report);
  const record = decodeSection({
    ...around,
    rows: POOL_KEYS,
    path,
    compound: (spec, entry, entryPath) =>
      spec.type === "user_list"
        ? decodeUsers(entry, entryPath, { ...around, sharedSize }, userPaths)
        : decodeSection(
          { ...around, rows: AUTH_QUERY_KEYS, path: entryPath },
          entry,
        ) as unknown as AuthQueryConfig,
  }, node);
  return { name, path, pool: record as unknown as PoolConfig, userPaths };
}

/** PgCat's servers: without them the pool would lead to the default server, which nobody asked for. */
function reportShards(path: string, node: SourceNode, report: Section["report"]): void {
  const shards = node.kind === "table" ? node.entries.get("shards") : undefined;
  if (node.kind !== "table" || shards === undefined) return;
  node.entries.delete("shards");
  const shardsPath = `${path}.shards`;
  report.place(shardsPath, shards);
  report.fault(
    shardsPath,
    "are PgCat's: a pool leads to one server here",
    "server_host, server_port and server_database in the pool itself; a pool for each further shard or server",
  );
}

function decodeUsers(
  node: SourceNode,
  path: string,
  around: Pick<Section, "report" | "elsewhere"> & { sharedSize: SourceNode | undefined },
  userPaths: string[],
): UserConfig[] {
  const { report, sharedSize } = around;
  return userNodes(node, path, report).map(([userPath, entry]) => {
    report.place(userPath, entry);
    userPaths.push(userPath);
    if (sharedSize !== undefined) takeSharedSize(userPath, entry, { report, sharedSize });
    const section: Section = { ...around, rows: USER_KEYS, path: userPath };
    return decodeSection(section, entry) as unknown as UserConfig;
  });
}

/** Users that share a pool have its size, and nothing else that would be a pool's. */
function takeSharedSize(
  path: string,
  node: SourceNode,
  { report, sharedSize }: { report: Section["report"]; sharedSize: SourceNode },
): void {
  if (node.kind !== "table") return;
  for (const [key, entry] of node.entries) {
    if (SHARING_USER_KEYS.has(key) || !USER_KEYS.has(key)) continue;
    const keyOfUser = keyPath(path, key);
    report.place(keyOfUser, entry);
    report.fault(
      keyOfUser,
      "belongs to the pool, since its users share one (shared_pool_size)",
      "set it in the pool itself, or leave it out",
    );
  }
  node.entries.set("pool_size", sharedSize);
}

function userNodes(
  node: SourceNode,
  path: string,
  report: Section["report"],
): [string, SourceNode][] {
  if (node.kind === "list") return node.items.map((item, index) => [`${path}[${index}]`, item]);
  if (node.kind !== "table") {
    report.fault(path, `must be a list of users, is ${KIND_NAMES[node.kind]}`);
    return [];
  }
  const users: [string, SourceNode][] = [];
  for (const [key, item] of node.entries) {
    const userPath = keyPath(path, key);
    if (/^[0-9]+$/.test(key)) users.push([userPath, item]);
    else {
      report.place(userPath, item);
      report.fault(
        userPath,
        "users are a list, or a map with numbers as keys",
        "write [[pools.NAME.users]] in TOML, a list in YAML",
      );
    }
  }
  return users.sort(([a], [b]) => userNumber(a) - userNumber(b));
}

function userNumber(path: string): number {
  return Number(path.slice(path.lastIndexOf(".") + 1));
}

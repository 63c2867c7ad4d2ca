import assert from "node:assert/strict";
import type { PoolSettings, Settings } from "../config/settings.ts";
import { otherSlices, ownSlices, settingsChange } from "../control/settings_change.ts";
import { poolSettings } from "../testing/settings.ts";
import { World } from "../testing/world.ts";
import { Directory, type DirectoryEnvironment } from "./directory.ts";

/** The workers' directories, and the settings that they have. */
class Workers {
  settings: Settings;
  readonly directories: Directory[];
  readonly #world = new World();

  constructor(pools: PoolSettings[]) {
    this.settings = settingsOf(pools);
    const authQueries: DirectoryEnvironment["authQueries"] = { find: () => undefined, any: false };
    const environment = { ...this.#world.environment, authQueries };
    this.directories = [0, 1].map((index) =>
      new Directory(index, environment as DirectoryEnvironment, {
        settings: this.settings,
        successor: false,
      })
    );
  }

  /** A reload; `seen` between any two slices. */
  apply(pools: PoolSettings[], seen: () => void = () => {}): void {
    const change = settingsChange(this.settings, settingsOf(pools));
    for (const slices of [ownSlices, otherSlices]) {
      this.directories.forEach((directory, index) => {
        for (const slice of slices(change, index)) {
          directory.apply(slice);
          seen();
        }
      });
    }
    this.settings = settingsOf(pools);
  }

  /** What each worker says of a user of `db`. */
  find(user: string): string[] {
    return this.directories.map((directory) => {
      const found = directory.find("db", user);
      return found.kind === "here"
        ? found.pool.name
        : found.kind === "elsewhere"
        ? `at ${found.worker}`
        : found.kind;
    });
  }
}

function settingsOf(pools: PoolSettings[]): Settings {
  return { general: {}, pools, auth_queries: [] } as unknown as Settings;
}

function shared(users: string[], change: Partial<PoolSettings> = {}): PoolSettings {
  return poolSettings({
    user: "owner",
    server_username: "owner",
    users: users.map((user) => ({
      user,
      password: { kind: "empty" },
      max_user_client_connections: 0,
    })),
    ...change,
  });
}

Deno.test("directory: users who share a pool find it, its role does not, unless it is one of them", () => {
  const workers = new Workers([shared(["alice", "bob"], { home: 1 })]);
  for (const user of ["alice", "bob"]) assert.deepEqual(workers.find(user), ["at 1", "owner@db"]);
  assert.deepEqual(workers.find("owner"), ["no_user", "no_user"]);
  workers.apply([shared(["alice", "owner"], { home: 1 })]);
  assert.deepEqual(workers.find("owner"), ["at 1", "owner@db"]);
  assert.deepEqual(workers.find("bob"), ["no_user", "no_user"]);
  workers.apply([]);
  assert.deepEqual(workers.find("alice"), ["no_database", "no_database"]);
});

Deno.test("directory: who changes over to a shared pool, and back, is known at every moment", () => {
  const own = ["alice", "bob"].map((user, i) =>
    poolSettings({ user, server_username: "owner", home: i % 2 })
  );
  const workers = new Workers(own);
  const known = () => {
    for (const user of ["alice", "bob"]) {
      for (const found of workers.find(user)) assert.doesNotMatch(found, /^no_/);
    }
  };
  workers.apply([shared(["alice", "bob"])], known);
  assert.deepEqual(workers.find("bob"), ["owner@db", "at 0"]);
  workers.apply(own, known);
  assert.deepEqual(workers.find("bob"), ["at 1", "bob@db"]);
});

import assert from "node:assert/strict";
import { shapeOf } from "../auth/mock_password.ts";
import type {
  AuthQuerySettings,
  GeneralSettings,
  PoolSettings,
  Settings,
} from "../config/settings.ts";
import type { SettingsChange } from "../mail.ts";
import { isEmpty, otherSlices, ownSlices, settingsChange } from "./settings_change.ts";

function pool(database: string, more: Partial<PoolSettings> = {}): PoolSettings {
  return {
    database,
    user: "u",
    home: 0,
    password: { kind: "empty" },
    pool_size: 1,
    startup_parameters: [],
    ...more,
  } as PoolSettings;
}

function settings(pools: PoolSettings[], general: Partial<GeneralSettings> = {}): Settings {
  return {
    general: { max_connections: 1, ...general } as GeneralSettings,
    pools,
    auth_queries: [],
  };
}

Deno.test("settings change: equal settings give nothing to tell", () => {
  const change = settingsChange(settings([pool("a")]), settings([pool("a")]));
  assert.ok(isEmpty(change));
  assert.deepEqual(ownSlices(change, 0), []);
  assert.deepEqual(otherSlices(change, 1), []);
});

Deno.test("settings change: only what differs, each kind apart", () => {
  const before = settings([pool("same"), pool("gone"), pool("resized"), pool("rekeyed")]);
  const after = settings([
    pool("same"),
    pool("resized", { pool_size: 2 }),
    pool("rekeyed", { password: { kind: "md5", hash: "md5" } }),
    pool("fresh", { home: 1 }),
  ], { max_connections: 2 });
  const change = settingsChange(before, after);
  assert.equal(change.general, after.general);
  assert.deepEqual(change.gone, [{ database: "gone", user: "u" }]);
  assert.deepEqual(change.pools, after.pools.slice(1));
  assert.deepEqual([...change.added], [after.pools[3]]);
  assert.deepEqual(change.places, [
    {
      database: "rekeyed",
      user: "u",
      home: 0,
      logins: [{ user: "u", shape: { ...shapeOf({ kind: "empty" }), kind: "md5" } }],
    },
    {
      database: "fresh",
      user: "u",
      home: 1,
      logins: [{ user: "u", shape: shapeOf({ kind: "empty" }) }],
    },
  ]);
});

Deno.test("settings change: a worker gets its own pools first, and of others the places alone", () => {
  const after = settings([pool("here", { home: 1 }), pool("there", { home: 0 })]);
  const change = settingsChange(settings([]), after);
  const [own] = ownSlices(change, 1);
  assert.deepEqual(own!.pools, [after.pools[0]]);
  assert.deepEqual(own!.places.map(({ database }) => database), ["here"]);
  const [other] = otherSlices(change, 1);
  assert.deepEqual(other!.pools, []);
  assert.deepEqual(other!.places.map(({ database }) => database), ["there"]);
});

Deno.test("settings change: slices are small, and together they are the change", () => {
  const pools = Array.from({ length: 1000 }, (_, i) => pool(`p${i}`, { home: i % 2 }));
  const before = settings(pools.slice(0, 500));
  const change = settingsChange(before, settings(pools.slice(300), { max_connections: 9 }));
  for (const worker of [0, 1]) {
    const own = ownSlices(change, worker);
    const others = otherSlices(change, worker);
    assert.equal(own.filter(({ general }) => general !== undefined).length, 1);
    for (const { pools, places, gone } of [...own, ...others]) {
      assert.ok(Math.max(pools.length, places.length) + gone.length <= 40);
    }
    assert.equal(own.flatMap(({ pools }) => pools).length, 250);
    assert.equal(own.flatMap(({ gone }) => gone).length, 0);
    assert.equal(others.flatMap(({ gone }) => gone).length, 300);
    // Who is known by another pool from now on is so before its old one is gone.
    const lastPlace = others.findLastIndex(({ places }) => places.length > 0);
    assert.ok(others.findIndex(({ gone }) => gone.length > 0) >= lastPlace);
    assert.equal(others.flatMap(({ places }) => places).length, 250);
  }
});

Deno.test("settings change: auth_queries go to their own worker first, then to the others", () => {
  const authQuery = (database: string, home: number, query = "q") =>
    ({ database, home, query }) as AuthQuerySettings;
  const of = (...auth_queries: AuthQuerySettings[]) => ({ ...settings([]), auth_queries });
  const before = of(authQuery("same", 0), authQuery("gone", 0), authQuery("changed", 0));
  const after = of(authQuery("same", 0), authQuery("changed", 0, "r"), authQuery("moved", 1));
  assert.ok(isEmpty(settingsChange(before, before)));
  const change = settingsChange(before, after);
  assert.ok(!isEmpty(change));
  assert.deepEqual(change.goneAuthQueries, ["gone"]);
  const names = (slices: SettingsChange[]) =>
    slices.flatMap(({ authQueries }) => authQueries.map(({ database }) => database));
  assert.deepEqual(names(ownSlices(change, 0)), ["changed"]);
  assert.deepEqual(names(ownSlices(change, 1)), ["moved"]);
  assert.deepEqual(names(otherSlices(change, 0)), ["moved"]);
  assert.deepEqual(names(otherSlices(change, 1)), ["changed"]);
  assert.deepEqual(otherSlices(change, 2).flatMap((slice) => slice.goneAuthQueries), ["gone"]);
});

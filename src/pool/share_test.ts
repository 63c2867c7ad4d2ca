import assert from "node:assert/strict";
import { poolSettings } from "../testing/settings.ts";
import { Seats } from "./seats.ts";
import { Limit, type LimitedPool, Share, type ShareKeeper } from "./share.ts";

function shareOf(change: Parameters<typeof poolSettings>[0] = {}) {
  const told: string[] = [];
  const keeper: ShareKeeper = {
    seats: new Seats(),
    take: () => told.push("take") > 0,
    count: () => told.push("count"),
    changed: ({ of }) => told.push(`changed ${of}`),
    apply: () => told.push("apply"),
    end: () => told.push("end"),
  };
  const pool = { settings: poolSettings(change), expected: 0 } as unknown as
    & LimitedPool
    & { expected: number };
  const [database, user] = [new Limit("database", "db"), new Limit("user", "me")];
  const share = new Share(pool, [database, user], keeper);
  database.shares.add(share);
  user.shares.add(share);
  return { share, pool, database, user, told };
}

Deno.test("share: without a limit there is always a place, and nobody is over it", () => {
  const { share, database } = shareOf();
  database.total = 1e6;
  assert.ok(share.takeAhead());
  assert.ok(!share.over);
});

Deno.test("share: nothing is opened ahead while somebody waits, or for the last places", () => {
  const { share, database, user, pool } = shareOf();
  database.max = 10;
  database.total = 8;
  assert.ok(share.takeAhead(2));
  assert.ok(!share.takeAhead(3));
  pool.expected = 1;
  assert.ok(!share.takeAhead(2));
  assert.ok(share.takeAhead());
  user.queue.add(share);
  assert.ok(!share.takeAhead());
  assert.ok(share.contended);
});

Deno.test("share: the reserve is no reason to close anything", () => {
  const { share, database } = shareOf();
  Object.assign(database, { max: 2, reserve: 1, total: 3 });
  assert.ok(!share.over);
  database.total = 4;
  assert.ok(share.over);
});

Deno.test("share: hopeless is who has nothing and is refused by the database's limit", () => {
  const { share, database, user, pool } = shareOf();
  assert.ok(!share.hopeless);
  share.refusedBy = user;
  assert.ok(!share.hopeless);
  share.refusedBy = database;
  assert.ok(share.hopeless);
  pool.expected = 1;
  assert.ok(!share.hopeless);
  pool.expected = 0;
  share.held = 1;
  assert.ok(!share.hopeless);
});

Deno.test("share: what others may take is what is beyond both minima", () => {
  const { share } = shareOf({ min_pool_size: 1, min_guaranteed_pool_size: 3 });
  share.held = 5;
  assert.deepEqual([share.minimum, share.spare], [3, 2]);
  share.held = 2;
  assert.equal(share.spare, 0);
});

Deno.test("share: a client without a place hears of the limit that refused it, and only then", () => {
  const { share, database, user } = shareOf();
  assert.equal(share.exhausted(), undefined);
  Object.assign(database, { max: 2, reserve: 1, total: 3 });
  share.refusedBy = database;
  assert.deepEqual(share.exhausted(), {
    first: 'to database "db"',
    second: 'max_db_connections=2, user="me", reserve 1/1',
    log: 'database "db" EXHAUSTED, active=2/2 reserve=1/1 total=3',
  });
  assert.equal(share.counts.exhaustions, 1);
  Object.assign(user, { max: 4, total: 4 });
  share.refusedBy = user;
  assert.equal(share.exhausted()?.second, "max_user_connections=4");
  assert.equal(share.counts.exhaustions, 1);
});

Deno.test("share: an idle server may be of use under both limits", () => {
  const { share, told } = shareOf();
  share.changed();
  assert.deepEqual(told, ["changed database", "changed user"]);
});

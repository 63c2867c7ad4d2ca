import assert from "node:assert/strict";
import { World } from "../../testing/world.ts";
import { SHARED_WORDS, Tally } from "../../stats/shared.ts";
import { Stage } from "../state.ts";
import { bringPlace, leavePlace, placesTaken, poolFull, takePlace } from "./places.ts";

const places = (max_connections: number) => {
  const shared = new Int32Array(SHARED_WORDS);
  return { shared, tally: new Tally(shared), general: { max_connections } };
};

Deno.test("places: as many as max_connections, and each is the pool's, too", () => {
  const context = places(2);
  const { pool } = new World();
  const before = pool.seated;
  const state = { user: "me", stage: Stage.Login };
  assert.ok(takePlace({ context, state, pool }));
  assert.ok(takePlace({ context, state, pool: undefined }));
  assert.ok(!takePlace({ context, state, pool }));
  assert.equal(placesTaken(context), 2);
  assert.equal(pool.seated, before + 1);
  // One that comes from another process is never refused; one that has not logged in has no place to bring.
  bringPlace({ context, state: { ...state, stage: Stage.Linked }, pool });
  bringPlace({ context, state, pool });
  assert.deepEqual([placesTaken(context), pool.seated], [3, before + 2]);
  for (const stage of [Stage.Idle, Stage.Login, Stage.Closing]) {
    leavePlace({ context, state: { ...state, stage }, pool });
  }
  assert.deepEqual([placesTaken(context), pool.seated], [2, before + 1]);
});

Deno.test("places: the database is full before the user is, and 0 is no limit", () => {
  const full = (database: number, user: number, seated: number) => {
    const { pool } = new World({
      max_db_client_connections: database,
      max_user_client_connections: user,
    });
    pool.seated = seated;
    for (let i = 0; i < seated; i++) pool.share.seats.change("me", 1);
    return poolFull(pool, "me")?.reason.name;
  };
  assert.equal(full(0, 0, 1000), undefined);
  assert.equal(full(3, 0, 2), undefined);
  assert.equal(full(3, 0, 3), "database_full");
  assert.equal(full(3, 3, 3), "database_full");
  assert.equal(full(4, 3, 3), "user_full");
});

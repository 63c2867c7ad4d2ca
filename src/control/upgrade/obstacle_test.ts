import assert from "node:assert/strict";
import { SNAPSHOT_VERSION } from "../../handover/version.ts";
import type { PresenceRow } from "../../mail.ts";
import { obstacleToMoving } from "./obstacle.ts";

function obstacle(ready: { versions: number[]; tls?: boolean }, ...encrypted: number[]) {
  const rows = encrypted.map((count, worker): PresenceRow => ({
    clients: 3,
    inTransaction: 0,
    encrypted: count,
    worker,
  }));
  return obstacleToMoving(ready, { askInTime: <T>() => Promise.resolve(rows as T[]) }, 1);
}

Deno.test("obstacle: nothing moves to a program that misreads snapshots, and plain clients alone to one without TLS", async () => {
  const versions = [SNAPSHOT_VERSION];
  assert.equal(await obstacle({ versions, tls: true }, 0, 4), undefined);
  assert.equal(await obstacle({ versions }, 0, 0), undefined);
  const plain = (await obstacle({ versions }, 2, 1))!;
  assert.equal(plain.moves, "plain_clients");
  assert.match(plain.why, /can't take over connections with TLS: 3 clients finish here/);
  const others = [SNAPSHOT_VERSION + 1];
  const why = `does not know snapshots of version ${SNAPSHOT_VERSION}, but ${others}: its clients`;
  const none = (await obstacle({ versions: others, tls: true }, 0))!;
  assert.equal(none.moves, "nothing");
  assert.ok(none.why.includes(why));
});

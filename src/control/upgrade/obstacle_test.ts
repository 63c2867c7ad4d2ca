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

Deno.test("obstacle: nothing moves to a program that misreads snapshots, or TLS where there is some", async () => {
  const versions = [SNAPSHOT_VERSION];
  assert.equal(await obstacle({ versions, tls: true }, 0, 4), undefined);
  assert.equal(await obstacle({ versions }, 0, 0), undefined);
  assert.match((await obstacle({ versions }, 0, 1))!, /can't take over connections with TLS/);
  const others = [SNAPSHOT_VERSION + 1];
  const why = `does not know snapshots of version ${SNAPSHOT_VERSION}, but ${others}: its clients`;
  assert.ok((await obstacle({ versions: others, tls: true }, 0))!.includes(why));
});

/**
 * A new process that goes wrong at a point of its own choosing: it speaks the frames as far as `MODE` says. Started by an
 * instance under test in the place of the program; `POOLS` are those that it claims to have.
 */

import { FrameKind, FrameSocket } from "../../src/handover/frames.ts";
import { SNAPSHOT_VERSION } from "../../src/handover/version.ts";
import type { Fd } from "../../src/os/fd.ts";
import { sendWithDescriptors } from "../../src/os/fd_passing.ts";

if (Deno.args[0] === "-t") Deno.exit(0);
const mode = Deno.env.get("MODE");
const { socket } = JSON.parse(Deno.env.get("PG_DOORMAN_UPGRADE")!) as { socket: number };
const frames = new FrameSocket(socket as Fd);
await frames.receive();
await frames.send(FrameKind.Ready, {
  pid: Deno.pid,
  versions: [mode === "another version" ? SNAPSHOT_VERSION + 1 : SNAPSHOT_VERSION],
  pools: JSON.parse(Deno.env.get("POOLS")!),
});
if (mode === "dies when ready") Deno.exit(1);
await frames.receive();
if (mode === "dies at the beginning") Deno.exit(1);
let refused = 0;
for (;;) {
  const frame = await frames.receive();
  if (frame === undefined || frame.kind === FrameKind.Done) Deno.exit(0);
  if (frame.kind !== FrameKind.Batch) continue;
  const { worker, batch } = frame.payload as { worker: number; batch: number };
  switch (mode) {
    case "dies with the first batch":
      Deno.exit(1);
      break;
    case "has no room":
      if (++refused === 3) Deno.exit(1);
      await frames.send(FrameKind.Taken, { worker, batch, refused: [], again: true });
      break;
    case "talks nonsense":
      await sendWithDescriptors(socket as Fd, new Uint8Array(16), []);
      break;
    default:
      // Takes nothing and says nothing.
      break;
  }
}

/**
 * The walsender's side of the protocol by hand ("Streaming Replication Protocol"): a logical stream of the built-in
 * output plugin, what comes in it, and the replies of a receiver.
 */

import type { WireClient } from "./wire_client.ts";
import * as wire from "./wire_messages.ts";

/** Makes a slot and starts a stream of it; the publication `everything` must be there. */
export async function logicalStream(client: WireClient, slot: string): Promise<void> {
  await client.query(
    `CREATE_REPLICATION_SLOT ${slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`,
  );
  client.send(
    wire.query(
      `START_REPLICATION SLOT ${slot} LOGICAL 0/0 ` +
        "(proto_version '1', publication_names 'everything', messages 'true')",
    ),
  );
  await client.readUntil("W");
}

/** Bodies of the stream's messages up to the first that is `wanted`, that one last. */
export async function copyData(
  client: WireClient,
  wanted: (body: Uint8Array) => boolean,
): Promise<Uint8Array[]> {
  const bodies: Uint8Array[] = [];
  for (;;) {
    const { type, body } = await client.read();
    if (type !== "d") throw new Error(`message "${type}" in the stream`);
    if (wanted(body)) return [...bodies, body];
    // Those that nobody asked for may be many.
    if (bodies.length < 100) bodies.push(body);
  }
}

/** Standby status update: everything up to `position` is written, flushed and applied. */
export function statusUpdate(position: bigint): Uint8Array {
  const body = new DataView(new ArrayBuffer(34));
  body.setUint8(0, 0x72);
  for (const at of [1, 9, 17]) body.setBigUint64(at, position);
  body.setUint8(33, 1);
  return wire.message("d", new Uint8Array(body.buffer));
}

/** Ends a stream from the receiver's side; returns the letters of what came up to ReadyForQuery. */
export async function endOfStream(client: WireClient): Promise<string> {
  return wire.letters(await client.ask(wire.message("c")));
}

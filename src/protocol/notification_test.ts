import assert from "node:assert/strict";
import { notificationChannel, notificationPayload } from "./notification.ts";

function message(channel: string, payload: string): Uint8Array {
  const text = new TextEncoder().encode(`${channel}\0${payload}\0`);
  const bytes = new Uint8Array(3 + 9 + text.length + 20).fill(0xee);
  bytes.set([0x41, 0, 0, 0, 8 + text.length, 0, 0, 1, 2], 3);
  bytes.set(text, 12);
  return bytes;
}

Deno.test("notification: channel and payload, and nothing of what stands around the message", () => {
  for (const [channel, payload] of [["a", ""], ["ümläut", "x y"], ["", "p"]] as const) {
    const bytes = message(channel, payload);
    const end = bytes.length - 20;
    assert.equal(notificationChannel(bytes, 3, end), channel);
    assert.equal(notificationPayload(bytes, 3, end), payload);
  }
});

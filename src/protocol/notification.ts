/**
 * Reads a NotificationResponse (manual, "Message Formats"): process id, channel, payload.
 */

const decoder = new TextDecoder();
/** Type, length and process id. */
const HEAD_BYTES = 9;

/** The channel of the whole message `bytes[start..end)`. */
export function notificationChannel(bytes: Uint8Array, start: number, end: number): string {
  return text(bytes, start + HEAD_BYTES, end);
}

/** Its payload. */
export function notificationPayload(bytes: Uint8Array, start: number, end: number): string {
  const zero = bytes.indexOf(0, start + HEAD_BYTES);
  return zero < 0 || zero >= end ? "" : text(bytes, zero + 1, end);
}

function text(bytes: Uint8Array, start: number, end: number): string {
  const zero = bytes.indexOf(0, start);
  return decoder.decode(bytes.subarray(start, zero < 0 || zero > end ? end : zero));
}

// hot path
/**
 * What goes to a server in one piece: heads of messages that were rewritten, messages of the pooler's own, and the
 * ranges of the client's bytes between them. Empty between two calls of the relay: `flush` or `pass` ends each, and only
 * what goes in front of the next one is added just before it.
 */

import { copyBytes } from "../../reactor/copy.ts";
import { Frontend, Named } from "../../protocol/codes.ts";
import { Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import { writeBuffer } from "../../reactor/stream.ts";
import type { ServerConnection } from "../../server/connection.ts";

/** Longer ranges are sent from where they are. */
const MOST_GATHERED_BYTES = 8192;

const out = writeBuffer;
let outLength = 0;

/** Sends what was gathered. */
export function flush(server: ServerConnection): void {
  if (outLength === 0) return;
  const length = outLength;
  outLength = 0;
  server.send(out, 0, length);
}

/** Adds `bytes[start..end)`. */
export function add(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const count = end - start;
  if (count <= 0) return;
  if (count > MOST_GATHERED_BYTES || outLength + count > out.length) {
    flush(server);
    if (count > MOST_GATHERED_BYTES) {
      server.send(bytes, start, end);
      return;
    }
  }
  copyBytes(out, outLength, bytes, start, end);
  outLength += count;
}

/** Sends `bytes[start..end)` behind what was gathered. */
export function pass(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  if (outLength === 0) {
    if (end > start) server.send(bytes, start, end);
    return;
  }
  add(server, bytes, start, end);
  flush(server);
}

/** A message's head up to `end`, with another length. */
export function head(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  length: number,
): void {
  room(server, 5);
  header(bytes[at], length);
  add(server, bytes, at + 5, end);
}

function room(server: ServerConnection, count: number): void {
  if (outLength + count > out.length) flush(server);
}

function header(type: number, length: number): void {
  out[outLength] = type;
  out[outLength + 1] = length >> 24;
  out[outLength + 2] = length >> 16;
  out[outLength + 3] = length >> 8;
  out[outLength + 4] = length;
  outLength += 5;
}

/** Close and Parse of a statement under its name on the servers. */
export function sendParse(
  server: ServerConnection,
  name: Uint8Array<ArrayBuffer>,
  body: Uint8Array<ArrayBuffer>,
): void {
  sendClose(server, name);
  server.owed.push(Owed.Close | SWALLOW);
  room(server, 6 + name.length);
  header(Frontend.Parse, 5 + name.length + body.length);
  add(server, name, 0, name.length);
  out[outLength++] = 0;
  add(server, body, 0, body.length);
}

/** The same with the types of all parameters, in place of those that the body has behind its text. */
export function sendTypedParse(
  server: ServerConnection,
  name: Uint8Array<ArrayBuffer>,
  body: Uint8Array<ArrayBuffer>,
  types: Uint8Array,
): void {
  const textBytes = body.indexOf(0) + 1;
  const typed = new Uint8Array(textBytes + types.length);
  typed.set(body.subarray(0, textBytes));
  typed.set(types, textBytes);
  sendParse(server, name, typed);
}

/** Close of a statement. */
export function sendClose(server: ServerConnection, name: Uint8Array<ArrayBuffer>): void {
  room(server, 7 + name.length);
  header(Frontend.Close, 6 + name.length);
  out[outLength++] = Named.Statement;
  for (let i = 0; i < name.length; i++) out[outLength++] = name[i];
  out[outLength++] = 0;
}

/** Parse of an unnamed statement, of which `body` holds the first `length` bytes. */
export function sendUnnamed(
  server: ServerConnection,
  body: Uint8Array<ArrayBuffer>,
  length: number,
): void {
  room(server, 6);
  header(Frontend.Parse, 5 + length);
  out[outLength++] = 0;
  add(server, body, 0, length);
}

/** A single byte. */
export function addByte(server: ServerConnection, byte: number): void {
  room(server, 1);
  out[outLength++] = byte;
}

/** Describe of a statement. */
export function sendDescribe(server: ServerConnection, name: Uint8Array<ArrayBuffer>): void {
  room(server, 7 + name.length);
  header(Frontend.Describe, 6 + name.length);
  out[outLength++] = Named.Statement;
  add(server, name, 0, name.length);
  out[outLength++] = 0;
}

/** Flush: PostgreSQL is to send what it has. */
export function sendFlush(server: ServerConnection): void {
  room(server, 5);
  header(Frontend.Flush, 4);
}

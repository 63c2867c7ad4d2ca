/**
 * Writers of the small messages that the pooler itself sends, to clients and to servers. Each returns the whole
 * message, type byte included. Source: PostgreSQL manual, "Message Formats".
 */

import { Backend, Frontend, Named, writeLength } from "./codes.ts";

const encoder = new TextEncoder();

const HEADER_BYTES = 5;

function message(type: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = begun(type, body.length);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** A message whose body is to be written. */
function begun(type: number, bodyLength: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + bodyLength);
  bytes[0] = type;
  writeLength(bytes, 1, 4 + bodyLength);
  return bytes;
}

/** Several messages as one piece of bytes. */
export function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joinAll(parts);
}

/** As `join`, for more of them than a call has room for. */
export function joinAll(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Query (simple protocol). */
export function query(sql: string): Uint8Array<ArrayBuffer> {
  return message(Frontend.Query, encoder.encode(sql + "\0"));
}

/** Parse of a statement without parameter types. */
export function parse(name: string, sql: string): Uint8Array<ArrayBuffer> {
  return message(Frontend.Parse, encoder.encode(`${name}\0${sql}\0\0\0`));
}

/** Bind of a statement without parameters to the unnamed portal. */
export function bind(statement: Uint8Array): Uint8Array<ArrayBuffer> {
  return message(Frontend.Bind, join(Uint8Array.of(0), statement, new Uint8Array(7)));
}

/** Bind of the unnamed statement, which has one parameter, to the unnamed portal: text in and out. */
export function bindText(value: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(10);
  const view = new DataView(head.buffer);
  view.setUint16(4, 1);
  view.setUint32(6, value.length);
  return message(Frontend.Bind, join(head, value, new Uint8Array(2)));
}

/** Describe of the unnamed portal. */
export function describePortal(): Uint8Array<ArrayBuffer> {
  return message(Frontend.Describe, Uint8Array.of(Named.Portal, 0));
}

/** Close of the unnamed statement (`S`) or portal (`P`). */
export function close(kind: "S" | "P"): Uint8Array<ArrayBuffer> {
  return message(Frontend.Close, encoder.encode(kind + "\0"));
}

/** Execute of the unnamed portal, without a limit of rows. */
export function execute(): Uint8Array<ArrayBuffer> {
  return message(Frontend.Execute, new Uint8Array(5));
}

/** Flush. */
export function flush(): Uint8Array<ArrayBuffer> {
  return message(Frontend.Flush, new Uint8Array(0));
}

/** CommandComplete. */
export function commandComplete(tag: string): Uint8Array<ArrayBuffer> {
  return message(Backend.CommandComplete, encoder.encode(tag + "\0"));
}

/** Sync. */
export function sync(): Uint8Array<ArrayBuffer> {
  return message(Frontend.Sync, new Uint8Array(0));
}

/** Terminate. */
export function terminate(): Uint8Array<ArrayBuffer> {
  return message(Frontend.Terminate, new Uint8Array(0));
}

/** PasswordMessage, with its terminator. */
export function passwordMessage(answer: string): Uint8Array<ArrayBuffer> {
  return message(Frontend.Password, encoder.encode(answer + "\0"));
}

/** AuthenticationOk, or another of its kind: `code` is one of `Authentication`. */
export function authentication(code: number, data?: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = begun(Backend.Authentication, 4 + (data?.length ?? 0));
  writeLength(bytes, HEADER_BYTES, code);
  if (data !== undefined) bytes.set(data, HEADER_BYTES + 4);
  return bytes;
}

/** ParameterStatus. */
export function parameterStatus(name: string, value: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  const body = joinAll([encoder.encode(`${name}\0`), bytes, Uint8Array.of(0)]);
  return message(Backend.ParameterStatus, body);
}

/** BackendKeyData. */
export function backendKeyData(processId: number, secret: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = begun(Backend.BackendKeyData, 4 + secret.length);
  writeLength(bytes, HEADER_BYTES, processId);
  bytes.set(secret, HEADER_BYTES + 4);
  return bytes;
}

/** ReadyForQuery with a transaction status. */
export function readyForQuery(status: number): Uint8Array<ArrayBuffer> {
  const bytes = begun(Backend.ReadyForQuery, 1);
  bytes[HEADER_BYTES] = status;
  return bytes;
}

/** NegotiateProtocolVersion: the version that is spoken, whole, and the options we do not know. */
export function negotiateProtocolVersion(
  code: number,
  options: string[],
): Uint8Array<ArrayBuffer> {
  const names = encoder.encode(options.map((name) => name + "\0").join(""));
  const bytes = begun(Backend.NegotiateProtocolVersion, 8 + names.length);
  writeLength(bytes, HEADER_BYTES, code);
  writeLength(bytes, HEADER_BYTES + 4, options.length);
  bytes.set(names, HEADER_BYTES + 8);
  return bytes;
}

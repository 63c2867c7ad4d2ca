/**
 * The first packets of a connection, which have no type byte: StartupMessage, SSLRequest, GSSENCRequest and
 * CancelRequest. Source: PostgreSQL manual, "Message Formats" and "Message Flow", "Start-up".
 */

import { textOfBytes } from "./text_bytes.ts";
import { readLength } from "./codes.ts";
import { readOptions, type StartupSettings } from "./startup_options.ts";

/** Newest minor version of protocol 3 that we speak. 3.2 has longer keys for cancel requests. */
export const NEWEST_MINOR = 2;
/** Longest key of a cancel request, since 3.2. */
export const MOST_SECRET_BYTES = 256;
const LEAST_SECRET_BYTES = 4;
const CANCEL_REQUEST = 80877102;
const SSL_REQUEST = 80877103;
const GSSENC_REQUEST = 80877104;

/** PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`). */
export const MAX_STARTUP_BYTES = 10_000;

/** Fields of a StartupMessage that are no parameters. */
const PROTOCOL_FIELDS = new Set(["user", "database", "replication"]);

const encoder = new TextEncoder();

/** A parsed first packet. */
export type StartupPacket =
  | { kind: "ssl_request" }
  | { kind: "gssenc_request" }
  | { kind: "cancel"; processId: number; secret: Uint8Array }
  | {
    kind: "startup";
    /** Minor version asked for. */
    minor: number;
    parameters: Map<string, string>;
    /** `_pq_.` options: all unknown to us, answered by NegotiateProtocolVersion. */
    options: string[];
  }
  | { kind: "unsupported_version"; major: number; minor: number }
  | { kind: "malformed"; why: string };

/** What a connection is for: `replication` of its StartupMessage. */
export type Replication = "none" | "physical" | "logical";

/**
 * Reads `replication` as PostgreSQL does: `database`, or one of its spellings of a boolean (`parse_bool`), which may be
 * cut short. `undefined`: neither.
 */
export function readReplication(value: string): Replication | undefined {
  if (value === "database") return "logical";
  const word = value.toLowerCase();
  const means = (whole: string, least: number) => word.length >= least && whole.startsWith(word);
  if (word === "1" || means("true", 1) || means("yes", 1) || means("on", 2)) return "physical";
  if (word === "0" || means("false", 1) || means("no", 1) || means("off", 2)) return "none";
  return undefined;
}

/** A version as it is sent. */
export function protocolVersion(code: number): { major: number; minor: number } {
  return { major: code >>> 16, minor: code & 0xffff };
}

/** How version 3.`minor` is sent. */
export function protocolCode(minor: number): number {
  return 3 << 16 | minor;
}

/** Length of the packet at `start`, 0 when fewer than four bytes are there, −1 when it can't be a first packet. */
export function startupLength(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 4) return 0;
  const length = readLength(bytes, start);
  return length < 8 || length > MAX_STARTUP_BYTES ? -1 : length;
}

/** Reads a whole first packet, `bytes[start..end)`. */
export function readStartup(bytes: Uint8Array, start: number, end: number): StartupPacket {
  const code = readLength(bytes, start + 4);
  switch (code) {
    case SSL_REQUEST:
      return { kind: "ssl_request" };
    case GSSENC_REQUEST:
      return { kind: "gssenc_request" };
    case CANCEL_REQUEST:
      if (
        end - start < 12 + LEAST_SECRET_BYTES || end - start > 12 + MOST_SECRET_BYTES
      ) {
        return { kind: "malformed", why: "cancel request of a wrong length" };
      }
      return {
        kind: "cancel",
        processId: readLength(bytes, start + 8) >>> 0,
        secret: bytes.slice(start + 12, end),
      };
    default:
      break;
  }
  const { major, minor } = protocolVersion(code);
  if (major !== 3) return { kind: "unsupported_version", major, minor };
  return readParameters(bytes, start + 8, end, minor);
}

function readParameters(
  bytes: Uint8Array,
  start: number,
  end: number,
  minor: number,
): StartupPacket {
  if (bytes[end - 1] !== 0) {
    return { kind: "malformed", why: "startup packet without a terminator" };
  }
  const parameters = new Map<string, string>();
  const options: string[] = [];
  // Name and value by turns, then the terminator, an empty name; behind the last NUL is nothing.
  const fields = textOfBytes(bytes, start, end).split("\0");
  const last = fields.length - 2;
  let i = 0;
  for (; i < last && fields[i] !== ""; i += 2) {
    const name = fields[i]!;
    if (name.startsWith("_pq_.")) options.push(name);
    else parameters.set(name, fields[i + 1]!);
  }
  if (i < last || i === last && fields[i] !== "") {
    return { kind: "malformed", why: "invalid startup packet layout" };
  }
  if (i > last) {
    return {
      kind: "malformed",
      why: "invalid startup packet layout: expected terminator as last byte",
    };
  }
  return { kind: "startup", minor, parameters, options };
}

/** A StartupMessage of protocol 3 towards a server. */
export function startupMessage(
  parameters: Iterable<[string, string]>,
  minor: number = 0,
): Uint8Array<ArrayBuffer> {
  let text = "";
  for (const [name, value] of parameters) text += `${name}\0${value}\0`;
  const body = encoder.encode(text + "\0");
  const message = new Uint8Array(8 + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length);
  view.setUint32(4, protocolCode(minor));
  message.set(body, 8);
  return message;
}

/** An SSLRequest towards a server. */
export function sslRequest(): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(8);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length);
  view.setUint32(4, SSL_REQUEST);
  return message;
}

/** A CancelRequest towards a server. */
export function cancelRequest(processId: number, secret: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(12 + secret.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length);
  view.setUint32(4, CANCEL_REQUEST);
  view.setUint32(8, processId);
  message.set(secret, 12);
  return message;
}

/** The parameters among the fields of a StartupMessage: what `options` holds comes first. */
export function startupSettings(fields: readonly [string, string][]): StartupSettings {
  const settings: [string, string][] = [];
  for (const [name, value] of fields) {
    if (name !== "options") continue;
    const read = readOptions(value);
    if ("fault" in read) return read;
    settings.push(...read.settings);
  }
  for (const field of fields) if (field[0] !== "options") settings.push(field);
  return { settings };
}

/** The fields that are parameters, word for word. */
export function asSent(parameters: ReadonlyMap<string, string>): [string, string][] {
  return [...parameters].filter(([name]) => !PROTOCOL_FIELDS.has(name));
}

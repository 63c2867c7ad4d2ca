/**
 * The head of an HTTP/1.1 request: bytes in, a request or what is wrong with it out. Strict where RFC 9112 lets a server
 * choose: what two programs could read in two ways is refused, so that no proxy before this one can be made to see other
 * requests than it does.
 */

import { Buffer } from "node:buffer";

/** A request that is understood. */
export interface RequestHead {
  method: string;
  /** Without the query, as it was sent. */
  path: string;
  /** What stands behind `?`; empty without one. */
  query: string;
  headers: Headers;
  /** The connection may serve another request after this one. */
  keepAlive: boolean;
  /** So many bytes of a body follow. */
  bodyBytes: number;
}

/** Why a request is refused: the status that tells so. */
export interface HeadFault {
  status: 400 | 413 | 431 | 501 | 505;
  why: string;
}

/** Longest head, the empty line included. */
export const MOST_HEAD_BYTES = 32 * 1024;
const MOST_FIELDS = 100;
/** No request that is served has a body: what is said to come is read and forgotten. */
const MOST_BODY_BYTES = 64 * 1024;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TARGET = /^\/[!-~]*$/;
/** Characters that no field may have: all controls but the tab. */
// deno-lint-ignore no-control-regex
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;
const DIGITS = /^[0-9]{1,9}$/;

/** Where the head ends, behind its empty line, or −1. */
export function endOfHead(bytes: Uint8Array, end: number, from = 0): number {
  for (let at = Math.max(from, 0); at + 3 < end; at++) {
    if (
      bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10
    ) return at + 4;
  }
  return -1;
}

/** Reads a head that ends with its empty line. */
export function parseHead(bytes: Uint8Array): RequestHead | HeadFault {
  const lines = Buffer.from(bytes.subarray(0, bytes.length - 4)).toString("latin1").split("\r\n");
  const [method = "", target = "", version = "", ...more] = lines[0]!.split(" ");
  if (more.length > 0 || !TOKEN.test(method)) return bad("request line");
  if (!/^HTTP\/[0-9]\.[0-9]$/.test(version)) return bad("request line");
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0") {
    return { status: 505, why: "HTTP/1.1 and HTTP/1.0 are spoken" };
  }
  if (!TARGET.test(target)) return bad("request target");
  if (lines.length - 1 > MOST_FIELDS) return { status: 431, why: "too many header fields" };
  const headers = readFields(lines);
  if (headers === undefined) return bad("header field");
  if (version === "HTTP/1.1" && !headers.has("host")) return bad("Host is missing");
  if (headers.has("transfer-encoding")) return { status: 501, why: "no transfer codings are read" };
  const length = headers.get("content-length") ?? "0";
  if (!DIGITS.test(length)) return bad("Content-Length");
  if (Number(length) > MOST_BODY_BYTES) return { status: 413, why: "the body is too long" };
  const [path, query = ""] = cut(target, "?");
  return {
    method,
    path,
    query,
    headers,
    keepAlive: version === "HTTP/1.1" && !asksToClose(headers),
    bodyBytes: Number(length),
  };
}

/** `undefined` when one of them is none. A field that says how the message goes on must not come twice. */
function readFields(lines: readonly string[]): Headers | undefined {
  const headers = new Headers();
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = line.slice(colon + 1);
    // A blank before the colon, a folded line and a bare CR or LF are all refused by this.
    if (colon < 1 || !TOKEN.test(name) || CONTROL.test(value)) return undefined;
    if ((name === "host" || name === "content-length") && headers.has(name)) return undefined;
    headers.append(name, value.replace(/^[ \t]+|[ \t]+$/g, ""));
  }
  return headers;
}

function asksToClose(headers: Headers): boolean {
  const options = headers.get("connection") ?? "";
  return options.split(",").some((option) => option.trim().toLowerCase() === "close");
}

function cut(text: string, at: string): [string, string?] {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

function bad(what: string): HeadFault {
  return { status: 400, why: `bad request: ${what}` };
}

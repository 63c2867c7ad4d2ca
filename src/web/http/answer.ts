/** What routes are asked and what they answer. */

import type { RequestHead } from "./head.ts";

/** A request, and who has sent it. */
export interface HttpRequest extends Pick<RequestHead, "method" | "path" | "query" | "headers"> {
  /** The other end's address, as it is logged. */
  peer: string;
}

/** An answer that is complete. `Content-Length` and `Connection` are the connection's own. */
export interface Answer {
  status: number;
  headers: Readonly<Record<string, string>>;
  body: Uint8Array<ArrayBuffer>;
}

/** Answers a request; a rejected promise is told as 500. */
export type Handle = (request: HttpRequest) => Promise<Answer>;

const REASON_PHRASES: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

const encoder = new TextEncoder();

/** A short answer for people. */
export function textAnswer(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return {
    status,
    headers: {
      "Content-Type": "text/plain; charset=utf-8",
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      ...headers,
    },
    body: encoder.encode(`${text}\n`),
  };
}

/** The answer's bytes. A HEAD request gets no body, and the length that it would have. */
export function formatAnswer(
  { status, headers, body }: Answer,
  { method, keepAlive }: { method: string; keepAlive: boolean },
): Uint8Array<ArrayBuffer> {
  const lines = [`HTTP/1.1 ${status} ${REASON_PHRASES[status] ?? ""}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  lines.push(`Content-Length: ${body.length}`, `Connection: ${keepAlive ? "keep-alive" : "close"}`);
  const head = encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
  if (method === "HEAD") return head;
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

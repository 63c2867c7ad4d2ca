/**
 * One connection of an HTTP client: requests one after the other, each answered before the next is looked at. Whatever
 * the client does or leaves undone, the connection ends in bounded time and takes bounded memory.
 *
 * ```
 *   ┌─▶ waiting ── first byte ──▶ reading ── head is whole ──▶ answering ── taken by the kernel ─┐
 *   │      │ idleMs                  │ headMs, fault             │ writeMs without progress      │
 *   │      ▼                         ▼                           ▼                               │
 *   │    closed                  told, closed                  closed                            │
 *   └────────────────────────── unless either side wants to close ───────────────────────────────┘
 * ```
 */

import { type Answer, formatAnswer, type Handle, textAnswer } from "./answer.ts";
import { endOfHead, MOST_HEAD_BYTES, parseHead, type RequestHead } from "./head.ts";

/** How long what may take. */
export interface HttpTimes {
  /** From the connection, or the last answer, to the first byte of a request. */
  idleMs: number;
  /** From there to the end of its head and body. */
  headMs: number;
  /** For the client to take something of an answer. */
  writeMs: number;
}

export const HTTP_TIMES: HttpTimes = { idleMs: 30_000, headMs: 10_000, writeMs: 10_000 };

const MOST_REQUESTS = 1000;
const FIRST_BUFFER_BYTES = 2048;
const WRITE_BYTES = 64 * 1024;
/** What a refused client may still send before the connection is reset, and for how long that is waited for. */
const MOST_LEFT_BYTES = 256 * 1024;
const LEFT_MS = 1000;

/** What a connection needs of its server. */
export interface HttpHost {
  readonly handle: Handle;
  readonly times: HttpTimes;
  /** Resolves when one more request may be served. */
  admit(): Promise<void>;
  /** A request was answered, or could not be understood. */
  answered(head: RequestHead | undefined, answer: Answer, peer: string): void;
  /** Ends a connection of whose ports a write waits: closing it would leave that waiting. */
  sever(localPort: number, peerPort: number): void;
  /** The server closes: no further request. */
  readonly closing: boolean;
}

export class HttpConnection {
  /** Since when the client is waited for: its request, or that it takes the answer. `undefined` while that is made. */
  waitsSinceMs: number | undefined = performance.now();
  readonly #conn: Deno.Conn;
  readonly #host: HttpHost;
  readonly #peer: string;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(FIRST_BUFFER_BYTES);
  #filled = 0;
  #timer: number | undefined;
  #closed = false;
  #writing = false;

  constructor(conn: Deno.Conn, host: HttpHost) {
    this.#conn = conn;
    this.#host = host;
    const address = conn.remoteAddr;
    const { hostname, port } = address.transport === "tcp" ? address : { hostname: "?", port: 0 };
    this.#peer = hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
  }

  /** No request is under way. */
  get idle(): boolean {
    return this.waitsSinceMs !== undefined && !this.#writing;
  }

  /** Resolves when the connection is closed; never rejects. */
  async serve(): Promise<void> {
    try {
      for (let served = 1; await this.#serveOne(served); served++);
    } catch {
      // The client is gone, or its time is over: nobody is left to be told.
    } finally {
      this.close();
    }
  }

  /** Ends it at once; what waits for the client is woken. */
  close(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#closed = true;
    if (this.#writing) this.#sever();
    try {
      this.#conn.close();
    } catch {
      // A failed read or write has closed it.
    }
  }

  #sever(): void {
    const { localAddr, remoteAddr } = this.#conn;
    if (localAddr.transport !== "tcp" || remoteAddr.transport !== "tcp") return;
    this.#host.sever(localAddr.port, remoteAddr.port);
  }

  /** Returns whether there may be another request. */
  async #serveOne(served: number): Promise<boolean> {
    const host = this.#host;
    this.waitsSinceMs = performance.now();
    this.#limit(host.times.idleMs);
    if (this.#filled === 0 && !await this.#readMore()) return false;
    this.#limit(host.times.headMs);
    const head = await this.#readHead();
    if (head === undefined) return false;
    if ("status" in head) {
      const answer = textAnswer(head.status, head.why);
      host.answered(undefined, answer, this.#peer);
      await this.#write(formatAnswer(answer, { method: "", keepAlive: false }));
      await this.#letFinish();
      return false;
    }
    if (!await this.#skip(head.bodyBytes)) return false;
    this.waitsSinceMs = undefined;
    clearTimeout(this.#timer);
    await host.admit();
    const answer = await host.handle({ ...head, peer: this.#peer }).catch(() =>
      textAnswer(500, "internal error")
    );
    host.answered(head, answer, this.#peer);
    const keepAlive = head.keepAlive && served < MOST_REQUESTS && !host.closing;
    await this.#write(formatAnswer(answer, { method: head.method, keepAlive }));
    return keepAlive;
  }

  // ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `undefined`: the client has left. */
  async #readHead(): Promise<ReturnType<typeof parseHead> | undefined> {
    let looked = 0;
    for (;;) {
      const end = endOfHead(this.#buffer, this.#filled, looked - 3);
      if (end > MOST_HEAD_BYTES || end < 0 && this.#filled >= MOST_HEAD_BYTES) {
        return { status: 431, why: "the head is too long" };
      }
      if (end >= 0) {
        const head = parseHead(this.#buffer.subarray(0, end));
        this.#drop(end);
        return head;
      }
      looked = this.#filled;
      if (!await this.#readMore()) return undefined;
    }
  }

  async #skip(bytes: number): Promise<boolean> {
    let left = bytes;
    for (;;) {
      const here = Math.min(left, this.#filled);
      this.#drop(here);
      left -= here;
      if (left === 0) return true;
      if (!await this.#readMore()) return false;
    }
  }

  #drop(bytes: number): void {
    this.#buffer.copyWithin(0, bytes, this.#filled);
    this.#filled -= bytes;
  }

  async #readMore(): Promise<boolean> {
    if (this.#filled === this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#buffer.length);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    const n = await this.#conn.read(this.#buffer.subarray(this.#filled));
    if (n === null || this.#closed) return false;
    this.#filled += n;
    return true;
  }

  async #write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.waitsSinceMs = performance.now();
    this.#writing = true;
    try {
      for (let at = 0; at < bytes.length;) {
        this.#limit(this.#host.times.writeMs);
        at += await this.#conn.write(bytes.subarray(at, at + WRITE_BYTES));
      }
    } finally {
      this.#writing = false;
    }
  }

  /** A connection that is closed with bytes unread is reset, and the client might not see why it was refused. */
  async #letFinish(): Promise<void> {
    this.#limit(LEFT_MS);
    await this.#conn.closeWrite();
    const rest = new Uint8Array(FIRST_BUFFER_BYTES);
    for (let left = MOST_LEFT_BYTES; left > 0;) {
      const n = await this.#conn.read(rest);
      if (n === null) return;
      left -= n;
    }
  }

  #limit(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) throw new Error("closed");
    this.#timer = setTimeout(() => this.close(), ms);
  }
}

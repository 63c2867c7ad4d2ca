/**
 * One server connection that listens: keeps PostgreSQL's list of channels as its owner (listener.ts) wants it, by one
 * query of LISTEN and UNLISTEN at a time, and hands every notification to the owner. It runs nothing else.
 */

import type { Reactor } from "../../reactor/reactor.ts";
import type { ByteStream } from "../../reactor/stream.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import { ServerConnection } from "../../server/connection.ts";
import {
  type ServerOwner,
  type ServerSnapshot,
  SilentLink,
  type Traffic,
} from "../../server/link.ts";
import type { ServerState } from "../../server/state.ts";

/** Channels in one query. */
const MOST_AT_ONCE = 500;
/** A role's idle_session_timeout is meant for sessions that are idle because somebody has forgotten them. */
const STAY = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings " +
  "WHERE name = 'idle_session_timeout';";

/** Who has the line. */
export interface LineOwner extends Pick<ServerOwner<ServerConnection>, "reported" | "traffic"> {
  /** Whether anybody listens to the channel. */
  wants(channel: string): boolean;
  /** PostgreSQL has confirmed all that was asked for. */
  caughtUp(line: ListeningLine): void;
  notification(
    line: ListeningLine,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
  ): void;
  lost(line: ListeningLine, reason: Reason, detail: string): void;
  closed(server: ServerConnection, reason: Reason, detail: string): void;
}

/** A line as it travels. */
export interface LineSnapshot {
  server: ServerSnapshot;
  channels: string[];
  adding: string[];
  removing: string[];
}

export class ListeningLine extends SilentLink implements ServerOwner<ServerConnection> {
  readonly server: ServerConnection;
  readonly #owner: LineOwner;
  /** What PostgreSQL has. */
  readonly #channels = new Set<string>();
  /** What is to be sent. */
  readonly #toAdd = new Set<string>();
  readonly #toRemove = new Set<string>();
  /** What was sent and is not confirmed. */
  #adding: string[] = [];
  #removing: string[] = [];
  #first = true;

  constructor(
    owner: LineOwner,
    connection: { reactor: Reactor; stream: ByteStream; state: ServerState } | ServerSnapshotAt,
  ) {
    super();
    this.#owner = owner;
    const { reactor, stream } = connection;
    this.server = "snapshot" in connection
      ? ServerConnection.thaw(reactor, stream, connection.snapshot.server, this)
      : new ServerConnection(reactor, stream, connection.state, this);
    this.server.link = this;
    if ("snapshot" in connection) {
      const { snapshot } = connection;
      this.#first = false;
      for (const channel of snapshot.channels) this.#channels.add(channel);
      this.#adding = snapshot.adding;
      this.#removing = snapshot.removing;
    }
    this.server.listen();
  }

  /** Whether PostgreSQL has confirmed that it listens to this channel. */
  has(channel: string): boolean {
    return this.#channels.has(channel) && !this.#removing.includes(channel);
  }

  get channels(): number {
    return this.#channels.size;
  }

  get #busy(): boolean {
    return this.#adding.length + this.#removing.length > 0;
  }

  /** Somebody listens to the channel, or nobody any more. */
  changed(channel: string): void {
    const has = this.#channels.has(channel);
    this.#toAdd.delete(channel);
    this.#toRemove.delete(channel);
    if (this.#owner.wants(channel) === has) return;
    (has ? this.#toRemove : this.#toAdd).add(channel);
  }

  /** Looks at every channel that it has. */
  review(): void {
    for (const channel of this.#channels) this.changed(channel);
  }

  /** Sends what there is to send. */
  work(): void {
    if (this.#busy) return;
    if (this.#toAdd.size + this.#toRemove.size === 0) return this.#owner.caughtUp(this);
    let sql = this.#first ? STAY : "";
    this.#first = false;
    this.#adding = first(this.#toAdd);
    this.#removing = first(this.#toRemove);
    for (const channel of this.#adding) sql += `LISTEN ${quoted(channel)};`;
    for (const channel of this.#removing) sql += `UNLISTEN ${quoted(channel)};`;
    this.server.runOwn(sql);
  }

  /** Runs a query whose end nobody waits for. */
  notify(channel: string, payload: string): void {
    this.server.runOwn(`NOTIFY ${quoted(channel)}, '${payload}'`);
  }

  override ownQueryDone(error: ReceivedError | undefined): void {
    if (error !== undefined) {
      this.server.close(REASONS.serverUnusable, `${error.code}: ${error.message}`);
      return;
    }
    const settled = [...this.#adding, ...this.#removing];
    for (const channel of this.#adding) this.#channels.add(channel);
    for (const channel of this.#removing) this.#channels.delete(channel);
    this.#adding = [];
    this.#removing = [];
    // Wishes may have changed meanwhile.
    for (const channel of settled) this.changed(channel);
    this.work();
  }

  override notified(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.#owner.notification(this, bytes, start, end);
  }

  override serverLost(reason: Reason, detail: string): void {
    this.#owner.lost(this, reason, detail);
  }

  /** Ends the connection; the owner has let go of it. */
  close(reason: Reason): void {
    this.server.link = undefined;
    this.server.close(reason, "");
  }

  /** Leaves the event loop, as data. */
  freeze(): LineSnapshot {
    return {
      server: this.server.freeze(),
      channels: [...this.#channels],
      adding: this.#adding,
      removing: this.#removing,
    };
  }

  // ── the owner of its connection ─────────────────────────────────────────────────────────────────────────────────

  get reported(): Set<string> {
    return this.#owner.reported;
  }

  get traffic(): Traffic {
    return this.#owner.traffic;
  }

  serverClosed(server: ServerConnection, reason: Reason, detail: string): void {
    this.#owner.closed(server, reason, detail);
  }

  schemaChanged(): void {}
  serverSettled(): void {}
}

/** A line from another process. */
export interface ServerSnapshotAt {
  reactor: Reactor;
  stream: ByteStream;
  snapshot: LineSnapshot;
}

/** Takes some channels out of what waits. */
function first(waiting: Set<string>): string[] {
  const some: string[] = [];
  for (const channel of waiting) {
    if (some.length === MOST_AT_ONCE) break;
    some.push(channel);
    waiting.delete(channel);
  }
  return some;
}

/** A channel as SQL names it. */
export function quoted(channel: string): string {
  return `"${channel.replaceAll('"', '""')}"`;
}

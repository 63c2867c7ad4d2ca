/**
 * The listener of a pool: one server connection that listens to what any client of the pool in transaction mode listens
 * to, and the list of who gets what. It is no part of `pool_size`; it is made (opening.ts) for the first LISTEN and closed
 * some time after the last client has left.
 *
 * A notification reaches each client that listens exactly once, in PostgreSQL's order, or the client is told that this
 * can't be: what comes by two connections is told apart by a mark, a notification of the pooler's own, which has the same
 * place in the order of both. So a client changes over from its server connection to the listener (client/listen/listening.ts),
 * and so the listener itself is replaced after RECONNECT or new settings:
 *
 * ```
 *   next line logs in ─▶ listens to all ─▶ sends the mark ─▶ mark read by both: old one is closed
 *                                              old line counts up to its mark, the next one from its mark on
 * ```
 */

import type { PoolSettings } from "../../config/settings.ts";
import type { Fd } from "../../os/fd.ts";
import type { Timer } from "../../reactor/timers.ts";
import { streamOf } from "../../server/stream_of.ts";
import { notificationChannel, notificationPayload } from "../../protocol/notification.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import type { LoginSecrets } from "../../server/authentication.ts";
import type { LoggedIn } from "../../server/login.ts";
import { Audience } from "./audience.ts";
import type { PoolEnvironment } from "../environment.ts";
import { type ExtendedPool, ExtraConnections } from "../extra_connections.ts";
import { Hearing, LineSwitch } from "./line_switch.ts";
import { type ListeningClient, MARK_CHANNEL } from "./listening_client.ts";
import { type LineOwner, type LineSnapshot, ListeningLine } from "./line.ts";
import { Opening, type OpeningListener } from "./opening.ts";

const TARGET = "pg_doorman::server";

/** How long the connection stays when nobody listens any more. */
const LINGER_MS = 5000;
/** The old connection may be of another PostgreSQL: its mark will never come then. */
const SWITCH_MS = 5000;

/** A listener as it travels. */
export interface ListenerSnapshot {
  line: LineSnapshot;
  /** Ids of the clients that will follow. */
  clients: number[];
  /** It has to be replaced. */
  stale: boolean;
  /** What comes before this mark has been heard by another connection. */
  from: string | undefined;
}

export class Listener extends ExtraConnections implements LineOwner, OpeningListener {
  readonly #opening: Opening;
  readonly #audience = new Audience<ListeningClient>((channel) => {
    this.#line?.changed(channel);
    this.#switch?.line.changed(channel);
  });
  /** Those that were not told that PostgreSQL listens. */
  readonly #waiting = new Set<ListeningClient>();
  readonly #marks = new Map<string, ListeningClient>();
  #line: ListeningLine | undefined;
  #switch: LineSwitch | undefined;
  #from: string | undefined;
  #stale = false;
  #lingerTimer: Timer | undefined;
  /** Moved to another process, or about to come from one. */
  #away = false;
  #expecting = false;
  /** Clients without which nothing is read of a line that came from another process. */
  readonly #awaited = new Set<number>();
  #closed = false;

  constructor(pool: ExtendedPool, environment: PoolEnvironment, secrets: LoginSecrets) {
    super(pool, environment, secrets);
    const { reactor, log } = environment;
    this.#opening = new Opening(this, { reactor, log, share: this.share });
  }

  get size(): number {
    return (this.#line === undefined ? 0 : 1) + (this.#switch === undefined ? 0 : 1) +
      (this.#opening.underWay ? 1 : 0);
  }

  /** There may be a place now, or the pool is not paused any more. */
  grow(): void {
    this.work();
  }

  // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Connections that listen: one, or none, or two while it is replaced. */
  *servers(): Iterable<ServerConnection> {
    if (this.#line !== undefined) yield this.#line.server;
    if (this.#switch !== undefined) yield this.#switch.line.server;
  }

  /** `client` wants these channels, too: it is told when PostgreSQL listens, and when its mark has come by. */
  listen(client: ListeningClient, channels: readonly string[], mark: string): void {
    this.#waiting.add(client);
    this.#marks.set(mark, client);
    this.#audience.add(client, channels);
    this.work();
  }

  /** `client` does not want these any more. */
  unlisten(client: ListeningClient, channels: readonly string[]): void {
    this.#audience.remove(client, channels);
    this.#workLater();
  }

  /** The mark will not come, or has come. */
  forgetMark(mark: string): void {
    this.#marks.delete(mark);
  }

  /** `client` keeps its server instead. */
  abandon(client: ListeningClient, channels: readonly string[], mark: string): void {
    this.forgetMark(mark);
    this.#waiting.delete(client);
    this.unlisten(client, channels);
  }

  /** The client is gone. */
  leave(client: ListeningClient, mark: string | undefined): void {
    if (mark !== undefined) this.forgetMark(mark);
    this.#waiting.delete(client);
    this.#awaited.delete(client.id);
    this.unlisten(client, this.#audience.channelsOf(client));
  }

  wants(channel: string): boolean {
    return channel === MARK_CHANNEL || this.#audience.has(channel);
  }

  // ── the connection ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Many clients may leave in one turn. */
  #workLater(): void {
    this.environment.reactor.atEndOfTurn(() => this.work());
  }

  /** Does what is to be done now: asks PostgreSQL for channels, opens a connection. */
  work(): void {
    if (this.#away || this.#expecting || this.#closed) return;
    this.#line?.work();
    this.#switch?.line.work();
    const missing = this.#line === undefined ? this.#audience.size > 0 : this.#stale;
    if (missing && this.#switch === undefined && !this.#opening.underWay) this.#opening.open();
  }

  get replacing(): boolean {
    return this.#line !== undefined;
  }

  get paused(): boolean {
    return this.pool.paused;
  }

  unavailable(detail: string): void {
    for (const client of [...this.#waiting]) client.unavailable(detail);
  }

  opened(login: LoggedIn, settings: PoolSettings): void {
    const { reactor, log } = this.environment;
    const state = this.stateOf(login, settings);
    const line = new ListeningLine(this, { reactor, stream: login.stream, state });
    log.info(
      TARGET,
      `[${this.name}] new listening connection pid=${state.pid} to ${state.addressText}, ` +
        `clients=${this.#audience.size}, channels=${this.#audience.channels.length}`,
    );
    line.changed(MARK_CHANNEL);
    for (const channel of this.#audience.channels) line.changed(channel);
    if (this.#line === undefined) {
      this.#line = line;
      this.#stale = false;
    } else {
      const overdue = () => this.#lose("57P01", "it was replaced");
      this.#switch = new LineSwitch(line, reactor.at(reactor.now + SWITCH_MS, overdue));
    }
    this.share.count();
    line.work();
  }

  caughtUp(line: ListeningLine): void {
    const under = this.#switch;
    if (under !== undefined) {
      // Nobody becomes ready until it is over: the next line may not have the channel yet.
      if (line === under.line && under.mark === "") {
        under.mark = crypto.randomUUID();
        line.notify(MARK_CHANNEL, under.mark);
      }
      return;
    }
    if (line !== this.#line) return;
    for (const client of [...this.#waiting]) {
      if (!this.#isServed(client, line)) continue;
      this.#waiting.delete(client);
      client.ready();
    }
    if (this.#audience.size === 0) this.#linger();
    else this.#stay();
  }

  #isServed(client: ListeningClient, line: ListeningLine): boolean {
    return line.has(MARK_CHANNEL) &&
      this.#audience.channelsOf(client).every((channel) => line.has(channel));
  }

  #linger(): void {
    const { reactor } = this.environment;
    this.#lingerTimer ??= reactor.at(reactor.now + LINGER_MS, () => {
      this.#lingerTimer = undefined;
      if (this.#audience.size > 0) return;
      this.#endSwitch();
      this.#closeLine(REASONS.listenerIdle);
    });
  }

  #stay(): void {
    this.#lingerTimer?.cancel();
    this.#lingerTimer = undefined;
  }

  #closeLine(reason: Reason): void {
    const line = this.#line;
    this.#line = undefined;
    line?.close(reason);
  }

  closed(server: ServerConnection, reason: Reason, detail: string): void {
    this.share.count();
    this.logClosed("listening", server, reason, detail);
  }

  lost(line: ListeningLine, _reason: Reason, detail: string): void {
    if (line === this.#switch?.line) {
      // What it had alone is lost, too, if the old one has passed the mark.
      if (this.#switch.byOld) return this.#lose("08006", detail);
      this.#endSwitch();
      this.share.count();
      this.#opening.retryLater();
      return;
    }
    if (line !== this.#line) return;
    this.#line = undefined;
    this.#lose(shutdownCode(detail) ?? "08006", detail);
  }

  /** Notifications may be missing: whoever relies on them is told. */
  #lose(code: string, detail: string): void {
    this.#stay();
    this.#opening.stopRetrying();
    this.#endSwitch();
    this.#closeLine(REASONS.listenerReplaced);
    this.share.count();
    const { log } = this.environment;
    const count = this.#audience.size;
    if (count > 0) {
      log.warn(
        TARGET,
        `[${this.name}] the listening connection is lost: ${count} clients that listen are told`,
      );
    }
    for (const client of this.#audience.clients) client.lost(code, detail);
    this.#workLater();
  }

  // ── notifications ───────────────────────────────────────────────────────────────────────────────────────────────

  notification(
    line: ListeningLine,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
  ): void {
    const channel = notificationChannel(bytes, start, end);
    const mark = channel === MARK_CHANNEL ? notificationPayload(bytes, start, end) : "";
    const under = this.#switch;
    if (under !== undefined) {
      const heard = under.hear(line, mark, bytes, start, end);
      if (heard === Hearing.Over) this.#finishSwitch(under);
      else if (heard === Hearing.TooMuch) this.#lose("08006", "it was replaced");
      if (heard !== Hearing.Pass) return;
    }
    if (this.#from !== undefined) {
      if (mark === this.#from) this.#from = undefined;
      return;
    }
    this.#fanOut(channel, mark, bytes, start, end);
  }

  #fanOut(
    channel: string,
    mark: string,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
  ): void {
    if (channel === MARK_CHANNEL) {
      this.#marks.get(mark)?.markRead();
      return;
    }
    if (!this.#audience.has(channel)) return;
    const message = bytes.slice(start, end);
    for (const client of this.#audience.of(channel)) client.notify(channel, message);
  }

  #finishSwitch(under: LineSwitch): void {
    under.stop();
    this.#switch = undefined;
    this.#closeLine(REASONS.listenerReplaced);
    this.#line = under.line;
    this.#stale = false;
    for (const message of under.held) {
      const channel = notificationChannel(message, 0, message.length);
      const mark = notificationPayload(message, 0, message.length);
      this.#fanOut(channel, mark, message, 0, message.length);
    }
    this.#workLater();
  }

  /** Gives the next line up. */
  #endSwitch(): void {
    const under = this.#switch;
    if (under === undefined) return;
    this.#switch = undefined;
    under.stop();
    under.line.close(REASONS.listenerReplaced);
  }

  // ── operator ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** RECONNECT, or another login: another connection takes its place, and nobody notices. */
  replace(): void {
    this.#opening.reset();
    if (this.#audience.size === 0) {
      this.#stay();
      this.#endSwitch();
      this.#closeLine(REASONS.listenerReplaced);
    }
    if (this.#line === undefined) return this.#workLater();
    this.#stale = true;
    // One that has passed the mark is as good as there.
    if (this.#switch?.byOld === false) this.#endSwitch();
    this.#workLater();
  }

  /** The clients have been sent home. */
  kill(): void {
    this.#opening.giveUpLogin();
    this.#stay();
    this.#endSwitch();
    this.#closeLine(REASONS.adminShutdown);
  }

  /** The pool ends; its last client has left. */
  close(): void {
    this.#closed = true;
    this.#opening.stop();
    this.#stay();
    this.#endSwitch();
    this.#closeLine(REASONS.poolClosed);
    this.share.end();
  }

  // ── to another process and from it ──────────────────────────────────────────────────────────────────────────────

  /** Gives up; its connection leaves the event loop, as data, if there is one. */
  freeze(): { fd: Fd; snapshot: ListenerSnapshot } | undefined {
    this.#away = true;
    this.#stay();
    this.#opening.stop();
    const under = this.#switch;
    if (under?.byOld) {
      // The old line has nothing to say any more; the next one has all behind the mark, and nothing of it was read.
      this.#from = under.mark;
      under.stop();
      this.#switch = undefined;
      this.#closeLine(REASONS.listenerReplaced);
      this.#line = under.line;
      this.#stale = false;
    }
    this.#endSwitch();
    const line = this.#line;
    if (line === undefined) return undefined;
    const snapshot = {
      line: line.freeze(),
      clients: this.#audience.clients.map(({ id }) => id),
      stale: this.#stale,
      from: this.#from,
    };
    return { fd: line.server.stream.fd, snapshot };
  }

  /** Comes back after a `freeze` that led nowhere. */
  unfreeze(): void {
    this.#line!.server.unfreeze();
  }

  /** The connection lives on elsewhere. */
  forget(): void {
    const line = this.#line!;
    this.#line = undefined;
    line.server.forget();
    this.share.count();
  }

  /** The other process is gone: without the connection, if it had it already. */
  goOn(): void {
    if (!this.#away) return;
    this.#away = false;
    if (this.#line === undefined) this.#loseAll();
    this.work();
  }

  /** It may come from another process: until then none is made. */
  expect(): void {
    this.#expecting = true;
  }

  /** A connection from another process. Nothing is read of it before its clients are here. */
  thaw(fd: Fd, snapshot: ListenerSnapshot): void {
    const { reactor } = this.environment;
    this.#line = new ListeningLine(this, {
      reactor,
      stream: streamOf(fd, snapshot.line.server.tls),
      snapshot: snapshot.line,
    });
    this.share.count();
    this.#stale = snapshot.stale;
    this.#from = snapshot.from;
    for (const id of snapshot.clients) this.#awaited.add(id);
    for (const { id } of this.#audience.clients) this.#awaited.delete(id);
    for (const channel of this.#audience.channels) this.#line.changed(channel);
    this.#line.server.pauseReading();
    this.#readIfComplete();
  }

  /** A client from another process. `live`: it relies on the listener already. */
  arrive(
    client: ListeningClient,
    has: { channels: readonly string[]; mark: string | undefined; ready: boolean; live: boolean },
  ): void {
    if (!has.ready) this.#waiting.add(client);
    if (has.mark !== undefined) this.#marks.set(has.mark, client);
    this.#audience.add(client, has.channels);
    this.#awaited.delete(client.id);
    if (!this.#expecting && this.#line === undefined && has.live) {
      client.lost("08006", "it was lost on its way to another process");
      return;
    }
    this.#readIfComplete();
  }

  #readIfComplete(): void {
    if (this.#line === undefined || this.#awaited.size > 0) return;
    this.#expecting = false;
    this.#line.review();
    this.#line.server.resumeReading();
    this.#workLater();
  }

  /** Nothing more will come. */
  expectNothing(): void {
    this.#awaited.clear();
    if (this.#line !== undefined) return this.#readIfComplete();
    this.#expecting = false;
    this.#loseAll();
    this.#workLater();
  }

  #loseAll(): void {
    for (const client of this.#audience.clients) {
      client.lost("08006", "it was lost on its way to another process");
    }
  }
}

/** The SQLSTATE of a server that shuts down, of `FATAL 57P01: …`. */
function shutdownCode(detail: string): string | undefined {
  const at = detail.indexOf(" ") + 1;
  const code = detail.slice(at, at + 5);
  const shutdown = code.startsWith("57P0") && code[4] >= "0" && code[4] <= "9";
  return at > 0 && shutdown && detail[at + 5] === ":" ? code : undefined;
}

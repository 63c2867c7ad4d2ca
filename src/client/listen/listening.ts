/**
 * A client that listens, in transaction mode. LISTEN runs on whatever server the client has, so that PostgreSQL answers
 * it as ever; when its transaction has ended, PostgreSQL is asked what that server listens to (pinning/leftovers.ts), and the
 * pool's listener (pool/listen/listener.ts) takes it over:
 *
 * ```
 *   server listens ──listener listens, too──▶ the server sends the mark ──mark read by both──▶ listener alone
 *                 (1)                                                  (2)                        (3)
 * ```
 * 1. Up to the mark the client has what comes by its server; what the listener hears of these channels is not its yet.
 * 2. Behind the mark the client has what comes by the listener. Its place among the notifications is the same for both,
 *    so nothing is lost and nothing doubled.
 * 3. UNLISTEN * clears the server, and it goes back to its pool.
 *
 * If there is no listener to be had, the client keeps its server (`pinned`). Its UNLISTEN finds a server that does not
 * listen: the channels are taken from its text, and what PostgreSQL confirms holds when the transaction has ended.
 * When a client may have its notifications is in delivery.ts.
 */

import type { ReceivedError } from "../../protocol/error_response.ts";
import { notificationChannel, notificationPayload } from "../../protocol/notification.ts";
import { type ListeningClient, MARK_CHANNEL } from "../../pool/listen/listening_client.ts";
import { quoted } from "../../pool/listen/line.ts";
import { REASONS } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { Dirty } from "../../server/state.ts";
import type { ClientEnd, ClientOutput, ClientView } from "../parts.ts";
import type { Listens } from "../state.ts";
import { flushNotifications, forgetWaiting, holds, mayHave, sendWaiting } from "./delivery.ts";

/** The part of a session that this file sees. */
export interface ListeningSession extends ClientView, ClientOutput, ClientEnd {
  readonly frozen: boolean;
  listening: Listening | undefined;
  releaseIfIdle(): void;
  /** Of the reasons `about` (`Dirty`) to keep its server, these hold now. */
  pin(about: number, pinned: number): void;
}

const TARGET = "pg_doorman::client";

/** What waits for one client. */
const MOST_WAITING_BYTES = 1024 * 1024;
/** Of one client; one that has more keeps its server. */
const MOST_CHANNELS = 1000;
/** Stands in a text that was no UTF-8. */
const REPLACEMENT = "\ufffd";

/** What the pool's listener knows of a session. */
export class Listening implements ListeningClient {
  readonly #session: ListeningSession;

  constructor(session: ListeningSession) {
    this.#session = session;
  }

  get id(): number {
    return this.#session.state.id;
  }

  ready(): void {
    const moving = this.#session.state.listens?.moving;
    if (moving === undefined) return;
    moving.ready = true;
    this.#session.releaseIfIdle();
  }

  markRead(): void {
    const { listens } = this.#session.state;
    if (listens?.moving === undefined) return;
    listens.moving.byListener = true;
    if (!listens.moving.byServer) return;
    finishMove(this.#session, listens);
    flushNotifications(this.#session);
    this.#session.releaseIfIdle();
  }

  notify(channel: string, message: Uint8Array): void {
    const { listens } = this.#session.state;
    if (listens === undefined) return;
    const { moving } = listens;
    const own = listens.channels.includes(channel) ||
      moving !== undefined && moving.byListener && moving.channels.includes(channel);
    if (!own) return;
    if (listens.waiting.length === 0 && mayHave(this.#session, listens)) {
      this.#session.write(message);
      return;
    }
    listens.waiting.push(message);
    listens.waitingBytes += message.length;
    if (listens.waitingBytes <= MOST_WAITING_BYTES) return;
    forgetWaiting(listens);
    this.#session.context.log.warn(
      TARGET,
      `${this.#session.name} more than ${MOST_WAITING_BYTES} bytes of notifications wait for it: closed`,
    );
    this.#session.fail("FATAL", REASONS.tooManyNotifications, String(MOST_WAITING_BYTES), "");
  }

  lost(code: string, detail: string): void {
    const { listens } = this.#session.state;
    if (listens === undefined) return;
    if (listens.channels.length > 0 || listens.moving?.byServer === true) {
      this.#session.fail("FATAL", REASONS.listenerLost, detail, "", code);
    } else this.unavailable(detail);
  }

  /** What its server listens to stays there. */
  unavailable(detail: string): void {
    const session = this.#session;
    const { listens } = session.state;
    const moving = listens?.moving;
    if (listens === undefined || moving === undefined) return;
    listens.moving = undefined;
    session.pool!.listener.abandon(this, moving.channels, moving.mark);
    session.context.log.debug(TARGET, `${session.name} no listener for it: ${detail}`);
    session.pin(Dirty.Listen, Dirty.Listen);
    session.releaseIfIdle();
  }
}

function newListens(): Listens {
  return {
    channels: [],
    moving: undefined,
    unlistened: [],
    gone: [],
    bound: [],
    waiting: [],
    waitingBytes: 0,
  };
}

// ── LISTEN ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** LISTEN went through. From here on its UNLISTENs count, though the listener does not know of it yet. */
export function noteListen({ state, pool }: ClientView): void {
  if (state.keepsServer || !pool!.settings.cleanup_server_connections) return;
  state.listens ??= newListens();
}

/** Its server listens to these when its transaction has ended; returns why it has to keep it (`Dirty`), or 0. */
export function settleChannels(
  session: ListeningSession,
  server: ServerConnection,
  found: readonly string[],
): number {
  const { state } = session;
  if (state.keepsServer) return 0;
  const channels = found.filter((channel) => channel !== MARK_CHANNEL);
  if (state.listens === undefined && channels.length === 0) return 0;
  const listens = state.listens ??= newListens();
  endUnlisten(session, listens, channels);
  if (found.length > 0) server.state.dirty |= Dirty.Unlisten;
  const more = channels.filter((channel) => !listens.channels.includes(channel));
  if (more.length === 0) return 0;
  if (
    listens.channels.length + more.length > MOST_CHANNELS ||
    // The listener has them in one encoding for all.
    state.parameters.values.get("client_encoding") !== "UTF8" ||
    more.some((channel) => channel.includes(REPLACEMENT))
  ) return Dirty.Listen;
  const mark = crypto.randomUUID();
  listens.moving = {
    channels: more,
    mark,
    ready: false,
    sent: false,
    byServer: false,
    byListener: false,
  };
  // It may be told at once, and what it does then needs the answer to be settled.
  session.context.reactor.atEndOfTurn(() => {
    if (listens.moving?.mark !== mark || session.pool === undefined || session.frozen) return;
    session.pool.listener.listen(listening(session), more, mark);
  });
  return 0;
}

function listening(session: ListeningSession): Listening {
  return session.listening ??= new Listening(session);
}

/** Whether the session keeps its server until the listener has taken over. Sends the mark when it is time. */
export function isMoving(session: ListeningSession, server: ServerConnection): boolean {
  const moving = session.state.listens?.moving;
  if (moving === undefined) return false;
  if (moving.ready && !moving.sent) {
    moving.sent = true;
    const channel = quoted(MARK_CHANNEL);
    server.askOwn(`LISTEN ${channel}; NOTIFY ${channel}, '${moving.mark}'`, Dirty.Unlisten);
  }
  return true;
}

/** The query that sends the mark is through. PostgreSQL delivers it before its ReadyForQuery. */
export function settleMark(
  session: ListeningSession,
  server: ServerConnection,
  error: ReceivedError | undefined,
): void {
  server.state.asked = 0;
  server.state.dirty |= Dirty.Unlisten;
  const moving = session.state.listens?.moving;
  if (moving !== undefined && !moving.byServer) {
    const why = error === undefined ? "its mark did not come" : `${error.code}: ${error.message}`;
    listening(session).unavailable(why);
  }
}

function finishMove(session: ListeningSession, listens: Listens): void {
  const { channels, mark } = listens.moving!;
  listens.moving = undefined;
  for (const channel of channels) {
    if (!listens.channels.includes(channel)) listens.channels.push(channel);
  }
  session.pool!.listener.forgetMark(mark);
  const server = session.server;
  if (server !== undefined) server.state.dirty |= Dirty.Unlisten;
}

/** A notification by the client's own server. */
export function notifiedByServer(
  session: ListeningSession,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { listens } = session.state;
  if (listens !== undefined) {
    const channel = notificationChannel(bytes, start, end);
    const { moving } = listens;
    if (channel === MARK_CHANNEL) {
      if (moving?.mark !== notificationPayload(bytes, start, end)) return;
      moving.byServer = true;
      if (moving.byListener) finishMove(session, listens);
      return;
    }
    // It comes, or came, by the listener.
    if (listens.channels.includes(channel)) return;
    if (moving?.byServer === true && moving.channels.includes(channel)) return;
  }
  session.deliver(bytes, start, end);
}

/** ReadyForQuery I. */
export function transactionEnded(session: ListeningSession, listens: Listens): void {
  if (listens.unlistened.length > 0) {
    listens.gone.push(...listens.unlistened);
    listens.unlistened.length = 0;
  }
  if (listens.gone.length > 0) {
    const server = session.server;
    // Behind an UNLISTEN there may have been another LISTEN: the question tells.
    const asked = server !== undefined && !session.state.keepsServer &&
      session.pool!.settings.cleanup_server_connections &&
      (server.state.dirty & (Dirty.Listen | Dirty.Any)) !== 0;
    if (!asked) endUnlisten(session, listens, []);
  }
  if (listens.waiting.length > 0 && !holds(listens)) sendWaiting(session, listens);
}

/** The transactions have ended; `kept` its server listens to. */
function endUnlisten(session: ListeningSession, listens: Listens, kept: readonly string[]): void {
  const { gone } = listens;
  if (gone.length === 0) return;
  listens.gone = [];
  const all = gone.includes("*");
  const goes = (channel: string) => (all || gone.includes(channel)) && !kept.includes(channel);
  const leaving = listens.channels.filter(goes);
  listens.channels = listens.channels.filter((channel) => !goes(channel));
  const { moving } = listens;
  if (moving !== undefined) {
    leaving.push(...moving.channels.filter(goes));
    moving.channels = moving.channels.filter((channel) => !goes(channel));
    if (moving.channels.length === 0 && !moving.sent) {
      // Nothing is left to be taken over.
      listens.moving = undefined;
      session.pool!.listener.abandon(listening(session), leaving, moving.mark);
      if (session.server !== undefined) session.server.state.dirty |= Dirty.Unlisten;
    }
  }
  if (leaving.length > 0 && session.listening !== undefined) {
    session.pool!.listener.unlisten(session.listening, leaving);
  }
}

// ── the session comes and goes ────────────────────────────────────────────────────────────────────────────────────

/** The session was thawed, with all that it had. */
export function resumeListening(session: ListeningSession): void {
  const { listens } = session.state;
  if (listens === undefined) return;
  listens.waiting = listens.waiting.map((message) => message.slice());
  const { channels, moving } = listens;
  if (channels.length === 0 && moving === undefined) return;
  session.pool!.listener.arrive(listening(session), {
    channels: moving === undefined ? channels : [...channels, ...moving.channels],
    mark: moving?.byListener === false ? moving.mark : undefined,
    ready: moving === undefined || moving.ready,
    live: channels.length > 0 || moving?.byServer === true,
  });
}

/** It was frozen, and stays after all. */
export function listenOn(session: ListeningSession): void {
  const moving = session.state.listens?.moving;
  if (moving === undefined || moving.byListener) return;
  session.pool!.listener.listen(listening(session), moving.channels, moving.mark);
}

/** The session ends, or lives on elsewhere. */
export function stopListening(session: ListeningSession): void {
  if (session.listening === undefined) return;
  session.pool?.listener.leave(session.listening, session.state.listens?.moving?.mark);
  session.listening = undefined;
}

/**
 * A session, its server and its pool as plain data, for tests of parts that see little of them: no sockets, no events.
 * What a part has them do is noted in words.
 */

import type { ClientContext } from "../client/context.ts";
import type { Listening } from "../client/listen/listening.ts";
import type { ClientEnd, ClientOutput, ClientTimes, ClientView } from "../client/parts.ts";
import { newSessionState, type SessionState, Stage } from "../client/state.ts";
import type { PoolSettings } from "../config/settings.ts";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import type { Pool } from "../pool/pool.ts";
import { OwedReplies } from "../protocol/owed_replies.ts";
import { messagesIn } from "../protocol/testing/wire.ts";
import type { Reason } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { newServerState, ServerStage, type ServerState } from "../server/state.ts";
import { Counters } from "../stats/counters.ts";
import { FakeReactor } from "./fake_reactor.ts";
import { poolSettings } from "./settings.ts";

/** A server connection that sends nothing. */
export interface PlainServer {
  state: ServerState;
  owed: OwedReplies;
  congested: boolean;
  link: unknown;
}

/** One that a client has, or could have. */
export class PlainSession implements ClientView, ClientOutput, ClientEnd, ClientTimes {
  /** What parts have had done, in their order. */
  readonly done: string[] = [];
  readonly reactor: FakeReactor = new FakeReactor();
  readonly context: ClientContext;
  readonly state: SessionState = newSessionState(1, 1000);
  readonly name = "[me@db #c1]";
  pool: Pool | undefined;
  server: ServerConnection | undefined = undefined;
  /** The pool's, whether the session has it or not. */
  readonly plain: PlainServer;
  listening: Listening | undefined = undefined;
  frozen = false;
  backlogged = false;
  midMessage = false;
  rewrites = false;
  mayRewrite = false;
  waitStartMs = 0;
  queryStartMs = 0;
  xactStartMs = 0;
  requestMs = 0;
  readyMs = 0;
  quietMs: number = -Infinity;
  timeoutCancelMs: number = -Infinity;

  constructor(change: Partial<PoolSettings> = {}) {
    const note = (what: string) => this.done.push(what);
    this.context = {
      reactor: this.reactor,
      log: createRecordLog({ filter: levelFilter("error"), emit: () => {}, callSites: "error" }),
      general: { max_client_prepared_memory: 0, max_prepared_memory: 0 },
    } as unknown as ClientContext;
    this.plain = {
      state: newServerState(2, 1000),
      owed: new OwedReplies(),
      congested: false,
      link: undefined,
      askOwn: (sql: string) => note(`ask ${sql}`),
      runOwn: (sql: string) => note(`run ${sql}`),
      pauseReading: () => note("pause"),
      resumeReading: () => note("resume"),
      send: () => note("send"),
      close: (_: Reason, why: string) => note(`close server: ${why}`),
    } as PlainServer;
    this.plain.state.stage = ServerStage.Linked;
    this.plain.state.status = 0x49;
    const listener = {
      listen: (_: unknown, channels: string[]) => note(`listen ${channels}`),
      unlisten: (_: unknown, channels: string[]) => note(`unlisten ${channels}`),
      abandon: (_: unknown, channels: string[]) => note(`abandon ${channels}`),
      forgetMark: () => note("forget mark"),
      leave: () => note("leave listener"),
    };
    this.pool = {
      settings: poolSettings(change),
      counters: new Counters(),
      reported: new Set(["application_name"]),
      managed: new Set(),
      defaults: this.state.parameters,
      listener,
      cancel: () => note("cancel"),
      checkIn: () => note("check in"),
    } as unknown as Pool;
  }

  /** The session has its server. */
  linked(): this {
    this.server = this.plain as unknown as ServerConnection;
    this.state.stage = Stage.Linked;
    return this;
  }

  write(bytes: Uint8Array): void {
    for (const { type, body } of messagesIn(bytes)) {
      const text = new TextDecoder().decode(body).replaceAll("\0", " ").trim();
      this.done.push(`write ${type} ${text}`.trim());
    }
  }

  deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.done.push(`deliver ${String.fromCharCode(bytes[start]!)} of ${end - start}`);
  }

  fail(severity: "FATAL" | "ERROR", reason: Reason, first: string): void {
    this.done.push(`${severity} ${reason.code} ${first}`.trim());
  }

  say(): void {
    this.done.push("say");
  }

  close(): void {
    this.done.push("close");
  }

  releaseIfIdle(): void {
    this.done.push("release if idle");
  }

  pin(about: number, pinned: number): void {
    this.done.push(`pin ${pinned} of ${about}`);
  }

  /** What was done since the last call. */
  fetch(): string[] {
    return this.done.splice(0);
  }
}

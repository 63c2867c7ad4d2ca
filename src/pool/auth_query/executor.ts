/**
 * Runs the query of an auth_query: a connection of a small pool of its own for each lookup, which waits in that pool's
 * queue. The pool connects, by the TLS of the others, and comes back by itself.
 *
 * What must hold: of what a client has sent before its login nothing but its user's name reaches the connection, and
 * that as the value of a parameter (extended protocol). An answer has a deadline and a bound.
 */

import type { Looked } from "../../auth/lookup_cache.ts";
import type { PoolSettings } from "../../config/settings.ts";
import { TransactionStatus } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { Owed, UNNAMED } from "../../protocol/owed_replies.ts";
import { bytesOfText } from "../../protocol/text_bytes.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Timer } from "../../reactor/timers.ts";
import { type Reason, REASONS, reasonText } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { SilentLink } from "../../server/link.ts";
import type { LoginFailure } from "../../server/login.ts";
import type { Waiter } from "../waiting.ts";
import { type FoundUser, readAnswer } from "./answer.ts";

/** Longest answer that is read: two rows are too many already. */
const MOST_ANSWER_BYTES = 65_536;

/** The pool of the connections that look up. */
export interface ExecutingPool {
  readonly settings: Pick<PoolSettings, "connect_timeout">;
  checkOut(waiter: Waiter): ServerConnection | undefined;
  checkIn(server: ServerConnection): void;
}

/** What a lookup is told of. */
export interface Execution {
  readonly reactor: Pick<Reactor, "now" | "at">;
  readonly pool: ExecutingPool;
  readonly query: string;
  readonly user: string;
  /** Called once, perhaps before `start` returns. */
  done(looked: Looked<FoundUser>): void;
}

/** One lookup, from the queue to the answer. */
export class Lookup extends SilentLink implements Waiter {
  waitNext: Waiter | undefined = undefined;
  waitPrevious: Waiter | undefined = undefined;
  waitSinceMs = 0;
  readonly #execution: Execution;
  #server: ServerConnection | undefined;
  #timer: Timer | undefined;
  #parts: Uint8Array[] = [];
  #length = 0;
  /** The first connection was lost. */
  #again = false;
  #ended = false;

  constructor(execution: Execution) {
    super();
    this.#execution = execution;
  }

  start(): void {
    const server = this.#execution.pool.checkOut(this);
    if (server !== undefined) this.serverReady(server);
  }

  serverReady(server: ServerConnection): void {
    const { query, user, reactor, pool } = this.#execution;
    this.#server = server;
    server.link = this;
    server.state.unnamed = -1;
    for (
      const owed of [Owed.Parse | UNNAMED, Owed.Bind, Owed.DescribePortal, Owed.Execute, Owed.Sync]
    ) server.owed.push(owed);
    const bytes = messages.join(
      messages.parse("", query),
      messages.bindText(bytesOfText(user)),
      messages.describePortal(),
      messages.execute(),
      messages.sync(),
    );
    const { connect_timeout } = pool.settings;
    this.#timer = reactor.at(
      reactor.now + connect_timeout,
      () => this.#giveUp(`no answer within connect_timeout (${connect_timeout} ms)`),
    );
    server.send(bytes, 0, bytes.length);
  }

  checkOutFailed(reason: Reason, first: string, second: string, failure?: LoginFailure): void {
    this.#end({ kind: "failed", message: failure?.message ?? reasonText(reason, first, second) });
  }

  parametersKnown(): void {}

  override deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.#length += end - start;
    if (this.#length > MOST_ANSWER_BYTES) this.#giveUp("the answer is too long");
    else this.#parts.push(bytes.slice(start, end));
  }

  override readyForQuery(status: number, settled: boolean): void {
    const server = this.#server!;
    const looked = readAnswer(messages.joinAll(this.#parts));
    if (!settled || status !== TransactionStatus.Idle) {
      this.#giveUp("the query leaves a transaction open");
      return;
    }
    this.#server = undefined;
    this.#execution.pool.checkIn(server);
    this.#end(looked);
  }

  override serverLost(_reason: Reason, detail: string): void {
    this.#server = undefined;
    if (!this.#again) {
      // It may have been gone before it was asked.
      this.#again = true;
      this.#timer?.cancel();
      this.#parts = [];
      this.#length = 0;
      return this.start();
    }
    this.#end({ kind: "failed", message: `the connection was lost${detail && `: ${detail}`}` });
  }

  /** The connection may be in the middle of its answer: nobody can use it any more. */
  #giveUp(message: string): void {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) {
      server.link = undefined;
      server.close(REASONS.serverUnusable, `auth_query: ${message}`);
    }
    this.#end({ kind: "failed", message });
  }

  #end(looked: Looked<FoundUser>): void {
    this.#timer?.cancel();
    if (this.#ended) return;
    this.#ended = true;
    this.#execution.done(looked);
  }
}

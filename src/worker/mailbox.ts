/**
 * Mail of a thread that never runs Deno's event loop: an eventfd says that there is some, it is taken by hand, and each
 * goes to whom it is for.
 */

import { receiveMessageOnPort } from "node:worker_threads";
import type { MessagePort as NodeMessagePort } from "node:worker_threads";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { EPOLLIN } from "../os/layout.ts";
import { settle } from "../reactor/posts.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { readBuffer } from "../reactor/stream.ts";
import type { SessionSnapshot } from "../client/freeze.ts";
import type { Log } from "../log/log.ts";
import type {
  CancelAsker,
  ConnectionCounts,
  ControlToWorker,
  Envelope,
  FrozenItem,
  ListenerMail,
  SettingsApplied,
  SettingsChange,
  TriedLogin,
  WorkerCommand,
  WorkerQuestion,
  WorkerStart,
  WorkerToControl,
  WorkerToWorker,
} from "../mail.ts";
import { ofWorker, Own } from "../stats/shared.ts";
import type { Departure } from "./moving/departure.ts";
import type { HeldItem, Holding } from "./moving/holding.ts";
import type { Requests } from "./requests.ts";
import type { Sessions } from "./sessions.ts";

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** Whom mail goes to. */
export interface Recipients {
  readonly log: Pick<Log, "setFilter">;
  readonly clients: Pick<Sessions, "takeOver">;
  readonly requests: Pick<Requests, "resolved" | "derived" | "checked" | "serverPasswordIs">;
  readonly listeners: { open(listeners: readonly ListenerMail[]): void };
  /** Of the binary upgrade that is under way. */
  readonly departure: Pick<Departure, "acknowledged" | "taken" | "notTaken"> | undefined;
  readonly holding: Holding;
  depart(mail: ControlToWorker & { kind: "move" }): void;
  departureFailed(): void;
  /** Only of these pools servers will come. */
  expect(pools: { database: string; user: string }[], counts: ConnectionCounts): void;
  thaw(items: FrozenItem[]): void;
  /** Returns the indexes of clients that can't be thawed; they are closed here, and told unless they return. */
  thawHeld(held: readonly HeldItem[], returns: boolean): number[];
  /** No server will come any more, of the named pool or of all. */
  thawOver(pool: { database: string; user: string } | undefined): void;
  /** `from`: the worker that wants to hear when it is through. */
  cancelHere(processId: number, secret: Uint8Array, from: CancelAsker | undefined): void;
  /** `from`: the worker that has answered. */
  cancelThrough(ticket: number, from: number, key: "hit" | "miss"): void;
  /** Another thread is that worker now. */
  peerReplaced(worker: number): void;
  consoleAnswer(client: number, bytes: Uint8Array, close: boolean): void;
  apply(change: SettingsChange): SettingsApplied;
  rows(what: WorkerQuestion, most: number | undefined): Pieces;
  obey(command: WorkerCommand): number;
  tryLogins(done: (tried: TriedLogin[]) => void): void;
}

/** Rows in pieces, each of a moment's work; the last one is what it returns. */
export type Pieces = Iterator<unknown[], unknown[]>;

/** A worker's own end of the mail. */
export type MailStart = Pick<WorkerStart, "control" | "peers"> & {
  mail: Pick<WorkerStart["mail"], "index" | "shared" | "wakeFd" | "given">;
};

export class Mailbox implements Handler {
  readonly #index: number;
  readonly #wakeFd: Fd;
  readonly #shared: Int32Array;
  readonly #given: Int32Array;
  readonly #control: MessagePort;
  readonly #peers = new Map<number, { wakeFd: Fd; port: MessagePort }>();
  readonly #recipients: Recipients;
  /** Answers of which more is to be made. */
  readonly #unfinished: { request: number; pieces: Pieces }[] = [];

  /** Nothing is delivered before `open`. */
  constructor({ mail, control, peers }: MailStart, recipients: Recipients) {
    this.#index = mail.index;
    this.#wakeFd = mail.wakeFd as Fd;
    this.#shared = new Int32Array(mail.shared);
    this.#given = new Int32Array(mail.given);
    this.#control = control;
    for (const { index, wakeFd, port } of peers) {
      this.#peers.set(index, { wakeFd: wakeFd as Fd, port });
    }
    this.#recipients = recipients;
  }

  open(reactor: Pick<Reactor, "register">): void {
    reactor.register(this.#wakeFd, this, EPOLLIN);
  }

  /** The other workers. */
  get peers(): Iterable<number> {
    return this.#peers.keys();
  }

  /** The eventfd: mail is there. */
  onReady(): void {
    settle();
    libc.read(this.#wakeFd, readBuffer, 8);
    this.#goOn();
    for (const mail of received<ControlToWorker>(this.#control)) this.#fromControl(mail);
    for (const [peer, { port }] of this.#peers) {
      for (const mail of received<WorkerToWorker>(port)) this.#fromPeer(mail, peer);
    }
  }

  /** Makes a piece of an answer; what is left waits for the next turn, behind what clients want meanwhile. */
  #goOn(): void {
    const next = this.#unfinished.shift();
    if (next === undefined) return;
    this.#piece(next.request, next.pieces);
  }

  #piece(request: number, pieces: Pieces): void {
    const { value, done } = pieces.next();
    if (done) return this.#answer(request, value);
    this.toControl({ kind: "answer", request, rows: value, more: true });
    this.#unfinished.push({ request, pieces });
    libc.write(this.#wakeFd, ONE, 8);
  }

  toControl(mail: WorkerToControl): void {
    this.#control.postMessage(mail);
  }

  toPeer(index: number, mail: WorkerToWorker): void {
    const peer = this.#peers.get(index)!;
    const envelope: Envelope<WorkerToWorker> = new Map([["mail", mail]]);
    // Nobody watches them before they are taken: who closes what that worker leaves has to know of them.
    const life = Atomics.load(this.#shared, ofWorker(index, Own.Life));
    for (const fd of descriptorsOf(mail)) this.#given[fd] = life;
    peer.port.postMessage(envelope);
    libc.write(peer.wakeFd, ONE, 8);
  }

  #taken(descriptors: readonly number[] = []): void {
    for (const fd of descriptors) this.#given[fd] = 0;
  }

  #answer(request: number, rows: unknown[]): void {
    this.toControl({ kind: "answer", request, rows });
  }

  #fromPeer(mail: WorkerToWorker, peer: number): void {
    const to = this.#recipients;
    this.#taken(descriptorsOf(mail));
    switch (mail.kind) {
      case "hand_over":
        to.clients.takeOver(mail.fd as Fd, mail.session as SessionSnapshot);
        return;
      case "thaw":
        to.thaw(mail.items);
        return;
      case "thaw_over":
        to.thawOver(mail);
        return;
      case "cancel":
        to.cancelHere(mail.processId, mail.secret, mail.from);
        return;
      case "cancel_through":
        to.cancelThrough(mail.ticket, peer, mail.key);
        return;
      default:
        mail satisfies never;
    }
  }

  #fromControl(mail: ControlToWorker): void {
    const to = this.#recipients;
    switch (mail.kind) {
      case "start":
        return;
      case "settings":
        this.#answer(mail.request, [to.apply(mail.change)]);
        return;
      case "ping":
        Atomics.add(this.#shared, ofWorker(this.#index, Own.Heartbeats), 1);
        return;
      case "peer_replaced":
        this.#peers.get(mail.index)!.port.close();
        this.#peers.get(mail.index)!.port = mail.port;
        to.peerReplaced(mail.index);
        return;
      case "move":
        to.depart(mail);
        return;
      case "acknowledged":
        to.departure?.acknowledged(mail.batch, mail.refused);
        return;
      case "taken":
        to.departure?.taken(mail.batch, mail.refused);
        return;
      case "not_taken":
        to.departure?.notTaken(mail.batch);
        return;
      case "move_failed":
        to.departureFailed();
        return;
      case "expect":
        to.expect(mail.pools, mail.counts);
        return;
      case "hold": {
        const { ticket, items } = mail;
        to.holding.take(ticket, items, mail.blobs, (refused) => {
          for (const i of refused) this.#taken(items[i]?.fds);
          this.toControl({ kind: "held", ticket, refused });
        });
        return;
      }
      case "thaw_held": {
        const held = to.holding.release(mail.ticket);
        for (const { item } of held) this.#taken(item.fds);
        const failed = to.thawHeld(held, mail.returns);
        this.toControl({ kind: "thawed", ticket: mail.ticket, failed });
        return;
      }
      case "expect_over":
        to.thawOver(undefined);
        return;
      case "listen":
        to.listeners.open(mail.listeners);
        return;
      case "cancel":
        to.cancelHere(mail.processId, mail.secret, undefined);
        return;
      case "log_filter":
        to.log.setFilter(mail.filter);
        return;
      case "admin_reply":
        to.consoleAnswer(mail.client, mail.bytes, mail.close);
        return;
      case "resolved":
        to.requests.resolved(mail.request, mail.addresses, mail.error);
        return;
      case "server_password_is":
        to.requests.serverPasswordIs(mail.request, mail.found);
        return;
      case "derived":
        to.requests.derived(mail.request, mail.saltedPassword);
        return;
      case "checked":
        to.requests.checked(mail.request, mail.verdict);
        return;
      case "ask":
        this.#piece(mail.request, to.rows(mail.what, mail.most));
        return;
      case "try_logins":
        to.tryLogins((tried) => this.#answer(mail.request, tried));
        return;
      case "command":
        this.#answer(mail.request, [to.obey(mail.command)]);
        return;
      default:
        mail satisfies never;
    }
  }
}

/** What a mail gives away. */
function descriptorsOf(mail: WorkerToWorker): readonly number[] {
  if (mail.kind === "hand_over") return [mail.fd];
  return mail.kind === "thaw" ? mail.items.flatMap(({ fds }) => fds) : [];
}

/** The mail that is there. */
function* received<T>(port: MessagePort): Iterable<T> {
  for (;;) {
    const mail = receiveMessageOnPort(port as unknown as NodeMessagePort);
    if (mail === undefined) return;
    yield (mail.message as Envelope<T>).get("mail")!;
  }
}

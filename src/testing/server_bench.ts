/** A server connection between a socket, a client and a pool that are none. */

import { decode, encode } from "../handover/codec.ts";
import { EPOLLHUP } from "../os/layout.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { ServerConnection } from "../server/connection.ts";
import { newServerState, ServerStage } from "../server/state.ts";
import { FakeLink, FakeOwner } from "./fake_link.ts";
import { FakeReactor } from "./fake_reactor.ts";
import { FakeStream } from "./fake_stream.ts";

/** Even: sends are not put off. */
const FD = 10;

interface BenchOptions {
  linked?: boolean;
  Stream?: new (fd: number) => FakeStream;
}

export class ServerBench {
  readonly reactor = new FakeReactor();
  readonly stream: FakeStream;
  readonly owner = new FakeOwner<ServerConnection>();
  readonly link = new FakeLink();
  connection: ServerConnection;

  /** Linked, unless `linked` is no. */
  constructor({ linked = true, Stream = FakeStream }: BenchOptions = {}) {
    this.stream = new Stream(FD);
    const state = newServerState(1, this.reactor.now);
    state.stage = linked ? ServerStage.Linked : ServerStage.Idle;
    const reactor = this.reactor as unknown as Reactor;
    this.connection = new ServerConnection(reactor, this.stream, state, this.owner);
    if (linked) this.connection.link = this.link;
    this.connection.listen();
  }

  get closed(): boolean {
    return this.connection.state.stage === ServerStage.Closed;
  }

  /** The event loop finds what there is to find at the socket; `more` are events beside that. */
  turn(more = 0): void {
    const entry = this.reactor.registered.get(this.stream.fd);
    if (entry === undefined) return;
    const events = this.stream.events & entry.events | more;
    if (events !== 0) entry.handler.onReady(events);
    this.reactor.endTurn();
  }

  /** The other end has reset the connection. */
  reset(): void {
    this.turn(EPOLLHUP);
  }

  /** These bytes come from PostgreSQL, and are read. */
  receive(bytes: Uint8Array): void {
    this.stream.push(bytes);
    while (this.stream.unread > 0 && !this.closed) this.turn();
  }

  /** PostgreSQL hangs up. */
  end(): void {
    this.stream.ended = true;
    this.turn();
  }

  /** To another process and there again to life. */
  move(): void {
    const { link } = this.connection;
    const snapshot = decode(encode(this.connection.freeze())) as ReturnType<
      ServerConnection["freeze"]
    >;
    const reactor = this.reactor as unknown as Reactor;
    this.connection = ServerConnection.thaw(reactor, this.stream, snapshot, this.owner);
    this.connection.link = link;
    this.connection.listen();
  }
}

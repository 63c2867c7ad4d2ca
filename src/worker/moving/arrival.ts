/**
 * Binary upgrade, new process: makes sessions and servers of what the old process froze. By then the old process has
 * been told that they live here, so whatever goes wrong with one ends that one.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { PlainStream } from "../../reactor/stream.ts";
import type { Session } from "../../client/session.ts";
import type { SessionState } from "../../client/state.ts";
import type { Log } from "../../log/log.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Replication } from "../../pool/replication.ts";
import { ServerConnection } from "../../server/connection.ts";
import type { ServerSnapshot } from "../../server/link.ts";
import type { SocketTuner } from "../../server/login.ts";
import { completeListener, completePool, completeServer, completeSession } from "./completion.ts";

/** What thawing needs of its worker. */
export interface ArrivalPlace {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly tune: SocketTuner;
  pool(database: string, user: string): Pool | undefined;
  /** A session that this worker knows from now on; with a login if it is not through. */
  openThawed(fd: Fd, state: SessionState): Session;
}

/** Thaws one item. */
export function thaw(item: FrozenItem, place: ArrivalPlace): void {
  const pool = place.pool(item.database, item.user);
  switch (item.type) {
    case "pool":
      pool?.moving.thaw(completePool(item.pool));
      return;
    case "lost":
      pool?.moving.arrived();
      return;
    case "server":
      if (pool === undefined) closeAll(item.fds);
      else thawServer(item.fds[0] as Fd, completeServer(item.server), pool, place);
      return;
    case "listener":
      if (pool === undefined) closeAll(item.fds);
      else thawListener(item, pool, place);
      return;
    case "session":
      thawSession(item, pool, place);
      return;
    default:
      item satisfies never;
  }
}

function thawServer(
  fd: Fd,
  snapshot: ServerSnapshot,
  keeper: Pool | Replication,
  place: ArrivalPlace,
): ServerConnection {
  place.tune(fd, snapshot.state.address[0] === 1);
  const server = ServerConnection.thaw(place.reactor, new PlainStream(fd), snapshot, keeper);
  keeper.adoptThawed(server);
  return server;
}

function thawListener(
  { fds, listener }: FrozenItem & { type: "listener" },
  pool: Pool,
  place: ArrivalPlace,
): void {
  const snapshot = completeListener(listener);
  place.tune(fds[0] as Fd, snapshot.line.server.state.address[0] === 1);
  pool.listener.thaw(fds[0] as Fd, snapshot);
}

function thawSession(
  item: FrozenItem & { type: "session" },
  pool: Pool | undefined,
  place: ArrivalPlace,
): void {
  const snapshot = completeSession(item.session);
  const { state } = snapshot;
  if (pool === undefined && state.user !== "") {
    place.log.error(
      "pg_doorman::client",
      `[#c${state.id}] came with the upgrade for a pool that is not here: closed`,
    );
    closeAll(item.fds);
    return;
  }
  const [clientFd, serverFd] = item.fds as Fd[];
  place.tune(clientFd, state.unix);
  const keeper = state.replication === "none" ? pool : pool?.replication;
  const server = snapshot.server === undefined
    ? undefined
    : thawServer(serverFd, snapshot.server, keeper!, place);
  state.connectedAtMs = place.reactor.now - state.connectedAtMs;
  const session = place.openThawed(clientFd, state);
  if (pool !== undefined) {
    session.pool = pool;
    pool.enter();
  }
  session.thaw(snapshot, server);
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) libc.close(fd as Fd);
}

/**
 * What was frozen comes to life here: in the new process of a binary upgrade, or in the worker that a pool moves to. Each
 * thing comes whole or not at all: what can't be thawed leaves nothing behind, no descriptor, no place in a pool. A
 * session is not listened to before it is whole, so one that fails can go on where it came from.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { SessionSnapshot } from "../../client/freeze.ts";
import type { Session } from "../../client/session.ts";
import type { Log } from "../../log/log.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Replication } from "../../pool/replication.ts";
import { errorResponse } from "../../protocol/error_response.ts";
import { REASONS, reasonText } from "../../reasons.ts";
import { ServerConnection } from "../../server/connection.ts";
import type { ServerSnapshot } from "../../server/link.ts";
import type { SocketTuner } from "../../server/dial.ts";
import { streamOf } from "../../server/stream_of.ts";
import type { DynamicOrigin } from "../directory.ts";
import { completeListener, completePool, completeServer, completeSession } from "./completion.ts";

/** What thawing needs of its worker. */
export interface ArrivalPlace {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly tune: SocketTuner;
  pool(database: string, user: string): Pool | undefined;
  /** A pool that is in no configuration, if whoever makes such is here. */
  openDynamic(name: { database: string; user: string }, origin: DynamicOrigin): Pool | undefined;
  /** A session that this worker knows from now on; with a login if it is not through. */
  openThawed(
    fd: Fd,
    snapshot: Pick<SessionSnapshot, "state" | "tls">,
    pool: Pool | undefined,
  ): Session;
}

/** Thaws one item. Throws when it can't be, and then all of it that was here is gone. */
export function thaw(item: FrozenItem, place: ArrivalPlace): void {
  const pool = place.pool(item.database, item.user);
  switch (item.type) {
    case "pool": {
      const { dynamic } = item;
      const own = dynamic === undefined
        ? pool
        : pool ?? place.openDynamic(item, dynamic as DynamicOrigin);
      own?.moving.thaw(completePool(item.pool));
      return;
    }
    case "lost":
      pool?.moving.arrived();
      return;
    case "server":
      if (pool === undefined) closeAll(item.fds);
      else thawLoneServer(item, pool, place);
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
  return ServerConnection.thaw(place.reactor, streamOf(fd, snapshot.tls), snapshot, keeper);
}

function thawLoneServer(
  { fds, server }: FrozenItem & { type: "server" },
  pool: Pool,
  place: ArrivalPlace,
): void {
  const [fd] = fds as Fd[];
  let thawed: ServerConnection;
  try {
    thawed = thawServer(fd, completeServer(server), pool, place);
  } catch (error) {
    place.reactor.close(fd);
    pool.moving.arrived();
    throw error;
  }
  pool.adoptThawed(thawed);
}

function thawListener(
  { fds, listener }: FrozenItem & { type: "listener" },
  pool: Pool,
  place: ArrivalPlace,
): void {
  const [fd] = fds as Fd[];
  try {
    const snapshot = completeListener(listener);
    place.tune(fd, snapshot.line.server.state.address[0] === 1);
    pool.listener.thaw(fd, snapshot);
  } catch (error) {
    place.reactor.close(fd);
    throw error;
  }
}

function thawSession(
  item: FrozenItem & { type: "session" },
  pool: Pool | undefined,
  place: ArrivalPlace,
): void {
  const [clientFd, serverFd] = item.fds as Fd[];
  const half: HalfThawed = { keeper: undefined, server: undefined, session: undefined };
  try {
    const snapshot = completeSession(item.session);
    const { state } = snapshot;
    if (pool === undefined && state.user !== "") {
      throw new Error(`there is no pool for client ${state.id} here`);
    }
    place.tune(clientFd, state.unix);
    if (snapshot.server !== undefined) {
      const keeper = state.replication === "none" ? pool! : pool!.replication;
      half.server = thawServer(serverFd, snapshot.server, keeper, place);
      half.keeper = keeper;
      keeper.adoptThawed(half.server);
    }
    state.connectedAtMs = place.reactor.now - state.connectedAtMs;
    half.session = place.openThawed(clientFd, snapshot, pool);
    if (pool !== undefined) {
      half.session.pool = pool;
      pool.enter();
    }
    half.session.thaw(snapshot, half.server);
  } catch (error) {
    const { session, server } = half;
    if (session?.server !== undefined && session.server !== server) {
      // It has one of this process, and has begun to speak with it.
      place.log.error("pg_doorman::app", `defect, please report: ${stackOf(error)}`);
      session.fail("FATAL", REASONS.internalError, "", "");
      return;
    }
    undo(half, item, { pool, place });
    throw error;
  }
}

/** How far a session has come. */
interface HalfThawed {
  keeper: Pool | Replication | undefined;
  server: ServerConnection | undefined;
  session: Session | undefined;
}

function undo(
  { keeper, server, session }: HalfThawed,
  { fds }: FrozenItem,
  { pool, place }: { pool: Pool | undefined; place: ArrivalPlace },
): void {
  const [clientFd, serverFd] = fds as Fd[];
  if (keeper !== undefined) keeper.takeOut(server!);
  else if (serverFd !== undefined) {
    place.reactor.close(serverFd);
    pool?.moving.arrived();
  }
  if (session === undefined) place.reactor.close(clientFd);
  else pool?.leaveQueue(session);
  // Its link may be there, or not yet.
  const linked = session?.server === server;
  session?.forget();
  if (!linked) server?.forget();
}

/** The client of a session that could not be thawed and lives nowhere else hears of it: in the turn in which it failed. */
export function tellLost({ fds, session }: FrozenItem & { type: "session" }): void {
  // A word in clear is no record: with TLS it sees the end alone.
  if ((session as Partial<SessionSnapshot> | undefined)?.tls !== undefined) return;
  const bytes = errorResponse({
    severity: "FATAL",
    code: REASONS.internalError.code,
    message: reasonText(REASONS.internalError),
  });
  libc.write(fds[0] as Fd, bytes.slice(), bytes.length);
}

/** Of an error, for the log. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) libc.close(fd as Fd);
}

/**
 * The listening sockets: opened by Deno, then taken over as bare descriptors that the workers accept on. The process
 * owns them for its life; a binary upgrade hands them on.
 */

import * as libc from "../../os/libc.ts";
import { duplicate, findListener } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import type { ListenConfig } from "../../config/types.ts";
import type { ListenerMail } from "../../mail.ts";

/** An open listening socket. */
export interface OpenListener extends ListenerMail {
  /** For the log: `0.0.0.0:6432` or the path. */
  name: string;
}

/** A socket could not be opened; `code` is the exit code of the process. */
export class ListenError extends Error {
  readonly code: number;

  constructor(message: string, code: number, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** Opens the TCP socket, and the unix socket where a directory is set. */
export async function openListeners(settings: ListenConfig): Promise<OpenListener[]> {
  const backlog = settings.backlog || settings.max_connections;
  const listeners = [openTcp(settings)];
  if (settings.unix_socket_dir !== undefined) {
    listeners.push(await openUnix(settings, settings.unix_socket_dir));
  }
  for (const { fd } of listeners) libc.listen(fd as Fd, backlog);
  return listeners;
}

/** What of them a worker is told. */
export function mailOf(listeners: readonly OpenListener[]): ListenerMail[] {
  return listeners.map(({ fd, transport }) => ({ fd, transport }));
}

function openTcp({ host, port }: ListenConfig): OpenListener {
  const hostname = host.replace(/^\[(.*)\]$/, "$1");
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname, port, transport: "tcp" });
  } catch (cause) {
    throw new ListenError(`listen on ${host}:${port}: ${messageOf(cause)}`, 1, cause);
  }
  const address = listener.addr.hostname.includes(":")
    ? `[${listener.addr.hostname}]:${listener.addr.port}`
    : `${listener.addr.hostname}:${listener.addr.port}`;
  return { fd: adopt(listener, address), transport: "tcp", name: address };
}

async function openUnix(settings: ListenConfig, directory: string): Promise<OpenListener> {
  const path = `${directory}/.s.PGSQL.${settings.port}`;
  try {
    await removeStale(path);
    // Bound under another name and renamed when its mode is right: nobody finds it half made, and Deno, which unlinks
    // the name it has bound when the listener is closed, does not find it at all.
    const temporary = `${path}.${Deno.pid}`;
    const listener = Deno.listen({ path: temporary, transport: "unix" });
    Deno.chmodSync(temporary, settings.unix_socket_mode);
    Deno.renameSync(temporary, path);
    return { fd: adopt(listener, `unix:${temporary}`), transport: "unix", name: path };
  } catch (cause) {
    throw new ListenError(`listen on ${path}: ${messageOf(cause)}`, 71, cause);
  }
}

/** A socket file that nobody answers on is left over from a process that was killed. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!Deno.lstatSync(path).isSocket) throw new Error("the path exists and is no socket");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  try {
    (await Deno.connect({ path, transport: "unix" })).close();
  } catch {
    Deno.removeSync(path);
    return;
  }
  throw new Error("another process listens there");
}

/** Deno's event loop must not see the socket any more, or it would wake with every client. */
function adopt(listener: Deno.Listener, address: string): Fd {
  const found = findListener(address);
  if (found === undefined) throw new Error(`the socket of ${address} is not among the descriptors`);
  const fd = duplicate(found);
  listener.close();
  return fd;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * What systemd is told, sd_notify(3): a datagram of `KEY=VALUE` lines to the socket that NOTIFY_SOCKET names. Without
 * that variable everything here does nothing. Deno has no unix datagram sockets, hence libc. A message that can't be
 * sent is logged and forgotten: the service serves on.
 */

import { errnoText } from "../../os/errno.ts";
import type { Fd } from "../../os/fd.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM } from "../../os/layout.ts";
import * as libc from "../../os/libc.ts";
import { abstractAddress, unixAddress } from "../../os/socket_address.ts";
import type { Log } from "../../log/log.ts";
import { oneLine } from "../../log/one_line.ts";

const TARGET = "pg_doorman::systemd";

/** Looks an environment variable up. */
export type Environment = (name: string) => string | undefined;

/** The service manager's end of the line. */
export class ServiceManager {
  readonly #address: Uint8Array<ArrayBuffer> | undefined;
  readonly #log: Log;

  constructor(environment: Environment, log: Log) {
    this.#log = log;
    const socket = environment("NOTIFY_SOCKET");
    if (socket === undefined || socket === "") return;
    this.#address = notifyAddress(socket);
    if (this.#address === undefined) {
      log.error(TARGET, `NOTIFY_SOCKET: "${socket}" is no address of a unix socket`);
    }
  }

  /** Whether there is one. */
  get present(): boolean {
    return this.#address !== undefined;
  }

  /** Clients are accepted. */
  ready(status: string): void {
    this.#send(["READY=1", `STATUS=${oneLine(status)}`]);
  }

  /** A reload begins; `ready` ends it, whatever its outcome. */
  reloading(): void {
    // Type=notify-reload asks for the time, to tell this from a READY=1 that was under way.
    this.#send(["RELOADING=1", `MONOTONIC_USEC=${libc.monotonicMicroseconds()}`]);
  }

  stopping(status: string): void {
    this.#send(["STOPPING=1", `STATUS=${oneLine(status)}`]);
  }

  /** The process that goes on with the service is another one from now on. */
  mainProcess(pid: number): void {
    this.#send([`MAINPID=${pid}`]);
  }

  alive(): void {
    this.#send(["WATCHDOG=1"]);
  }

  #send(lines: string[]): void {
    const address = this.#address;
    if (address === undefined) return;
    const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    let result = fd;
    if (fd >= 0) {
      result = libc.sendTo(fd as Fd, new TextEncoder().encode(lines.join("\n")), address);
      libc.close(fd as Fd);
    }
    if (result < 0) this.#log.error(TARGET, `notify ${lines[0]}: ${errnoText(-result)}`);
  }
}

/** `@name` is an abstract socket, everything else a path. */
function notifyAddress(socket: string): Uint8Array<ArrayBuffer> | undefined {
  if (socket.startsWith("@")) return abstractAddress(socket.slice(1));
  return socket.startsWith("/") ? unixAddress(socket) : undefined;
}

/**
 * How often systemd wants to hear from this process, in milliseconds; `undefined` when it does not ask (sd_watchdog_enabled(3)).
 * A successor by binary upgrade has inherited its predecessor's WATCHDOG_PID and is meant all the same.
 */
export function watchdogPeriod(
  environment: Environment,
  pid: number,
  successor: boolean,
): number | undefined {
  const microseconds = Number(environment("WATCHDOG_USEC") ?? "");
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0) return undefined;
  const meant = environment("WATCHDOG_PID");
  if (meant !== undefined && meant !== "" && Number(meant) !== pid && !successor) return undefined;
  return microseconds / 1000;
}

/** What the watchdog asks about. */
export interface Pulse {
  /** Asks every worker for a sign of life. */
  ping(): void;
  /** Workers that have not answered the last `ping`. */
  silent(): number[];
}

/** Tells systemd that the service lives, as long as every worker does; a worker that hangs keeps the message back. */
export class Watchdog {
  readonly #manager: Pick<ServiceManager, "alive">;
  readonly #pulse: Pulse;
  readonly #log: Log;
  #timer: number | undefined;
  #wasSilent = false;

  constructor(manager: Pick<ServiceManager, "alive">, pulse: Pulse, log: Log) {
    this.#manager = manager;
    this.#pulse = pulse;
    this.#log = log;
  }

  /** A quarter of systemd's patience leaves an answer time to come, and room for one lost round. */
  start(periodMs: number): void {
    this.#pulse.ping();
    this.#timer = setInterval(() => this.#round(), Math.max(1, periodMs / 4));
    this.#log.info(TARGET, `watchdog: systemd waits ${periodMs} ms at most`);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #round(): void {
    const silent = this.#pulse.silent();
    if (silent.length === 0) {
      this.#manager.alive();
      this.#pulse.ping();
    } else if (!this.#wasSilent) {
      this.#log.error(
        TARGET,
        `watchdog: no answer from worker ${
          silent.join(", ")
        }: systemd is not told that all is well`,
      );
    }
    this.#wasSilent = silent.length > 0;
  }
}

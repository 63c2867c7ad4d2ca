/**
 * The installed unit in a booted machine, as an operator meets it: its config, its main process, its clients. What they
 * ask goes to a PostgreSQL of this machine, since the network is shared.
 */

import { waitFor } from "../support/detached_process.ts";
import { freePort } from "../support/ports.ts";
import type { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import type { Machine } from "./machine.ts";

/** The unit's name. */
export const UNIT = "pg_doorman.service";
/** Where the packages put the configuration. */
export const CONFIG_PATH = "/etc/pg_doorman/pg_doorman.toml";

export class Unit {
  readonly port: number = freePort();
  readonly #machine: Machine;
  readonly #postgres: Postgres;

  constructor(machine: Machine, postgres: Postgres) {
    this.#machine = machine;
    this.#postgres = postgres;
  }

  /** Writes the configuration; `general` are more lines of that table. */
  async configure(general: string = ""): Promise<void> {
    const text = `[general]\nhost = "127.0.0.1"\nport = ${this.port}\nworker_threads = 2\n` +
      `unix_socket_dir = "/run/pg_doorman"\nadmin_username = "admin"\n` +
      `admin_password = "admin-secret"\n${general}\n` +
      `[pools.app]\nserver_host = "127.0.0.1"\nserver_port = ${this.#postgres.port}\n` +
      `server_database = "postgres"\n` +
      `users = [{ username = "postgres", password = "postgres", pool_size = 2 }]\n`;
    await Deno.writeTextFile(`${this.#machine.overlay.root}${CONFIG_PATH}`, text);
  }

  /** A property, as `systemctl show` has it. */
  property(name: string): Promise<string> {
    return this.#machine.property(UNIT, name);
  }

  async mainPid(): Promise<number> {
    return Number(await this.property("MainPID"));
  }

  /** Waits until systemd follows another process than `before`. */
  async waitForSuccessor(before: number): Promise<number> {
    return await waitFor("another main process", 20_000, async () => {
      const now = await this.mainPid();
      return now !== before && now > 0 ? now : undefined;
    });
  }

  /** A client on the console. */
  admin(): Promise<WireClient> {
    return WireClient.login({
      port: this.port,
      user: "admin",
      password: "admin-secret",
      database: "pgdoorman",
    });
  }

  /** A client of the pool. */
  client(): Promise<WireClient> {
    return WireClient.login({ port: this.port, user: "postgres", database: "app" });
  }

  /**
   * Runs what upgrades the package while a client is in a transaction, which must go on, as must the start of the unit that
   * systemd knows. Answers what was otherwise.
   */
  async survives(upgrade: () => Promise<unknown>): Promise<string[]> {
    const failures: string[] = [];
    const [before, invocation] = [await this.mainPid(), await this.property("InvocationID")];
    using client = await this.client();
    await client.query("BEGIN");
    const transaction = "SELECT pg_backend_pid() || ':' || txid_current()";
    const begun = await client.value(transaction);
    await upgrade();
    await this.waitForSuccessor(before);
    const ended = await client.value(transaction);
    if (ended !== begun) failures.push(`transaction ${begun} has become ${ended}`);
    if (await this.property("InvocationID") !== invocation) failures.push("the unit was restarted");
    return failures;
  }
}

/**
 * What hostile tests need beside the offender: a well-behaved client that asks and checks all the while, since what
 * others do must not reach it, and a count of sockets.
 */

import assert from "node:assert/strict";
import { waitFor } from "./detached_process.ts";
import type { Doorman } from "./doorman.ts";
import { WireClient } from "./wire_client.ts";

/** No single query of a bystander may take longer. */
const PATIENCE_MS = 5_000;
const PAUSE_MS = 5;

export class Bystander {
  answers = 0;
  slowestMs = 0;
  readonly #client: WireClient;
  readonly #running: Promise<void>;
  #stopped = false;

  private constructor(client: WireClient) {
    this.#client = client;
    client.patienceMs = PATIENCE_MS;
    this.#running = this.#run();
    // It is told when the bystander is left; until then it must not count as unhandled.
    this.#running.catch(() => undefined);
  }

  /** Logs in and begins. */
  static async start(port: number, user: string, database: string): Promise<Bystander> {
    return new Bystander(await WireClient.login({ port, user, database }));
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const started = performance.now();
      const wanted = String(++this.answers);
      assert.equal(await this.#client.value(`SELECT ${wanted}`), wanted);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Fails if an answer was wrong, missing or late, or if there was none. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    try {
      await this.#running;
      assert.ok(this.answers > 0);
    } finally {
      this.#client.close();
    }
  }
}

/** The number of PgDoorman's open sockets; its other descriptors are the runtime's, which opens them as it needs. */
export function socketCount(doorman: Doorman): number {
  let count = 0;
  for (const { name } of Deno.readDirSync(`/proc/${doorman.pid}/fd`)) {
    try {
      if (Deno.readLinkSync(`/proc/${doorman.pid}/fd/${name}`).startsWith("socket:")) count++;
    } catch (error) {
      // Closed between the listing and the question.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return count;
}

/** The number of sockets once it stays the same: after the start, or when closed clients are gone. */
export async function restingSockets(doorman: Doorman): Promise<number> {
  let last = -1;
  let since = performance.now();
  return await waitFor("a number of sockets that stays", 10_000, () => {
    const count = socketCount(doorman);
    if (count !== last) [last, since] = [count, performance.now()];
    return performance.now() - since > 400 ? count : undefined;
  });
}

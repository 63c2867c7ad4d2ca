/**
 * What clients of a busy pool notice of others that do TLS handshakes: pgbench with a connection for each of its clients,
 * in turns without anybody beside it and with so many a second who connect, shake hands and leave.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { say } from "../../tools/say.ts";
import type { Service } from "../upgrade/support.ts";

const CLIENTS = 20;

/** Times of transactions at the 99th percentile, in milliseconds, and how many handshakes there were in each second. */
export interface SeenOfHandshakes {
  withoutMs: number;
  withMs: number;
  perSecond: number;
  transactionsWithout: number;
  transactionsWith: number;
}

/** So many rounds of so many seconds, each without handshakes and with them. */
export async function measureHandshakes(
  service: Service,
  { perSecond, seconds, rounds }: { perSecond: number; seconds: number; rounds: number },
): Promise<SeenOfHandshakes> {
  // Processes that wait for a processor are what is measured then.
  const [load] = Deno.loadavg();
  if (load! > navigator.hardwareConcurrency) {
    say(`the machine has other things to do (load ${load!.toFixed(1)}): figures say little`);
  }
  const without: number[] = [];
  const beside: number[] = [];
  let handshakes = 0;
  let ms = 0;
  for (let round = 0; round < rounds; round++) {
    without.push(...await latencies(service, seconds));
    const guests = new Guests(service, perSecond);
    const begunAt = performance.now();
    beside.push(...await latencies(service, seconds));
    ms += performance.now() - begunAt;
    handshakes += await guests.stop();
  }
  return {
    withoutMs: percentile(without, 0.99),
    withMs: percentile(beside, 0.99),
    perSecond: Math.round(handshakes * 1000 / ms),
    transactionsWithout: without.length,
    transactionsWith: beside.length,
  };
}

/** What pgbench's transactions took, in milliseconds. */
async function latencies(service: Service, seconds: number): Promise<number[]> {
  const script = join(service.dir, "busy.sql");
  await Deno.writeTextFile(script, "SELECT 1;\n");
  const { code, stderr } = await new Deno.Command("pgbench", {
    args: [
      ...["-n", "-h", "127.0.0.1", "-p", String(service.port), "-U", "postgres"],
      ...["-c", String(CLIENTS), "-T", String(seconds), "-f", script],
      ...["-l", "--log-prefix", join(service.dir, "bench-busy"), "app"],
    ],
    env: { PGPASSWORD: "postgres", ...service.libpq },
    stdout: "null",
    stderr: "piped",
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const found: number[] = [];
  for (const { name } of Deno.readDirSync(service.dir)) {
    if (!name.startsWith("bench-busy")) continue;
    for (const line of Deno.readTextFileSync(join(service.dir, name)).split("\n")) {
      if (line !== "") found.push(Number(line.split(" ")[2]) / 1000);
    }
    Deno.removeSync(join(service.dir, name));
  }
  return found;
}

/** Connect, shake hands and leave, so many a second, until they are stopped: in a process that costs less than this one. */
class Guests {
  readonly #child: Deno.ChildProcess;

  constructor(service: Service, perSecond: number) {
    const { port, authority } = service;
    this.#child = new Deno.Command("python3", {
      args: [
        new URL("handshakes.py", import.meta.url).pathname,
        ...[String(port), authority!.certificatePath, String(perSecond)],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  /** Resolves to the number of handshakes; fails where one has failed. */
  async stop(): Promise<number> {
    await this.#child.stdin.close();
    const { code, stdout, stderr } = await this.#child.output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return Number(new TextDecoder().decode(stdout));
  }
}

function percentile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * part)]!;
}

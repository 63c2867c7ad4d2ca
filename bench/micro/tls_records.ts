/**
 * What a TLS record costs: sealed and opened by the record layer as it is, in each AEAD and some sizes, without the
 * kernel. Nanoseconds of CPU a record, the best and the median of several rounds.
 *
 *   ./denow task bench:records [rounds] [--save NAME] [--compare NAME]
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { readBuffer } from "../../src/reactor/stream.ts";
import { received, sealed } from "../../src/tls/buffers.ts";
import { RecordLayer } from "../../src/tls/record_layer.ts";
import { newTlsState, secretBytes, type TlsState } from "../../src/tls/state.ts";
import { SUITES, TLS_1_3 } from "../../src/tls/suites.ts";
import { print } from "../../tools/say.ts";
import { beginBaseline, type Figures, settleBaseline } from "../baseline.ts";

const SIZES = [64, 256, 1024, 8192, 16_384];
/** Bytes and records of one round. */
const ROUND_BYTES = 32 * 2 ** 20;
const ROUND_RECORDS = 20_000;

function stateOf(suite: number, version: number, role: "server" | "client"): TlsState {
  const secret = () => new Uint8Array(secretBytes(version, suite)).fill(7);
  return newTlsState({
    version,
    suite,
    role,
    receive: { secret: secret(), sequence: 0 },
    send: { secret: secret(), sequence: 0 },
    mostPlaintext: 16_384,
  });
}

function cpuNs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

function timed(records: number, once: () => void): number {
  const started = cpuNs();
  for (let i = 0; i < records; i++) once();
  return (cpuNs() - started) / records;
}

/** Nanoseconds to seal and to open a record of so many bytes. */
function round(sealer: RecordLayer, opener: RecordLayer, size: number): [number, number] {
  const records = Math.min(ROUND_RECORDS, Math.ceil(ROUND_BYTES / size));
  const sealing = timed(records, () => sealer.sealData(readBuffer, 0, size));
  sealer.state.send.sequence = 0;
  const length = sealer.sealData(readBuffer, 0, size);
  received.set(sealed.subarray(0, length));
  const opening = timed(records, () => {
    opener.state.receive.sequence = 0;
    if (opener.open(length, 0) !== size) throw new Error(opener.state.fault);
  });
  return [sealing, opening];
}

function medianAndBest(times: number[]): { best: number; rule: number } {
  times.sort((a, b) => a - b);
  return { best: Math.round(times[0]), rule: Math.round(times[times.length >> 1]) };
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { save: { type: "string" }, compare: { type: "string" } },
});
const rounds = Number(positionals[0] ?? 9);
const begun = await beginBaseline("records");
const figures: Figures = {};
for (const suite of SUITES.filter(({ version }) => version === TLS_1_3)) {
  const sealer = new RecordLayer(stateOf(suite.id, suite.version, "server"));
  const opener = new RecordLayer(stateOf(suite.id, suite.version, "client"));
  round(sealer, opener, SIZES[0]);
  for (const size of SIZES) {
    const pairs = Array.from({ length: rounds }, () => round(sealer, opener, size));
    const sealing = medianAndBest(pairs.map(([seals]) => seals));
    const opening = medianAndBest(pairs.map(([, opens]) => opens));
    const name = `${suite.cipher} ${size}`;
    print(
      `${name}: seal ${sealing.best} ns (${sealing.rule}), open ${opening.best} ns (${opening.rule})`,
    );
    figures[name] = {
      "seal best ns": sealing.best,
      "seal rule ns": sealing.rule,
      "open best ns": opening.best,
      "open rule ns": opening.rule,
    };
  }
  sealer.free();
  opener.free();
}
const settled = await settleBaseline(options, { ...begun, figures });
if (settled !== "") print(settled);

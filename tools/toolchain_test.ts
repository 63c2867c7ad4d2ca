import assert from "node:assert/strict";
import { LITTLE_ENDIAN } from "../src/os/layout.ts";
import { runtimeOf, sha256 } from "./toolchain.ts";

function elf(sectionTable: number, sectionSize: number, sections: number, length: number) {
  const bytes = new Uint8Array(length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0x28, BigInt(sectionTable), LITTLE_ENDIAN);
  view.setUint16(0x3a, sectionSize, LITTLE_ENDIAN);
  view.setUint16(0x3c, sections, LITTLE_ENDIAN);
  return bytes;
}

Deno.test("toolchain: the runtime ends where the section header table ends", () => {
  const program = elf(100, 64, 3, 500);
  assert.equal(runtimeOf(program).length, 100 + 64 * 3);
  // A view into a larger buffer is measured from its own start.
  const padded = new Uint8Array(600);
  padded.set(program, 50);
  assert.equal(runtimeOf(padded.subarray(50)).length, 292);
});

Deno.test("toolchain: refuses what is not a complete 64-bit ELF program", () => {
  assert.throws(() => runtimeOf(new Uint8Array(10)), TypeError);
  assert.throws(() => runtimeOf(new Uint8Array(500)), TypeError);
  assert.throws(() => runtimeOf(elf(100, 64, 3, 200)), TypeError);
  assert.throws(() => runtimeOf(elf(100, 64, 0, 200)), TypeError);
});

Deno.test("toolchain: sha256 gives the known hash", () => {
  assert.equal(
    sha256("abc"),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

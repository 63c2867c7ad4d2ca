/** Flags for the engine, compiled in. Each needs figures from bench/ that say what it brings. */
export const V8_FLAGS: readonly string[] = [
  // The room for new objects else grows to 16 MiB and more a thread by the garbage of log-ins, and never shrinks:
  // `bench:idle` finds 3.4 KB for each of 10,000 idle clients, and 6.8 KB without.
  "--max-semi-space-size=2",
  // A message passes through many small functions of several files. With the engine's own bounds (460 and 920 bytes)
  // some of them stay calls: `bench:relay` finds 543, 920 and 752 ns with these, 714, 1105 and 1073 without.
  "--max-inlined-bytecode-size=1000",
  "--max-inlined-bytecode-size-cumulative=4000",
  // For src/worker/memory.ts: without it 600 MB of prepared statements stay for good when their clients have left.
  "--expose-gc",
];

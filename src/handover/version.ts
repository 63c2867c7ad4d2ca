/**
 * Which snapshots this program writes and takes. Fields may be added without a new version: who does not know one drops
 * it, and who misses one has a default (with_defaults.ts). Hence the rules for a change of what travels:
 *
 * - A field that an older program can do without: nothing to do here.
 * - Anything that an older program would misread, or that a session must not lose: raise both numbers to the same one.
 *   Between the two programs nothing moves, and clients finish on the old process.
 * - What an older program has written can't be read any more: the same.
 * - `SNAPSHOT_VERSION` alone: nothing yet is read differently by it; it would let a reader tell the writers apart.
 */

/** Version of the snapshots that this program writes. */
export const SNAPSHOT_VERSION = 3;
/** The oldest version of programs that snapshots can be exchanged with, in either direction. */
export const COMPATIBLE_SINCE = 3;

/** What a program says of itself. */
export interface SnapshotVersion {
  version: number;
  /** One that does not say goes with its own version alone. */
  compatibleSince?: number;
}

export const OURS: Required<SnapshotVersion> = {
  version: SNAPSHOT_VERSION,
  compatibleSince: COMPATIBLE_SINCE,
};

/** Whether two programs can exchange snapshots: the newer one knows. */
export function compatible(a: SnapshotVersion, b: SnapshotVersion = OURS): boolean {
  const [older, newer] = a.version <= b.version ? [a, b] : [b, a];
  return older.version >= (newer.compatibleSince ?? newer.version);
}

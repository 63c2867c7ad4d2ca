/**
 * What stands in for the password of a user who does not exist, so that neither the challenge, nor its change between two
 * attempts, nor the work done gives it away. It is shaped like that of a user who could have been meant: which one
 * depends on the name and on the process's secret alone.
 */

import { createHmac } from "node:crypto";
import type { PasswordShape, StoredPassword } from "../config/settings.ts";
import { mockMd5Hash } from "./md5.ts";
import {
  DEFAULT_ITERATIONS,
  mockVerifier,
  NEW_SALT_BYTES,
  parseVerifier,
  type ScramVerifier,
} from "./scram.ts";

/** A user as it was claimed. */
export interface Claim {
  user: string;
  /** Of the process, and of those that take over from it. */
  secret: Uint8Array;
  /** What a mock is shaped like. */
  shape: PasswordShape;
}

const shapes = new WeakMap<StoredPassword, PasswordShape>();

/** What a challenge tells of a stored password; each log-in asks. */
export function shapeOf(password: StoredPassword): PasswordShape {
  let shape = shapes.get(password);
  if (shape === undefined) shapes.set(password, shape = newShape(password));
  return shape;
}

function newShape(password: StoredPassword): PasswordShape {
  const { kind } = password;
  const verifier = kind === "scram" || kind === "plain"
    ? parseVerifier(password.verifier)
    : undefined;
  return {
    ...(kind === "external" ? { external: password.terms } : {}),
    kind,
    iterations: verifier?.iterations ?? DEFAULT_ITERATIONS,
    saltBytes: verifier?.salt.length ?? NEW_SALT_BYTES,
  };
}

/** The shape of an unknown user's password; `known` are those of the users that could be meant. */
export function mockShape(
  user: string,
  secret: Uint8Array,
  known: readonly PasswordShape[],
): PasswordShape {
  if (known.length === 0) return shapeOf({ kind: "empty" });
  const digest = createHmac("sha256", secret).update("kind\0" + user).digest();
  return known[digest.readUInt32BE(0) % known.length];
}

const verifiers = new WeakMap<StoredPassword, { verifier: ScramVerifier | undefined }>();

/** The stored verifier, read once. */
function storedVerifier(stored: StoredPassword): ScramVerifier | undefined {
  let read = verifiers.get(stored);
  if (read === undefined) {
    const has = stored.kind === "scram" || stored.kind === "plain";
    read = { verifier: has ? parseVerifier(stored.verifier) : undefined };
    verifiers.set(stored, read);
  }
  return read.verifier;
}

/** The verifier to run an exchange against; one that nobody can satisfy where there is none. The work is the same. */
export function verifierFor(
  stored: StoredPassword | undefined,
  { user, secret, shape }: Claim,
): ScramVerifier {
  // Made in any case.
  const mock = mockVerifier(user, secret, shape.iterations, shape.saltBytes);
  return (stored === undefined ? undefined : storedVerifier(stored)) ?? mock;
}

/** The md5 hash to run an exchange against; one that no password has where there is none. */
export function md5HashFor(
  stored: StoredPassword | undefined,
  { user, secret }: Omit<Claim, "shape">,
): string {
  const mock = mockMd5Hash(user, secret);
  if (stored?.kind === "md5") return stored.hash;
  return stored?.kind === "plain" ? stored.md5 : mock;
}

/**
 * A process that asks PAM, one password after the other, and does nothing else: modules block, fork, print and crash. It is
 * this program, started with `--pam-helper`; what it is asked comes by its standard input, and its end is that one's end.
 */

import { setCloseOnExec } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { dieWithParent } from "../../os/orphans.ts";
import { checkByPam, type PamRequest, type PamResult } from "../../os/pam.ts";

/** The only argument of such a process. */
export const PAM_HELPER_ARGUMENT = "--pam-helper";

/** Of a frame, either way: a password has 64 KB at most, and JSON may write a byte as six letters. */
export const MOST_FRAME_BYTES = 1 << 20;

const HEAD_BYTES = 4;
const O_RDWR = 2;
const STANDARD_INPUT = 0 as Fd;
const STANDARD_OUTPUT = 1 as Fd;
const STANDARD_ERROR = 2 as Fd;
/** Beyond those that modules know of. */
const QUESTIONS = 100 as Fd;
const ANSWERS = 101 as Fd;

/** A length, and JSON. */
export function frameOf(value: PamRequest | PamResult): Uint8Array<ArrayBuffer> {
  const body = new TextEncoder().encode(JSON.stringify(value));
  const frame = new Uint8Array(HEAD_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, HEAD_BYTES);
  return frame;
}

/** The process's life: returns when nobody asks any more. */
export function servePam(): void {
  dieWithParent();
  // What a module prints, or reads, must not get between the frames.
  libc.dup2(STANDARD_INPUT, QUESTIONS);
  libc.dup2(STANDARD_OUTPUT, ANSWERS);
  setCloseOnExec(QUESTIONS, "on");
  setCloseOnExec(ANSWERS, "on");
  libc.dup2(STANDARD_ERROR, STANDARD_OUTPUT);
  libc.dup2(libc.open("/dev/null", O_RDWR, 0) as Fd, STANDARD_INPUT);
  for (;;) {
    const head = readWhole(HEAD_BYTES);
    if (head === undefined) return;
    const length = new DataView(head.buffer).getUint32(0);
    const body = length > MOST_FRAME_BYTES ? undefined : readWhole(length);
    if (body === undefined) return;
    const frame = frameOf(checkByPam(JSON.parse(new TextDecoder().decode(body)) as PamRequest));
    for (let at = 0; at < frame.length;) {
      const written = libc.write(ANSWERS, frame.subarray(at), frame.length - at);
      if (written < 0) return;
      at += written;
    }
  }
}

function readWhole(length: number): Uint8Array<ArrayBuffer> | undefined {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const read = libc.read(QUESTIONS, bytes.subarray(at), length - at);
    if (read <= 0) return undefined;
    at += read;
  }
  return bytes;
}

// hot path
/**
 * A byte stream over TLS, after its handshake (handshake.ts). Its state is plain data that may be frozen between any two
 * calls. Plaintext counts as taken when it is sealed; ciphertext that the kernel does not take stays here, at most a
 * batch and a message of ours, and nothing more is sealed before it is gone.
 *
 * `receive` never leaves a whole record unopened, so whoever waits for the socket to be readable misses nothing but what is
 * `waiting`: what was opened, and was more than was asked for. That is no part of its state: the owner takes it along. After
 * a handshake there may be some in the state already: the owner calls `receive` once by itself.
 */

import { EAGAIN, EPIPE, EPROTO } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { SHUT_RD } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import { copyBytes } from "../reactor/copy.ts";
import { isPutOff, MOST_POSTED_BYTES, postMore, type Sender } from "../reactor/posts.ts";
import { type ByteStream, PuttingOff, READ_BYTES, readBuffer } from "../reactor/stream.ts";
import { CLOSE_NOTIFY } from "./alerts.ts";
import {
  BATCH_BYTES,
  giveReceived,
  keepReceived,
  received,
  receivedAt,
  recordLength,
  sealed,
  sealedAt,
} from "./buffers.ts";
import { RecordLayer } from "./record_layer.ts";
import { infoOf, isTlsState, type TlsInfo, type TlsState } from "./state.ts";

/** What is put off, in records. */
const MOST_SEALED_BYTES = 2 * MOST_POSTED_BYTES;

export class TlsStream extends PuttingOff implements ByteStream {
  /** Bytes of ciphertext that the kernel has not taken. */
  unsent = 0;
  readonly #state: TlsState;
  readonly #records: RecordLayer;
  #unsentBytes: Uint8Array<ArrayBuffer> | undefined;
  /** Of a record that was not whole at the last read. */
  #undecoded: Uint8Array<ArrayBuffer> | undefined;
  #undecodedLength = 0;
  /** What was opened and not taken. */
  waiting = 0;
  #opened: Uint8Array<ArrayBuffer> | undefined;
  #ended = false;

  /**
   * The state is the stream's from now on, and its secrets are overwritten in the end. Throws at one that can't be gone on
   * with: it may come from a process of another version.
   */
  constructor(fd: Fd, state: TlsState) {
    if (!isTlsState(state)) throw new Error("a TLS connection that this program can't go on with");
    super(fd);
    this.#state = state;
    this.#records = new RecordLayer(state);
    this.#unsentBytes = state.unsent;
    this.unsent = state.unsent?.length ?? 0;
    this.#undecoded = state.undecoded;
    this.#undecodedLength = state.undecoded?.length ?? 0;
    state.unsent = undefined;
    state.undecoded = undefined;
  }

  /** Version and cipher suite. */
  get info(): TlsInfo {
    return infoOf(this.#state);
  }

  /** Why the connection is broken, for the log; "" where it is not. */
  get fault(): string {
    return this.#state.fault;
  }

  /** A copy of its state, for a stream that goes on with it elsewhere; nothing is put off any more (`settle`). */
  freeze(): TlsState {
    const state = this.#state;
    return {
      ...state,
      receive: { ...state.receive, secret: state.receive.secret.slice() },
      send: { ...state.send, secret: state.send.secret.slice() },
      undecoded: this.#undecoded?.slice(0, this.#undecodedLength),
      unsent: this.unsent === 0 ? undefined : this.#unsentBytes!.slice(-this.unsent),
      handshake: state.handshake?.slice(),
    };
  }

  copyWaiting(): Uint8Array | undefined {
    return this.waiting === 0 ? undefined : this.#opened!.slice(-this.waiting);
  }

  receive(offset: number, most: number = READ_BYTES): number {
    if (this.waiting > 0) return this.#takeWaiting(offset, most);
    const count = this.#receive(offset);
    if (count <= most) return count;
    this.#opened = readBuffer.slice(offset + most, offset + count);
    this.waiting = count - most;
    return most;
  }

  #takeWaiting(offset: number, most: number): number {
    const count = Math.min(most, this.waiting);
    const at = this.#opened!.length - this.waiting;
    copyBytes(readBuffer, offset, this.#opened!, at, at + count);
    this.waiting -= count;
    if (this.waiting === 0) this.#opened = undefined;
    return count;
  }

  #receive(offset: number): number {
    const state = this.#state;
    if (state.fault !== "") return -EPROTO;
    if (state.peerEnded || this.#ended) return 0;
    let end = this.#undecodedLength;
    if (end > 0) copyBytes(received, 0, this.#undecoded!, 0, end);
    const length = recordLength(received, end);
    if (length === 0 || length > end) {
      const count = end === 0
        ? libc.recvTo(this.fd, receivedAt, READ_BYTES)
        : libc.recv(this.fd, received.subarray(end), READ_BYTES - end);
      if (count <= 0) return count;
      end += count;
    }
    const count = this.#records.open(end, offset);
    this.#keepUndecoded(this.#records.opened, end);
    if (state.fault !== "") this.#sayFault();
    else if (!state.peerEnded) return count > 0 ? count : -EAGAIN;
    if (count === 0) return state.fault === "" ? 0 : -EPROTO;
    // What came before is told first. The socket is readable from now on, so that the owner comes back for the end.
    libc.shutdown(this.fd, SHUT_RD);
    return count;
  }

  #keepUndecoded(at: number, end: number): void {
    if (this.#undecoded !== undefined) giveReceived(this.#undecoded);
    this.#undecoded = at < end && !this.#state.peerEnded && this.#state.fault === ""
      ? keepReceived(at, end)
      : undefined;
    this.#undecodedLength = this.#undecoded === undefined ? 0 : end - at;
  }

  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number, sender: Sender): number {
    if (!isPutOff(end - start)) {
      const taken = this.send(bytes, start, end);
      if (taken === end - start && this.unsent > 0) sender.notTaken(bytes, end, end);
      return taken;
    }
    // Nothing is unsent while something is put off.
    const goesOn = this.#mayBeSent && this.goesOn(sender, MOST_SEALED_BYTES);
    const refusal = goesOn ? 0 : this.#refusal();
    if (refusal !== 0) return refusal;
    const length = this.#records.sealData(bytes, start, end);
    if (goesOn) postMore(sealed, 0, length);
    else this.putOff(sealed, 0, length, sender);
    return end - start;
  }

  protected refused(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    sender: Sender,
  ): void {
    this.#keepUnsent(bytes, start, end);
    sender.notTaken(bytes, end, end);
  }

  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    const refusal = this.#refusal();
    if (refusal !== 0) return refusal;
    let at = start;
    while (at < end && this.unsent === 0) {
      const upTo = Math.min(end, at + BATCH_BYTES);
      const result = this.#sendSealed(this.#records.sealData(bytes, at, upTo));
      if (result < 0) return result;
      at = upTo;
    }
    return at - start;
  }

  get #mayBeSent(): boolean {
    return !this.#ended && !this.#state.ended && this.#state.fault === "";
  }

  /** Why nothing can be sent now: −errno, or 0. */
  #refusal(): number {
    if (!this.#mayBeSent) return -EPIPE;
    return this.settle() && this.unsent === 0 ? 0 : -EAGAIN;
  }

  /** Sends `sealed[0..length)`, or keeps what the kernel does not take: 0, or −errno. */
  #sendSealed(length: number): number {
    const sent = libc.sendFrom(this.fd, sealedAt, length);
    if (sent === length) return 0;
    if (sent < 0 && !libc.wouldBlock(sent)) return sent;
    this.#keepUnsent(sealed, Math.max(0, sent), length);
    return 0;
  }

  #keepUnsent(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    const kept = this.unsent;
    const room = new Uint8Array(kept + end - start);
    if (kept > 0) room.set(this.#unsentBytes!.subarray(-kept));
    room.set(bytes.subarray(start, end), kept);
    this.#unsentBytes = room;
    this.unsent = room.length;
  }

  flush(): number {
    this.settle();
    while (this.unsent > 0) {
      const bytes = this.#unsentBytes!.subarray(-this.unsent);
      const sent = libc.send(this.fd, bytes, bytes.length);
      if (sent < 0) return libc.wouldBlock(sent) ? 0 : sent;
      this.unsent -= sent;
    }
    this.#unsentBytes = undefined;
    return 0;
  }

  sayEnd(): void {
    const state = this.#state;
    if (this.#ended || state.ended || state.fault !== "") return;
    this.flush();
    state.ended = true;
    const length = this.#records.sealAlert(CLOSE_NOTIFY);
    if (this.unsent > 0) this.#keepUnsent(sealed, 0, length);
    else this.#sendSealed(length);
  }

  /** Tells the peer what is wrong, if it takes that at once. */
  #sayFault(): void {
    const { alert } = this.#records;
    if (alert < 0 || this.#state.ended || this.flush() < 0 || this.unsent > 0) return;
    this.#sendSealed(this.#records.sealAlert(alert));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#records.free();
    if (this.#undecoded !== undefined) giveReceived(this.#undecoded);
    this.#undecoded = undefined;
    this.#undecodedLength = 0;
    this.#opened = undefined;
    this.waiting = 0;
    this.#unsentBytes = undefined;
    this.unsent = 0;
  }
}

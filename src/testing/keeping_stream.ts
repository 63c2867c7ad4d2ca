/** A stream that keeps what its socket does not take, as one of TLS records does: what it was given counts as taken. */

import { EAGAIN } from "../os/errno.ts";
import type { Sender } from "../reactor/posts.ts";
import { FakeStream } from "./fake_stream.ts";

const NOTHING = new Uint8Array(0);

export class KeepingStream extends FakeStream {
  override unsent: number = 0;
  #kept: Uint8Array<ArrayBuffer> = NOTHING;
  #sender: Sender | undefined = undefined;

  override post(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    sender: Sender,
  ): number {
    if (!this.settle() || this.unsent > 0) return -EAGAIN;
    this.#sender = sender;
    const taken = super.post(bytes, start, end, sender);
    if (taken >= 0 && this.unsent > 0) sender.notTaken(bytes, end, end);
    return taken;
  }

  override settle(): boolean {
    const before = this.unsent;
    const all = super.settle();
    if (this.unsent === before) return all;
    this.#sender!.notTaken(NOTHING, 0, 0);
    return false;
  }

  override send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    if (!this.settle() || this.unsent > 0) return -EAGAIN;
    const taken = super.send(bytes, start, end);
    if (taken < 0 && taken !== -EAGAIN) return taken;
    this.#kept = bytes.slice(start + Math.max(0, taken), end);
    this.unsent = this.#kept.length;
    return end - start;
  }

  override flush(): number {
    this.settle();
    while (this.unsent > 0) {
      const sent = super.send(this.#kept, 0, this.unsent);
      if (sent < 0) return sent === -EAGAIN ? 0 : sent;
      this.#kept = this.#kept.slice(sent);
      this.unsent = this.#kept.length;
    }
    return 0;
  }
}

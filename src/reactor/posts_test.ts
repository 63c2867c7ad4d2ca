import assert from "node:assert/strict";
import { say } from "../../tools/say.ts";
import { EPIPE } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { socketPair } from "../os/fd_passing.ts";
import { SO_SNDBUF, SOCK_NONBLOCK, SOL_SOCKET } from "../os/layout.ts";
import { close, fcntl, recv, setSocketOption } from "../os/libc.ts";
import { MOST_POSTED_BYTES, putOff, type Sender, settle } from "./posts.ts";
import { PlainStream } from "./stream.ts";

const F_SETFL = 4;
const ON = true;
const OFF = false;
const unavailable = putOff(ON);
putOff(OFF);

if (unavailable < 0) say(`posts: not tested, the kernel has no io_uring (${unavailable})`);

/** A connected pair: a stream to send on, and the other end to read from. */
class Pair implements Sender, Disposable {
  readonly stream: PlainStream;
  readonly other: Fd;
  /** What came back. */
  left = "";
  times = 0;
  #gone = false;

  constructor() {
    const [mine, other] = socketPair();
    fcntl(mine, F_SETFL, SOCK_NONBLOCK);
    fcntl(other, F_SETFL, SOCK_NONBLOCK);
    this.stream = new PlainStream(mine);
    this.other = other;
  }

  notTaken(bytes: Uint8Array, start: number, end: number): void {
    this.left += new TextDecoder().decode(bytes.slice(start, end));
    this.times++;
  }

  post(text: string): number {
    const bytes = new TextEncoder().encode(`..${text}.`);
    const result = this.stream.post(bytes, 2, bytes.length - 1, this);
    // Whoever posts may write over his bytes at once.
    bytes.fill(0x21);
    return result;
  }

  /** All that has arrived. */
  read(): string {
    const bytes = new Uint8Array(1 << 20);
    let text = "";
    for (let n = recv(this.other, bytes, bytes.length); n > 0;) {
      text += new TextDecoder().decode(bytes.subarray(0, n));
      n = recv(this.other, bytes, bytes.length);
    }
    return text;
  }

  /** Fills the socket until it takes nothing more; returns what it holds. */
  fill(): number {
    const bytes = new Uint8Array(100_000);
    let held = 0;
    for (let n = this.stream.send(bytes, 0, bytes.length); n > 0;) {
      held += n;
      n = this.stream.send(bytes, 0, bytes.length);
    }
    return held;
  }

  hangUp(): void {
    if (!this.#gone) close(this.other);
    this.#gone = true;
  }

  [Symbol.dispose](): void {
    close(this.stream.fd);
    this.hangUp();
  }
}

function withPosts(name: string, test: () => void): void {
  Deno.test({
    name: `posts: ${name}`,
    ignore: unavailable < 0,
    fn() {
      assert.equal(putOff(ON), 0);
      try {
        test();
      } finally {
        settle();
        putOff(OFF);
      }
    },
  });
}

withPosts("go out together, each on its socket, when they are settled", () => {
  const pairs = Array.from({ length: 20 }, () => new Pair());
  pairs.forEach((pair, i) => assert.equal(pair.post(`number ${i}`), `number ${i}`.length));
  assert.deepEqual(pairs.map((pair) => pair.read()), pairs.map(() => ""));
  settle();
  assert.deepEqual(pairs.map((pair) => pair.read()), pairs.map((_, i) => `number ${i}`));
  assert.ok(pairs.every(({ times }) => times === 0));
  for (const pair of pairs) pair[Symbol.dispose]();
});

withPosts("more than a batch holds are sent in their order, round after round", () => {
  const pairs = Array.from({ length: 150 }, () => new Pair());
  let expected = "";
  for (let round = 0; round < 40; round++) {
    const text = `${round} `.repeat(1 + round * 20);
    expected += text;
    for (const pair of pairs) pair.post(text);
    if (round % 7 === 0) settle();
  }
  settle();
  for (const pair of pairs) {
    assert.equal(pair.read(), expected);
    assert.equal(pair.times, 0);
    pair[Symbol.dispose]();
  }
});

withPosts("a second one on a socket comes behind the first, and a plain send does, too", () => {
  using pair = new Pair();
  pair.post("one ");
  pair.post("two ");
  const three = new TextEncoder().encode("three");
  assert.equal(pair.stream.send(three, 0, 5), 5);
  assert.equal(pair.read(), "one two three");
});

withPosts("what follows on a socket goes out in one piece, and comes back in one", () => {
  using pair = new Pair();
  pair.post("one ");
  pair.post("two");
  assert.equal(pair.read(), "");
  settle();
  assert.equal(pair.read(), "one two");
  pair.fill();
  pair.post("three ");
  pair.post("four");
  settle();
  assert.deepEqual([pair.left, pair.times], ["three four", 1]);
});

withPosts("one of another in between keeps the order of each", () => {
  using pair = new Pair();
  using other = new Pair();
  pair.post("one ");
  other.post("a");
  pair.post("two");
  settle();
  assert.deepEqual([pair.read(), other.read()], ["one two", "a"]);
});

withPosts("what is long is sent at once, behind what was put off", () => {
  using pair = new Pair();
  const long = "x".repeat(MOST_POSTED_BYTES + 1);
  pair.post("short ");
  assert.equal(pair.post(long), long.length);
  assert.equal(pair.read(), `short ${long}`);
});

withPosts("a full socket gives all back", () => {
  using pair = new Pair();
  pair.fill();
  assert.equal(pair.post("late"), 4);
  assert.equal(pair.left, "");
  settle();
  assert.equal(pair.left, "late");
});

withPosts("behind what came back nothing is sent", () => {
  using pair = new Pair();
  pair.fill();
  pair.post("first");
  assert.ok(pair.stream.send(new Uint8Array(6), 0, 6) < 0);
  assert.equal(pair.left, "first");
  pair.read();
  // Its sender sends the rest before anything else; from then on all is as ever.
  pair.post("first");
  settle();
  assert.equal(pair.read(), "first");
});

withPosts("a socket that takes a part gives back the rest", () => {
  let parts = 0;
  // Where the kernel stops depends on what it holds already.
  for (let size = 500; size <= 4000; size += 500) {
    using pair = new Pair();
    setSocketOption(pair.stream.fd, SOL_SOCKET, SO_SNDBUF, 1);
    let posted = "";
    for (let length = size; pair.left === ""; length = MOST_POSTED_BYTES) {
      const text = "0123456789".repeat(length).slice(0, length);
      posted += text;
      pair.post(text);
      settle();
    }
    const back = pair.left.length;
    if (back > 0 && back % MOST_POSTED_BYTES !== 0 && back !== size) parts++;
    assert.equal(pair.read() + pair.left, posted);
  }
  assert.ok(parts > 0, "no send took a part");
});

withPosts("a peer that is gone gives all back, and the next send says why", () => {
  using pair = new Pair();
  pair.hangUp();
  pair.post("anyone?");
  settle();
  assert.equal(pair.left, "anyone?");
  assert.equal(pair.stream.send(new Uint8Array(1), 0, 1), -EPIPE);
});

withPosts("what waits when they are no longer put off is not lost", () => {
  using pair = new Pair();
  pair.post("put off ");
  putOff(OFF);
  assert.equal(pair.post("at once"), 7);
  assert.equal(pair.read(), "put off at once");
});

Deno.test("posts: without io_uring each is a send", () => {
  using pair = new Pair();
  assert.equal(pair.post("at once"), 7);
  assert.equal(pair.read(), "at once");
});

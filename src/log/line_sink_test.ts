import assert from "node:assert/strict";
import { LineSink, MOST_QUEUED_BYTES } from "./line_sink.ts";

const EAGAIN = 11;
const EPIPE = 32;

/** An output that takes as much as a test lets it, and a clock whose timers it runs. */
class Output {
  written = "";
  /** How many bytes it will take; what it says beyond. */
  room = Infinity;
  errno = EAGAIN;
  now = 0;
  writes = 0;
  readonly timers: { ms: number; action: () => void }[] = [];
  readonly sink: LineSink;
  /** What the wait for it changes. */
  waited: (ms: number) => boolean = () => assert.fail("nobody waits");

  constructor() {
    this.sink = new LineSink({
      output: {
        write: (bytes) => {
          this.writes++;
          const taken = Math.min(bytes.length, this.room);
          if (taken === 0) return -this.errno;
          this.room -= taken;
          this.written += new TextDecoder().decode(bytes.subarray(0, taken));
          return taken;
        },
        wait: (ms) => this.waited(ms),
      },
      later: (ms, action) => this.timers.push({ ms, action }),
      tellLost: (lines, errno) => this.sink.put(`lost ${lines} by ${errno}\n`),
      now: () => this.now,
    });
  }

  tick(): number {
    const [timer, ...others] = this.timers.splice(0);
    assert.ok(timer !== undefined);
    assert.deepEqual(others, [], "one timer at a time");
    timer.action();
    return timer.ms;
  }
}

Deno.test("line sink: nothing is no line, and nobody waits for it", () => {
  const output = new Output();
  output.sink.put("");
  output.sink.flush(1000);
  assert.equal(output.writes, 0);
});

Deno.test("line sink: lines are written at once, each by itself", () => {
  const output = new Output();
  output.sink.put("one\n");
  output.sink.put("größe\n");
  assert.equal(output.written, "one\ngröße\n");
  assert.equal(output.writes, 2);
  assert.equal(output.timers.length, 0);
});

Deno.test("line sink: what is not taken follows later, in order, and a line is never cut", () => {
  const output = new Output();
  output.room = 6;
  for (const line of ["first\n", "second\n", "third\n"]) output.sink.put(line);
  assert.equal(output.written, "first\n");
  output.room = 3;
  output.tick();
  assert.equal(output.written, "first\nsec");
  output.room = Infinity;
  output.tick();
  assert.equal(output.written, "first\nsecond\nthird\n");
  assert.equal(output.timers.length, 0);
});

Deno.test("line sink: an output that takes nothing is asked ever more rarely, however much is to be written", () => {
  const output = new Output();
  output.room = 0;
  output.errno = EPIPE;
  for (let i = 0; i < 1000; i++) output.sink.put("line\n");
  assert.equal(output.writes, 1);
  assert.deepEqual(Array.from({ length: 8 }, () => output.tick()), [
    5,
    10,
    20,
    40,
    80,
    160,
    250,
    250,
  ]);
  assert.equal(output.writes, 9);
});

Deno.test("line sink: what finds no room is counted, and told of before what follows", () => {
  const output = new Output();
  output.room = 0;
  const long = `${"x".repeat(MOST_QUEUED_BYTES / 4 - 1)}\n`;
  for (let i = 0; i < 7; i++) output.sink.put(long);
  // There is room for none of these until the loss is told.
  output.sink.put("short\n");
  output.room = Infinity;
  output.tick();
  output.sink.put("next\n");
  assert.equal(output.written, long.repeat(4) + "lost 4 by 11\nnext\n");
  assert.equal(output.sink.lostLines, 4);
  assert.equal(output.timers.length, 0);
});

Deno.test("line sink: a loss is told while lines still wait, once there is room for more", () => {
  const output = new Output();
  output.room = 0;
  const long = `${"x".repeat(MOST_QUEUED_BYTES / 4 - 1)}\n`;
  for (let i = 0; i < 5; i++) output.sink.put(long);
  output.room = 2 * long.length;
  output.tick();
  output.sink.put("next\n");
  output.room = Infinity;
  output.tick();
  assert.equal(output.written, long.repeat(4) + "lost 1 by 11\nnext\n");
});

Deno.test("line sink: the end waits for a reader, but not for long", () => {
  const output = new Output();
  output.room = 0;
  output.sink.put("one\n");
  output.sink.put("two\n");
  const waits: number[] = [];
  output.waited = (ms) => {
    waits.push(ms);
    output.now += 30;
    if (waits.length === 1) output.room = 4;
    return true;
  };
  output.sink.flush(100);
  assert.equal(output.written, "one\n");
  assert.deepEqual(waits, [100, 70, 40, 10]);
});

Deno.test("line sink: the end does not wait for an output that is broken", () => {
  const output = new Output();
  output.room = 0;
  output.errno = EPIPE;
  output.sink.put("one\n");
  output.waited = () => false;
  output.sink.flush(100);
  assert.equal(output.now, 0);
});

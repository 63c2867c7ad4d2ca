import assert from "node:assert/strict";
import { Timers } from "../../reactor/timers.ts";
import { Hearing, LineSwitch } from "./line_switch.ts";
import type { ListeningLine } from "./line.ts";

const OLD = {} as ListeningLine;
const NEXT = {} as ListeningLine;
const MARK = 0;

/** Both lines hear the same; `order` says whose turn it is: `o` or `n`. Returns what is passed on. */
function heard(stream: readonly number[], order: string): number[] {
  const under = new LineSwitch(NEXT, new Timers().add(0, () => {}));
  under.mark = "mark";
  const passed: number[] = [];
  let over = false;
  const at = { o: 0, n: 0 };
  for (const who of order as Iterable<"o" | "n">) {
    const item = stream[at[who]++]!;
    const bytes = Uint8Array.of(0xee, item);
    if (over) {
      if (who === "n") passed.push(item);
      continue;
    }
    const line = who === "o" ? OLD : NEXT;
    const verdict = under.hear(line, item === MARK ? "mark" : "", bytes, 1, 2);
    if (verdict === Hearing.Pass) passed.push(item);
    if (verdict !== Hearing.Over) continue;
    over = true;
    for (const held of under.held) passed.push(held[0]!);
  }
  return passed;
}

Deno.test("line switch: whoever is ahead, all is passed on once and in order", () => {
  const stream = [1, 2, MARK, 3, 4];
  // Every way to interleave two readers of five.
  const orders: string[] = [""];
  for (let i = 0; i < 10; i++) {
    for (const order of orders.splice(0)) {
      for (const who of "on") if (order.split(who).length <= 5) orders.push(order + who);
    }
  }
  assert.equal(orders.length, 252);
  for (const order of orders) assert.deepEqual(heard(stream, order), [1, 2, 3, 4], order);
});

Deno.test("line switch: what waits for the old line is bounded", () => {
  const under = new LineSwitch(NEXT, new Timers().add(0, () => {}));
  under.mark = "mark";
  under.hear(NEXT, "mark", new Uint8Array(1), 0, 1);
  const bytes = new Uint8Array(8000);
  let count = 1;
  while (under.hear(NEXT, "", bytes, 0, bytes.length) === Hearing.Drop) count++;
  assert.equal(count, 132);
});

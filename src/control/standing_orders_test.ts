import assert from "node:assert/strict";
import type { WorkerCommand } from "../mail.ts";
import { StandingOrders } from "./standing_orders.ts";

function standing(...commands: [WorkerCommand["name"], string?][]): string[] {
  const orders = new StandingOrders();
  for (const [name, database] of commands) orders.given({ name, database } as WorkerCommand);
  return orders.all().map(({ name, database }) => `${name} ${database ?? "all"}`);
}

Deno.test("standing orders: the last word on each database, in order", () => {
  assert.deepEqual(standing(["pause", "a"], ["pause", "b"], ["resume", "a"]), [
    "pause b",
    "resume a",
  ]);
  assert.deepEqual(standing(["pause"], ["resume", "a"]), ["pause all", "resume a"]);
});

Deno.test("standing orders: one for all leaves nothing of those before, but of its own kind alone", () => {
  assert.deepEqual(standing(["pause", "a"], ["disable", "b"], ["resume"]), [
    "disable b",
    "resume all",
  ]);
});

Deno.test("standing orders: what is done at once does not stand", () => {
  assert.deepEqual(standing(["reconnect", "a"], ["kill"], ["drain"]), []);
});

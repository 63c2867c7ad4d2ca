import assert from "node:assert/strict";
import { interruptMeans } from "./signals.ts";
import { watchdogPeriod } from "./systemd.ts";

function environment(variables: Record<string, string>): (name: string) => string | undefined {
  return (name) => variables[name];
}

Deno.test("watchdog: a period only where systemd asks this process for one", () => {
  const period = (variables: Record<string, string>, successor = false) =>
    watchdogPeriod(environment(variables), 77, successor);
  assert.equal(period({}), undefined);
  assert.equal(period({ WATCHDOG_USEC: "30000000" }), 30_000);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "77" }), 30_000);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "78" }), undefined);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "78" }, true), 30_000);
  for (const wrong of ["", "0", "-1", "x", "1.5"]) {
    assert.equal(period({ WATCHDOG_USEC: wrong }), undefined, wrong);
  }
});

Deno.test("SIGINT: shutdown at a terminal in the foreground, else upgrade", () => {
  const means = (terminal: boolean, daemon: boolean, shutdownOnly?: string) =>
    interruptMeans({ terminal, daemon, shutdownOnly });
  assert.equal(means(true, false), "shutdown");
  assert.equal(means(true, true), "upgrade");
  assert.equal(means(false, false), "upgrade");
  assert.equal(means(false, false, "1"), "shutdown");
  assert.equal(means(false, false, "0"), "upgrade");
});

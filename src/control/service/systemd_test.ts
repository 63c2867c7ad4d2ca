import assert from "node:assert/strict";
import { levelFilter } from "../../log/filter.ts";
import { createRecordLog } from "../../log/log.ts";
import { ServiceManager, Watchdog, watchdogPeriod } from "./systemd.ts";

function environment(variables: Record<string, string>): (name: string) => string | undefined {
  return (name) => variables[name];
}

Deno.test("watchdog: a period only where systemd asks this process for one", () => {
  const period = (variables: Record<string, string>, process: "first" | "successor" = "first") =>
    watchdogPeriod(environment(variables), 77, process === "successor");
  assert.equal(period({}), undefined);
  assert.equal(period({ WATCHDOG_USEC: "30000000" }), 30_000);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "77" }), 30_000);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "78" }), undefined);
  assert.equal(period({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "78" }, "successor"), 30_000);
  for (const wrong of ["", "0", "-1", "x", "1.5"]) {
    assert.equal(period({ WATCHDOG_USEC: wrong }), undefined, wrong);
  }
});

/** A log that remembers its messages. */
function logged(): { log: ReturnType<typeof createRecordLog>; lines: string[] } {
  const lines: string[] = [];
  const log = createRecordLog({
    filter: levelFilter("error"),
    emit: ({ message }) => void lines.push(message),
  });
  return { log, lines };
}

Deno.test("systemd: without its socket nothing is said, and a bad one is told once", () => {
  const { log, lines } = logged();
  for (const socket of [undefined, ""]) {
    const manager = new ServiceManager(() => socket, log);
    assert.ok(!manager.present);
    manager.ready("x");
  }
  assert.deepEqual(lines, []);
  const manager = new ServiceManager(environment({ NOTIFY_SOCKET: "relative" }), log);
  assert.ok(!manager.present);
  manager.alive();
  assert.deepEqual(lines, ['NOTIFY_SOCKET: "relative" is no address of a unix socket']);
});

Deno.test("systemd: what can't be sent is logged, and that is all", () => {
  const { log, lines } = logged();
  const manager = new ServiceManager(environment({ NOTIFY_SOCKET: "/nowhere/notify" }), log);
  assert.ok(manager.present);
  manager.mainProcess(7);
  assert.match(lines.join(), /^notify MAINPID=7: .*No such file/i);
});

Deno.test("watchdog: systemd hears of it as long as every worker answers", async () => {
  const { log, lines } = logged();
  const heard: string[] = [];
  let silent: number[] = [];
  let rounds = 0;
  const manager = { alive: () => void heard.push("alive") };
  const pulse = {
    ping: () => void heard.push("ping"),
    silent: () => {
      rounds++;
      return silent;
    },
  };
  const watchdog = new Watchdog(manager, pulse, log);
  const until = async (count: number) => {
    while (rounds < count) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  watchdog.start(4);
  await until(2);
  assert.deepEqual(heard.slice(0, 5), ["ping", "alive", "ping", "alive", "ping"]);
  silent = [1, 3];
  const before = heard.length;
  await until(rounds + 3);
  assert.equal(heard.length, before, "nobody is told that all is well");
  assert.deepEqual(lines, [
    "watchdog: no answer from worker 1, 3: systemd is not told that all is well",
  ]);
  silent = [];
  await until(rounds + 1);
  assert.equal(heard[before], "alive");
  watchdog.stop();
});

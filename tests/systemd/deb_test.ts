/**
 * The Debian package and its unit under a real systemd: install, start, status, reload, hang, stop, upgrade, remove,
 * purge. One machine is booted for all of it, and the steps follow one another as in an operator's life.
 */

import assert from "node:assert/strict";
import { makeDeb } from "../../tools/package.ts";
import { say } from "../../tools/say.ts";
import { waitFor } from "../support/detached_process.ts";
import { doormanExecutable, isListening } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Machine, machineObstacle } from "./machine.ts";
import { CONFIG_PATH, UNIT, Unit } from "./unit.ts";

const obstacle = await machineObstacle();
if (obstacle !== undefined) {
  say(`systemd: no machine here, notify_test.ts has a stand-in for systemd: ${obstacle}`);
}

Deno.test({
  name: "systemd: the package and its unit",
  ignore: obstacle !== undefined,
  fn: async (t) => {
    await using postgres = await Postgres.start();
    await using machine = await Machine.boot();
    const { root } = machine.overlay;
    const unit = new Unit(machine, postgres);
    const { port } = unit;
    const contents = {
      binary: await doormanExecutable(),
      outputFolder: `${root}/var/cache/pg-doorman`,
      compression: "none",
    } as const;
    const first = (await makeDeb({ ...contents, version: "0.1.0" })).slice(root.length);
    const second = (await makeDeb({ ...contents, version: "0.1.1" })).slice(root.length);

    // Each stands on the ones before: the first that fails is the last.
    const step = async (name: string, fn: () => Promise<void>) => {
      assert.ok(await t.step(name, fn), name);
    };

    await step("dpkg -i installs, and starts nothing", async () => {
      await machine.must("dpkg", "-i", first);
      assert.equal(await unit.property("ActiveState"), "inactive");
      assert.equal((await machine.run("systemctl", "is-enabled", UNIT)).output.trim(), "disabled");
      const mode = await machine.must("stat", "-c", "%a %U:%G", CONFIG_PATH);
      assert.equal(mode.trim(), "640 root:postgres");
    });

    await step("systemd-analyze verify finds nothing", async () => {
      const { code, output } = await machine.run(
        "systemd-analyze",
        "verify",
        `/usr/lib/systemd/system/${UNIT}`,
      );
      assert.equal(code, 0, output);
      assert.doesNotMatch(output, /pg_doorman/);
    });

    await step("systemctl start returns when clients are accepted", async () => {
      await unit.configure();
      await machine.must("systemctl", "start", UNIT);
      assert.ok(isListening(port), "at once");
      assert.equal(await unit.property("ActiveState"), "active");
      using client = await unit.admin();
      assert.ok(await client.value("SHOW VERSION"));
      const user = await machine.must("stat", "-c", "%U", `/proc/${await unit.mainPid()}`);
      assert.equal(user.trim(), "postgres");
    });

    await step("systemctl status shows what it serves", async () => {
      const status = await machine.must("systemctl", "status", "--no-pager", UNIT);
      assert.match(status, /Active: active \(running\)/);
      assert.match(status, /Status: "serving 1 pools on /);
    });

    await step("the hardening holds", async () => {
      const status = await Deno.readTextFile(
        `${root}/usr/lib/systemd/system/${UNIT}`,
      );
      assert.doesNotMatch(status, /^MemoryDenyWriteExecute/m);
      const fields = await machine.must("cat", `/proc/${await unit.mainPid()}/status`);
      assert.match(fields, /^NoNewPrivs:\s*1$/m);
      assert.match(fields, /^Seccomp:\s*2$/m);
      assert.match(fields, /^CapBnd:\s*0+$/m);
    });

    await step("kill -HUP reloads the config", async () => {
      await unit.configure('query_wait_timeout = "1234ms"');
      await machine.must("kill", "-HUP", String(await unit.mainPid()));
      using client = await unit.admin();
      await waitFor("the new value", 5000, async () => {
        const row = (await client.rows("SHOW CONFIG")).find(([key]) =>
          key === "query_wait_timeout"
        );
        return /^(1234|1234ms)$/.test(row![1]!) || undefined;
      });
      await waitFor(
        "READY again",
        3000,
        async () => await unit.property("ActiveState") === "active" || undefined,
      );
    });

    await step("systemctl reload is a binary upgrade that systemd follows", async () => {
      const before = await unit.mainPid();
      await machine.must("systemctl", "reload", UNIT);
      await unit.waitForSuccessor(before);
      assert.equal(await unit.property("ActiveState"), "active");
      using client = await unit.admin();
      assert.ok(await client.value("SHOW VERSION"));
    });

    await step("after upgrades systemd waits for its end, and notices its death", async () => {
      const upgrade = async () => {
        const before = await unit.mainPid();
        await machine.must("systemctl", "reload", UNIT);
        const main = await unit.waitForSuccessor(before);
        const parent = await machine.must("ps", "-o", "ppid=", "-p", String(main));
        assert.equal(parent.trim(), "1");
        return main;
      };
      for (let i = 0; i < 4; i++) await upgrade();
      // Of a process that was another one's child when it became the main one, systemd says and believes this for good.
      assert.doesNotMatch(await machine.must("journalctl", "--unit", UNIT), /not our child/);
      await machine.must("systemctl", "stop", UNIT);
      assert.equal(await unit.property("Result"), "success");
      await machine.must("systemctl", "start", UNIT);
      const main = await upgrade();
      await machine.must("kill", "-KILL", String(main));
      await waitFor(
        "another start",
        20_000,
        async () => await unit.property("NRestarts") === "1" && isListening(port) || undefined,
      );
    });

    await step("an upgrade of the package reloads rather than restarts", async () => {
      const upgrade = () => machine.must("dpkg", "-i", "--force-confold", second);
      assert.deepEqual(await unit.survives(upgrade), []);
      assert.match(await Deno.readTextFile(`${root}${CONFIG_PATH}`), /1234ms/);
    });

    await step("WatchdogSec: a process that stands still is restarted", async () => {
      await machine.must("mkdir", "-p", `/run/systemd/system/${UNIT}.d`);
      await Deno.writeTextFile(
        `/proc/${machine.init}/root/run/systemd/system/${UNIT}.d/watchdog.conf`,
        "[Service]\nWatchdogSec=1\n",
      );
      await machine.must("systemctl", "daemon-reload");
      await machine.must("systemctl", "restart", UNIT);
      const before = await unit.mainPid();
      await new Promise((done) => setTimeout(done, 2500));
      assert.equal(await unit.mainPid(), before, "it answers");
      await machine.must("kill", "-STOP", String(before));
      await waitFor("a new process", 20_000, async () => {
        const now = await unit.mainPid();
        return now !== before && now > 0 && isListening(port) || undefined;
      });
      await machine.must("rm", "-r", `/run/systemd/system/${UNIT}.d`);
      await machine.must("systemctl", "daemon-reload");
    });

    await step("systemctl stop ends it with status 0", async () => {
      await waitFor(
        "active",
        5000,
        async () => await unit.property("ActiveState") === "active" || undefined,
      );
      const started = performance.now();
      await machine.must("systemctl", "stop", UNIT);
      assert.ok(performance.now() - started < 3000);
      assert.equal(await unit.property("ActiveState"), "inactive");
      assert.equal(await unit.property("Result"), "success");
      assert.equal(await unit.property("ExecMainStatus"), "0");
      assert.ok(!isListening(port));
    });

    await step("remove stops it and keeps the config, purge takes the config", async () => {
      await machine.must("systemctl", "enable", "--now", UNIT);
      assert.ok(isListening(port));
      await machine.must("dpkg", "--remove", "pg-doorman");
      assert.ok(!isListening(port));
      assert.equal((await machine.run("test", "-e", "/usr/bin/pg_doorman")).code, 1);
      assert.equal((await machine.run("test", "-e", CONFIG_PATH)).code, 0);
      await machine.must("dpkg", "--purge", "pg-doorman");
      assert.equal((await machine.run("test", "-e", "/etc/pg_doorman")).code, 1);
      assert.notEqual((await machine.run("systemctl", "is-enabled", UNIT)).code, 0);
      assert.equal((await machine.run("id", "postgres")).code, 0, "the user may own a cluster");
    });
  },
});

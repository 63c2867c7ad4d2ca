/**
 * The RPM under a real systemd: install, start, upgrade, remove, as in an operator's life. The machine is a Debian, so
 * rpm is told not to look for what other distributions' packages provide; what it does with files and scriptlets is the
 * same everywhere.
 */

import assert from "node:assert/strict";
import { makeRpm, rpmObstacle } from "../../tools/package.ts";
import { say } from "../../tools/say.ts";
import { doormanExecutable, isListening } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Machine, machineObstacle } from "./machine.ts";
import { CONFIG_PATH, UNIT, Unit } from "./unit.ts";

const obstacle = await rpmObstacle() ?? await machineObstacle();
if (obstacle !== undefined) say(`rpm: not installed anywhere: ${obstacle}`);

Deno.test({
  name: "systemd: the RPM",
  ignore: obstacle !== undefined,
  fn: async (t) => {
    await using postgres = await Postgres.start();
    await using machine = await Machine.boot();
    const { root } = machine.overlay;
    const unit = new Unit(machine, postgres);
    const contents = {
      binary: await doormanExecutable(),
      outputFolder: `${root}/var/cache/pg-doorman`,
      compression: "none",
    } as const;
    const make = async (version: string) =>
      (await makeRpm({ ...contents, version })).slice(root.length);
    const first = await make("0.1.0");
    const second = await make("0.1.1");
    const rpm = (...args: string[]) => machine.must("rpm", "--dbpath", "/var/lib/rpm", ...args);
    const change = (...args: string[]) => rpm("--nodeps", "--force-debian", ...args);

    // On Fedora and its kin a trigger of systemd's package does the second part at the end, while the upgrade is under way.
    const upgrade = async (...args: string[]) => {
      await change("-U", ...args);
      await machine.must("systemctl", "daemon-reload");
    };

    // Each stands on the ones before: the first that fails is the last.
    const step = async (name: string, fn: () => Promise<void>) => {
      assert.ok(await t.step(name, fn), name);
    };

    await step("rpm -i installs, and starts nothing", async () => {
      await machine.run("userdel", "postgres");
      // As Fedora, Red Hat and SUSE have it; Debian would enable every unit.
      await machine.must("mkdir", "-p", "/etc/systemd/system-preset");
      await Deno.writeTextFile(`${root}/etc/systemd/system-preset/99-default.preset`, "disable *");
      await change("-i", first);
      assert.equal(await unit.property("ActiveState"), "inactive");
      assert.equal((await machine.run("systemctl", "is-enabled", UNIT)).output.trim(), "disabled");
      assert.match(await machine.must("getent", "passwd", "postgres"), /:\/var\/lib\/pgsql:/);
      assert.equal(
        await rpm("-V", "--nodeps", "pg-doorman"),
        "",
        "files, owners and modes as packed",
      );
    });

    await step("an upgrade reloads rather than restarts, and keeps the config", async () => {
      await unit.configure();
      await machine.must("systemctl", "enable", "--now", UNIT);
      assert.deepEqual(await unit.survives(() => upgrade(second)), []);
      assert.match(await rpm("-q", "pg-doorman"), /^pg-doorman-0\.1\.1-1/);
      assert.match(await Deno.readTextFile(`${root}${CONFIG_PATH}`), /^\[pools\.app\]/m);
      assert.equal((await machine.run("systemctl", "is-enabled", UNIT)).output.trim(), "enabled");
    });

    await step("so does the way back", async () => {
      assert.deepEqual(await unit.survives(() => upgrade("--oldpackage", first)), []);
      assert.match(await rpm("-q", "pg-doorman"), /^pg-doorman-0\.1\.0-1/);
    });

    await step("an upgrade of a service that does not run starts nothing", async () => {
      await machine.must("systemctl", "stop", UNIT);
      await change("-U", second);
      assert.equal(await unit.property("ActiveState"), "inactive");
      await machine.must("systemctl", "start", UNIT);
    });

    await step("removal stops it, disables it and keeps the config", async () => {
      assert.ok(isListening(unit.port));
      await change("-e", "pg-doorman");
      assert.ok(!isListening(unit.port));
      assert.notEqual((await machine.run("systemctl", "is-enabled", UNIT)).code, 0);
      assert.notEqual((await machine.run("systemctl", "cat", UNIT)).code, 0, "systemd knows it");
      assert.equal((await machine.run("test", "-e", "/usr/bin/pg_doorman")).code, 1);
      assert.equal((await machine.run("test", "-e", `${CONFIG_PATH}.rpmsave`)).code, 0);
      assert.equal((await machine.run("id", "postgres")).code, 0, "the user may own a cluster");
    });
  },
});

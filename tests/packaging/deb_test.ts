/** The Debian package: what is in it, and its life where there is no systemd (a container, a chroot). */

import assert from "node:assert/strict";
import { makeDeb } from "../../tools/package.ts";
import { say } from "../../tools/say.ts";
import { doormanExecutable } from "../support/doorman.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { Overlay, overlayObstacle } from "../systemd/machine.ts";

let folder: string;
let deb: string;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("package");
  deb = await makeDeb({ ...await contents(), version: "1.2.3" });
});

Deno.test.afterAll(async () => {
  await removeFolder(folder);
});

async function contents() {
  return {
    binary: await doormanExecutable(),
    outputFolder: folder,
    compression: "none",
  } as const;
}

async function output(command: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("deb: binary, unit, default config and documents, owned by root", async () => {
  const listing = await output("dpkg-deb", ["-c", deb]);
  const wanted = {
    "usr/bin/pg_doorman": "-rwxr-xr-x",
    "usr/lib/systemd/system/pg_doorman.service": "-rw-r--r--",
    "etc/pg_doorman/pg_doorman.toml": "-rw-r-----",
    "usr/share/doc/pg-doorman/copyright": "-rw-r--r--",
    "usr/share/doc/pg-doorman/config.md": "-rw-r--r--",
    "usr/share/doc/pg-doorman/signals-and-reload.md": "-rw-r--r--",
    "usr/share/doc/pg-doorman/binary-upgrade.md": "-rw-r--r--",
    "usr/share/doc/pg-doorman/examples/alerts.yml": "-rw-r--r--",
    "usr/share/doc/pg-doorman/examples/recording_rules.yml": "-rw-r--r--",
    "usr/share/doc/pg-doorman/examples/pg_doorman_dashboard.json": "-rw-r--r--",
  };
  for (const [path, mode] of Object.entries(wanted)) {
    const line = listing.split("\n").find((each) => each.endsWith(` ./${path}`));
    assert.ok(line?.startsWith(`${mode} root/root `), `${path}: ${line}`);
  }
  for (const line of listing.split("\n").filter((each) => each.startsWith("-"))) {
    const path = line.slice(line.indexOf(" ./") + 3);
    assert.ok(path in wanted || /^usr\/share\/doc\/pg-doorman\/[a-z-]+\.md$/.test(path), path);
    assert.notEqual(path, "usr/share/doc/pg-doorman/internals.md");
  }
});

Deno.test("deb: control fields, conffiles and scripts", async () => {
  const fields = await output("dpkg-deb", ["-f", deb]);
  assert.match(fields, /^Package: pg-doorman$/m);
  assert.match(fields, /^Version: 1\.2\.3$/m);
  assert.match(fields, /^Installed-Size: [1-9]\d{4,5}$/m);
  const info = await output("dpkg-deb", ["-I", deb, "conffiles"]);
  assert.equal(info, "/etc/pg_doorman/pg_doorman.toml\n");
  for (const script of ["postinst", "prerm", "postrm"]) {
    const text = await output("dpkg-deb", ["-I", deb, script]);
    assert.match(text, /^#!\/bin\/sh\n[^]*^set -e$/m, script);
    assert.doesNotMatch(text, /systemctl restart/, "an upgrade never restarts");
  }
});

Deno.test("deb: the same sources make the same package", async () => {
  const before = await Deno.readFile(deb);
  const again = await makeDeb({ ...await contents(), version: "1.2.3" });
  const after = await Deno.readFile(again);
  assert.equal(after.length, before.length);
  assert.ok(after.every((byte, i) => byte === before[i]));
});

Deno.test("deb: the default config passes -t", async () => {
  const said = await output(await doormanExecutable(), ["-t", "packaging/pg_doorman.toml"]);
  assert.match(said, /test is successful/);
});

const obstacle = await overlayObstacle();
if (obstacle !== undefined) say(`deb: not installed anywhere: ${obstacle}`);

Deno.test({
  name: "deb: dpkg -i, run, upgrade, remove and purge without systemd",
  ignore: obstacle !== undefined,
  fn: async () => {
    await using overlay = await Overlay.mount();
    const must = async (script: string) => {
      const { code, output } = await overlay.run(script);
      assert.equal(code, 0, `${script}\n${output}`);
      return output;
    };
    const outputFolder = `${overlay.root}/var/cache/pg-doorman`;
    const make = async (version: string) =>
      (await makeDeb({ ...await contents(), outputFolder, version })).slice(overlay.root.length);
    const [first, second] = [await make("0.1.0"), await make("0.1.1")];
    // As on a machine that PostgreSQL has never been on.
    await must("rm -rf /run/systemd; ! getent passwd postgres >/dev/null || userdel postgres");
    await must(`dpkg -i ${first}`);
    assert.match(await must("getent passwd postgres"), /:\/var\/lib\/postgresql:/);
    assert.match(
      await must("stat -c '%a %U %G' /etc/pg_doorman/pg_doorman.toml"),
      /^640 root postgres$/m,
    );
    assert.match(
      await must("su postgres -s /bin/sh -c 'pg_doorman -t /etc/pg_doorman/pg_doorman.toml'"),
      /successful/,
    );
    await must("echo '# mine' >>/etc/pg_doorman/pg_doorman.toml");
    await must("chmod 0600 /etc/pg_doorman/pg_doorman.toml");
    await must(`dpkg -i --force-confold ${second}`);
    assert.match(await must("dpkg -s pg-doorman"), /^Version: 0\.1\.1$/m);
    assert.match(await must("tail -n 1 /etc/pg_doorman/pg_doorman.toml"), /# mine/);
    assert.match(await must("stat -c %a /etc/pg_doorman/pg_doorman.toml"), /^600$/m);
    await must("dpkg --remove pg-doorman");
    await must("test ! -e /usr/bin/pg_doorman && test -e /etc/pg_doorman/pg_doorman.toml");
    await must("dpkg --purge pg-doorman");
    await must("test ! -e /etc/pg_doorman && getent passwd postgres >/dev/null");
  },
});

/** The RPM: what is in it, and its life where there is no systemd (an image that is built, a chroot). */

import assert from "node:assert/strict";
import { makeRpm, makeRpmSources, rpmObstacle } from "../../tools/package.ts";
import { say } from "../../tools/say.ts";
import { doormanExecutable } from "../support/doorman.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { Overlay, overlayObstacle } from "../systemd/machine.ts";

const obstacle = await rpmObstacle();
if (obstacle !== undefined) say(`rpm: neither parsed nor built: ${obstacle}`);
const ignore = obstacle !== undefined;

let folder: string;
let rpm: string;

Deno.test.beforeAll(async () => {
  folder = await makeTestFolder("rpm");
  if (!ignore) rpm = await makeRpm({ ...await contents(), version: "1.2.3" });
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

async function output(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const decoder = new TextDecoder();
  assert.ok(success, decoder.decode(stderr));
  return decoder.decode(stdout);
}

Deno.test("rpm: the spec names the version, and all of its sources are there", async () => {
  const sources = await makeRpmSources({ ...await contents(), version: "1.2.3-rc4" });
  const spec = await Deno.readTextFile(`${sources}/pg_doorman.spec`);
  assert.match(spec, /^Version:\s+1\.2\.3~rc4$/m, "before 1.2.3 for rpm");
  assert.doesNotMatch(spec, /@[A-Z_]+@/);
  const named = [...spec.matchAll(/^Source\d+:\s+(\S+)$/gm)].map(([, name]) => name!);
  const there = [...Deno.readDirSync(sources)].map(({ name }) => name);
  assert.deepEqual(named.toSorted(), there.filter((name) => name !== "pg_doorman.spec").sort());
});

Deno.test({
  name: "rpm: the spec uses no macro that rpm itself does not have",
  ignore,
  fn: async () => {
    const sources = await makeRpmSources({ ...await contents(), version: "1.2.3" });
    const parsed = await output("rpmspec", "-P", `${sources}/pg_doorman.spec`);
    assert.doesNotMatch(parsed, /%\{/);
    assert.doesNotMatch(parsed, /^%systemd/m);
  },
});

Deno.test({
  name: "rpm: binary, unit, default config and documents, with owner, mode and kind",
  ignore,
  fn: async () => {
    const listing = await output(
      "rpm",
      "-qp",
      "--qf",
      "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}.\n]",
      rpm,
    );
    const docs = (
      name: string,
    ) => [`/usr/share/doc/pg-doorman/${name}.md`, "-rw-r--r-- root:root d."];
    const wanted = new Map([
      ["/etc/pg_doorman", "drwxr-x--- root:postgres ."],
      ["/etc/pg_doorman/pg_doorman.toml", "-rw-r----- root:postgres cn."],
      ["/usr/bin/pg_doorman", "-rwxr-xr-x root:root ."],
      ["/usr/lib/systemd/system/pg_doorman.service", "-rw-r--r-- root:root ."],
      ["/usr/share/doc/pg-doorman", "drwxr-xr-x root:root ."],
      ["/usr/share/doc/pg-doorman/examples", "drwxr-xr-x root:root ."],
      ["/usr/share/doc/pg-doorman/examples/alerts.yml", "-rw-r--r-- root:root d."],
      ["/usr/share/doc/pg-doorman/examples/recording_rules.yml", "-rw-r--r-- root:root d."],
      ["/usr/share/doc/pg-doorman/examples/pg_doorman_dashboard.json", "-rw-r--r-- root:root d."],
      ["/usr/share/licenses/pg-doorman", "drwxr-xr-x root:root ."],
      ["/usr/share/licenses/pg-doorman/LICENSE", "-rw-r--r-- root:root l."],
    ]);
    const found = new Map(
      listing.trim().split("\n").map((line) => {
        const space = line.indexOf(" ");
        return [line.slice(0, space), line.slice(space + 1)];
      }),
    );
    for (const name of ["config", "signals-and-reload", "binary-upgrade"]) {
      const [path, attributes] = docs(name);
      assert.equal(found.get(path!), attributes, path);
    }
    for (const [path, attributes] of found) {
      if (path.endsWith(".md")) assert.equal(attributes, docs("")[1], path);
      else assert.equal(attributes, wanted.get(path), path);
      wanted.delete(path);
    }
    assert.deepEqual([...wanted.keys()], [], "nothing is missing");
  },
});

Deno.test({
  name: "rpm: the executable is packed as it is",
  ignore,
  fn: async () => {
    const { binary } = await contents();
    const digests = await output("rpm", "-qp", "--qf", "[%{FILEDIGESTS} %{FILENAMES}\n]", rpm);
    const [digest] = (await output("sha256sum", "--", binary)).split(" ");
    assert.ok(digests.split("\n").includes(`${digest} /usr/bin/pg_doorman`), digests);
  },
});

Deno.test({
  name: "rpm: what it needs and gives",
  ignore,
  fn: async () => {
    const requires = (await output("rpm", "-qp", "--requires", rpm)).trim().split("\n");
    const named = requires.filter((each) => !/^(rpmlib|lib|ld-linux|rtld|config)/.test(each));
    assert.deepEqual([...new Set(named)].sort(), [
      "(shadow-utils or shadow)",
      "/bin/sh",
      "/usr/bin/getent",
    ]);
    assert.ok(requires.includes("libc.so.6()(64bit)"), "found by rpm");
    const provides = (await output("rpm", "-qp", "--provides", rpm)).split("\n");
    // From rpm 4.19 on the owners of files are required.
    assert.ok(provides.includes("group(postgres)") && provides.includes("user(postgres)"));
  },
});

Deno.test({
  name: "rpm: scriptlets are shell, and none restarts",
  ignore,
  fn: async () => {
    for (const scriptlet of ["PREIN", "POSTIN", "PREUN", "POSTUN"]) {
      const text = await output("rpm", "-qp", "--qf", `%{${scriptlet}}`, rpm);
      await output("sh", "-n", "-c", text);
      assert.doesNotMatch(text, /systemctl .*restart|%/, scriptlet);
      assert.match(await output("rpm", "-qp", "--qf", `%{${scriptlet}PROG}`, rpm), /^\/bin\/sh$/);
    }
  },
});

Deno.test({
  name: "rpm: the same sources make the same package",
  ignore,
  fn: async () => {
    const before = await Deno.readFile(rpm);
    const after = await Deno.readFile(await makeRpm({ ...await contents(), version: "1.2.3" }));
    assert.equal(after.length, before.length);
    assert.ok(after.every((byte, i) => byte === before[i]));
  },
});

const overlay = obstacle ?? await overlayObstacle();
if (overlay !== undefined && overlay !== obstacle) say(`rpm: not installed anywhere: ${overlay}`);

Deno.test({
  name: "rpm: install, run, upgrade and remove without systemd",
  ignore: overlay !== undefined,
  fn: async () => {
    await using overlay = await Overlay.mount();
    const must = async (script: string) => {
      const { code, output } = await overlay.run(script);
      assert.equal(code, 0, `${script}\n${output}`);
      return output;
    };
    // Debian's rpm wants to be told that it is meant, and does not know what Debian's packages provide.
    const rpm = "rpm --dbpath /var/lib/rpm";
    const change = `${rpm} --nodeps --force-debian`;
    const outputFolder = `${overlay.root}/var/cache/pg-doorman`;
    const make = async (version: string) =>
      (await makeRpm({ ...await contents(), outputFolder, version })).slice(overlay.root.length);
    const [first, second] = [await make("0.1.0"), await make("0.1.1")];
    // As on a machine that PostgreSQL has never been on.
    await must("rm -rf /run/systemd; ! getent passwd postgres >/dev/null || userdel postgres");
    assert.equal(await must(`${change} -i ${first}`), "");
    assert.match(await must("getent passwd postgres"), /:\/var\/lib\/pgsql:/);
    assert.match(
      await must("su postgres -s /bin/sh -c 'pg_doorman -t /etc/pg_doorman/pg_doorman.toml'"),
      /successful/,
    );
    await must("echo '# mine' >>/etc/pg_doorman/pg_doorman.toml");
    assert.equal(await must(`${change} -U ${second}`), "");
    assert.match(await must("tail -n 1 /etc/pg_doorman/pg_doorman.toml"), /# mine/);
    assert.match(await must(`${rpm} -q pg-doorman`), /^pg-doorman-0\.1\.1-1/);
    await must(`${change} -e pg-doorman`);
    await must("test ! -e /usr/bin/pg_doorman");
    await must("test -e /etc/pg_doorman/pg_doorman.toml.rpmsave");
    await must("getent passwd postgres >/dev/null");
  },
});

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openPam, type PamRequest } from "../../os/pam.ts";
import { PamChecks } from "./pam.ts";
import { PAM_HELPER_ARGUMENT } from "./pam_helper.ts";
import type { Verdict } from "./verdict.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const MISSING = openPam();
const LIMITS = {
  command: {
    path: Deno.execPath(),
    args: ["run", "-A", "--no-check", "--quiet", MAIN, PAM_HELPER_ARGUMENT],
  },
  most: 2,
  waiting: 10,
  timeoutMs: 60_000,
};

/** Right are user ann from 10.0.0.1 and the password `a "b" é`; a user called "sleepy" has PAM sleep. */
const SCRIPT = `#!/bin/sh
echo "this is not a frame"
read -r password
if [ "$PAM_USER" = sleepy ]; then while kill -0 $PPID; do sleep 0.2; done; fi
[ "$PAM_USER" = crash ] && kill -9 $PPID
[ "$PAM_USER" = ann ] && [ "$PAM_RHOST" = 10.0.0.1 ] && [ "$password" = 'a "b" é' ]
`;

/** Checks by services of a folder of its own. */
async function withPam(
  limits: Partial<typeof LIMITS>,
  run: (
    check: (service: string, request?: Partial<PamRequest>) => Promise<Verdict>,
    pam: PamChecks,
  ) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "pg_doorman_pam_" });
  const script = `${folder}/check.sh`;
  await Deno.writeTextFile(script, SCRIPT, { mode: 0o755 });
  const services = {
    permit: "auth required pam_permit.so\naccount required pam_permit.so\n",
    deny: "auth required pam_deny.so\naccount required pam_permit.so\n",
    expired: "auth required pam_permit.so\naccount required pam_deny.so\n",
    script:
      `auth required pam_exec.so quiet expose_authtok ${script}\naccount required pam_permit.so\n`,
    broken: "auth required pam_of_nobody.so\naccount required pam_permit.so\n",
  };
  for (const [name, text] of Object.entries(services)) {
    await Deno.writeTextFile(`${folder}/${name}`, text);
  }
  const pam = new PamChecks({ ...LIMITS, ...limits });
  try {
    await run((service, request = {}) =>
      new Promise((done) =>
        pam.ask({
          service,
          user: "ann",
          password: 'a "b" é',
          remoteHost: "10.0.0.1",
          configDirectory: folder,
          ...request,
        }, done)
      ), pam);
  } finally {
    await pam.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const ignore = MISSING !== undefined;
if (MISSING !== undefined) console.warn(`tests of PAM are left out: ${MISSING}`);

Deno.test(
  "pam: what modules say of a password and of an account",
  { ignore },
  async () => {
    await withPam({}, async (check) => {
      assert.deepEqual(await check("permit"), { kind: "right" });
      assert.equal((await check("deny")).kind, "wrong");
      const expired = await check("expired");
      assert.ok(
        expired.kind === "wrong" && expired.cause.includes("account"),
        JSON.stringify(expired),
      );
      assert.deepEqual(await check("script"), { kind: "right" });
      for (const other of [{ user: "bob" }, { password: "wrong" }, { remoteHost: "10.0.0.2" }]) {
        assert.equal((await check("script", other)).kind, "wrong", JSON.stringify(other));
      }
      assert.equal((await check("broken")).kind, "failed");
    });
  },
);

Deno.test("pam: a module that hangs holds up nobody else, and is given up", {
  ignore,
}, async () => {
  await withPam({}, async (check, pam) => {
    // The first answers are of processes that have started, whatever that took.
    await Promise.all([check("permit"), check("permit")]);
    pam.limit({ most: 2, timeoutMs: 3000 });
    const order: string[] = [];
    const slow = check("script", { user: "sleepy" }).then((verdict) => {
      order.push("slow");
      return verdict;
    });
    const quick = await Promise.all(Array.from({ length: 5 }, () => check("permit")));
    order.push("quick");
    assert.ok(quick.every(({ kind }) => kind === "right"));
    const verdict = await slow;
    assert.ok(verdict.kind === "failed" && /has not answered for 3000 ms/.test(verdict.cause));
    assert.deepEqual(order, ["quick", "slow"]);
    // Another process is there in its place.
    pam.limit({ most: 2, timeoutMs: 60_000 });
    const again = await Promise.all([check("permit"), check("permit")]);
    assert.ok(again.every(({ kind }) => kind === "right"));
  });
});

Deno.test("pam: a module that takes its process with it is one failed check", {
  ignore,
}, async () => {
  await withPam({ most: 1 }, async (check) => {
    const crash = await check("script", { user: "crash" });
    assert.ok(crash.kind === "failed" && /its process/.test(crash.cause), JSON.stringify(crash));
    assert.deepEqual(await check("permit"), { kind: "right" });
  });
});

Deno.test(
  "pam: the line is bounded, and who leaves it is not asked for",
  { ignore },
  async () => {
    const pam = new PamChecks({ ...LIMITS, most: 0, waiting: 2 });
    const request: PamRequest = {
      service: "x",
      user: "u",
      password: "p",
      remoteHost: "",
      configDirectory: undefined,
    };
    const never = () => assert.fail("nothing is there to answer");
    const leave = pam.ask(request, never);
    pam.ask(request, never);
    const refused = await new Promise<Verdict>((done) => pam.ask(request, done));
    assert.ok(refused.kind === "failed" && /too many/.test(refused.cause));
    leave();
    pam.ask(request, never);
  },
);

Deno.test("pam: a process that does not start is said", async () => {
  const pam = new PamChecks({ ...LIMITS, command: { path: "/nowhere/program", args: [] } });
  const verdict = await new Promise<Verdict>((done) =>
    pam.ask(
      { service: "x", user: "u", password: "p", remoteHost: "", configDirectory: undefined },
      done,
    )
  );
  assert.ok(verdict.kind === "failed" && /does not start/.test(verdict.cause));
});

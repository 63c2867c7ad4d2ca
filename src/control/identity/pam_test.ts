import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ExternalChecks } from "../../auth/external.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";
import { openPam } from "../../os/pam.ts";
import { PamCheck, type PamTerms } from "./pam.ts";
import { PAM_HELPER_ARGUMENT } from "./pam_helper.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const MISSING = openPam();
const PASSWORD = 'a "b" é';

/** Right are user ann from 10.0.0.1 and this password. */
const SCRIPT = `#!/bin/sh
echo "this is not a frame"
read -r password
if [ "$PAM_USER" = sleepy ]; then while kill -0 $PPID; do sleep 0.2; done; fi
[ "$PAM_USER" = crash ] && kill -9 $PPID
[ "$PAM_USER" = ann ] && [ "$PAM_RHOST" = 10.0.0.1 ] && [ "$password" = '${PASSWORD}' ]
`;

interface Bench {
  pam: PamCheck;
  terms: PamTerms;
  check(service: string, request?: Partial<ExternalRequest>): Promise<ExternalVerdict>;
}

/** Checks by services of a folder of its own. */
async function withPam(atOnce: number, run: (bench: Bench) => Promise<void>): Promise<void> {
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
  const terms = {
    command: {
      path: Deno.execPath(),
      args: ["run", "-A", "--no-check", "--quiet", MAIN, PAM_HELPER_ARGUMENT],
    },
    atOnce,
    timeoutMs: 60_000,
    configDirectory: folder,
  };
  const pam = new PamCheck(terms);
  const checks = new ExternalChecks(new Map([["pam", pam]]));
  const check: Bench["check"] = (service, request = {}) =>
    new Promise((done) => {
      checks.ask({
        method: "pam",
        options: { pamservice: service },
        user: "ann",
        database: "db",
        address: "10.0.0.1",
        password: new TextEncoder().encode(PASSWORD),
        ...request,
      }, done);
    });
  try {
    await run({ pam, terms, check });
  } finally {
    await pam.close();
    await Deno.remove(folder, { recursive: true });
  }
}

function whyOf(verdict: ExternalVerdict): string {
  return verdict.kind === "accepted" ? "accepted" : `${verdict.kind}: ${verdict.why}`;
}

const name = MISSING === undefined ? "pam" : `pam (left out, ${MISSING})`;
const ignore = MISSING !== undefined;

Deno.test(`${name}: what modules say of a password and of an account`, { ignore }, async () => {
  await withPam(2, async ({ check }) => {
    assert.equal(whyOf(await check("permit")), "accepted");
    assert.match(whyOf(await check("deny")), /^refused: PAM service "deny", authenticate: /);
    assert.match(whyOf(await check("expired")), /^refused: PAM service "expired", account: /);
    assert.equal(whyOf(await check("script")), "accepted");
    const wrong = new TextEncoder().encode("wrong");
    for (const other of [{ user: "bob" }, { password: wrong }, { address: "10.0.0.2" }]) {
      assert.match(whyOf(await check("script", other)), /^refused/, JSON.stringify(other));
    }
    assert.match(whyOf(await check("broken")), /^error/);
    const latin = Uint8Array.of(0xe9);
    assert.equal(
      whyOf(await check("script", { password: latin })),
      "refused: the password is not UTF-8",
    );
  });
});

Deno.test(
  `${name}: a module that hangs holds up nobody else, and is given up`,
  { ignore },
  async () => {
    await withPam(2, async ({ check, pam, terms }) => {
      // The first answers are of processes that have started, whatever that took.
      await Promise.all([check("permit"), check("permit")]);
      pam.configure({ ...terms, timeoutMs: 3000 });
      const order: string[] = [];
      const slow = check("script", { user: "sleepy" }).then((verdict) => {
        order.push("slow");
        return verdict;
      });
      pam.configure(terms);
      const quick = await Promise.all(Array.from({ length: 5 }, () => check("permit")));
      order.push("quick");
      assert.deepEqual(quick.map(whyOf), Array(5).fill("accepted"));
      assert.match(whyOf(await slow), /^error: .*(no answer within|has not answered for)/);
      assert.deepEqual(order, ["quick", "slow"]);
      // Another process is there in its place.
      const again = await Promise.all([check("permit"), check("permit")]);
      assert.deepEqual(again.map(whyOf), ["accepted", "accepted"]);
    });
  },
);

Deno.test(
  `${name}: a module that takes its process with it is one failed check`,
  { ignore },
  async () => {
    await withPam(1, async ({ check }) => {
      assert.match(whyOf(await check("script", { user: "crash" })), /^error: .*its process/);
      assert.equal(whyOf(await check("permit")), "accepted");
    });
  },
);

Deno.test("pam: a process that does not start is said", async () => {
  await withPam(1, async ({ check, pam, terms }) => {
    pam.configure({ ...terms, command: { path: "/nowhere/program", args: [] } });
    assert.match(whyOf(await check("permit")), /^error: a process for PAM does not start: /);
  });
});

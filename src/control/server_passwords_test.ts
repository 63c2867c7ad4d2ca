import assert from "node:assert/strict";
import { decodeJwt } from "jose";
import { signingKey } from "../auth/testing/tokens.ts";
import type { PasswordSource } from "../config/settings.ts";
import { ServerPasswords } from "./server_passwords.ts";

/** A shell is the command here, to say this and that. */
function command(script: string, change: { ttlMs?: number; timeoutMs?: number } = {}) {
  return {
    from: "command",
    command: ["/bin/sh", "-c", script],
    ttlMs: 60_000,
    timeoutMs: 10_000,
    ...change,
  } satisfies PasswordSource;
}

/** Where each run of a command leaves a line. */
class Runs {
  readonly #file = Deno.makeTempFileSync();

  /** Says a password that is another at each run. */
  source(change: { ttlMs?: number } = {}): PasswordSource {
    return command(`echo x >> ${this.#file}; echo secret-$(wc -l < ${this.#file})`, change);
  }

  get count(): number {
    return Deno.readTextFileSync(this.#file).length / 2;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#file);
  }
}

Deno.test("server passwords: who asks while a command runs has it run once, and later while its time lasts", async () => {
  using runs = new Runs();
  const clock = { now: 1000 };
  const passwords = new ServerPasswords(() => clock.now);
  const source = runs.source();
  const all = await Promise.all([1, 2, 3].map(() => passwords.get(source)));
  assert.deepEqual(all, [1, 2, 3].map(() => ({ password: "secret-1" })));
  clock.now += 59_999;
  assert.deepEqual(await passwords.get(source), { password: "secret-1" });
  clock.now += 1;
  assert.deepEqual(await passwords.get(source), { password: "secret-2" });
  assert.equal(runs.count, 2);
});

Deno.test("server passwords: a refused one has the command run again, once, and not in a loop", async () => {
  using runs = new Runs();
  const clock = { now: 1000 };
  const pauses: number[] = [];
  const passwords = new ServerPasswords(() => clock.now, (ms) => {
    pauses.push(ms);
    clock.now += ms;
    return Promise.resolve();
  });
  const source = runs.source();
  await passwords.get(source);
  clock.now += 1000;
  const all = await Promise.all([1, 2].map(() => passwords.get(source, "secret-1")));
  assert.deepEqual(all, [1, 2].map(() => ({ password: "secret-2" })));
  // There is another one since it was refused.
  assert.deepEqual(await passwords.get(source, "secret-1"), { password: "secret-2" });
  assert.deepEqual(pauses, []);
  clock.now += 300;
  // Refused soon as well: the command is left alone for a moment.
  assert.deepEqual(await passwords.get(source, "secret-2"), { password: "secret-3" });
  assert.deepEqual(pauses, [700]);
  assert.equal(runs.count, 3);
});

Deno.test("server passwords: what a command does wrong is told, what it said is not, and it rests a moment", async () => {
  const clock = { now: 1000 };
  const passwords = new ServerPasswords(() => clock.now);
  const faults: [script: string, fault: RegExp][] = [
    ["echo hidden; echo hidden >&2; exit 7", /^exit status 7$/],
    ["kill -TERM $$", /^it was ended by SIGTERM$/],
    ["true", /^it holds nothing$/],
    ["echo hidden; echo hidden", /^it holds more than one line$/],
    ["printf 'hidden\\377'", /^what it holds is no UTF-8$/],
    ["head -c 65531 /dev/zero | tr '\\0' x", /^it holds more than 65530 bytes$/],
  ];
  for (const [script, fault] of faults) {
    const found = await passwords.get(command(script));
    assert.ok("error" in found, script);
    assert.match(found.error, fault, script);
  }
  assert.deepEqual(await passwords.get(command("yes", { timeoutMs: 300 })), {
    error: "it took longer than 300 ms: killed",
  });
  const missing = { ...command(""), command: ["/nowhere/at/all"] };
  assert.deepEqual(await passwords.get(missing), { error: "there is no such file" });
  using runs = new Runs();
  const script = runs.source();
  if (script.from === "command") script.command[2] += "; exit 1";
  for (let i = 0; i < 3; i++) await passwords.get(script);
  assert.equal(runs.count, 1);
  clock.now += 1000;
  await passwords.get(script);
  assert.equal(runs.count, 2);
});

Deno.test("server passwords: the longest that PostgreSQL takes, and one whose pipe is held open", async () => {
  const passwords = new ServerPasswords();
  const long = await passwords.get(command("head -c 65530 /dev/zero | tr '\\0' x; echo"));
  assert.ok("password" in long && long.password.length === 65_530);
  const held = command("echo mine; sleep 1 &");
  assert.deepEqual(await passwords.get(held), { password: "mine" });
});

Deno.test("server passwords: no more than eight commands run at once, and all have their turn", async () => {
  const passwords = new ServerPasswords();
  const sources = Array.from({ length: 20 }, (_, i) => command(`echo ${i}`));
  const found = await Promise.all(sources.map((source) => passwords.get(source)));
  assert.deepEqual(found, sources.map((_, i) => ({ password: String(i) })));
});

Deno.test("server passwords: a file is read anew for each that asks, without the end of its line", async () => {
  const passwords = new ServerPasswords();
  const file = Deno.makeTempFileSync();
  try {
    for (const [text, password] of [["one", "one"], ["two\n", "two"], [" three \r\n", " three "]]) {
      Deno.writeTextFileSync(file, text!);
      assert.deepEqual(await passwords.get({ from: "file", file }), { password });
    }
  } finally {
    Deno.removeSync(file);
  }
  assert.deepEqual(await passwords.get({ from: "file", file }), { error: "there is no such file" });
  assert.deepEqual(await passwords.get({ from: "file", file: "/dev/zero" }), {
    error: "it holds a zero byte",
  });
});

Deno.test("server passwords: a token is signed for each that asks, by the key as it is then", async () => {
  const file = Deno.makeTempFileSync();
  try {
    const passwords = new ServerPasswords();
    const source = { from: "token", file, role: "app" } as const;
    assert.deepEqual(await passwords.get(source), {
      error: "it holds no private key that can be read",
    });
    const key = signingKey("RS256").privateKey.export({ type: "pkcs8", format: "pem" });
    Deno.writeTextFileSync(file, key as string);
    const found = await passwords.get(source);
    assert.ok("password" in found && decodeJwt(found.password).preferred_username === "app");
  } finally {
    Deno.removeSync(file);
  }
  const gone = await new ServerPasswords().get({ from: "token", file, role: "app" });
  assert.deepEqual(gone, { error: "there is no such file" });
});

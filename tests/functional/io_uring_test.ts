/**
 * The same with io_uring, without it, and where the kernel refuses it, as the seccomp profiles of container engines do.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import { reload } from "../reload/support.ts";
import { say } from "../../tools/say.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** Runs the command behind it with io_uring_setup(2) answered by EPERM: a filter of <linux/seccomp.h>. */
const WITHOUT_IO_URING = `
import ctypes, os, struct, sys
IO_URING_SETUP, ALLOW, REFUSE = 425, 0x7fff0000, 0x00050001
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("HBBI", *line) for line in [
    (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)])
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
NO_NEW_PRIVS, SECCOMP = 38, 22
assert libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(SECCOMP, 2, ctypes.byref(Filter(4, ctypes.addressof(buffer))), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
`;

/** Clients that ask at the same time, pipelines, and a result larger than any socket buffer that its client leaves lying. */
async function work(doorman: Doorman): Promise<void> {
  const login = () => WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  const clients = await Promise.all(Array.from({ length: 30 }, login));
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(
      clients.map((client, i) => client.value(`SELECT ${i * 1000 + round}`)),
    );
    assert.deepEqual(answers, clients.map((_, i) => String(i * 1000 + round)));
  }
  const long =
    "SELECT sum(length(x)) FROM (SELECT repeat('x', 10000) x FROM generate_series(1, 3000)) y";
  assert.equal(await clients[0].value(long), "30000000");
  const rows = "SELECT repeat('x', 10000) FROM generate_series(1, 3000)";
  const slow = clients[1].query(rows);
  assert.equal(await clients[2].value("SELECT 'beside it'"), "beside it");
  assert.equal((await slow).filter(({ type }) => type === "D").length, 3000);
  for (const client of clients) await client.terminate();
}

function configOf(general: Config["general"]): Config {
  return { general, pools: { app: poolOf(postgres) } };
}

function start(general: Config["general"], launcher?: string[]): Promise<Doorman> {
  return Doorman.start({ args: ["-l", "debug"], launcher, config: configOf(general) });
}

Deno.test("io_uring: is used where it is allowed", async () => {
  await using doorman = await start({ io_uring: true });
  await doorman.waitForLog(/Accepting connections/);
  if (/no io_uring/.test(doorman.logs)) {
    // A container's profile may forbid it: then this is the case below.
    say(`io_uring: not to be had here: ${/no io_uring.*/.exec(doorman.logs)![0]}`);
  } else assert.match(doorman.logs, /DEBUG .*sends through io_uring/);
  await work(doorman);
});

Deno.test("io_uring: is not used when it is not wanted, and a reload changes that", async () => {
  await using doorman = await start({ io_uring: false });
  await doorman.waitForLog(/Accepting connections/);
  assert.doesNotMatch(doorman.logs, /io_uring/);
  await work(doorman);
  await reload(doorman, configOf({ io_uring: true }));
  assert.match(doorman.logs, /sends through io_uring|no io_uring/);
  await work(doorman);
  await reload(doorman, configOf({ io_uring: false }));
  assert.match(doorman.logs, /INFO .*sends without io_uring|no io_uring/);
  await work(doorman);
});

Deno.test("io_uring: does without it where the kernel refuses it, and says so", async () => {
  await using doorman = await start({ io_uring: true }, [
    "/usr/bin/python3",
    "-c",
    WITHOUT_IO_URING,
  ]);
  await doorman.waitForLog(
    /INFO .*no io_uring: operation not permitted \(EPERM\); each send is a system call of its own/,
  );
  await work(doorman);
});

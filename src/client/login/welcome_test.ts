import assert from "node:assert/strict";
import { concat, frontend, hex, int32 } from "../../protocol/testing/wire.ts";
import { parameterSet } from "../../server/parameters.ts";
import { processIdOf } from "./process_id.ts";
import { adminParameters, welcome } from "./welcome.ts";

const SECRET = Uint8Array.of(1);
const OK = hex("52 00000008 00000000");
const READY = hex("5a 00000005 49");

/** A session that is welcomed. */
function session({ unix = false, logs = false }: { unix?: boolean; logs?: boolean } = {}) {
  const written: Uint8Array[] = [];
  const lines: string[] = [];
  return {
    state: {
      id: 0x01020304,
      secret: new Uint8Array(0),
      minor: 0,
      address: "10.0.0.1:5",
      unix,
      applicationName: 'an "app"',
    },
    context: {
      mockSecret: SECRET,
      general: { log_client_connections: logs, login_notify_message: "" },
      log: { requested: (target: string, message: string) => lines.push(`${target} ${message}`) },
    },
    encrypted: false,
    name: "[me@db #1]",
    write: (bytes: Uint8Array) => written.push(bytes),
    written,
    lines,
  };
}

const keyOf = (secret: Uint8Array) => frontend("K", int32(processIdOf(0x01020304, SECRET)), secret);

Deno.test("welcome: authentication, parameters, key, ready, in one piece", () => {
  const one = session();
  const parameters = parameterSet(new Map([["a", "1"], ["DateStyle", "ISO"]]));
  welcome(one, parameters);
  const { secret } = one.state;
  assert.equal(secret.length, 4);
  const statuses = concat(frontend("S", "a", "1"), frontend("S", "DateStyle", "ISO"));
  assert.deepEqual(one.written, [concat(OK, statuses, keyOf(secret), READY)]);
  assert.deepEqual(one.lines, []);
  // The next one shares the parameters and nothing else.
  const other = session();
  welcome(other, parameters);
  assert.notDeepEqual(other.state.secret, secret);
  assert.deepEqual(other.written, [concat(OK, statuses, keyOf(other.state.secret), READY)]);
});

Deno.test("welcome: keys are as long as the version of the protocol has them", () => {
  for (const [minor, length] of [[0, 4], [1, 4], [2, 32]] as const) {
    const one = session();
    one.state.minor = minor;
    welcome(one, parameterSet(new Map()));
    assert.equal(one.state.secret.length, length);
    assert.deepEqual(one.written, [concat(OK, keyOf(one.state.secret), READY)]);
  }
});

Deno.test("welcome: the line in the log, if it is wished for", () => {
  for (const [unix, transport] of [[false, "plain"], [true, "socket"]] as const) {
    const one = session({ unix, logs: true });
    welcome(one, parameterSet(new Map()));
    assert.deepEqual(one.lines, [
      `pg_doorman::client [me@db #1] client connected from 10.0.0.1:5 (${transport}), ` +
      `application_name="an \\"app\\""`,
    ]);
  }
});

Deno.test("welcome: the console tells drivers what they look for", () => {
  const { values } = adminParameters();
  assert.equal(values.get("server_version"), "16.0 (PgDoorman)");
  assert.equal(values.get("client_encoding"), "UTF8");
  assert.equal(values.get("standard_conforming_strings"), "on");
  assert.equal(adminParameters(), adminParameters());
});

/**
 * A reload that changes where a pool connects to: the connection that listens is replaced, too. From the same PostgreSQL
 * nothing is missed; from another one the clients can't go on as if nothing had happened.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { reload } from "./support.ts";

Deno.test("reload: another login replaces the listening connection, another PostgreSQL ends its clients", async () => {
  await using first = await Postgres.start();
  await using second = await Postgres.start();
  const configOf = (postgres: Postgres, host = "127.0.0.1") => ({
    pools: { app: poolOf(postgres, { server_host: host }) },
  });
  await using doorman = await Doorman.start({
    config: configOf(first),
    allowLog: [/listening connection is lost/],
  });
  const login = () => WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  using client = await login();
  await client.query("LISTEN news");
  await doorman.waitForLog(/new listening connection/);
  // Until the listener has taken over there is no connection to replace.
  await client.silent(200);
  let from = doorman.logs.length;
  await reload(doorman, configOf(first, "localhost"));
  await doorman.waitForLog(/another connection listens in its place/, 5000, from);
  await first.query("NOTIFY news, 'same'");
  const { type, body } = await client.read();
  assert.equal(type, "A");
  assert.match(new TextDecoder().decode(body), /same/);
  from = doorman.logs.length;
  await reload(doorman, configOf(second));
  const [last] = await client.readToEnd();
  const { S, C, M } = wire.errorFields(last!);
  assert.deepEqual([S, C], ["FATAL", "57P01"]);
  assert.match(M, /listens for this client is lost.*it was replaced/);
  using next = await login();
  await next.query("LISTEN news");
  await doorman.waitForLog(
    new RegExp(`new listening connection .*:${second.port},`),
    8000,
    from,
  );
  await next.silent(200);
  await second.query("NOTIFY news, 'other'");
  assert.match(new TextDecoder().decode((await next.read()).body), /other/);
});

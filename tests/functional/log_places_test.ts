/// <reference lib="deno.unstable" />

/** Where the log goes beside standard error and `log_file`: to syslog, and with severities to the journal. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { readIfThere, waitFor } from "../support/detached_process.ts";
import { Doorman } from "../support/doorman.ts";
import { ADMIN } from "../support/instance.ts";
import { WireClient } from "../support/wire_client.ts";

const POOLS = { app: { server_host: "127.0.0.1", server_port: 1 } };

/** What a syslog daemon gets. */
class Daemon {
  readonly messages: string[] = [];
  readonly #socket: Deno.DatagramConn;
  readonly #read: Promise<void>;

  constructor(path: string) {
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path });
    this.#read = this.#receive();
  }

  async #receive(): Promise<void> {
    for await (const [bytes] of this.#socket) this.messages.push(new TextDecoder().decode(bytes));
  }

  async message(pattern: RegExp): Promise<string> {
    return await waitFor(
      `${pattern} among ${this.messages.length} messages`,
      10_000,
      () => this.messages.find((message) => pattern.test(message)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.#read;
  }
}

Deno.test("syslog: messages by RFC 5424, also when its daemon comes late or is started anew", async () => {
  await using doorman = await Doorman.create({ config: "" });
  const path = join(doorman.dir, "log.sock");
  await doorman.writeConfig({
    general: {
      syslog_prog_name: "doorman",
      syslog_socket: path,
      syslog_facility: "local3",
      log_client_connections: true,
    },
    pools: POOLS,
  });
  await doorman.start();
  // Nobody was there, and nothing was lost of what was waiting.
  {
    await using daemon = new Daemon(path);
    const message = await daemon.message(/Accepting connections/);
    const pid = doorman.pid;
    assert.match(
      message,
      new RegExp(`^<158>1 \\d{4}-\\S+Z \\S+ doorman ${pid} app - \\S+:0: Accepting connections`),
    );
  }
  await Deno.remove(path);
  await using restarted = new Daemon(path);
  using client = await WireClient.login({
    port: doorman.port,
    ...ADMIN,
    database: "pgdoorman",
  });
  await restarted.message(/^<158>.* client - .*client connected from 127\.0\.0\.1/);
  await client.terminate();
  await doorman.stop();
  await restarted.message(/^<158>.*SIGTERM received/);
  assert.equal(doorman.logs, "", "nothing comes out on standard error");
});

Deno.test("journal: lines on standard error have their severity in front where it is the journal's", async () => {
  const log = await Deno.makeTempFile();
  const script = 'exec 2>"$0"; JOURNAL_STREAM=$(stat -L -c %d:%i "$0") exec "$@"';
  await using doorman = await Doorman.start({
    launcher: ["bash", "-c", script, log],
    config: { pools: POOLS },
  });
  await waitFor("a start", 10_000, () => readIfThere(log)?.includes("Accepting") || undefined);
  await doorman.stop();
  const lines = Deno.readTextFileSync(log).trimEnd().split("\n");
  for (const line of lines) assert.match(line, /^<[346]>\d{4}-\S+ +(ERROR|WARN|INFO) \S+:\d+: /);
  assert.match(lines.join("\n"), /^<6>.* INFO .*Accepting connections/m);
  await Deno.remove(log);
});

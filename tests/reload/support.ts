/** What the tests of the reload share: an instance with a config that is easily changed, and ways to reload it. */

import { type Config, Doorman, type DoormanOptions, poolOf } from "../support/doorman.ts";
import type { Postgres } from "../support/postgres.ts";
import { type LoginOptions, Refused, WireClient } from "../support/wire_client.ts";

/** A user of a pool as the config file has it. */
export function userOf(settings: Config = {}): Config {
  return { username: "postgres", password: "postgres", pool_size: 3, ...settings };
}

/** Starts an instance with the given sections. */
export function startDoorman(
  config: Config,
  more: Partial<DoormanOptions> = {},
): Promise<Doorman> {
  return Doorman.start({ config, ...more });
}

/** Logs in to a database. */
export function login(doorman: Doorman, more: Partial<LoginOptions> = {}): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database: "app", ...more });
}

/** A console. */
export function consoleOf(doorman: Doorman): Promise<WireClient> {
  return WireClient.login({
    port: doorman.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
}

/** Writes a config, sends SIGHUP, and waits until the reload has ended. Returns its log lines. */
export async function reload(doorman: Doorman, config?: Config | string): Promise<string> {
  if (config !== undefined) await doorman.writeConfig(config);
  const from = doorman.logs.length;
  doorman.signal("SIGHUP");
  await doorman.waitForLog(/configuration (reloaded in|rejected).*\n/, 5_000, from);
  return doorman.logs.slice(from);
}

/** The refusal of a promise that must be refused. */
export async function refusal(promise: Promise<unknown>): Promise<Refused["fields"]> {
  try {
    const client = await promise;
    if (client instanceof WireClient) client.close();
  } catch (error) {
    if (error instanceof Refused) return error.fields;
    throw error;
  }
  throw new Error("it was not refused");
}

/** Rows of a SHOW as objects. */
export async function show(
  client: WireClient,
  what: string,
): Promise<Record<string, string | null>[]> {
  const messages = await client.query(`SHOW ${what}`);
  const description = messages.find(({ type }) => type === "T")!;
  const names = columnNames(description.body);
  const rows: Record<string, string | null>[] = [];
  for (const message of messages) {
    if (message.type !== "D") continue;
    rows.push(Object.fromEntries(dataRow(message.body).map((value, i) => [names[i], value])));
  }
  return rows;
}

function columnNames(body: Uint8Array): string[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const names: string[] = [];
  let at = 2;
  for (let i = 0; i < view.getInt16(0); i++) {
    const end = body.indexOf(0, at);
    names.push(new TextDecoder().decode(body.subarray(at, end)));
    at = end + 1 + 18;
  }
  return names;
}

function dataRow(body: Uint8Array): (string | null)[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values: (string | null)[] = [];
  let at = 2;
  for (let i = 0; i < view.getInt16(0); i++) {
    const length = view.getInt32(at);
    at += 4;
    values.push(length < 0 ? null : new TextDecoder().decode(body.subarray(at, at + length)));
    at += Math.max(0, length);
  }
  return values;
}

/** A config with one pool `app` over a server. */
export function configOf(
  postgres: Postgres,
  { general = {}, pool = {}, user = {} }: { general?: Config; pool?: Config; user?: Config } = {},
): Config {
  return { general, pools: { app: poolOf(postgres, { users: [userOf(user)], ...pool }) } };
}

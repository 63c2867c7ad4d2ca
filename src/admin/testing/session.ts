/** A session at the console, for tests. */

import { Console } from "../console.ts";
import type { ConsoleRole } from "../../config/settings.ts";
import type { AdminEnvironment } from "../environment.ts";
import { fakeEnvironment, type Told } from "./fake_environment.ts";
import { concat, summary } from "./wire.ts";

/** One that has logged in, and what its environment is told. */
export function open(
  changes: Partial<AdminEnvironment> = {},
  role: ConsoleRole = "admin",
): { session: Console; told: Told } {
  const { environment, told } = fakeEnvironment(changes);
  const client = { id: 9, user: "admin", database: "pgdoorman", address: "127.0.0.1:5000", role };
  return { session: new Console(environment, client), told };
}

/** Sends messages, and has the answers as `summary` words them. */
export async function say(session: Console, ...messages: Uint8Array[]): Promise<string[]> {
  return summary((await session.handle(concat(...messages))).bytes);
}

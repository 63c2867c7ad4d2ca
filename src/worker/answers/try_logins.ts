/**
 * One login for each server, role and database that pools connect with, to see whether it works (`-t --online`). Nobody is
 * served by these connections: each is closed as soon as PostgreSQL has said ReadyForQuery.
 */

import type { PoolSettings } from "../../config/settings.ts";
import type { TriedLogin } from "../../mail.ts";
import * as libc from "../../os/libc.ts";
import { PoolLogin } from "../../pool/connecting/pool_login.ts";
import type { PoolEnvironment } from "../../pool/environment.ts";
import { terminate } from "../../protocol/messages.ts";
import { type LoginSecrets, NO_CLIENT_KEY } from "../../server/authentication.ts";
import { noSums } from "../../stats/counters.ts";
import type { LoggedIn, LoginFailure } from "../../server/login.ts";

/** Logins under way. */
const AT_ONCE = 4;

/** `done` is called once, with a result for each login that differs from the others. */
export function tryLogins(
  pools: Iterable<{ readonly settings: PoolSettings }>,
  environment: PoolEnvironment,
  done: (tried: TriedLogin[]) => void,
): void {
  const distinct = new Map<string, PoolSettings>();
  for (const { settings } of pools) {
    if (!distinct.has(settings.server_digest)) distinct.set(settings.server_digest, settings);
  }
  const waiting = distinct.values();
  const tried: TriedLogin[] = [];
  let left = distinct.size;
  if (left === 0) return done([]);
  const next = () => {
    const { value: settings } = waiting.next();
    if (settings === undefined) return;
    tryOne(settings, environment, (result) => {
      tried.push(result);
      if (--left === 0) done(tried);
      else next();
    });
  };
  for (let i = 0; i < AT_ONCE; i++) next();
}

function tryOne(
  settings: PoolSettings,
  environment: PoolEnvironment,
  done: (tried: TriedLogin) => void,
): void {
  const secrets: LoginSecrets = {
    newestMinor: () => 0,
    clientKey: () => undefined,
    derive: (...asked) => environment.derive(...asked),
    tls: environment,
    counts: noSums(),
  };
  const { database, user, server_host, server_port, server_username, server_database } = settings;
  const where = `${server_host}:${server_port} as "${server_username}" to "${server_database}"`;
  new PoolLogin(environment, secrets).start(settings, (result) => {
    if (result.kind === "ready") close(result);
    done({ database, user, where, ...verdictOf(settings, result) });
  });
}

function verdictOf(
  { credentials }: PoolSettings,
  result: LoggedIn | LoginFailure,
): Pick<TriedLogin, "error" | "note"> {
  if (result.kind === "ready") {
    const tls = result.tls === undefined ? "without TLS" : "with TLS";
    return { error: undefined, note: tls };
  }
  if (credentials.kind === "scram_passthrough" && result.message.startsWith(NO_CLIENT_KEY)) {
    return {
      error: undefined,
      note: "it answers; the password is not tried, since it is the first client's to show",
    };
  }
  return { error: `${result.code}: ${result.message}`, note: "" };
}

function close({ stream }: LoggedIn): void {
  const bytes = terminate();
  stream.send(bytes, 0, bytes.length);
  stream.sayEnd();
  stream.end();
  libc.close(stream.fd);
}

/**
 * The end of a login as the client sees it, in one piece: AuthenticationOk, a
 * ParameterStatus for each parameter, the key for its CancelRequests, ReadyForQuery. Source: PostgreSQL manual, "Message
 * Flow", "Start-up".
 */

import type { GeneralSettings } from "../../config/settings.ts";
import type { Log } from "../../log/log.ts";
import { Authentication, TransactionStatus } from "../../protocol/codes.ts";
import { noticeResponse } from "../../protocol/error_response.ts";
import * as messages from "../../protocol/messages.ts";
import { peerName } from "../../reasons.ts";
import { type ParameterSet, parameterSet } from "../../server/parameters.ts";
import { processIdOf } from "./process_id.ts";
import type { SessionState } from "../state.ts";

/** What this file reads of a session, and what it changes: the key. */
interface WelcomedSession {
  readonly state: Pick<
    SessionState,
    "id" | "secret" | "minor" | "address" | "unix" | "applicationName"
  >;
  readonly context: {
    readonly mockSecret: Uint8Array;
    readonly general: Pick<GeneralSettings, "log_client_connections" | "login_notify_message">;
    readonly log: Pick<Log, "requested">;
  };
  readonly name: string;
  readonly encrypted: boolean;
  write(bytes: Uint8Array): void;
}

/** PostgreSQL's own, too: of protocol 3.2, and of those before. */
const SECRET_BYTES = 32;
const NAME_TOO_LONG = "42622";
const SHORT_SECRET_BYTES = 4;
const OK = messages.authentication(Authentication.Ok);
const READY = messages.readyForQuery(TransactionStatus.Idle);

/** Tells the client that it is in. */
export function welcome(
  session: WelcomedSession,
  parameters: ParameterSet,
  notice?: string,
): void {
  const { context, state } = session;
  const parts: Uint8Array[] = [OK];
  if (notice !== undefined) {
    parts.push(noticeResponse({ severity: "NOTICE", code: NAME_TOO_LONG, message: notice }));
  }
  parts.push(statusMessages(parameters));
  state.secret = crypto.getRandomValues(
    new Uint8Array(state.minor >= 2 ? SECRET_BYTES : SHORT_SECRET_BYTES),
  );
  parts.push(messages.backendKeyData(processIdOf(state.id, context.mockSecret), state.secret));
  const greeting = context.general.login_notify_message;
  if (greeting !== "") {
    parts.push(noticeResponse({ severity: "NOTICE", code: "00000", message: greeting }).slice());
  }
  parts.push(READY);
  session.write(messages.joinAll(parts));
  if (!context.general.log_client_connections) return;
  const transport = state.unix ? "socket" : session.encrypted ? "TLS" : "plain";
  context.log.requested(
    "pg_doorman::client",
    `${session.name} client connected from ${state.address} (${transport}), ` +
      `application_name=${JSON.stringify(peerName(state.applicationName))}`,
  );
}

const statuses = new WeakMap<ParameterSet, Uint8Array<ArrayBuffer>>();

/** A ParameterStatus for each; most clients of a pool have the same. */
function statusMessages(parameters: ParameterSet): Uint8Array<ArrayBuffer> {
  let bytes = statuses.get(parameters);
  if (bytes === undefined) {
    const all = [...parameters.values].map(([name, value]) =>
      messages.parameterStatus(name, value)
    );
    bytes = messages.joinAll(all);
    statuses.set(parameters, bytes);
  }
  return bytes;
}

/** What the console says of itself. */
export function adminParameters(): ParameterSet {
  return parameterSet(
    new Map([
      ["client_encoding", "UTF8"],
      ["DateStyle", "ISO, MDY"],
      ["TimeZone", "Etc/UTC"],
      ["server_version", "16.0 (PgDoorman)"],
      ["server_encoding", "UTF8"],
      ["standard_conforming_strings", "on"],
      ["integer_datetimes", "on"],
      ["application_name", "pg_doorman"],
    ]),
  );
}

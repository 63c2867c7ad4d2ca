/**
 * A client's way from the first packet to ReadyForQuery: SSLRequest and GSSENCRequest, CancelRequest, StartupMessage,
 * pg_hba, authentication, the hand-over to the pool's home worker, and the answer with the server's parameters.
 * Source: PostgreSQL manual, "Message Flow", "Start-up".
 *
 * What must hold: a wrong password and an unknown user can't be told apart, by what is sent or by the work done.
 */

import { getRandomValues } from "node:crypto";
import { decideMethod, mockPasswordKind } from "../../auth/hba.ts";
import { md5Verify, md5VerifyPassword, mockMd5Hash } from "../../auth/md5.ts";
import { mockVerifier, parseVerifier, verifyPassword } from "../../auth/scram.ts";
import {
  advanceScramServer,
  beginScramServer,
  type ScramServerState,
} from "../../auth/scram_server.ts";
import type { StoredPassword } from "../../config/settings.ts";
import { Frontend, readLength, TransactionStatus } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import {
  readOptions,
  readReplication,
  readStartup,
  startupLength,
} from "../../protocol/startup.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import { settle } from "../../reactor/posts.ts";
import type { Timer } from "../../reactor/timers.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { clientParameters, type ParameterSet, parameterSet } from "../../server/parameters.ts";
import { AdminSession } from "../admin_session.ts";
import { placesTaken, takePlace } from "./places.ts";
import type { Pool } from "../../pool/pool.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientTimes, ClientView } from "../parts.ts";
import { Stage } from "../state.ts";

/** The part of a session that this file sees. */
interface Session
  extends Omit<ClientView, "pool">, ClientInput, ClientOutput, ClientEnd, ClientTimes {
  pool: Pool | undefined;
  login: ClientLogin | undefined;
  admin: AdminSession | undefined;
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void;
  prepare(): void;
  own(server: ServerConnection): void;
}

/** JWTs need several KiB; nothing needs more than this. */
const MOST_PASSWORD_BYTES = 65_000;
const ADMIN_DATABASES = new Set(["pgdoorman", "pgbouncer"]);
const PROTOCOL_FIELDS = new Set(["user", "database", "replication"]);
const TARGET = "pg_doorman::auth";
const NOT_ENCRYPTED = Uint8Array.of(0x4e);

/** What the client has to show next. */
type Challenge =
  | { method: "password" }
  | { method: "md5"; hash: string; salt: Uint8Array }
  | { method: "scram"; state: ScramServerState };

export class ClientLogin {
  #session: Session;
  #timer: Timer;
  #encryptionAsked = 0;
  #challenge: Challenge | undefined;
  #stored: StoredPassword = { kind: "empty" };
  /** No such user: the exchange runs to its end and fails. */
  #unknown = false;
  #admin = false;

  constructor(session: Session) {
    this.#session = session;
    this.#timer = this.#limit();
    this.#waits();
  }

  #limit(): Timer {
    const { context, state } = this.#session;
    const { reactor, general } = context;
    const elapsed = reactor.now - state.connectedAtMs;
    return reactor.at(
      reactor.now + Math.max(0, general.client_login_timeout - elapsed),
      () => this.#fail(REASONS.loginTimeout, "", ""),
    );
  }

  /** After a `cancel` that was for nothing: the session stays. */
  resume(): void {
    this.#timer = this.#limit();
    this.#waits();
  }

  /** The session ends or is through: no timer may outlive it. */
  cancel(): void {
    this.#timer.cancel();
    this.#session.context.logins.over(this);
  }

  /** Notes a step, if the next one is the client's. */
  #waits(): void {
    const { context, state } = this.#session;
    if (state.stage <= Stage.Login) context.logins.waits(this);
  }

  /** The client has been silent for too long, and there are others. */
  giveWay(): void {
    this.#session.fail("FATAL", REASONS.silentLogin, "", "");
    // It would not close its end. All that it has sent was read, so that this resets nothing.
    this.#session.close(REASONS.clientTerminated, "");
  }

  /** Takes what was read. */
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    const { state } = this.#session;
    settle();
    while (at < end && state.stage <= Stage.Login) {
      const length = state.stage === Stage.Startup
        ? startupLength(bytes, at, end)
        : this.#passwordLength(bytes, at, end);
      if (length < 0) {
        this.#fail(REASONS.protocolViolation, "invalid length of startup packet", "");
        return;
      }
      if (length === 0 || end - at < length) break;
      const next = at + length;
      if (state.stage === Stage.Startup) {
        // What follows a hand-over travels with the session.
        this.#session.keep(bytes, next, end);
        if (!this.#firstPacket(bytes, at, next, next < end)) return;
        // Without a challenge the login is through, and what was kept is done or waits.
        if (state.stage > Stage.Login) return;
        this.#session.keep(bytes, next, next);
      } else this.#password(bytes, at, next);
      at = next;
      this.#waits();
    }
    if (state.stage === Stage.Closed || state.stage === Stage.Closing) return;
    if (at < end) {
      if (state.stage <= Stage.Login) this.#session.keep(bytes, at, end);
      else this.#session.take(bytes, at, end);
    } else this.#session.keep(bytes, at, at);
  }

  #passwordLength(bytes: Uint8Array, at: number, end: number): number {
    if (bytes[at] !== Frontend.Password) return -1;
    if (end - at < 5) return 0;
    const length = readLength(bytes, at + 1);
    return length < 4 || length > MOST_PASSWORD_BYTES ? -1 : length + 1;
  }

  // ── first packet ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Returns whether this worker goes on with the session. */
  #firstPacket(bytes: Uint8Array, at: number, end: number, more: boolean): boolean {
    const session = this.#session;
    const { context } = session;
    const packet = readStartup(bytes, at, end);
    switch (packet.kind) {
      case "ssl_request":
      case "gssenc_request":
        if (more || ++this.#encryptionAsked > 2) {
          this.#fail(REASONS.protocolViolation, "unexpected data after encryption request", "");
          return false;
        }
        session.write(NOT_ENCRYPTED);
        return true;
      case "cancel":
        context.counts.cancel++;
        context.cancel(packet.processId, packet.secret);
        this.cancel();
        // Half-closed and then closed, so that libpq does not see a reset.
        session.say(new Uint8Array(0));
        return false;
      case "malformed":
        this.#fail(REASONS.protocolViolation, packet.why, "");
        return false;
      case "unsupported_version":
        this.#fail(REASONS.unsupportedVersion, `${packet.major}.${packet.minor}`, "");
        return false;
      case "startup":
        return this.#startup(packet.parameters, packet.minor, packet.options);
      default:
        return packet satisfies never;
    }
  }

  #startup(parameters: Map<string, string>, minor: number, options: string[]): boolean {
    const session = this.#session;
    const { context, state } = session;
    context.counts.plain++;
    state.user = parameters.get("user") ?? "";
    state.database = parameters.get("database") || state.user;
    state.applicationName = parameters.get("application_name") ?? "pg_doorman";
    if (minor > 0 || options.length > 0) state.negotiate = { minor: 0, options };
    if (placesTaken(context) >= context.general.max_connections) {
      this.#noPlace();
      return false;
    }
    if (state.user === "") {
      this.#fail(REASONS.noUser, "", "");
      return false;
    }
    const asked = parameters.get("replication") ?? "off";
    const replication = readReplication(asked);
    if (replication === undefined) {
      const what = `invalid value for parameter "replication": "${asked}"`;
      this.#fail(REASONS.parametersFailed, what, "");
      return false;
    }
    state.replication = replication;
    state.startup = replication === "none" ? startupSettings(parameters) : asSent(parameters);
    state.stage = Stage.Login;
    return this.begin();
  }

  /** Goes on after the StartupMessage, on the worker that accepted or on the pool's. */
  begin(): boolean {
    const session = this.#session;
    const { context, state } = session;
    if (ADMIN_DATABASES.has(state.database)) {
      if (state.replication !== "none") {
        this.#fail(REASONS.notSupported, "the admin console takes no replication connections", "");
        return false;
      }
      this.#admin = true;
      this.#stored = context.general.admin_password;
      this.#unknown = state.user !== context.general.admin_username;
      this.#authenticate("scram");
      return true;
    }
    const found = context.findPool(state.database, state.user);
    switch (found.kind) {
      case "elsewhere":
        this.cancel();
        context.handOver(found.worker, state.id);
        return false;
      case "no_database":
        this.#fail(REASONS.noPool, state.database, state.user);
        return false;
      case "no_user":
        this.#unknown = true;
        this.#authenticate(found.kinds.length === 0 ? "scram" : this.#mockKind(found.kinds));
        return true;
      case "here":
        session.pool = found.pool;
        found.pool.enter();
        this.#stored = found.pool.settings.password;
        this.#authenticate("scram");
        return true;
      default:
        return found satisfies never;
    }
  }

  #mockKind(kinds: StoredPassword["kind"][]): "scram" | "md5" {
    const { context, state } = this.#session;
    return mockPasswordKind(state.user, context.mockSecret, kinds) === "md5" ? "md5" : "scram";
  }

  // ── authentication ──────────────────────────────────────────────────────────────────────────────────────────────

  #authenticate(mock: "scram" | "md5"): void {
    const { context, state } = this.#session;
    const rule = context.hba?.match({
      transport: state.unix ? "unix" : "tcp",
      tls: false,
      address: state.ip,
      database: state.database,
      user: state.user,
      replication: state.replication === "physical",
    });
    if (context.hba !== undefined && rule === undefined) {
      this.#refusedByHba();
      return;
    }
    const kind = this.#unknown ? mock : this.#stored.kind;
    const method = decideMethod(rule?.method ?? "auto", kind);
    switch (method) {
      case "trust":
        if (this.#unknown) this.#wrong();
        else this.#accepted(undefined);
        return;
      case "reject":
        if (this.#stored.kind === "unsupported") {
          this.#fail(REASONS.methodUnavailable, this.#stored.what, "");
        } else this.#refusedByHba();
        return;
      case "password":
        this.#challenge = { method };
        this.#session.write(messages.authentication(3));
        return;
      case "md5":
        this.#challengeMd5();
        return;
      case "scram-sha-256":
        this.#challengeScram();
        return;
      default:
        method satisfies never;
    }
  }

  #challengeMd5(): void {
    const { context, state } = this.#session;
    const stored = this.#stored;
    const hash = this.#unknown
      ? mockMd5Hash(state.user, context.mockSecret)
      : stored.kind === "md5"
      ? stored.hash
      : stored.kind === "plain"
      ? stored.md5
      : mockMd5Hash(state.user, context.mockSecret);
    const salt = getRandomValues(new Uint8Array(4));
    this.#challenge = { method: "md5", hash, salt };
    this.#session.write(messages.authentication(5, salt));
  }

  #challengeScram(): void {
    const { context, state } = this.#session;
    const stored = this.#stored;
    const text = !this.#unknown && (stored.kind === "scram" || stored.kind === "plain")
      ? stored.verifier
      : undefined;
    const verifier = (text === undefined ? undefined : parseVerifier(text)) ??
      mockVerifier(state.user, context.mockSecret);
    this.#challenge = { method: "scram", state: beginScramServer(verifier) };
    this.#session.write(
      messages.authentication(10, new TextEncoder().encode("SCRAM-SHA-256\0\0")),
    );
  }

  #password(bytes: Uint8Array, at: number, end: number): void {
    const challenge = this.#challenge;
    const body = bytes.slice(at + 5, end);
    if (challenge === undefined) {
      this.#fail(REASONS.protocolViolation, "unexpected password message", "");
    } else if (challenge.method === "scram") {
      this.#advanceScram(challenge.state, body);
    } else {
      const zero = body.indexOf(0);
      if (zero < 0) {
        this.#fail(REASONS.protocolViolation, "invalid password packet", "");
        return;
      }
      const answer = body.subarray(0, zero);
      if (challenge.method === "md5") {
        const text = new TextDecoder().decode(answer);
        const right = md5Verify(challenge.hash, challenge.salt, text) && !this.#unknown;
        if (right) this.#accepted(undefined);
        else this.#wrong();
      } else this.#cleartext(answer);
    }
  }

  #cleartext(password: Uint8Array): void {
    const { context, state } = this.#session;
    const stored = this.#stored;
    if (stored.kind === "md5" && !this.#unknown) {
      if (md5VerifyPassword(stored.hash, state.user, password)) this.#accepted(undefined);
      else this.#wrong();
      return;
    }
    const known = stored.kind === "scram" || stored.kind === "plain"
      ? parseVerifier(stored.verifier)
      : undefined;
    const keys = verifyPassword(
      this.#unknown || known === undefined ? mockVerifier(state.user, context.mockSecret) : known,
      password,
    );
    if (keys !== undefined && !this.#unknown) this.#accepted(keys.clientKey);
    else this.#wrong();
  }

  #advanceScram(state: ScramServerState, body: Uint8Array): void {
    const step = advanceScramServer(state, body);
    switch (step.kind) {
      case "continue":
        this.#challenge = { method: "scram", state: step.state };
        this.#session.write(messages.authentication(11, step.data));
        return;
      case "done":
        this.#session.write(messages.authentication(12, step.data));
        this.#accepted(step.clientKey);
        return;
      case "fault":
        if (step.code === "authentication") this.#wrong();
        else this.#fail(REASONS.protocolViolation, step.reason, "");
        return;
      default:
        step satisfies never;
    }
  }

  #wrong(): void {
    const { state } = this.#session;
    this.#fail(REASONS.authenticationFailed, state.user, "");
  }

  #refusedByHba(): void {
    const { state } = this.#session;
    this.#fail(
      REASONS.hbaRejected,
      `${state.user}@${state.database} (TLS: false) from ${state.ip || "unix socket"}`,
      "",
    );
  }

  // ── accepted ────────────────────────────────────────────────────────────────────────────────────────────────────

  #accepted(clientKey: Uint8Array | undefined): void {
    const session = this.#session;
    this.#challenge = undefined;
    if (!takePlace(session.context)) return this.#noPlace();
    session.context.logins.over(this);
    session.state.stage = Stage.Preparing;
    if (this.#admin) {
      session.admin = new AdminSession(session);
      session.state.stage = Stage.Admin;
      this.#welcome(adminParameters());
      session.admin.open();
      session.takeKept();
      return;
    }
    const pool = session.pool!;
    const { credentials } = pool.settings;
    if (clientKey !== undefined && credentials.kind === "scram_passthrough") {
      // A reload may have brought another verifier since the challenge: this key would not open it.
      const stored = this.#stored;
      const fits = stored.kind === "scram" && stored.verifier === credentials.verifier;
      if (fits && pool.clientKey === undefined) {
        pool.clientKey = clientKey;
        pool.warm();
      }
    }
    if (session.state.replication !== "none") this.#replicate();
    else if (pool.defaults !== undefined) this.finish();
    else session.prepare();
  }

  /** A replication client gets a server of its own first: what PostgreSQL says to it is the end of its login. */
  #replicate(): void {
    const session = this.#session;
    const { state, context } = session;
    if (context.draining) return this.#fail(REASONS.shuttingDown, "", "");
    session.pool!.replication.open(session, {
      kind: state.replication,
      parameters: state.startup,
      ready: (server) => {
        state.parameters = server.state.parameters;
        this.#through(server);
      },
      failed: (reason, first, second = "", code) => this.#fail(reason, first, second, code),
    });
  }

  /** The server's parameters are known: the login is through. */
  finish(): void {
    const session = this.#session;
    const { state } = session;
    const pool = session.pool!;
    state.parameters = clientParameters(pool.defaults!, state.startup, pool.managed);
    this.#through(undefined);
  }

  #through(server: ServerConnection | undefined): void {
    const session = this.#session;
    const { state } = session;
    state.initial = state.parameters;
    state.startup = [];
    if (server === undefined) state.stage = Stage.Idle;
    else session.own(server);
    session.readyMs = session.context.reactor.now;
    this.#welcome(state.parameters);
    session.startReading();
    session.takeKept();
  }

  #welcome(parameters: ParameterSet): void {
    const session = this.#session;
    const { context, state } = session;
    const parts = [messages.authentication(0)];
    if (state.negotiate !== undefined) {
      const { minor, options } = state.negotiate;
      parts.unshift(messages.negotiateProtocolVersion(minor, options));
      state.negotiate = undefined;
    }
    parts.push(statusMessages(parameters));
    state.secret = getRandomValues(new Uint8Array(4));
    parts.push(messages.backendKeyData(state.id, state.secret));
    parts.push(messages.readyForQuery(TransactionStatus.Idle));
    this.cancel();
    session.login = undefined;
    session.write(messages.joinAll(parts));
    if (context.general.log_client_connections) {
      context.log.info(
        "pg_doorman::client",
        `${session.name} client connected from ${state.address} (${
          state.unix ? "socket" : "plain"
        })`,
      );
    }
  }

  #noPlace(): void {
    const { context, state } = this.#session;
    context.log.warn(
      "pg_doorman::client",
      `rejected ${state.address}: too many clients, current=${
        placesTaken(context)
      } max=${context.general.max_connections}`,
    );
    this.#fail(REASONS.tooManyClients, "", "");
  }

  #fail(reason: Reason, first: string, second: string, code?: string): void {
    const session = this.#session;
    const { context, state } = session;
    this.cancel();
    context.log.warn(
      TARGET,
      `${session.name} login from ${state.address} as "${state.user}" to "${state.database}" failed: ` +
        reason.text.replaceAll("{0}", first).replaceAll("{1}", second),
    );
    session.fail("FATAL", reason, first, second, code);
  }
}

/** The parameters among the fields of a StartupMessage; `options` is opened up. */
function startupSettings(parameters: Map<string, string>): [string, string][] {
  const settings: [string, string][] = [];
  for (const [name, value] of parameters) {
    if (PROTOCOL_FIELDS.has(name)) continue;
    if (name === "options") settings.push(...(readOptions(value) ?? []));
    else settings.push([name, value]);
  }
  return settings;
}

/** What PostgreSQL is to be told at a replication client's own login, word for word. */
function asSent(parameters: Map<string, string>): [string, string][] {
  return [...parameters].filter(([name]) => !PROTOCOL_FIELDS.has(name));
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

function adminParameters(): ParameterSet {
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

/**
 * A client's way from the first packet to ReadyForQuery: SSLRequest and GSSENCRequest, CancelRequest, StartupMessage, the
 * hand-over to the pool's home worker, and what follows once authentication.ts has said yes: a place, the server's
 * parameters, the welcome. Source: PostgreSQL manual, "Message Flow", "Start-up".
 */

import { peerUser } from "../../os/libc.ts";
import { Frontend } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { NEWEST_MINOR, protocolCode, readStartup, startupLength } from "../../protocol/startup.ts";
import { peerName, type Reason, REASONS } from "../../reasons.ts";
import { settleSoon } from "../../reactor/posts.ts";
import type { Timer } from "../../reactor/timers.ts";
import type { ServerLink } from "../../server/link.ts";
import type { ServerConnection } from "../../server/connection.ts";
import type { ParameterSet } from "../../server/parameters.ts";
import { Dirty } from "../../server/state.ts";
import { passwordOf } from "../../config/shared_pool.ts";
import type { Waiter } from "../../pool/waiting.ts";
import { AdminSession } from "../admin_session.ts";
import type { ErrorAside, ReceivedError } from "../../protocol/error_response.ts";
import type { Pool } from "../../pool/pool.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientTimes, ClientView } from "../parts.ts";
import { Stage } from "../state.ts";
import {
  type Account,
  answer,
  type AuthenticatingLogin,
  type Challenge,
  challenge,
  consoleAccount,
  knownAccount,
  passwordLength,
  talosAccount,
  unknownAccount,
  wantsProof,
} from "./authentication.ts";
import { Asked } from "./asked.ts";
import { PasswordChecks } from "./checks.ts";
import { type Beginning, noteStartup, openStartup } from "./start.ts";
import { type EncryptingSession, Encryption } from "./encryption.ts";
import { clientOf } from "./process_id.ts";
import { keepKey } from "./key.ts";
import { logFailure, logNoPlace, type Trail } from "./log_lines.ts";
import { LookedUp, type LookingLogin } from "./looked_up.ts";
import { ProofDelay } from "./proof_delay.ts";
import { replicate } from "./replicate.ts";
import { placesTaken, poolFull, takePlace } from "./places.ts";
import { adminParameters, welcome } from "./welcome.ts";

/** The part of a session that this file sees. */
type Parts = Omit<ClientView, "pool" | "server"> & ClientInput & ClientOutput & ClientEnd;
interface Session extends Parts, EncryptingSession, ClientTimes, Waiter, ServerLink {
  pool: Pool | undefined;
  server: ServerConnection | undefined;
  login: ClientLogin | undefined;
  admin: AdminSession | undefined;
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void;
  prepare(): void;
  own(server: ServerConnection): void;
  unhold(): void;
  moveTo(stage: number): void;
}

const ADMIN_DATABASES = new Set(["pgdoorman", "pgbouncer"]);
const NOTHING = new Uint8Array(0);

export class ClientLogin implements LookingLogin {
  #session: Session;
  #timer: Timer | undefined;
  readonly #encryption: Encryption;
  #account: Account | undefined;
  #challenge: Challenge | undefined;
  /** Its user is one whom PostgreSQL is asked for. */
  #lookedUp: LookedUp | undefined;
  readonly checks: PasswordChecks;
  readonly #delay: ProofDelay;
  readonly trail: Trail = { rule: undefined, cause: "" };
  #admin = false;
  /** It brought a CancelRequest, and is open until that is through. */
  #canceling = false;
  /** What the StartupMessage sets. */
  #asked: Asked | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.#encryption = new Encryption(session, this);
    this.checks = new PasswordChecks(session, this);
    this.#delay = new ProofDelay(session);
    this.resume();
  }

  #limit(): Timer | undefined {
    const { context, state } = this.#session;
    const { reactor, general } = context;
    if (general.client_login_timeout === 0) return undefined;
    const elapsed = reactor.now - state.connectedAtMs;
    return reactor.at(
      reactor.now + Math.max(0, general.client_login_timeout - elapsed),
      () => this.#timeIsOver(),
    );
  }

  #timeIsOver(): void {
    if (this.#canceling) this.#session.say(NOTHING);
    else this.#fail(REASONS.loginTimeout, "", "");
  }

  /** At its begin, and after a `cancel` that was for nothing: the session stays. */
  resume(): void {
    this.#timer = this.#limit();
    this.waits();
  }

  /** The session ends or is through: no timer may outlive it. */
  cancel(): void {
    this.#timer?.cancel();
    this.checks.end();
    this.#delay.end();
    this.#encryption.end();
    this.#session.context.logins.over(this);
  }

  /** Notes a step, if the next one is the client's. */
  waits(): void {
    const { context, state } = this.#session;
    if (state.stage > Stage.Login || this.#checking || this.#canceling) return;
    context.logins.waits(this);
  }

  /** A client that waits for the end of a CancelRequest, or of a TLS handshake, is this worker's matter. */
  get stays(): boolean {
    return this.#canceling || this.#encryption.underWay;
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
    if (this.#canceling) return;
    settleSoon();
    if (state.stage === Stage.Startup && this.#encryption.take(bytes, at, end)) return;
    while (at < end && state.stage <= Stage.Login && !this.#checking) {
      const length = state.stage === Stage.Startup
        ? startupLength(bytes, at, end)
        : passwordLength(bytes, at, end);
      if (length < 0) return this.#rubbish(bytes[at]);
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
      this.waits();
    }
    if (state.stage === Stage.Closed || state.stage === Stage.Closing) return;
    if (at < end) {
      if (state.stage <= Stage.Login) this.#session.keep(bytes, at, end);
      else this.#session.take(bytes, at, end);
    } else this.#session.keep(bytes, at, at);
  }

  get #checking(): boolean {
    return this.#challenge?.method === "checking" || this.#lookedUp?.waits === true;
  }

  /** Whatever this is, it does not begin with what is expected. */
  #rubbish(type: number): void {
    const { stage } = this.#session.state;
    if (stage === Stage.Startup) {
      // As PostgreSQL does it: who sends this may not know the protocol, or has thought better of it (Terminate).
      logFailure(this.#session, REASONS.protocolViolation, "invalid length of startup packet", "");
      this.cancel();
      this.#session.say(NOTHING);
    } else {
      const what = type === Frontend.Password
        ? "invalid length of password message"
        : `expected password response, got message type ${type}`;
      this.broken(what);
    }
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
        return this.#encryption.requested(packet.kind, more);
      case "cancel":
        context.counts.cancel++;
        this.#canceling = true;
        context.logins.over(this);
        // Half-closed and then closed, so that libpq does not see a reset.
        context.cancel(
          clientOf(packet.processId, context.mockSecret),
          { secret: packet.secret, address: session.state.ip },
          () => session.say(NOTHING),
        );
        return false;
      case "malformed":
        this.broken(packet.why);
        return false;
      case "unsupported_version":
        return this.#no(REASONS.unsupportedVersion, `${packet.major}.${packet.minor}`);
      case "startup":
        return this.#startup(packet.parameters, packet.minor, packet.options);
      default:
        return packet satisfies never;
    }
  }

  #startup(parameters: Map<string, string>, minor: number, options: string[]): boolean {
    const session = this.#session;
    const { context, state, encrypted } = session;
    context.counts[encrypted ? "tls" : "plain"]++;
    const fault = noteStartup(state, parameters, minor);
    if (minor > NEWEST_MINOR || options.length > 0) {
      session.write(messages.negotiateProtocolVersion(protocolCode(state.minor), options));
      // The connection may turn out to be broken: the session has ended.
      if (session.login !== this) return false;
    }
    const { demanded } = this.#encryption;
    if (demanded !== undefined) return this.#no(REASONS.tlsRequired, demanded);
    if (placesTaken(context) >= context.general.max_connections) {
      this.#noPlace();
      return false;
    }
    if (state.user === "") return this.#no(REASONS.noUser);
    if (fault !== undefined) return this.#no(REASONS.parametersFailed, fault);
    session.moveTo(Stage.Login);
    return this.begin();
  }

  /** Goes on after the StartupMessage, on the worker that accepted or on the pool's. */
  begin(): boolean {
    const session = this.#session;
    const { context, state } = session;
    if (ADMIN_DATABASES.has(state.database)) {
      if (state.replication !== "none") {
        return this.#no(REASONS.notSupported, "the admin console takes no replication connections");
      }
      this.#admin = true;
      this.authenticate(consoleAccount(this, context.general.console_users));
      return true;
    }
    const talos = talosAccount(state, context.general.talos_databases);
    if (talos !== undefined) {
      this.authenticate(talos);
      return true;
    }
    // Whom PostgreSQL was asked for may be in the configuration by now.
    this.#lookedUp = undefined;
    const found = context.findPool(state.database, state.user);
    switch (found.kind) {
      case "elsewhere":
        this.cancel();
        context.handOver(found.worker, state.id);
        return false;
      case "lookup":
        if (state.proven) return this.#no(REASONS.authenticationFailed, state.user);
        this.#lookedUp = new LookedUp(session, this, found.users);
        return this.#lookedUp.begin();
      case "no_database":
      case "no_user": {
        const missing = found.kind === "no_user" ? "user" : "database";
        if (state.proven) return this.#no(REASONS.authenticationFailed, state.user);
        this.authenticate(unknownAccount(this, found.known, missing));
        return true;
      }
      case "here":
        session.pool = found.pool;
        found.pool.enter();
        if (state.proven) this.accepted(undefined);
        else this.authenticate(knownAccount(passwordOf(found.pool.settings, state.user)!));
        return true;
      default:
        return found satisfies never;
    }
  }

  // ── authentication ──────────────────────────────────────────────────────────────────────────────────────────────

  get state(): AuthenticatingLogin["state"] {
    return this.#session.state;
  }

  get context(): AuthenticatingLogin["context"] {
    return this.#session.context;
  }

  get peerUser(): number {
    return peerUser(this.#session.stream.fd);
  }

  get encrypted(): boolean {
    return this.#session.encrypted;
  }

  write(bytes: Uint8Array): void {
    this.#session.write(bytes);
  }

  authenticate(account: Account): void {
    this.#account = account;
    this.#challenge = challenge(this, account);
  }

  #password(bytes: Uint8Array, at: number, end: number): void {
    const asked = this.#challenge;
    const body = bytes.subarray(at + 5, end);
    const go = (proof: Uint8Array) => {
      this.#challenge = undefined;
      this.takeProof(this.#account!, asked, proof);
    };
    if (!wantsProof(asked)) go(body);
    else if (!this.#delay.look(body, go)) this.#challenge = { method: "checking" };
  }

  takeProof(account: Account, asked: Challenge | undefined, body: Uint8Array): void {
    this.#account = account;
    this.#lookedUp?.notes(asked, body);
    this.#challenge = answer(this, account, asked, body) ?? this.#challenge;
  }

  acceptedAs(user: string, applicationName: string | undefined): void {
    const { state } = this.#session;
    this.#delay.succeeded();
    state.user = user;
    state.proven = true;
    if (applicationName !== undefined) state.applicationName = applicationName;
    this.begin();
  }

  tooManyChecks(): void {
    this.#fail(REASONS.tooManyChecks, "", "");
  }

  // ── accepted ────────────────────────────────────────────────────────────────────────────────────────────────────

  accepted(clientKey: Uint8Array | undefined): void {
    const session = this.#session;
    const { state } = session;
    if (session.login !== this) return;
    if (!state.proven) this.#delay.succeeded();
    if (this.#lookedUp?.enter() === false) return;
    if (session.pool?.disabled) return this.#fail(REASONS.databaseDisabled, state.database, "");
    const full = session.pool && poolFull(session.pool, state.user);
    if (full !== undefined) return this.#fail(full.reason, full.name, String(full.max));
    if (!takePlace(session)) return this.#noPlace();
    session.context.logins.over(this);
    session.moveTo(Stage.Preparing);
    if (this.#admin) {
      session.admin = new AdminSession(session);
      session.moveTo(Stage.Admin);
      this.#welcome(adminParameters());
      session.admin?.open();
      session.takeKept();
      return;
    }
    keepKey(session.pool!, this.#account, clientKey);
    if (session.state.replication !== "none") return replicate(session, this);
    const fault = openStartup(session.state);
    if (fault === undefined) this.#goOn();
    else this.#fail(REASONS.parametersFailed, fault.why, "", fault.code);
  }

  /** Through, unless the server's parameters are not known or PostgreSQL is to be asked about the client's. */
  #goOn(): void {
    const { beginning } = this.#wishes;
    if (beginning === undefined) this.#session.prepare();
    else this.#begin(beginning);
  }

  get #wishes(): Asked {
    const { pool, state } = this.#session;
    return this.#asked ??= new Asked(pool!, state.startup);
  }

  /** The pool knows its servers' parameters. */
  parametersKnown(): void {
    const { beginning } = this.#wishes;
    if (beginning === undefined) return;
    this.#session.pool!.leaveQueue(this.#session);
    this.#begin(beginning);
  }

  /** A server is there: to be asked, or only to be given back since its login has told enough. */
  serverReady(server: ServerConnection): void {
    const session = this.#session;
    const pool = session.pool!;
    const { beginning } = this.#wishes;
    if (beginning !== undefined) {
      pool.checkIn(server);
      this.#begin(beginning);
      return;
    }
    server.link = session;
    session.server = server;
    server.askOwn(this.#wishes.question(server.state), Dirty.Set);
  }

  /** PostgreSQL has said what it makes of the client's parameters. */
  answered(error: ReceivedError | undefined): void {
    const session = this.#session;
    const server = session.server!;
    const pool = session.pool!;
    const { answer } = server.state;
    server.state.asked = 0;
    server.state.answer = undefined;
    session.server = undefined;
    pool.checkIn(server);
    if (error !== undefined) {
      return this.#fail(REASONS.parametersFailed, error.message, "", error);
    }
    if (answer === undefined) return this.#fail(REASONS.internalError, "", "");
    const unkept = this.#wishes.note(answer);
    if (unkept !== undefined) return this.#fail(REASONS.parameterNotKept, peerName(unkept), "");
    this.#goOn();
  }

  /** The server's parameters are known, and the client's: the login is through. */
  #begin({ parameters, initial, own, told, notice }: Beginning): void {
    const session = this.#session;
    const { state } = session;
    state.parameters = parameters;
    state.initial = initial;
    state.own = own;
    session.moveTo(Stage.Idle);
    this.through(told, notice);
  }

  through(told: ParameterSet, notice?: string): void {
    const session = this.#session;
    this.#lookedUp?.through();
    session.state.startup = [];
    session.state.channelBinding = undefined;
    session.state.clientCertificate = undefined;
    session.state.proven = false;
    session.readyMs = session.context.reactor.now;
    this.#welcome(told, notice);
    session.takeKept();
  }

  #welcome(parameters: ParameterSet, notice?: string): void {
    this.cancel();
    this.#session.login = undefined;
    welcome(this.#session, parameters, notice);
  }

  #noPlace(): void {
    logNoPlace(this.#session);
    this.#fail(REASONS.tooManyClients, "", "");
  }

  /** This worker goes on with it no more. */
  #no(reason: Reason, first = ""): false {
    this.#fail(reason, first, "");
    return false;
  }

  broken(how: string): void {
    this.#fail(REASONS.protocolViolation, how, "");
  }

  refused(reason: Reason, first: string, second = "", code?: string): void {
    if (reason === REASONS.authenticationFailed && this.#lookedUp?.triesAgain()) return;
    this.#fail(reason, first, second, code);
  }

  #fail(reason: Reason, first: string, second: string, code?: string | ErrorAside): void {
    const { database, user } = this.#session.state;
    this.#delay.refused(this.trail.undecided ? undefined : reason);
    this.cancel();
    if (reason === REASONS.authenticationFailed) this.#lookedUp?.wrong();
    // The client hears that its password is wrong.
    const misses = reason === REASONS.authenticationFailed && this.#account?.missing === "database";
    if (misses) logFailure(this.#session, REASONS.noPool, database, user, this.trail);
    else logFailure(this.#session, reason, first, second, this.trail);
    this.#session.fail("FATAL", reason, first, second, code);
  }
}

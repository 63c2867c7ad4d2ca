/**
 * The admin console of one client: frontend messages in, backend messages out. A worker has logged the client in and
 * passes on whole messages; they are answered strictly in order, one after the other, even if a command takes its time.
 *
 *   ready ──error in an extended message──▶ skipping ──Sync──▶ ready
 *     │                                         │
 *     └──────────Terminate, malformed───────────┴──▶ closed
 *
 * Transaction blocks exist only because drivers open them: commands act at once, and a ROLLBACK that comes too late
 * says so. A console session never moves to another process, so it may keep closures and maps.
 */

import { Backend, Frontend, readLength, TransactionStatus } from "../protocol/codes.ts";
import type { ErrorFields } from "../protocol/error_response.ts";
import type { Command } from "./commands.ts";
import { columnsOf, parseCommands } from "./commands.ts";
import type { AdminClient, AdminEnvironment } from "./environment.ts";
import type { CommandingConsole, Outcome } from "./execute.ts";
import { refusalToStats } from "./roles.ts";
import { execute, outcome } from "./execute.ts";
import { ExtendedQuery } from "./extended.ts";
import { MessageBody } from "./message_body.ts";
import { Refusal } from "./refusal.ts";
import { Answer } from "./rows.ts";
import type { SessionParameter } from "./session_parameters.ts";
import { agrees } from "./session_parameters.ts";

/** Longest message that the console reads; its commands are a line each. */
export const MESSAGE_LIMIT_BYTES = 65_536;
/** Most bytes of requests that may wait behind a command that takes its time. */
export const WAITING_LIMIT_BYTES = 1_048_576;

/** Bytes for the client; `close` once nothing more will be answered. */
export interface ConsoleReply {
  bytes: Uint8Array;
  close: boolean;
}

type Status = typeof TransactionStatus[keyof typeof TransactionStatus];

/** One admin client's session. */
export class Console {
  readonly #environment: AdminEnvironment;
  readonly #client: AdminClient;
  readonly #commanding: CommandingConsole;
  readonly #gone = new AbortController();
  readonly #answer = new Answer();
  readonly #extended: ExtendedQuery;
  readonly #parameters = new Map<SessionParameter, string>();
  #status: Status = TransactionStatus.Idle;
  /** A command of this transaction block has changed something outside of the session. */
  #acted = false;
  /** An extended message has failed: all is passed over until Sync. */
  #skipping = false;
  #closed = false;
  #waitingBytes = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(environment: AdminEnvironment, client: AdminClient) {
    this.#environment = environment;
    this.#client = client;
    this.#commanding = {
      who: `[${client.user}@${client.database} #c${client.id}]`,
      database: client.database,
      gone: this.#gone.signal,
    };
    this.#extended = new ExtendedQuery(this.#answer, {
      admit: (command) => this.#admit(command),
      run: (command) => this.#run(command),
    });
  }

  /** Answers whole messages once those before them are answered. Never rejects. `bytes` must not change meanwhile. */
  handle(bytes: Uint8Array): Promise<ConsoleReply> {
    this.#waitingBytes += bytes.length;
    const overrun = this.#waitingBytes > WAITING_LIMIT_BYTES;
    const turn = this.#last.then(async () => {
      if (overrun) this.#end({ code: "54000", message: "too many requests are waiting" });
      try {
        await this.#process(bytes);
      } catch (error) {
        this.#end({ code: "XX000", message: `internal error: ${textOf(error)}` });
      }
      this.#waitingBytes -= bytes.length;
      return { bytes: this.#answer.take(), close: this.#closed };
    });
    this.#last = turn;
    return turn;
  }

  /** Its client is gone: what takes its time need not go on. */
  end(): void {
    this.#gone.abort();
  }

  async #process(bytes: Uint8Array): Promise<void> {
    let at = 0;
    while (at < bytes.length && !this.#closed) {
      const length = at + 5 <= bytes.length ? readLength(bytes, at + 1) : -1;
      const end = at + 1 + length;
      if (length < 4 || end > bytes.length) {
        this.#end({ code: "08P01", message: "invalid message length" });
        return;
      }
      await this.#message(bytes[at], bytes.subarray(at + 5, end));
      at = end;
    }
  }

  async #message(type: number, body: Uint8Array): Promise<void> {
    switch (type) {
      case Frontend.Terminate:
        this.#closed = true;
        return;
      case Frontend.Sync:
        this.#sync();
        return;
      case Frontend.Query:
        if (!this.#skipping) await this.#query(body);
        return;
      case Frontend.FunctionCall:
        if (!this.#skipping) this.#functionCall();
        return;
      case Frontend.Parse:
      case Frontend.Bind:
      case Frontend.Describe:
      case Frontend.Execute:
      case Frontend.Close:
        if (!this.#skipping) await this.#extendedMessage(type, body);
        return;
      case Frontend.Flush:
        // Every reply leaves at once.
        return;
      case Frontend.CopyData:
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        // What a client sends on after its COPY was refused: passed over, as PostgreSQL does.
        return;
      default:
        this.#end({ code: "08P01", message: `invalid frontend message type ${type}` });
    }
  }

  async #query(bytes: Uint8Array): Promise<void> {
    this.#extended.dropUnnamed();
    try {
      const body = boundedBody(bytes);
      const text = body.string();
      body.end();
      const commands = parseCommands(text);
      if (commands.length === 0) this.#answer.plain(Backend.EmptyQueryResponse);
      for (const command of commands) {
        this.#admit(command);
        this.#sendWhole(command, await this.#run(command));
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#ready();
  }

  #sendWhole(command: Command, { notices, rows, tag, counted }: Outcome): void {
    for (const notice of notices) this.#answer.notice(notice);
    const columns = columnsOf(command);
    if (columns !== undefined) {
      this.#answer.rowDescription(columns, []);
      for (const row of rows) this.#answer.dataRow(columns, row, []);
    }
    this.#answer.commandComplete(counted ? `${tag} ${rows.length}` : tag);
  }

  async #extendedMessage(type: number, bytes: Uint8Array): Promise<void> {
    try {
      const body = boundedBody(bytes);
      if (type === Frontend.Parse) this.#extended.parse(body);
      else if (type === Frontend.Bind) this.#extended.bind(body);
      else if (type === Frontend.Describe) this.#extended.describe(body);
      else if (type === Frontend.Execute) await this.#extended.execute(body);
      else this.#extended.close(body);
    } catch (error) {
      this.#fail(error);
      this.#skipping = true;
    }
  }

  #functionCall(): void {
    const message = "function calls are not supported on the admin database";
    this.#fail(new Refusal("0A000", message));
    this.#ready();
  }

  #sync(): void {
    this.#skipping = false;
    this.#ready();
  }

  #ready(): void {
    if (this.#status === TransactionStatus.Idle) this.#extended.closePortals();
    this.#answer.readyForQuery(this.#status);
  }

  /** In a failed transaction only its end is let through. */
  #admit(command: Command | undefined): void {
    if (this.#status !== TransactionStatus.Failed || command === undefined) return;
    if (command.kind === "commit" || command.kind === "rollback") return;
    throw new Refusal(
      "25P02",
      "current transaction is aborted, commands ignored until end of transaction block",
    );
  }

  async #run(command: Command): Promise<Outcome> {
    const refusal = this.#client.role === "admin" ? undefined : refusalToStats(command);
    if (refusal !== undefined) throw refusal;
    switch (command.kind) {
      case "begin":
        return this.#begin(command.tag);
      case "commit":
        return this.#endTransaction("COMMIT");
      case "rollback":
        return this.#endTransaction("ROLLBACK");
      case "set":
        return this.#set(command.parameter, command.value);
      case "reset":
        return this.#reset(command.parameter);
      case "show_parameter":
        return outcome("SHOW", { rows: [[this.#parameter(command.parameter)]] });
      case "deallocate":
        this.#extended.deallocate(command.name);
        return outcome(command.name === undefined ? "DEALLOCATE ALL" : "DEALLOCATE");
      case "discard_all":
        this.#extended.deallocate(undefined);
        this.#parameters.clear();
        return outcome("DISCARD ALL");
      case "nothing":
        return outcome(command.tag);
      case "select": {
        const { user, database } = this.#client;
        const context = { version: this.#environment.version, user, database };
        const row = command.items.map((item) => item.value(context));
        return outcome("SELECT", { rows: [row], counted: true });
      }
      case "no_types":
        return outcome("SELECT", { counted: true });
      case "complete":
        return outcome("SELECT", { rows: command.completion.rows, counted: true });
      case "show":
        return await execute(command, this.#environment, this.#commanding);
      default: {
        const done = await execute(command, this.#environment, this.#commanding);
        this.#acted = true;
        return done;
      }
    }
  }

  #begin(tag: string): Outcome {
    if (this.#status !== TransactionStatus.Idle) {
      return outcome(tag, {
        notices: [warning("25001", "there is already a transaction in progress")],
      });
    }
    this.#status = TransactionStatus.InTransaction;
    this.#acted = false;
    return outcome(tag);
  }

  #endTransaction(asked: "COMMIT" | "ROLLBACK"): Outcome {
    const before = this.#status;
    this.#status = TransactionStatus.Idle;
    if (before === TransactionStatus.Idle) {
      return outcome(asked, { notices: [warning("25P01", "there is no transaction in progress")] });
    }
    const tag = before === TransactionStatus.Failed ? "ROLLBACK" : asked;
    this.#extended.closePortals();
    if (tag === "COMMIT" || !this.#acted) return outcome(tag);
    const message = "commands of the admin console take effect at once and are not rolled back";
    return outcome(tag, { notices: [warning("01000", message)] });
  }

  #parameter(parameter: SessionParameter): string {
    return this.#parameters.get(parameter) ?? parameter.value ?? this.#environment.version;
  }

  #set(parameter: SessionParameter, value: string): Outcome {
    if (!parameter.fixed) {
      if (value.toLowerCase() === "default") this.#parameters.delete(parameter);
      else this.#parameters.set(parameter, value);
      return outcome("SET");
    }
    if (agrees(parameter, value)) return outcome("SET");
    const message = `parameter "${parameter.name}" is always "${this.#parameter(parameter)}" ` +
      "on the admin database";
    return outcome("SET", { notices: [warning("01000", message)] });
  }

  #reset(parameter: SessionParameter | undefined): Outcome {
    if (parameter === undefined) this.#parameters.clear();
    else this.#parameters.delete(parameter);
    return outcome("RESET");
  }

  #fail(error: unknown): void {
    if (this.#status === TransactionStatus.InTransaction) this.#status = TransactionStatus.Failed;
    if (!(error instanceof Refusal)) {
      this.#environment.log(
        "error",
        `${this.#commanding.who} admin command failed: ${textOf(error)}`,
      );
      const hint = "the log says more";
      this.#answer.error({ severity: "ERROR", code: "XX000", message: "internal error", hint });
      return;
    }
    const { code, message, detail, hint } = error;
    if (code === "58000") this.#environment.log("warn", `${this.#commanding.who} ${message}`);
    this.#answer.error({ severity: "ERROR", code, message, detail, hint });
  }

  /** The stream can't be trusted any more. */
  #end({ code, message }: { code: string; message: string }): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#environment.log("warn", `${this.#commanding.who} admin session ended: ${message}`);
    this.#answer.error({ severity: "FATAL", code, message });
  }
}

function boundedBody(bytes: Uint8Array): MessageBody {
  if (bytes.length > MESSAGE_LIMIT_BYTES) {
    throw new Refusal(
      "54000",
      `a message to the admin database may have ${MESSAGE_LIMIT_BYTES} bytes`,
    );
  }
  return new MessageBody(bytes);
}

function warning(code: string, message: string): ErrorFields {
  return { severity: "WARNING", code, message };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The extended query protocol of one admin client: its prepared statements and portals. No statement takes parameters.
 * Rows are gathered at the first Execute of a portal and kept until it is closed. Source: PostgreSQL manual, "Message
 * Flow", "Extended Query"; texts and SQLSTATEs as `tcop/postgres.c` has them.
 */

import { Backend, Named } from "../protocol/codes.ts";
import type { Command } from "./commands.ts";
import { columnsOf, parseCommands } from "./commands.ts";
import type { Outcome } from "./execute.ts";
import type { MessageBody } from "./message_body.ts";
import { Refusal } from "./refusal.ts";
import type { Answer } from "./rows.ts";
import { Format } from "./rows.ts";

/** Most prepared statements that one client may hold. */
export const STATEMENT_LIMIT = 256;
/** Most portals that one client may hold: each may keep the rows of a whole SHOW. */
export const PORTAL_LIMIT = 32;

/** Runs commands in the session; the console is one. */
export interface CommandRunner {
  /** Throws if the transaction has failed and the command would not end it. */
  admit(command: Command | undefined): void;
  run(command: Command): Promise<Outcome>;
}

/** A command, `undefined` if its text was empty. */
interface Statement {
  readonly command: Command | undefined;
}

interface Portal {
  readonly statement: Statement;
  readonly formats: readonly number[];
  /** `undefined` until the first Execute. */
  outcome: Outcome | undefined;
  /** Rows sent so far. */
  sent: number;
}

/** Prepared statements and portals by name; the unnamed one is `""`. */
export class ExtendedQuery {
  readonly #answer: Answer;
  readonly #runner: CommandRunner;
  readonly #statements = new Map<string, Statement>();
  readonly #portals = new Map<string, Portal>();

  constructor(answer: Answer, runner: CommandRunner) {
    this.#answer = answer;
    this.#runner = runner;
  }

  /** Parse. */
  parse(body: MessageBody): void {
    const name = body.string();
    const text = body.string();
    // PostgreSQL gives up the old unnamed statement even if the new one turns out to be wrong.
    if (name === "") this.#statements.delete("");
    // Declared types are hints for parameters that no statement here has.
    body.skip(4 * body.uint16());
    body.end();
    const commands = parseCommands(text);
    if (commands.length > 1) {
      throw new Refusal("42601", "cannot insert multiple commands into a prepared statement");
    }
    const command = commands.at(0);
    this.#runner.admit(command);
    if (name !== "" && this.#statements.has(name)) {
      throw new Refusal("42P05", `prepared statement "${name}" already exists`);
    }
    makeRoom(this.#statements, name, { limit: STATEMENT_LIMIT, what: "prepared statements" });
    this.#statements.set(name, { command });
    this.#answer.plain(Backend.ParseComplete);
  }

  /** Bind. */
  bind(body: MessageBody): void {
    const portalName = body.string();
    const statementName = body.string();
    body.skip(2 * body.uint16());
    const parameters = body.uint16();
    for (let index = 0; index < parameters; index++) {
      const length = body.int32();
      if (length !== -1) body.skip(length);
    }
    const formats = Array.from({ length: body.uint16() }, () => body.uint16());
    body.end();
    const statement = this.#statement(statementName);
    if (parameters > 0) {
      const message =
        `bind message supplies ${parameters} parameters, but prepared statement "${statementName}" requires 0`;
      throw new Refusal("08P01", message);
    }
    this.#runner.admit(statement.command);
    if (portalName !== "" && this.#portals.has(portalName)) {
      throw new Refusal("42P03", `cursor "${portalName}" already exists`);
    }
    makeRoom(this.#portals, portalName, { limit: PORTAL_LIMIT, what: "portals" });
    this.#portals.set(portalName, {
      statement,
      formats: formatPerColumn(formats, statement.command),
      outcome: undefined,
      sent: 0,
    });
    this.#answer.plain(Backend.BindComplete);
  }

  /** Describe of a statement or a portal. */
  describe(body: MessageBody): void {
    const kind = body.byte();
    const name = body.string();
    body.end();
    if (kind === Named.Statement) {
      const { command } = this.#statement(name);
      // The client cannot know yet which formats it will ask for, so text is said, as PostgreSQL does.
      this.#answer.noParameters();
      this.#describeRows(command, []);
    } else if (kind === Named.Portal) {
      const portal = this.#portal(name);
      this.#describeRows(portal.statement.command, portal.formats);
    } else throw new Refusal("08P01", `invalid DESCRIBE message subtype ${kind}`);
  }

  /** Execute. */
  async execute(body: MessageBody): Promise<void> {
    const name = body.string();
    const maxRows = body.int32();
    body.end();
    const portal = this.#portal(name);
    const { command } = portal.statement;
    if (command === undefined) {
      this.#answer.plain(Backend.EmptyQueryResponse);
      return;
    }
    this.#runner.admit(command);
    const columns = columnsOf(command);
    if (portal.outcome !== undefined && columns === undefined) {
      throw new Refusal("55000", `portal "${name}" cannot be run`);
    }
    portal.outcome ??= await this.#run(command);
    this.#sendRows(portal, portal.outcome, maxRows);
  }

  /** Close of a statement or a portal; closing what is not there is no error. */
  close(body: MessageBody): void {
    const kind = body.byte();
    const name = body.string();
    body.end();
    if (kind === Named.Statement) this.#statements.delete(name);
    else if (kind === Named.Portal) this.#portals.delete(name);
    else throw new Refusal("08P01", `invalid CLOSE message subtype ${kind}`);
    this.#answer.plain(Backend.CloseComplete);
  }

  /** DEALLOCATE of one statement, or of all. */
  deallocate(name: string | undefined): void {
    if (name === undefined) this.#statements.clear();
    else if (!this.#statements.delete(name)) {
      throw new Refusal("26000", `prepared statement "${name}" does not exist`);
    }
  }

  /** The end of a transaction ends its portals. */
  closePortals(): void {
    this.#portals.clear();
  }

  /** A Query destroys the unnamed statement and portal. */
  dropUnnamed(): void {
    this.#statements.delete("");
    this.#portals.delete("");
  }

  async #run(command: Command): Promise<Outcome> {
    const outcome = await this.#runner.run(command);
    for (const notice of outcome.notices) this.#answer.notice(notice);
    return outcome;
  }

  #describeRows(command: Command | undefined, formats: readonly number[]): void {
    const columns = command === undefined ? undefined : columnsOf(command);
    if (columns === undefined) this.#answer.plain(Backend.NoData);
    else this.#answer.rowDescription(columns, formats);
  }

  #sendRows(portal: Portal, outcome: Outcome, maxRows: number): void {
    const columns = portal.statement.command && columnsOf(portal.statement.command) || [];
    const left = outcome.rows.length - portal.sent;
    const count = maxRows > 0 ? Math.min(maxRows, left) : left;
    for (const row of outcome.rows.slice(portal.sent, portal.sent + count)) {
      this.#answer.dataRow(columns, row, portal.formats);
    }
    portal.sent += count;
    // Like PostgreSQL: a portal that has given as many rows as asked for does not know yet that it is at its end.
    if (maxRows > 0 && count === maxRows) {
      this.#answer.plain(Backend.PortalSuspended);
    } else {
      this.#answer.commandComplete(outcome.counted ? `${outcome.tag} ${count}` : outcome.tag);
      // The portal may live on until the transaction ends; its rows need not.
      portal.outcome = { ...outcome, rows: [] };
      portal.sent = 0;
    }
  }

  #statement(name: string): Statement {
    const statement = this.#statements.get(name);
    if (statement !== undefined) return statement;
    throw new Refusal(
      "26000",
      name === ""
        ? "unnamed prepared statement does not exist"
        : `prepared statement "${name}" does not exist`,
    );
  }

  #portal(name: string): Portal {
    const portal = this.#portals.get(name);
    if (portal !== undefined) return portal;
    throw new Refusal("34000", `portal "${name}" does not exist`);
  }
}

function makeRoom(
  objects: Map<string, unknown>,
  name: string,
  { limit, what }: { limit: number; what: string },
): void {
  if (objects.size < limit || objects.has(name)) return;
  throw new Refusal("54000", `an admin session may hold no more than ${limit} ${what}`);
}

/** Bind gives no format, one for all columns, or one for each. */
function formatPerColumn(
  formats: readonly number[],
  command: Command | undefined,
): readonly number[] {
  const wrong = formats.find((format) => format !== Format.Text && format !== Format.Binary);
  if (wrong !== undefined) throw new Refusal("22023", `unsupported format code: ${wrong}`);
  const columns = command === undefined ? undefined : columnsOf(command);
  if (columns === undefined) return [];
  if (formats.length === 1) return columns.map(() => formats[0]);
  if (formats.length > 0 && formats.length !== columns.length) {
    const message =
      `bind message has ${formats.length} result formats but query has ${columns.length} columns`;
    throw new Refusal("08P01", message);
  }
  return formats;
}

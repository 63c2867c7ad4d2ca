/**
 * How a command of the admin console is refused: thrown by parsing and execution, turned into one ErrorResponse of
 * severity ERROR by the console. Whoever throws writes the text for the client: lower case, no secrets.
 */

/** A command that the console answers with an ErrorResponse. */
export class Refusal extends Error {
  readonly code: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;

  constructor(code: string, message: string, more: { detail?: string; hint?: string } = {}) {
    super(message);
    this.name = "Refusal";
    this.code = code;
    this.detail = more.detail;
    this.hint = more.hint;
  }
}

/**
 * The parameters that drivers set and ask for as a matter of course. The console has no use for them; it keeps what it
 * is told, so that SHOW agrees with SET. A fixed one can't be changed: trying earns a warning, not an error, since
 * drivers do it unasked.
 */

/** A parameter of the session, by PostgreSQL's spelling. */
export interface SessionParameter {
  readonly name: string;
  /** `undefined`: the version of the program. */
  readonly value: string | undefined;
  readonly fixed: boolean;
}

function kept(name: string, value: string): SessionParameter {
  return { name, value, fixed: false };
}

function fixed(name: string, value: string | undefined): SessionParameter {
  return { name, value, fixed: true };
}

const PARAMETERS: readonly SessionParameter[] = [
  kept("application_name", "pg_doorman"),
  kept("bytea_output", "hex"),
  fixed("client_encoding", "UTF8"),
  kept("client_min_messages", "notice"),
  kept("DateStyle", "ISO, MDY"),
  kept("default_transaction_deferrable", "off"),
  kept("default_transaction_isolation", "read committed"),
  kept("default_transaction_read_only", "off"),
  kept("extra_float_digits", "1"),
  kept("idle_in_transaction_session_timeout", "0"),
  fixed("in_hot_standby", "off"),
  fixed("integer_datetimes", "on"),
  kept("IntervalStyle", "postgres"),
  kept("lock_timeout", "0"),
  fixed("max_identifier_length", "63"),
  kept("search_path", '"$user", public'),
  fixed("server_encoding", "UTF8"),
  fixed("server_version", undefined),
  fixed("standard_conforming_strings", "on"),
  kept("statement_timeout", "0"),
  kept("TimeZone", "Etc/UTC"),
  kept("transaction_deferrable", "off"),
  kept("transaction_isolation", "read committed"),
  kept("transaction_read_only", "off"),
];

const BY_NAME = new Map(PARAMETERS.map((parameter) => [parameter.name.toLowerCase(), parameter]));

/** The parameter of that name, in any case. */
export function findParameter(name: string): SessionParameter | undefined {
  return BY_NAME.get(name.toLowerCase());
}

/** Whether `value` says what a fixed parameter says already, in one of the spellings that drivers use. */
export function agrees(parameter: SessionParameter, value: string): boolean {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const given = plain(value);
  if (parameter.name === "client_encoding" && (given === "unicode" || given === "sqlascii")) {
    return true;
  }
  if (parameter.value === "on" && (given === "true" || given === "1")) return true;
  return given === plain(parameter.value ?? "") || given === "default";
}

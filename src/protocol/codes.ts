/**
 * Type bytes of the protocol's messages, by PostgreSQL's own names (manual, "Message Formats"), and what each may be
 * long. Frontend and backend share letters, hence two tables.
 */

/** Messages of a client. */
export const Frontend = {
  Bind: 0x42,
  Close: 0x43,
  CopyData: 0x64,
  CopyDone: 0x63,
  CopyFail: 0x66,
  Describe: 0x44,
  Execute: 0x45,
  Flush: 0x48,
  FunctionCall: 0x46,
  Parse: 0x50,
  Password: 0x70,
  Query: 0x51,
  Sync: 0x53,
  Terminate: 0x58,
} as const;

/** Messages of a server. */
export const Backend = {
  Authentication: 0x52,
  BackendKeyData: 0x4b,
  BindComplete: 0x32,
  CloseComplete: 0x33,
  CommandComplete: 0x43,
  CopyBothResponse: 0x57,
  CopyData: 0x64,
  CopyDone: 0x63,
  CopyInResponse: 0x47,
  CopyOutResponse: 0x48,
  DataRow: 0x44,
  EmptyQueryResponse: 0x49,
  ErrorResponse: 0x45,
  FunctionCallResponse: 0x56,
  NegotiateProtocolVersion: 0x76,
  NoData: 0x6e,
  NoticeResponse: 0x4e,
  NotificationResponse: 0x41,
  ParameterDescription: 0x74,
  ParameterStatus: 0x53,
  ParseComplete: 0x31,
  PortalSuspended: 0x73,
  ReadyForQuery: 0x5a,
  RowDescription: 0x54,
} as const;

/** What an Authentication message asks for or says. */
export const Authentication = {
  Ok: 0,
  CleartextPassword: 3,
  MD5Password: 5,
  SASL: 10,
  SASLContinue: 11,
  SASLFinal: 12,
} as const;

/** What the name in a Describe or Close is the name of. */
export const Named = { Statement: 0x53, Portal: 0x50 } as const;

/** Transaction status of ReadyForQuery. */
export const TransactionStatus = { Idle: 0x49, InTransaction: 0x54, Failed: 0x45 } as const;

/** The limit that PostgreSQL puts on a message that may carry data (`PQ_LARGE_MESSAGE_LIMIT`: MaxAllocSize - 1). */
const LARGE_MESSAGE_BYTES = 0x3ffffffe;
/** The limit for messages that have no reason to be long (`PQ_SMALL_MESSAGE_LIMIT`). */
const SMALL_MESSAGE_BYTES = 10_000;

/** Longest allowed length field of a frontend message after the login, or 0 for a type that does not exist. */
export function frontendLimit(type: number): number {
  switch (type) {
    case Frontend.Query:
    case Frontend.Parse:
    case Frontend.Bind:
    case Frontend.FunctionCall:
    case Frontend.CopyData:
      return LARGE_MESSAGE_BYTES;
    case Frontend.Close:
    case Frontend.CopyDone:
    case Frontend.CopyFail:
    case Frontend.Describe:
    case Frontend.Execute:
    case Frontend.Flush:
    case Frontend.Sync:
    case Frontend.Terminate:
      return SMALL_MESSAGE_BYTES;
    default:
      return 0;
  }
}

/** The message length at `at` (big-endian, includes itself, not the type byte). May be negative in hostile input. */
export function readLength(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

/** Writes a number of four bytes at `at`, as `readLength` reads it. */
export function writeLength(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/**
 * ErrorResponse and NoticeResponse: written from fields by name, and read (severity, SQLSTATE, message) from
 * PostgreSQL's bytes. Source: PostgreSQL manual, "Error and Notice Message Fields".
 */

import { Backend } from "./codes.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The fields that are read, by the byte before each. */
const Field = {
  LocalizedSeverity: 0x53,
  Severity: 0x56,
  Code: 0x43,
  Message: 0x4d,
  Detail: 0x44,
  Hint: 0x48,
} as const;

/** Fields of an ErrorResponse that we write. `severity` stands for both `S` and `V`. */
export interface ErrorFields {
  severity: "ERROR" | "FATAL" | "PANIC" | "WARNING" | "NOTICE" | "INFO";
  code: string;
  message: string;
  detail?: string;
  hint?: string;
  /** Name of PostgreSQL's function that raises it: drivers tell errors of one SQLSTATE apart by it. */
  routine?: string;
}

/** Fields of an ErrorResponse as PostgreSQL sent it; absent fields are empty. */
export interface ReceivedError {
  /** The untranslated severity (`V`), or `S` from servers before 9.6. */
  severity: string;
  code: string;
  message: string;
  detail: string;
  hint: string;
}

/** What of PostgreSQL's error a client is told beside its message. */
export type ErrorAside = Pick<ReceivedError, "code" | "detail" | "hint">;

function encode(type: number, fields: ErrorFields): Uint8Array<ArrayBuffer> {
  let text = `S${fields.severity}\0V${fields.severity}\0C${fields.code}\0M${
    clean(fields.message)
  }\0`;
  if (fields.detail !== undefined) text += `D${clean(fields.detail)}\0`;
  if (fields.hint !== undefined) text += `H${clean(fields.hint)}\0`;
  if (fields.routine !== undefined) text += `R${clean(fields.routine)}\0`;
  const body = encoder.encode(text + "\0");
  const message = new Uint8Array(5 + body.length);
  message[0] = type;
  new DataView(message.buffer).setUint32(1, 4 + body.length);
  message.set(body, 5);
  return message;
}

function clean(text: string): string {
  return text.replaceAll("\0", "\\0");
}

/** The bytes of an ErrorResponse. */
export function errorResponse(fields: ErrorFields): Uint8Array<ArrayBuffer> {
  return encode(Backend.ErrorResponse, fields);
}

/** The bytes of a NoticeResponse. */
export function noticeResponse(fields: ErrorFields): Uint8Array<ArrayBuffer> {
  return encode(Backend.NoticeResponse, fields);
}

/** Reads the body of an ErrorResponse (`bytes[start..end)`, without type and length); unknown fields are passed over. */
export function readError(bytes: Uint8Array, start: number, end: number): ReceivedError {
  const error: ReceivedError = { severity: "", code: "", message: "", detail: "", hint: "" };
  let at = start;
  while (at < end && bytes[at] !== 0) {
    const field = bytes[at];
    let stop = at + 1;
    while (stop < end && bytes[stop] !== 0) stop++;
    const value = decoder.decode(bytes.subarray(at + 1, stop));
    if (field === Field.Severity) error.severity = value;
    else if (field === Field.LocalizedSeverity && error.severity === "") error.severity = value;
    else if (field === Field.Code) error.code = value;
    else if (field === Field.Message) error.message = value;
    else if (field === Field.Detail) error.detail = value;
    else if (field === Field.Hint) error.hint = value;
    at = stop + 1;
  }
  return error;
}

/**
 * ErrorResponse and NoticeResponse: written from fields by name, and read (severity, SQLSTATE, message) from
 * PostgreSQL's bytes. Source: PostgreSQL manual, "Error and Notice Message Fields".
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

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

function encode(type: number, fields: ErrorFields): Uint8Array {
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
export function errorResponse(fields: ErrorFields): Uint8Array {
  return encode(0x45, fields);
}

/** The bytes of a NoticeResponse. */
export function noticeResponse(fields: ErrorFields): Uint8Array {
  return encode(0x4e, fields);
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
    if (field === 0x56) error.severity = value;
    else if (field === 0x53 && error.severity === "") error.severity = value;
    else if (field === 0x43) error.code = value;
    else if (field === 0x4d) error.message = value;
    else if (field === 0x44) error.detail = value;
    else if (field === 0x48) error.hint = value;
    at = stop + 1;
  }
  return error;
}

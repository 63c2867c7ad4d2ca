/**
 * Result sets of the admin console as bytes: column types, and `Answer`, which collects the backend messages of one
 * reply. Values are never NULL. Each column is sent in the format that Bind asked for, since some drivers ask binary for
 * every type that they know. Source: PostgreSQL manual, "Message Formats"; binary forms: `textsend`, `int4send`,
 * `numeric_send`.
 */

import { Backend } from "../protocol/codes.ts";
import type { ErrorFields } from "../protocol/error_response.ts";
import { errorResponse, noticeResponse } from "../protocol/error_response.ts";

/** Types of the console's columns. */
export type ColumnType = "text" | "int4" | "numeric" | "bool";

/** One column of a result set. */
export interface Column {
  readonly name: string;
  readonly type: ColumnType;
}

/** A field: text for `text`, a number for `int4` and `numeric`. */
export type Value = string | number | boolean;
/** One row, a field for each column. */
export type Row = readonly Value[];

/** Format codes of Bind. */
export const Format = { Text: 0, Binary: 1 } as const;

const OIDS: Record<ColumnType, number> = { text: 25, int4: 23, numeric: 1700, bool: 16 };
const SIZES: Record<ColumnType, number> = { text: -1, int4: 4, numeric: -1, bool: 1 };
const INT4_MAX = 0x7fffffff;

/** A column of type text. */
export function text(name: string): Column {
  return { name, type: "text" };
}

/** A column of type int4. */
export function int4(name: string): Column {
  return { name, type: "int4" };
}

/** A column of type numeric. */
export function numeric(name: string): Column {
  return { name, type: "numeric" };
}

const encoder = new TextEncoder();
const FIRST_BYTES = 1024;
/** A buffer that a long answer has made longer than this is given up. */
const KEPT_BYTES = 65_536;

/** The backend messages of one reply, in order. */
export class Answer {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  #start = 0;

  /** The bytes so far; the answer starts anew. */
  take(): Uint8Array {
    // A copy, since mail clones the whole buffer behind a view.
    const bytes = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#allocate(FIRST_BYTES);
    return bytes;
  }

  /** RowDescription; `formats` holds a code for each column. */
  rowDescription(columns: readonly Column[], formats: readonly number[]): void {
    this.#begin(Backend.RowDescription);
    this.#int16(columns.length);
    for (const [index, column] of columns.entries()) {
      this.#string(column.name);
      this.#int32(0); // no table
      this.#int16(0); // no attribute
      this.#int32(OIDS[column.type]);
      this.#int16(SIZES[column.type]);
      this.#int32(-1);
      this.#int16(formats[index] ?? Format.Text);
    }
    this.#end();
  }

  /** DataRow. */
  dataRow(columns: readonly Column[], row: Row, formats: readonly number[]): void {
    this.#begin(Backend.DataRow);
    this.#int16(columns.length);
    for (const [index, column] of columns.entries()) {
      const binary = formats[index] === Format.Binary;
      this.#field(binary ? binaryValue(column, row[index]) : textValue(column, row[index]));
    }
    this.#end();
  }

  /** CommandComplete. */
  commandComplete(tag: string): void {
    this.#begin(Backend.CommandComplete);
    this.#string(tag);
    this.#end();
  }

  /** ReadyForQuery. */
  readyForQuery(status: number): void {
    this.#begin(Backend.ReadyForQuery);
    this.#reserve(1);
    this.#bytes[this.#at++] = status;
    this.#end();
  }

  /** ParameterDescription of a statement without parameters. */
  noParameters(): void {
    this.#begin(Backend.ParameterDescription);
    this.#int16(0);
    this.#end();
  }

  /** A message that is its type alone: ParseComplete, BindComplete, NoData and their like. */
  plain(type: number): void {
    this.#begin(type);
    this.#end();
  }

  /** ErrorResponse. */
  error(fields: ErrorFields): void {
    this.#append(errorResponse(fields));
  }

  /** NoticeResponse. */
  notice(fields: ErrorFields): void {
    this.#append(noticeResponse(fields));
  }

  #begin(type: number): void {
    this.#reserve(5);
    this.#bytes[this.#at] = type;
    this.#start = this.#at + 1;
    this.#at += 5;
  }

  #end(): void {
    this.#view.setInt32(this.#start, this.#at - this.#start);
  }

  #int16(value: number): void {
    this.#reserve(2);
    this.#view.setInt16(this.#at, value);
    this.#at += 2;
  }

  #int32(value: number): void {
    this.#reserve(4);
    this.#view.setInt32(this.#at, value);
    this.#at += 4;
  }

  #string(value: string): void {
    // A NUL would end the string early and shift all that follows.
    this.#append(encoder.encode(value.replaceAll("\0", "\\0") + "\0"));
  }

  #field(bytes: Uint8Array): void {
    this.#int32(bytes.length);
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#bytes.length) return;
    const old = this.#bytes.subarray(0, this.#at);
    this.#allocate(Math.max(2 * this.#bytes.length, this.#at + length));
    this.#bytes.set(old);
  }

  #allocate(length: number): void {
    this.#bytes = new Uint8Array(length);
    this.#view = new DataView(this.#bytes.buffer);
  }
}

function textValue(column: Column, value: Value): Uint8Array {
  return encoder.encode(asText(column, value));
}

function asText(column: Column, value: Value): string {
  switch (column.type) {
    case "text":
      return String(value).replaceAll("\0", "\\0");
    case "bool":
      return value ? "t" : "f";
    case "int4":
      return String(asInt4(value));
    case "numeric":
      return decimal(Number(value));
    default:
      return column.type satisfies never;
  }
}

function binaryValue(column: Column, value: Value): Uint8Array {
  switch (column.type) {
    case "text":
      return textValue(column, value);
    case "bool":
      return Uint8Array.of(value ? 1 : 0);
    case "int4": {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setInt32(0, asInt4(value));
      return bytes;
    }
    case "numeric":
      return numericBinary(decimal(Number(value)));
    default:
      return column.type satisfies never;
  }
}

/** Config values such as `pool_size` may exceed what the column's fixed type can say. */
function asInt4(value: Value): number {
  return Math.min(Math.trunc(Number(value)), INT4_MAX);
}

/** A number as numeric's text: no exponent, at most six places. */
function decimal(value: number): string {
  if (!Number.isFinite(value)) return "NaN";
  if (Number.isInteger(value)) return BigInt(value).toString();
  const places = value.toFixed(6).replace(/\.?0+$/, "");
  return places === "-0" ? "0" : places;
}

const NUMERIC_NEGATIVE = 0x4000;
const NUMERIC_NAN = 0xc000;

/** numeric's binary form: base-10000 digits, weight of the first one, sign, number of decimal places. */
export function numericBinary(value: string): Uint8Array {
  if (value === "NaN") return numericFields([], { weight: 0, sign: NUMERIC_NAN, scale: 0 });
  const negative = value.startsWith("-");
  const [whole, fraction = ""] = (negative ? value.slice(1) : value).split(".");
  const wholeDigits = whole.padStart(Math.ceil(whole.length / 4) * 4, "0");
  const fractionDigits = fraction.padEnd(Math.ceil(fraction.length / 4) * 4, "0");
  const digits = (wholeDigits + fractionDigits).match(/\d{4}/g)?.map(Number) ?? [];
  let weight = wholeDigits.length / 4 - 1;
  while (digits.length > 0 && digits[0] === 0) {
    digits.shift();
    weight--;
  }
  while (digits.length > 0 && digits.at(-1) === 0) digits.pop();
  const zero = digits.length === 0;
  return numericFields(digits, {
    weight: zero ? 0 : weight,
    sign: negative && !zero ? NUMERIC_NEGATIVE : 0,
    scale: fraction.length,
  });
}

function numericFields(
  digits: readonly number[],
  header: { weight: number; sign: number; scale: number },
): Uint8Array {
  const bytes = new Uint8Array(8 + 2 * digits.length);
  const view = new DataView(bytes.buffer);
  view.setInt16(0, digits.length);
  view.setInt16(2, header.weight);
  view.setUint16(4, header.sign);
  view.setUint16(6, header.scale);
  for (const [index, digit] of digits.entries()) view.setInt16(8 + 2 * index, digit);
  return bytes;
}

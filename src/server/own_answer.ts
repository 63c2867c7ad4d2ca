/**
 * The answer to a question that the pooler asks PostgreSQL by a query of its own: one row of one column.
 */

const decoder = new TextDecoder();

/** The first column of a DataRow with the body `bytes[start..end)`; `undefined` when it is NULL or not all there. */
export function firstColumn(bytes: Uint8Array, start: number, end: number): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (end - start < 6 || view.getInt16(start) < 1) return undefined;
  const length = view.getInt32(start + 2);
  if (length < 0 || start + 6 + length > end) return undefined;
  return decoder.decode(bytes.subarray(start + 6, start + 6 + length));
}

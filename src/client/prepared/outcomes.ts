/**
 * What became of a client's message where prepared statements are rewritten: where the bytes begin that go as they are
 * (≥ 0), or one of these.
 */

/** All of it must be there. */
export const WANTS_WHOLE = -1;
/** More of it must be there. */
export const WANTS_MORE = -2;
/** Others went in its place. */
export const REPLACED = -3;
/** PostgreSQL is asked first what a statement returns. */
export const CHECKING = -4;
/** The client is told that it has left the protocol. */
export const ENDED = -5;

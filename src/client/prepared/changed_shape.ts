/**
 * What makes PostgreSQL raise its own "cached plan must not change result type" on a server that never had the
 * statement: drivers know the error and prepare anew. A DO block, so that the transaction fails as it would.
 */

import * as messages from "../../protocol/messages.ts";
import { GONE } from "./deallocate.ts";

const SQL = "DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', " +
  "MESSAGE = 'cached plan must not change result type'; END$$";

/** Body of the Parse of a statement named `GONE`. */
export const CHANGED: Uint8Array<ArrayBuffer> = new TextEncoder().encode(`${SQL}\0\0\0`);

/** Bind to the unnamed portal, and Execute. */
export const BIND_AND_EXECUTE: Uint8Array<ArrayBuffer> = messages.join(
  messages.bind(GONE),
  messages.execute(),
  messages.flush(),
);

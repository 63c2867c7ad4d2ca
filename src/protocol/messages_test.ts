import assert from "node:assert/strict";
import { Authentication, TransactionStatus } from "./codes.ts";
import * as messages from "./messages.ts";
import { hex } from "./testing/wire.ts";

const CASES: [name: string, written: Uint8Array, wanted: string][] = [
  ["Query", messages.query("é;"), "51 00000008 c3a9 3b 00"],
  ["Sync", messages.sync(), "53 00000004"],
  ["Terminate", messages.terminate(), "58 00000004"],
  ["PasswordMessage", messages.passwordMessage("ab"), "70 00000007 6162 00"],
  ["AuthenticationOk", messages.authentication(Authentication.Ok), "52 00000008 00000000"],
  [
    "AuthenticationMD5Password",
    messages.authentication(Authentication.MD5Password, Uint8Array.of(1, 2, 3, 4)),
    "52 0000000c 00000005 01020304",
  ],
  ["ParameterStatus", messages.parameterStatus("a", "b"), "53 00000008 61 00 62 00"],
  [
    "BackendKeyData",
    messages.backendKeyData(0x7fffffff, Uint8Array.of(1, 2, 3, 4)),
    "4b 0000000c 7fffffff 01020304",
  ],
  ["ReadyForQuery", messages.readyForQuery(TransactionStatus.InTransaction), "5a 00000005 54"],
  [
    "NegotiateProtocolVersion",
    messages.negotiateProtocolVersion(196610, ["_pq_.a", "_pq_.b"]),
    "76 0000001a 00030002 00000002 5f70715f2e61 00 5f70715f2e62 00",
  ],
  ["no options", messages.negotiateProtocolVersion(196608, []), "76 0000000c 00030000 00000000"],
  ["join", messages.join(messages.sync(), new Uint8Array(0), Uint8Array.of(9)), "53 00000004 09"],
  ["join of nothing", messages.join(), ""],
];

for (const [name, written, wanted] of CASES) {
  Deno.test(`messages: ${name}`, () => assert.deepEqual(written, hex(wanted)));
}

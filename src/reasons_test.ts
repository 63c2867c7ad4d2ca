import assert from "node:assert/strict";
import { peerName, REASONS, reasonText } from "./reasons.ts";

Deno.test("reasons: gaps are filled with what is given, whatever it looks like", () => {
  assert.equal(
    reasonText(REASONS.clientReset, "$& {0} {1}", "x"),
    "client connection failed: $& {0} {1}",
  );
  assert.equal(
    reasonText(REASONS.noPool, "{1}", "$'"),
    `no pool configured for database "{1}" and user "$'"`,
  );
});

Deno.test("reasons: a name is cut to 63 bytes, at a character's border, and marked", () => {
  assert.equal(peerName("x".repeat(63)), "x".repeat(63));
  assert.equal(peerName("x".repeat(64)), `${"x".repeat(63)}…`);
  assert.equal(peerName("é".repeat(31)), "é".repeat(31));
  assert.equal(peerName("é".repeat(32)), `${"é".repeat(31)}…`);
  assert.equal(peerName("✓".repeat(22)), `${"✓".repeat(21)}…`);
  assert.equal(peerName("😀".repeat(16)), `${"😀".repeat(15)}…`);
  assert.equal(peerName(`${"x".repeat(62)}é`), `${"x".repeat(62)}…`);
});

Deno.test("reasons: what stands in double quotes is a name, other texts are whole", () => {
  const long = "x".repeat(9000);
  const cut = `${"x".repeat(63)}…`;
  assert.equal(
    reasonText(REASONS.noPool, long, long),
    `no pool configured for database "${cut}" and user "${cut}"`,
  );
  assert.equal(reasonText(REASONS.protocolViolation, long), long);
});

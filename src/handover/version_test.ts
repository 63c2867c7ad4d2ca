import assert from "node:assert/strict";
import { compatible, COMPATIBLE_SINCE, OURS, SNAPSHOT_VERSION } from "./version.ts";

Deno.test("version: of two programs the newer one knows whether they go together", () => {
  const cases: [a: [number, number?], b: [number, number?], together: boolean][] = [
    [[2, 2], [2, 2], true],
    [[2], [2, 2], true],
    [[2, 2], [3, 2], true],
    [[2, 2], [4, 3], false],
    [[3, 3], [4, 3], true],
    [[2, 1], [3, 3], false],
    // One that does not say goes with its own version alone.
    [[2, 1], [3], false],
    [[1], [2, 1], true],
    [[1], [2, 2], false],
  ];
  for (const [a, b, together] of cases) {
    const [one, other] = [a, b].map(([version, compatibleSince]) => ({ version, compatibleSince }));
    assert.equal(compatible(one!, other!), together, `${a} and ${b}`);
    assert.equal(compatible(other!, one!), together, `${b} and ${a}`);
  }
});

Deno.test("version: this program goes with itself", () => {
  assert.ok(COMPATIBLE_SINCE <= SNAPSHOT_VERSION);
  assert.ok(compatible(OURS));
});

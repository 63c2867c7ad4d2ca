import assert from "node:assert/strict";
import { parseReport } from "./junit.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="5" failures="2" errors="0" time="0.012">
    <testsuite name="./a_test.ts" tests="5" disabled="1" errors="0" failures="2">
        <testcase name="passes &gt; a step" classname="./a_test.ts" time="0.001" line="1" col="6">
        </testcase>
        <testcase name="needs &quot;psql&quot; &amp; more" classname="./a_test.ts" time="0.000">
            <skipped/>
        </testcase>
        <testcase name="fails" classname="./a_test.ts" time="0.000" line="3" col="6">
            <failure message="Uncaught Error: &lt;skipped">Error: &lt;skipped
    at file:///a_test.ts:3:34</failure>
        </testcase>
        <testcase name="short form" classname="./a_test.ts"/>
        <testcase name="fails too" classname="./a_test.ts"><error message="x"/></testcase>
    </testsuite>
</testsuites>
`;

Deno.test("junit: counts what passed, failed and was skipped", () => {
  assert.deepEqual(parseReport(REPORT), {
    passed: 2,
    failed: 2,
    skipped: 1,
    skippedNames: ['needs "psql" & more'],
    failures: [
      "fails\nError: <skipped\n    at file:///a_test.ts:3:34",
      "fails too\nx",
    ],
  });
});

Deno.test("junit: an empty report counts nothing", () => {
  assert.deepEqual(parseReport(""), {
    passed: 0,
    failed: 0,
    skipped: 0,
    skippedNames: [],
    failures: [],
  });
});

import assert from "node:assert/strict";
import fc from "fast-check";
import { loadText } from "../../tests/support/config_io.ts";
import { formatFault } from "./source.ts";

const FIXTURES = new URL("../../tests/fixtures/", import.meta.url);
const TEXTS = ["legacy.toml", "faults.toml", "sample.yaml", "includes/main.yaml"].map((name) => ({
  name,
  text: Deno.readTextFileSync(new URL(name, FIXTURES)),
}));

/** A fixture with a piece cut out and another put in. */
const damaged = fc.record({
  fixture: fc.constantFrom(...TEXTS),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  cut: fc.nat(40),
  put: fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom(
      '"',
      "'''",
      '"""',
      "[",
      "]]",
      "{",
      "}",
      "\n",
      "\t",
      "&a",
      "*a",
      ": ",
      "- ",
      "=",
      "\0",
    ),
  ),
});

Deno.test("load: a damaged file gives faults, never an exception", () => {
  const seen = { accepted: 0, refused: 0 };
  fc.assert(
    fc.property(damaged, ({ fixture, at, cut, put }) => {
      const start = Math.floor(at * fixture.text.length);
      const text = fixture.text.slice(0, start) + put + fixture.text.slice(start + cut);
      const { config, faults, warnings } = loadText(text, fixture.name);
      assert.equal(config === undefined, faults.length > 0);
      for (const finding of [...faults, ...warnings]) assert.ok(formatFault(finding).length > 10);
      seen[config === undefined ? "refused" : "accepted"]++;
    }),
    { numRuns: 1500 },
  );
  assert.ok(seen.accepted > 20 && seen.refused > 500, JSON.stringify(seen));
});

Deno.test("load: any text at all gives faults or a config", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 60 }),
      fc.constantFrom("a.toml", "a.yaml"),
      (text, name) => {
        const { config, faults } = loadText(text, name);
        assert.equal(config === undefined, faults.length > 0);
      },
    ),
    { numRuns: 1500 },
  );
});

/**
 * What a client leaves on its session reaches no other client in transaction mode: ways to leave something (leaks/…_ways.ts),
 * each crossed with the forms in which it may be sent (leaks/forms.ts), with one server and two clients.
 *
 * What leaks and should not is listed in leaks/known.ts, which may list nothing else. `PG_DOORMAN_TEST_LEAKS` names a file
 * that all outcomes are written to.
 */

import assert from "node:assert/strict";
import { Crossing, type Known, type Mode } from "./leaks/crossing.ts";
import { KNOWN_DIFFERENCES, KNOWN_LEAKS } from "./leaks/known.ts";
import * as objects from "./leaks/object_ways.ts";
import * as others from "./leaks/other_ways.ts";
import * as parameters from "./leaks/parameter_ways.ts";
import type { Ways } from "./leaks/way.ts";

const MODES: Record<string, Mode> = {
  tracked: {
    settings: {},
    seesBodies: false,
    knownLeaks: KNOWN_LEAKS,
    knownDifferences: KNOWN_DIFFERENCES,
  },
};

const KINDS: Record<string, Ways> = {
  "SET and RESET": parameters.SPELLINGS,
  "what ends with its transaction": parameters.PASSING,
  "parameters": parameters.PARAMETERS,
  "set_config": parameters.SET_CONFIGS,
  "settings that no text tells of": parameters.UNSEEN,
  "names with a dot": parameters.CUSTOM,
  "roles": parameters.ROLES,
  "StartupMessage": parameters.LOGINS,
  "temporary relations": objects.RELATIONS,
  "other temporary objects": objects.OTHERS,
  "cursors": objects.CURSORS,
  "prepared statements": objects.STATEMENTS,
  "advisory locks": others.LOCKS,
  "LISTEN": others.CHANNELS,
  "committed before a failure": others.COMMITTED,
  "FunctionCall": others.FUNCTION_CALLS,
  "the server's memory": others.MEMORY,
};
const ALL: Ways = Object.assign({}, ...Object.values(KINDS));

function flat(known: Known): Set<string> {
  const cases = new Set<string>();
  for (const ways of Object.values(known)) {
    for (const [way, forms] of Object.entries(ways)) {
      for (const form of forms.split(" ")) cases.add(`${way} | ${form}`);
    }
  }
  return cases;
}

for (const [mode, settings] of Object.entries(MODES)) {
  let crossing: Crossing;
  const leaks = flat(settings.knownLeaks);
  const differences = flat(settings.knownDifferences);

  Deno.test.beforeAll(async () => {
    crossing = await Crossing.start(settings, ALL);
  });

  Deno.test.afterAll(async () => {
    await crossing[Symbol.asyncDispose]();
  });

  for (const [kind, ways] of Object.entries(KINDS)) {
    Deno.test(`${mode}: ${kind}: nothing reaches another client`, async () => {
      const faults: string[] = [];
      const file = Deno.env.get("PG_DOORMAN_TEST_LEAKS");
      for (const [name, { leak, different, details }] of await crossing.run(ways)) {
        const form = name.split(" | ").at(-1)!;
        if (file !== undefined) {
          const line = JSON.stringify({ mode, kind, name, leak, different, details });
          await Deno.writeTextFile(file, `${line}\n`, { append: true });
        }
        if (crossing.isHidden(form)) continue;
        const whatLeaks = leak.length > 0 ? `leaks: ${leak.join(", ")}` : "leaks no more";
        if (leak.length > 0 !== leaks.has(name)) faults.push(`${name}: ${whatLeaks}`);
        const whatDiffers = different.length > 0
          ? `is not as at a direct connection: ${different.join(", ")}`
          : "is as at a direct connection now";
        if (different.length > 0 !== differences.has(name)) faults.push(`${name}: ${whatDiffers}`);
      }
      assert.deepEqual(faults, []);
    });
  }
}

/**
 * What a client leaves on its session reaches no other client in transaction mode: ways to leave something (leaks/),
 * each crossed with the forms in which it may be sent (leaks/forms.ts), with one server and two clients.
 *
 * What leaks and should not is listed in leaks/known.ts, which may list nothing else. Each way is tried in two of its
 * forms, in one of them where the pool is strict; with `PG_DOORMAN_TEST_FORMS=all` in all of them. `PG_DOORMAN_TEST_LEAKS`
 * names a file that all outcomes are written to.
 */

import assert from "node:assert/strict";
import { Crossing, type Known, type Mode, namesOf, WHOLE } from "./leaks/crossing.ts";
import {
  KNOWN_DIFFERENCES,
  KNOWN_DIFFERENCES_IN_STRICT,
  KNOWN_LEAKS,
  KNOWN_LEAKS_IN_STRICT,
} from "./leaks/known.ts";
import * as objects from "./leaks/object_ways.ts";
import * as others from "./leaks/other_ways.ts";
import * as parameters from "./leaks/parameter_ways.ts";
import type { Ways } from "./leaks/way.ts";

const MODES: Record<string, Mode> = {
  tracked: {
    settings: {},
    triesFirst: true,
    seesBodies: false,
    knownLeaks: KNOWN_LEAKS,
    knownDifferences: KNOWN_DIFFERENCES,
  },
  strict: {
    settings: { session_isolation: "strict" },
    triesFirst: false,
    seesBodies: true,
    knownLeaks: KNOWN_LEAKS_IN_STRICT,
    knownDifferences: KNOWN_DIFFERENCES_IN_STRICT,
  },
};

const KINDS: Record<string, Ways> = {
  "SET and RESET": parameters.SPELLINGS,
  "what ends with its transaction": parameters.PASSING,
  "parameters": parameters.PARAMETERS,
  "set_config": parameters.SET_CONFIGS,
  "texts that functions run": parameters.TEXTS,
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

/** What is known of each case: the entry that lists it. */
function byCase(known: Known): Map<string, string> {
  const entries = new Map<string, string>();
  for (const ways of Object.values(known)) {
    for (const [way, forms] of Object.entries(ways)) {
      for (const form of forms.split(" ")) entries.set(`${way} | ${form}`, `${way}: ${forms}`);
    }
  }
  return entries;
}

/** Of names with a dot some forms tell nothing, whatever the way. */
function entryOf(known: Map<string, string>, name: string, kinds: string[]): string | undefined {
  const ofForm = () => known.get(`* | ${name.split(" | ").at(-1)}`);
  return known.get(name) ?? (kinds.every((kind) => kind === "custom") ? ofForm() : undefined);
}

/**
 * What is not as the list says: `found` has what is wrong at each case, empty where nothing is. Only when all forms are tried
 * is it known that an entry holds no more.
 */
function faultsOf(
  known: Map<string, string>,
  found: Map<string, string[]>,
  what: string,
): string[] {
  const faults: string[] = [];
  const asListed = new Map<string, boolean>();
  for (const [name, kinds] of found) {
    const entry = entryOf(known, name, kinds);
    if (kinds.length > 0 && entry === undefined) {
      faults.push(`${name}: ${what}: ${kinds.join(", ")}`);
    }
    if (entry !== undefined && !entry.startsWith("*")) {
      asListed.set(entry, kinds.length > 0 || asListed.get(entry) === true);
    }
  }
  if (!WHOLE) return faults;
  for (const [entry, still] of asListed) if (!still) faults.push(`${entry}: no more: ${what}`);
  return faults;
}

for (const [mode, settings] of Object.entries(MODES)) {
  let crossing: Crossing;
  const leaks = byCase(settings.knownLeaks);
  const differences = byCase(settings.knownDifferences);

  Deno.test(`${mode}: what is known is a case of the test`, () => {
    const ways = new Set(namesOf(ALL).map((name) => name.split(" | ")[0]));
    for (const name of [...leaks.keys(), ...differences.keys()]) {
      const [way] = name.split(" | ");
      assert.ok(way === "*" || ways.has(way), name);
    }
  });

  Deno.test.beforeAll(async () => {
    crossing = await Crossing.start(settings, ALL);
  });

  Deno.test.afterAll(async () => {
    await crossing[Symbol.asyncDispose]();
  });

  for (const [kind, ways] of Object.entries(KINDS)) {
    Deno.test(`${mode}: ${kind}: nothing reaches another client`, async () => {
      const leaking = new Map<string, string[]>();
      const differing = new Map<string, string[]>();
      const file = Deno.env.get("PG_DOORMAN_TEST_LEAKS");
      for (const [name, outcome] of await crossing.run(ways)) {
        if (file !== undefined) {
          const line = JSON.stringify({ mode, kind, name, ...outcome });
          await Deno.writeTextFile(file, `${line}\n`, { append: true });
        }
        if (crossing.isHidden(name.split(" | ").at(-1)!)) continue;
        leaking.set(name, outcome.leak);
        // Whether the client meets again what it has left is chance then.
        if (outcome.leak.length === 0) differing.set(name, outcome.different);
      }
      assert.deepEqual([
        ...faultsOf(leaks, leaking, "reaches another client"),
        ...WHOLE ? faultsOf(differences, differing, "is not as at a direct connection") : [],
        ...crossing.vacuous.splice(0).map((name) => `${name}: does something else than it says`),
      ], []);
    });
  }
}

import assert from "node:assert/strict";
import { GENERAL_KEYS } from "./schema_general.ts";
import { POOL_KEYS, USER_KEYS } from "./schema_pool.ts";
import { PGBOUNCER_DATABASE_KEYS, PGBOUNCER_KEYS } from "./foreign_keys.ts";

Deno.test("foreign keys: what PgBouncer's keys are said to be here, is here", () => {
  const known = new Set([...GENERAL_KEYS.keys(), ...POOL_KEYS.keys(), ...USER_KEYS.keys()]);
  const nothing = /^(not |no |always |docs)/;
  for (const [key, hint] of PGBOUNCER_KEYS) {
    if (nothing.test(hint) || hint.startsWith("of a pool") || hint.startsWith("general.")) continue;
    const name = /^(?:\[\[pools\.NAME\.)?([a-z_]+)/.exec(hint)![1]!;
    assert.ok(known.has(name), `${key}: ${hint}`);
  }
  for (const [key, hint] of PGBOUNCER_DATABASE_KEYS) {
    if (nothing.test(hint)) continue;
    assert.ok(known.has(/^[a-z_]+/.exec(hint)![0]), `${key}: ${hint}`);
  }
});

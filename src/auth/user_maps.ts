/**
 * Who may log in as whom, where not a password but a certificate or the system says who somebody is. Semantics are those of
 * `check_usermap` in PostgreSQL 16 and later.
 */

import type { IdentRule } from "../config/hba_rule.ts";
import { compileHbaPattern } from "./hba.ts";

/** Patterns are not run on more: a certificate's name is what an authority has signed, and may be long. */
const MOST_CHARACTERS = 1000;

type Test = (systemUser: string, user: string) => boolean;

/** The maps of a configuration, by name. */
export class UserMaps {
  readonly #maps = new Map<string, Test[]>();

  constructor(rules: readonly IdentRule[]) {
    for (const rule of rules) {
      const tests = this.#maps.get(rule.map);
      if (tests === undefined) this.#maps.set(rule.map, [testOf(rule)]);
      else tests.push(testOf(rule));
    }
  }

  /** Why `systemUser` may not log in as `user`; `undefined`: he may. Without a map the names must be the same. */
  refusal(map: string | undefined, systemUser: string, user: string): string | undefined {
    if (map === undefined) {
      return systemUser === user ? undefined : `the user's own name is "${shown(systemUser)}"`;
    }
    const fits = systemUser.length <= MOST_CHARACTERS &&
      this.#maps.get(map)?.some((test) => test(systemUser, user)) === true;
    return fits ? undefined : `no line of map "${map}" fits "${shown(systemUser)}"`;
  }
}

function shown(name: string): string {
  return name.length <= MOST_CHARACTERS ? name : `${name.slice(0, MOST_CHARACTERS)}…`;
}

function testOf({ system, user }: IdentRule): Test {
  const userTest = userTestOf(user);
  if (system.kind === "name") {
    return (systemUser, wanted) => systemUser === system.name && userTest(wanted);
  }
  const pattern = compileHbaPattern(system.pattern);
  if (user.kind !== "name" || !user.name.includes("\\1")) {
    return (systemUser, wanted) => pattern.test(systemUser) && userTest(wanted);
  }
  const at = user.name.indexOf("\\1");
  const [before, after] = [user.name.slice(0, at), user.name.slice(at + 2)];
  return (systemUser, wanted) => {
    const captured = pattern.exec(systemUser)?.[1];
    // What was captured is a name, whatever it looks like.
    return captured !== undefined && `${before}${captured}${after}` === wanted;
  };
}

function userTestOf(user: IdentRule["user"]): (wanted: string) => boolean {
  switch (user.kind) {
    case "all":
      return () => true;
    case "name":
      return (wanted) => wanted === user.name;
    case "regex": {
      const pattern = compileHbaPattern(user.pattern);
      return (wanted) => pattern.test(wanted);
    }
    default:
      return user satisfies never;
  }
}

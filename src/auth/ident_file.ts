/**
 * Maps of users, as PostgreSQL's pg_ident.conf has them: lines of a map's name, a name by certificate or by this machine's
 * word, and the user that it may log in as. The lexical half is that of pg_hba. As there, every fault is reported, and a
 * text with any gives no lines at all. PostgreSQL's manual, "User Name Maps".
 */

import type { IdentRule } from "../config/hba_rule.ts";
import { compileHbaPattern } from "./hba.ts";
import type { HbaSource } from "./hba_file.ts";
import { type HbaFault, type HbaLine, type HbaToken, tokenizeHba } from "./hba_tokens.ts";

/** What such a text says. `rules` is empty as soon as there is a fault. */
export interface IdentParse {
  rules: IdentRule[];
  faults: HbaFault[];
  warnings: HbaFault[];
}

const SHAPE = "write: MAP SYSTEM-USER DATABASE-USER";

/** Parses a text of maps. One without a line is no fault: then there is no map. */
export function parseIdent(text: string, from: HbaSource): IdentParse {
  const faults: HbaFault[] = [];
  const rules: IdentRule[] = [];
  for (const line of tokenizeHba(text, from.source, from, faults)) {
    const rule = readLine(line, faults);
    if (rule !== undefined) rules.push(rule);
  }
  return { rules: faults.length === 0 ? rules : [], faults, warnings: [] };
}

function readLine({ source, line, fields }: HbaLine, faults: HbaFault[]): IdentRule | undefined {
  const fault = (message: string, hint: string) => {
    faults.push({ source, line, message, hint });
    return undefined;
  };
  if (fields.some(({ length }) => length > 1)) {
    return fault("several values in one column", "write a line for each");
  }
  const [map, system, user, more] = fields.map(([token]) => token!);
  if (system === undefined || user === undefined) {
    return fault(
      `the line ends before the ${system === undefined ? "system" : "database"} user`,
      SHAPE,
    );
  }
  if (more !== undefined) return fault("the line goes on behind the database user", SHAPE);
  if (!user.quoted && user.text.startsWith("+")) {
    return fault(
      `group "${user.text}" is not supported: who its members are is known to the server alone`,
      "write a line for each user, or a pattern such as /^app_",
    );
  }
  const wrong = [system, user].map(patternFault).find((found) => found !== undefined);
  if (wrong !== undefined) return fault(...wrong);
  if (refersBack(user)) {
    if (!isPattern(system)) {
      return fault(
        '"\\1" has nothing to refer to',
        "write a pattern with a group as the system user",
      );
    }
    // Whatever it matches, there would be nothing to put in.
    if (groupsOf(system.text.slice(1)) === 0) {
      return fault('"\\1" refers to a group that the pattern does not have', "put (…) into it");
    }
  }
  return {
    map: map!.text,
    system: isPattern(system)
      ? { kind: "regex", pattern: system.text.slice(1) }
      : { kind: "name", name: system.text },
    user: isPattern(user)
      ? { kind: "regex", pattern: user.text.slice(1) }
      : !user.quoted && user.text === "all"
      ? { kind: "all" }
      : { kind: "name", name: user.text },
    source,
    line,
  };
}

// A quote protects blanks in a pattern, and does not make a name of it.
function isPattern({ text }: HbaToken): boolean {
  return text.startsWith("/");
}

function refersBack(user: HbaToken): boolean {
  return !isPattern(user) && user.text.includes("\\1");
}

function groupsOf(pattern: string): number {
  // Matches everything, with as many groups as the pattern has.
  return new RegExp(`${pattern}|`, "us").exec("")!.length - 1;
}

function patternFault(token: HbaToken): [message: string, hint: string] | undefined {
  if (!isPattern(token)) return undefined;
  try {
    compileHbaPattern(token.text.slice(1));
    return undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [
      `"${token.text}" is not a regular expression that is understood here`,
      `use JavaScript's syntax, which lacks some of PostgreSQL's (${error.message})`,
    ];
  }
}

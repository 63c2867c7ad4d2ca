/**
 * Random pipelines of frontend messages that a client may send (fast-check): simple and extended queries with errors in
 * every place, COPY in both protocols with its data sent ahead or not, function calls. Every pipeline ends so that the
 * server owes nothing.
 */

import fc from "fast-check";
import { Named } from "../codes.ts";
import type { Message } from "./model_server.ts";
import { concat, int16, int32 } from "./wire.ts";

const encoder = new TextEncoder();

function message(type: string, ...fields: (string | number[] | Uint8Array)[]): Message {
  const parts = fields.map((field) =>
    typeof field === "string" ? encoder.encode(field + "\0") : Uint8Array.from(field)
  );
  return { type, body: concat(...parts) };
}

export const SYNC: Message = message("S");

/** Query. */
export function simpleQuery(sql: string): Message {
  return message("Q", sql);
}

const number = fc.nat({ max: 90 });
const word = fc.constantFrom(
  "rows",
  "none",
  "empty",
  "error",
  "begin",
  "commit",
  "copyout",
  "notice",
  "set",
  "parameter",
  "show",
);
const statement = fc.oneof(
  { weight: 30, arbitrary: fc.tuple(word, number).map(([name, n]) => `${name} ${n}`) },
  { weight: 1, arbitrary: number.map((n) => `long ${n}`) },
);
const bad = (name: string) => fc.constantFrom("", "", "", "", name);

const query = statement.map((sql) => [simpleQuery(sql)]);
const functionCall = fc.constantFrom("ok", "error").map((name) => [message("F", name)]);
/** Bytes that nobody looks at: mostly few, sometimes more than fit into one read. */
const padding = fc.oneof(
  { weight: 30, arbitrary: fc.nat({ max: 3000 }) },
  { weight: 1, arbitrary: fc.nat({ max: 200_000 }) },
).map((length) => new Uint8Array(length + 1).fill(7, 1));

const parse = fc.oneof(statement, fc.constant("badparse")).map((sql) =>
  message("P", "", sql, int16(0))
);
const bind = fc.tuple(bad("badbind"), padding).map(([name, rest]) => message("B", name, rest));
const describe = fc.tuple(fc.constantFrom("S", "P"), bad("baddescribe")).map(([kind, name]) =>
  message("D", [kind.charCodeAt(0)], name)
);
const execute = fc.oneof(fc.constant(""), statement).map((portal) =>
  message("E", portal, int32(0))
);
const close = bad("badclose").map((name) => message("C", [Named.Portal], name));
const flush = fc.constant(message("H"));
const step = fc.oneof(parse, bind, describe, execute, close, flush);
/** A batch of the extended protocol that ends with Sync, or goes on into what follows. */
const batch = fc.tuple(parse, fc.array(step, { maxLength: 8 }), fc.boolean()).map(
  ([first, steps, ends]) => ends ? [first, ...steps, SYNC] : [first, ...steps],
);

const copyData = fc.tuple(number, padding).map(([n, rest]) => message("d", `line ${n}`, rest));
const copyEnd = fc.constantFrom(message("c"), message("f", "client gave up"));
const good = fc.array(copyData, { maxLength: 5 });
/** Data, perhaps with a line that PostgreSQL refuses; what follows such a line is thrown away. */
const data = fc.tuple(good, fc.boolean(), good).map(([before, fails, after]) => [
  ...before,
  ...fails ? [message("d", "bad line")] : [],
  ...after,
]);
const ignored = fc.constantFrom<Message[]>([], [], [message("H")], [SYNC]);
const copyIn = fc.oneof(
  fc.tuple(data, copyEnd).map(([lines, end]) => [simpleQuery("copyin"), ...lines, end]),
  // Sync and Flush are ignored while a COPY runs.
  fc.tuple(good, ignored, good, copyEnd).map(([before, between, after, end]) => [
    simpleQuery("copyin"),
    ...before,
    ...between,
    ...after,
    end,
  ]),
  fc.tuple(good, good, copyEnd).map(([one, two, end]) => [
    simpleQuery("twocopies"),
    ...one,
    message("c"),
    ...two,
    end,
  ]),
  fc.tuple(data, copyEnd).map(([lines, end]) => [simpleQuery("error"), ...lines, end]),
);
const copyInExtended = fc.tuple(fc.constantFrom("copyin", "error", "badparse"), data, copyEnd).map(
  ([sql, lines, end]) => [
    message("P", "", sql, int16(0)),
    message("B", "", [0]),
    message("E", "", int32(0)),
    ...lines,
    end,
    SYNC,
  ],
);

/** Whole pipelines. */
export const pipelines: fc.Arbitrary<Message[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: query },
    { weight: 4, arbitrary: batch },
    { weight: 1, arbitrary: functionCall },
    { weight: 2, arbitrary: copyIn.map((messages) => [SYNC, ...messages, SYNC]) },
    { weight: 2, arbitrary: copyInExtended.map((messages) => [SYNC, ...messages]) },
  ),
  { maxLength: 12 },
).map((parts) => [...parts.flat(), SYNC]);

const name = fc.constantFrom("s1", "s2", "DOORMAN_1");
/** A new statement under a name: a name in use would be an error at PostgreSQL and is another statement at a pooler. */
const prepare = fc.tuple(name, fc.oneof(statement, statement, fc.constant("badparse"))).map(
  ([to, sql]) => [message("C", [Named.Statement], to), message("P", to, sql, int16(0))],
);
const unnamed = fc.oneof(statement, fc.constant("badparse")).map((sql) => [
  message("P", "", sql, int16(0)),
]);
const anyName = fc.oneof(name, fc.constant(""));
const use = fc.tuple(anyName, bad("badbind"), padding, fc.boolean()).map(
  ([of, portal, rest, described]) => [
    message("B", portal, of, rest),
    ...described ? [message("D", [Named.Portal], "")] : [],
    message("E", "", int32(0)),
  ],
);
const look = anyName.map((of) => [message("D", [Named.Statement], of)]);
const closing = anyName.map((of) => [message("C", [Named.Statement], of)]);
const failing = fc.constantFrom([message("E", "error", int32(0))], [message("H")]);
const sync = fc.constant([SYNC]);
const deallocate = fc.constantFrom("DEALLOCATE s1", "DEALLOCATE s2", "DEALLOCATE ALL").map(
  (sql) => [SYNC, simpleQuery(sql)],
);
const preparedStep = fc.oneof(
  { weight: 4, arbitrary: prepare },
  { weight: 2, arbitrary: unnamed },
  { weight: 6, arbitrary: use },
  { weight: 2, arbitrary: look },
  { weight: 1, arbitrary: closing },
  { weight: 1, arbitrary: failing },
  { weight: 4, arbitrary: sync },
  { weight: 1, arbitrary: query },
);

/** Parts of pipelines with prepared statements, named and not, that later parts use again. */
export const preparedPipelines: fc.Arbitrary<Message[]> = fc.array(preparedStep, { maxLength: 25 })
  .map((parts) => [...parts.flat(), SYNC]);

/** A DEALLOCATE that nothing else is sent with. */
export const deallocation: fc.Arbitrary<Message[]> = deallocate;

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  clientParameters,
  difference,
  differenceQuery,
  type Holder,
  literal,
  NO_PARAMETERS,
  onlyReported,
  type ParameterSet,
  parameterSet,
  readParameterStatus,
  settable,
  withParameter,
} from "./parameters.ts";
import { bytesOfText, textOfBytes } from "../protocol/text_bytes.ts";

const REPORTED = new Set([
  "client_encoding",
  "TimeZone",
  "DateStyle",
  "application_name",
  "server_version",
]);

function setOf(values: Record<string, string>): ParameterSet {
  return parameterSet(new Map(Object.entries(values)));
}

const names = fc.constantFrom("TimeZone", "application_name", "work_mem", "search_path", "a.b");
const dictionary = fc.dictionary(names, fc.constantFrom("1", "2", "x'y", "\\"));

/** The same set without one name. */
function withoutParameter(set: ParameterSet, name: string): ParameterSet {
  if (!set.values.has(name)) return set;
  const values = new Map(set.values);
  values.delete(name);
  return parameterSet(values);
}

Deno.test("parameters: equal values are the same object, in whatever order they came", () => {
  assert.equal(setOf({ a: "1", b: "2" }), setOf({ b: "2", a: "1" }));
  assert.notEqual(setOf({ a: "1", b: "2" }), setOf({ a: "2", b: "1" }));
  assert.notEqual(setOf({ a: "1b2" }), setOf({ a: "1", b: "2" }));
  assert.equal(parameterSet(new Map()), NO_PARAMETERS);
});

Deno.test("parameters: the set keeps its values when the map it came from changes", () => {
  const values = new Map([["a", "kept"]]);
  const set = parameterSet(values);
  values.set("a", "changed");
  assert.equal(set.values.get("a"), "kept");
});

Deno.test("parameters: changes make the set that has always had those values", () => {
  fc.assert(fc.property(dictionary, names, fc.string(), (values, name, value) => {
    const set = setOf(values);
    const more = withParameter(set, name, value);
    assert.equal(more, setOf({ ...values, [name]: value }));
    assert.equal(withParameter(more, name, value), more);
    const { [name]: _, ...rest } = values;
    assert.equal(withoutParameter(more, name), setOf(rest));
  }));
});

Deno.test("parameters: what no client may set", () => {
  for (
    const name of [
      "is_superuser",
      "SESSION_AUTHORIZATION",
      "server_version",
      "database",
      "",
      "1a",
      "a;b",
      "a'b",
      'a"b',
      "a b",
      "a\0b",
      "x".repeat(64),
    ]
  ) assert.ok(!settable(name), name);
  for (const name of ["work_mem", "my.setting", "my.odd$$one", "TimeZone"]) {
    assert.ok(settable(name), name);
  }
});

Deno.test("parameters: a client has the server's defaults, overlaid with what it asks for", () => {
  const defaults = setOf({ TimeZone: "UTC", application_name: "pooler", server_version: "18" });
  const asked: [string, string][] = [
    ["timezone", "Europe/Berlin"],
    ["client_encoding", "utf-8"],
    ["server_version", "1"],
    ["work_mem", "4MB"],
    ["statement_timeout", "5s"],
    ["search_path", "x".repeat(8193)],
    ["bad name", "1"],
  ];
  assert.equal(
    clientParameters(defaults, asked, new Set(["statement_timeout"])),
    setOf({
      TimeZone: "Europe/Berlin",
      application_name: "pooler",
      server_version: "18",
      client_encoding: "UTF8",
      work_mem: "4MB",
      // PostgreSQL is asked what it takes.
      search_path: "x".repeat(8193),
    }),
  );
  assert.equal(clientParameters(defaults, [], new Set()), defaults);
});

Deno.test("parameters: encodings by PostgreSQL's names", () => {
  const cases = { unicode: "UTF8", "UTF-8": "UTF8", "iso-8859-1": "LATIN1", win1252: "win1252" };
  for (const [asked, wanted] of Object.entries(cases)) {
    const set = clientParameters(NO_PARAMETERS, [["client_encoding", asked]], new Set());
    assert.equal(set.values.get("client_encoding"), wanted);
  }
});

Deno.test("parameters: a difference that is applied leaves none", () => {
  fc.assert(fc.property(dictionary, dictionary, (has, wants) => {
    const reports = { reported: REPORTED, defaults: NO_PARAMETERS };
    const differs = difference(holder(has, []), holder(wants), reports);
    let after = setOf(has);
    for (const name of differs?.reset ?? []) after = withoutParameter(after, name);
    for (const [name, value] of differs?.set ?? []) after = withParameter(after, name, value);
    const made = { parameters: after, own: Object.keys(wants) };
    assert.equal(difference(made, holder(wants), reports), undefined);
    for (const [name, value] of Object.entries(wants)) {
      assert.equal(after.values.get(name), value);
    }
    // A name that the server does not report is on it because somebody set it.
    for (const name of after.values.keys()) assert.ok(name in wants || REPORTED.has(name), name);
  }));
});

function holder(values: Record<string, string>, own = Object.keys(values)): Holder {
  return { parameters: setOf(values), own };
}

Deno.test("parameters: what a client has not asked for is the server's to say", () => {
  const defaults = setOf({ TimeZone: "UTC", DateStyle: "ISO, MDY" });
  const reports = { reported: REPORTED, defaults };
  const fresh = holder({ TimeZone: "Asia/Tokyo", DateStyle: "ISO, MDY" }, []);
  const client = holder({ TimeZone: "UTC", DateStyle: "ISO, MDY" }, []);
  assert.equal(difference(fresh, client, reports), undefined);
  // What another client has set goes.
  const used = { ...fresh, own: ["TimeZone"] };
  assert.deepEqual(difference(used, client, reports), { set: [], reset: ["TimeZone"] });
  const asks = { ...client, own: ["TimeZone"] };
  assert.deepEqual(difference(fresh, asks, reports), { set: [["TimeZone", "UTC"]], reset: [] });
  // Of before this was known: what differs from the defaults is somebody's own.
  const unknown = { ...fresh, own: undefined };
  assert.deepEqual(difference(unknown, client, reports), { set: [], reset: ["TimeZone"] });
});

Deno.test("parameters: DateStyle is set whole", () => {
  const reports = { reported: REPORTED, defaults: setOf({ DateStyle: "ISO, MDY" }) };
  const has = holder({ DateStyle: "German, DMY" });
  assert.deepEqual(difference(has, holder({ DateStyle: "ISO" }), reports), {
    set: [["DateStyle", "ISO"]],
    reset: ["DateStyle"],
  });
});

Deno.test("parameters: what is sent is ASCII, whatever the values are", () => {
  assert.equal(
    literal("Müller"),
    "pg_catalog.convert_from(pg_catalog.decode('4dc3bc6c6c6572', 'hex'), 'UTF8')",
  );
  const bytes = Uint8Array.of(0x61, 0xff, 0xc3, 0xbc, 0xe2);
  const text = textOfBytes(bytes, 0, bytes.length);
  assert.equal(
    literal(text),
    "pg_catalog.convert_from(pg_catalog.decode('61ffc3bce2', 'hex'), pg_catalog.getdatabaseencoding())",
  );
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    assert.deepEqual([...bytesOfText(textOfBytes(bytes, 0, bytes.length))], [...bytes]);
  }));
});

Deno.test("parameters: read-only reports are no difference", () => {
  const reports = { reported: REPORTED, defaults: NO_PARAMETERS };
  const has = holder({ server_version: "18", TimeZone: "UTC" });
  const wants = holder({ server_version: "17", TimeZone: "UTC" });
  assert.equal(difference(has, wants, reports), undefined);
});

Deno.test("parameters: the query quotes values and names", () => {
  assert.equal(
    differenceQuery({
      set: [["search_path", `a, "b'c"\\`], ["TimeZone", ""]],
      reset: ["work_mem", "my.Setting"],
    }),
    'RESET "work_mem"; RESET "my"."Setting"; SELECT ' +
      `pg_catalog.set_config(E'search_path', E'a, "b''c"\\\\', false) IS NULL, ` +
      "pg_catalog.set_config(E'TimeZone', E'', false) IS NULL",
  );
});

Deno.test("parameters: after RESET ALL only what the server reports is known", () => {
  const set = setOf({ TimeZone: "UTC", work_mem: "4MB" });
  assert.equal(onlyReported(set, REPORTED), setOf({ TimeZone: "UTC" }));
  assert.equal(onlyReported(setOf({ TimeZone: "UTC" }), REPORTED), setOf({ TimeZone: "UTC" }));
});

Deno.test("parameters: thousands of different sets are not kept", () => {
  const first = setOf({ application_name: "first" });
  for (let i = 0; i < 10_000; i++) setOf({ application_name: `client ${i}` });
  // Interned anew: the table was emptied in between.
  assert.notEqual(setOf({ application_name: "first" }), first);
  const wants = holder({ application_name: "first" });
  const reports = { reported: REPORTED, defaults: undefined };
  assert.equal(difference({ ...wants, parameters: first }, wants, reports), undefined);
});

Deno.test("parameters: a few long values are not kept either", () => {
  const first = setOf({ search_path: "first" });
  for (let i = 0; i < 400; i++) setOf({ search_path: `${i}`.padEnd(30_000, "x") });
  assert.notEqual(setOf({ search_path: "first" }), first);
});

Deno.test("parameters: a ParameterStatus is a name and a value, and nothing else", () => {
  const read = (text: string, behind = "x\0y\0") => {
    const bytes = new TextEncoder().encode("??" + text + behind);
    return readParameterStatus(bytes, 2, 2 + text.length);
  };
  assert.deepEqual(read("timezone\0UTC\0"), { name: "TimeZone", value: "UTC" });
  assert.deepEqual(read("search_path\0\0"), { name: "search_path", value: "" });
  for (const text of ["", "\0", "a", "a\0", "a\0b", "\0b\0", "a\0b\0c", "a\0b\0\0"]) {
    assert.equal(read(text), undefined, JSON.stringify(text));
    assert.equal(read(text, ""), undefined, JSON.stringify(text));
  }
});

import assert from "node:assert/strict";
import { parseIdent } from "./ident_file.ts";
import { UserMaps } from "./user_maps.ts";

function parse(text: string, files: Record<string, string> = {}) {
  return parseIdent(text, {
    source: "/etc/pg_ident.conf",
    readFile: (path) => files[path],
    listDirectory: () => Object.keys(files).map((path) => path.slice("/etc/maps/".length)),
  });
}

/** Who of these may log in as whom, by the map "m". */
function admitted(text: string, system: string, ...users: string[]): string[] {
  const { rules, faults } = parse(text);
  assert.deepEqual(faults, []);
  const maps = new UserMaps(rules);
  return users.filter((user) => maps.refusal("m", system, user) === undefined);
}

Deno.test("user maps: without a map the names must be the same", () => {
  const maps = new UserMaps([]);
  assert.equal(maps.refusal(undefined, "ann", "ann"), undefined);
  assert.match(maps.refusal(undefined, "ann", "Ann")!, /own name is "ann"/);
  assert.match(maps.refusal("m", "ann", "ann")!, /no line of map "m" fits "ann"/);
});

Deno.test("user maps: literal names, of the map that was named alone", () => {
  const text = 'm ann app\nother ann root\nm "Bob S" app\nm all ann # a name there\n';
  assert.deepEqual(admitted(text, "ann", "app", "root", "ann"), ["app"]);
  assert.deepEqual(admitted(text, "Bob S", "app"), ["app"]);
  assert.deepEqual(admitted(text, "all", "app", "ann"), ["ann"]);
});

Deno.test("user maps: all, and what is quoted or captured is no keyword", () => {
  assert.deepEqual(admitted("m ann all", "ann", "a", "b"), ["a", "b"]);
  assert.deepEqual(admitted('m ann "all"', "ann", "a", "all"), ["all"]);
  assert.deepEqual(admitted("m /^(.*)$ \\1", "all", "a", "all"), ["all"]);
  assert.deepEqual(admitted("m /^(.*)$ \\1", "/.*", "a", "/.*"), ["/.*"]);
});

Deno.test("user maps: patterns on both sides, a capture, and only its first place", () => {
  const mail = "m /^(.*)@example\\.com$ \\1";
  assert.deepEqual(admitted(mail, "ann@example.com", "ann", "bob"), ["ann"]);
  assert.deepEqual(admitted(mail, "ann@example.org", "ann"), []);
  assert.deepEqual(admitted("m /^(.*)@ app_\\1_\\1", "ann@x", "app_ann_\\1", "app_ann_ann"), [
    "app_ann_\\1",
  ]);
  assert.deepEqual(admitted("m /ops /^app_", "devops", "app_1", "my_app_1"), ["app_1"]);
  assert.deepEqual(
    admitted("m /^a /^(.*)\\1$ ", "ann", "xyxy", "xyz"),
    ["xyxy", "xyz"].slice(0, 1),
  );
  // A group that took no part captures nothing.
  assert.deepEqual(admitted("m /^ann(x)?$ a\\1", "ann", "a", "a\\1"), []);
});

Deno.test("user maps: a name that is too long is not run through a pattern", () => {
  assert.deepEqual(admitted("m /. all", "x".repeat(1000), "a"), ["a"]);
  assert.deepEqual(admitted("m /. all", "x".repeat(1001), "a"), []);
});

Deno.test("ident file: faults name their line", () => {
  const cases: [text: string, message: RegExp][] = [
    ["m", /ends before the system user/],
    ["m ann", /ends before the database user/],
    ["m ann app more", /goes on behind/],
    ["m ann,bob app", /several values/],
    ["m ann a,b", /several values/],
    ["m ann +staff", /group "\+staff" is not supported/],
    ["m /( app", /"\/\(" is not a regular expression/],
    ["m ann /(", /not a regular expression/],
    ["m ann \\1", /nothing to refer to/],
    ["m /^ann$ \\1", /does not have/],
    ['m "ann app', /not closed/],
  ];
  for (const [text, message] of cases) {
    const { rules, faults } = parse(`# comment\nm x y\n${text}\n`);
    assert.deepEqual(rules, []);
    assert.equal(faults.length, 1, text);
    assert.match(faults[0]!.message, message);
    assert.deepEqual([faults[0]!.source, faults[0]!.line], ["/etc/pg_ident.conf", 3]);
  }
  assert.deepEqual(parse("").faults, []);
  assert.deepEqual(parse('m ann "+staff"').rules.map(({ user }) => user), [
    { kind: "name", name: "+staff" },
  ]);
});

Deno.test("ident file: includes, as in pg_hba", () => {
  const files = { "/etc/maps/b.conf": "m b app\n", "/etc/maps/a.conf": "m a app\n" };
  const { rules, faults } = parse("m first app\ninclude_dir maps\ninclude_if_exists none\n", files);
  assert.deepEqual(faults, []);
  assert.deepEqual(
    rules.map(({ system, source, line }) => [system, source, line]),
    [
      [{ kind: "name", name: "first" }, "/etc/pg_ident.conf", 1],
      [{ kind: "name", name: "a" }, "/etc/maps/a.conf", 1],
      [{ kind: "name", name: "b" }, "/etc/maps/b.conf", 1],
    ],
  );
});

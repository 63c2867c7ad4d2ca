/**
 * Rules of pg_hba and lines of pg_ident as PostgreSQL's own parser reads them (`pg_hba_file_rules`,
 * `pg_ident_file_mappings`), on generated records: what it takes is taken and means the same, what it refuses is refused. Where ours differs on purpose a piece of a record says so.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseHba } from "../../src/auth/hba_file.ts";
import { parseIdent } from "../../src/auth/ident_file.ts";
import { maskedCidr, parseAddress } from "../../src/config/address.ts";
import type { HbaName, HbaRule } from "../../src/config/hba_rule.ts";
import { Authority } from "../support/certificates.ts";
import { Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";

/** How ours takes a piece: as PostgreSQL does, not at all, or though PostgreSQL does not. */
type Manner = "same" | "stricter" | "laxer";

interface Piece {
  text: string;
  manner: Manner;
}

const same = (...texts: string[]): Piece[] => texts.map((text) => ({ text, manner: "same" }));
const stricter = (...texts: string[]): Piece[] =>
  texts.map((text) => ({ text, manner: "stricter" }));
const laxer = (...texts: string[]): Piece[] => texts.map((text) => ({ text, manner: "laxer" }));

/** Pieces that make a record right by themselves, and all others: one in eight. */
function pieces(right: Piece[], others: Piece[]): fc.Arbitrary<Piece> {
  return fc.oneof(
    { weight: 7, arbitrary: fc.constantFrom(...right) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const NAMES = [
  ...same("all", "app", '"all"', '"a b"', "a#b", "App", "/^app_", "x,y", '"x,y"', "@names"),
  ...same('"@names"', '/"^a,b$"', "@", "a,@names,b", '"a""b"', "a\\b", "ä", "/[a-c]{2}", "app,all"),
];
const ODD_NAMES = same("@missing", "/(");
const DATABASES = pieces(
  [...NAMES, ...same("sameuser", '"sameuser"', "replication", "+staff")],
  [...ODD_NAMES, ...stricter("samerole", "samegroup")],
);
const USERS = pieces(
  [...NAMES, ...same('"+staff"', "sameuser")],
  [...ODD_NAMES, ...stricter("+staff", "a,+staff")],
);
const ADDRESSES = pieces(
  [
    ...same("all", "samehost", "samenet", "10.0.0.0/8", "10.1.2.3/32", "::1/128", "fe80::/10"),
    ...same("10.0.0.0 255.0.0.0", "::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
    ...same("0.0.0.0/0", "10.1.2.3/8"),
  ],
  [
    ...same("10.0.0.0/33", "10.0.0.0/x", "10.0.0.0 ::", "10.0.0.0/8,::1/128"),
    ...stricter("10.0.0.0 255.0.0", "db.example", ".example", '"all"'),
    ...laxer("ALL", "10.0.0.1"),
  ],
);
const METHODS = pieces(
  same("trust", "reject", "password", "md5", "scram-sha-256", "cert", "peer"),
  [...same("nope", "trust,md5"), ...laxer("TRUST", "scram_sha_256")],
);
const OPTIONS = pieces(
  [
    ...same("clientcert=verify-ca", "clientcert=verify-full", "clientname=CN", "clientname=DN"),
    ...same("map=m", 'map="a b"', "map=", '"clientcert=verify-ca"', "map=m,map=n"),
  ],
  same("clientcert=1", "clientname=X", "map", "colour=red", "ldapserver=x", "pamservice=x", "=x"),
);
const TYPES = pieces(
  same("local", "host", "hostssl", "hostssl", "hostssl", "hostnossl"),
  [...same("hosts"), ...laxer("HOST")],
);

/** A record, most often one that is right. */
const RECORD = fc.record({
  type: TYPES,
  database: DATABASES,
  user: USERS,
  address: ADDRESSES,
  method: METHODS,
  options: fc.array(OPTIONS, { maxLength: 2 }),
  /** So many of its pieces are missing at its end. */
  missing: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2),
  between: fc.constantFrom(" ", "\t", "   ", " \\\n "),
  end: fc.constantFrom("", " # comment", "#", " "),
}).map(({ type, database, user, address, method, options, missing, between, end }) => {
  const withAddress = type.text === "local" ? [] : [address];
  const pieces = [type, database, user, ...withAddress, method, ...options];
  const kept = pieces.slice(0, pieces.length - missing);
  const manners = new Set(kept.map(({ manner }) => manner));
  return { text: kept.map(({ text }) => text).join(between) + end, manners };
});

interface Row {
  line_number: number;
  file_name: string;
  type: string | null;
  database: string[];
  user_name: string[];
  address: string | null;
  netmask: string | null;
  auth_method: string;
  options: string[] | null;
  error: string | null;
}

const COLUMNS = "line_number, file_name, type, database, user_name, address, netmask, " +
  "auth_method, options, error";

function nameText(name: HbaName): string {
  if (name.kind === "name") return name.name;
  return name.kind === "regex" ? `/${name.pattern}` : name.kind;
}

/** What a row and a rule have in common, in the same words. */
type Meaning = [string | null, string[], string[], string, string, string[]];

function meaningOfRow(row: Row): Meaning {
  let address = row.address ?? "all";
  if (row.netmask !== null) {
    address = JSON.stringify(maskedCidr(parseAddress(row.address!)!, parseAddress(row.netmask)!));
  }
  // A map without a name is none.
  const options = (row.options ?? []).filter((option) => option !== "map=");
  return [row.type, row.database, row.user_name, address, row.auth_method, options];
}

function meaningOfRule(rule: HbaRule): Meaning {
  const address = rule.address.kind === "network"
    ? JSON.stringify(rule.address.network)
    : rule.address.kind;
  const clientCert = rule.method === "cert" ? "verify-full" : rule.clientCert;
  const options = [
    ...(rule.map === undefined ? [] : [`map=${rule.map}`]),
    ...(clientCert === undefined ? [] : [`clientcert=${clientCert}`]),
  ];
  const { type, databases, users, method } = rule;
  return [type, databases.map(nameText), users.map(nameText), address, method, options];
}

Deno.test("pg_hba: generated records are read as PostgreSQL's own parser reads them", async () => {
  const folder = await makeTestFolder("certificates");
  const certificate = Authority.create(folder).issue({ name: "localhost" });
  await using postgres = await Postgres.start({ edition: "embedded", tls: { certificate } });
  const names = await postgres.writeFile("names", 'ann, bob # two\n\n"c d"\n');
  const data = names.slice(0, names.lastIndexOf("/"));
  const seed = Date.now() & 0x7fffffff;
  const records = fc.sample(RECORD, { numRuns: 800, seed });
  /** Line that a record begins in. */
  const lines: number[] = [];
  let text = "";
  let line = 1;
  for (const record of records) {
    lines.push(line);
    text += `${record.text}\n`;
    line += record.text.split("\n").length;
  }
  await postgres.writeFile("pg_hba.conf", text);
  const rows = await postgres.query<Row & Record<string, unknown>>(
    `SELECT ${COLUMNS} FROM pg_hba_file_rules ORDER BY line_number`,
  );
  const byLine = new Map(rows.map((row) => [row.line_number, row]));
  const files = { readFile: (path: string) => Deno.readTextFileSync(path) };
  const good: string[] = [];
  const differ: unknown[] = [];
  for (const [at, { text, manners }] of records.entries()) {
    const row = byLine.get(lines[at]!);
    const { rules, faults } = parseHba(text, { source: `${data}/pg_hba.conf`, ...files });
    assert.ok(row !== undefined, text);
    const [fault] = faults.map(({ message }) => message);
    const tell = (...told: unknown[]) => differ.push({ text, error: row.error, fault, told });
    if (manners.has("stricter")) {
      if (!manners.has("laxer") && fault === undefined) tell("not stricter");
      continue;
    }
    if (manners.has("laxer")) continue;
    // Of some options it says nothing but that there is no rule.
    const refused = row.error !== null || row.type === null;
    if (refused !== (fault !== undefined)) tell();
    if (refused || fault !== undefined) continue;
    const meanings = [meaningOfRule(rules[0]!), meaningOfRow(row)];
    if (JSON.stringify(meanings[0]) !== JSON.stringify(meanings[1])) tell(...meanings);
    good.push(text);
  }
  assert.deepEqual(differ.slice(0, 10), [], `seed ${seed}, ${differ.length} differ`);
  assert.ok(good.length > 100, `${good.length} records were compared`);

  // The same again, by way of includes: order, files and lines.
  const parts = ["a.conf", "b.conf", "dir/x.conf", "dir/y.conf", "dir/z.txt"].map((name, at) => ({
    name,
    text: good.filter((_, index) => index % 5 === at).join("\n\n") + "\n",
  }));
  Deno.mkdirSync(`${data}/dir`);
  await Deno.chmod(`${data}/dir`, 0o755);
  for (const { name, text } of parts) await postgres.writeFile(name, text);
  await Deno.symlink("../names", `${data}/dir/names`);
  const main =
    'include a.conf\ninclude_if_exists none.conf\nlocal all all reject\ninclude_dir "dir"\n' +
    `include_if_exists ${data}/b.conf\n`;
  await postgres.writeFile("pg_hba.conf", main);
  const included = await postgres.query<Row & Record<string, unknown>>(
    `SELECT ${COLUMNS} FROM pg_hba_file_rules`,
  );
  const { rules, faults } = parseHba(main, {
    source: `${data}/pg_hba.conf`,
    ...files,
    listDirectory: (path) => Array.from(Deno.readDirSync(path), ({ name }) => name),
  });
  assert.deepEqual(faults, []);
  assert.deepEqual(
    rules.map((rule) => [rule.source, rule.line, ...meaningOfRule(rule)]),
    included.map((row) => [row.file_name, row.line_number, ...meaningOfRow(row)]),
    `seed ${seed}`,
  );
  await compareMaps(postgres, data, seed);
  await removeFolder(folder);
});

const SYSTEM_USERS = [
  ...same("ann", '"a b"', "all", "/^(.*)@x$", '"/^(a,b)$"', "/(", "a,b", "@one", "@names", "a\\b"),
];
const DATABASE_USERS = [
  ...same("app", "all", '"all"', "/^app_", "/[", "a,b", "@one", '"+staff"', "@names", "@missing"),
  ...stricter("+staff"),
];

/** A line of a map: in three of four nothing is missing or too much. */
const MAP_LINE = fc.oneof(
  fc.tuple(fc.constantFrom(...SYSTEM_USERS), fc.constantFrom(...DATABASE_USERS)),
  fc.tuple(fc.constantFrom(...SYSTEM_USERS), fc.constantFrom(...DATABASE_USERS)),
  fc.tuple(
    fc.constantFrom(...same("/^(.*)@x$", '"/(a) b"')),
    fc.constantFrom(...same("\\1", "a\\1")),
  ),
  fc.constantFrom(
    same("ann"),
    [],
    // PostgreSQL takes these, and lets nobody in by the first two.
    stricter("ann", "\\1"),
    stricter("/^ann$", "\\1"),
    stricter("ann", "app", "more"),
  ),
).chain((pieces) =>
  fc.record({
    map: fc.constantFrom("m", '"a map"', "@one", "m,n"),
    between: fc.constantFrom(" ", "\t", " \\\n "),
  }).map(({ map, between }) => ({
    text: [map, ...pieces.map(({ text }) => text)].join(between),
    stricter: pieces.some(({ manner }) => manner === "stricter"),
  }))
);

/** The same of pg_ident, with `pg_ident_file_mappings`. */
async function compareMaps(postgres: Postgres, data: string, seed: number): Promise<void> {
  await postgres.writeFile("one", "ann\n");
  const records = fc.sample(MAP_LINE, { numRuns: 300, seed });
  let text = "";
  const lines = records.map((record) => {
    const line = text.split("\n").length;
    text += `${record.text}\n`;
    return line;
  });
  await postgres.writeFile("pg_ident.conf", text);
  const rows = await postgres.query<
    Record<"map_name" | "sys_name" | "pg_username" | "error", string | null> & {
      line_number: number;
    }
  >("SELECT line_number, map_name, sys_name, pg_username, error FROM pg_ident_file_mappings");
  const byLine = new Map(rows.map((row) => [row.line_number, row]));
  const differ: unknown[] = [];
  let compared = 0;
  for (const [at, { text, stricter }] of records.entries()) {
    const row = byLine.get(lines[at]!)!;
    const { rules, faults } = parseIdent(text, {
      source: `${data}/pg_ident.conf`,
      readFile: (path) => Deno.readTextFileSync(path),
    });
    if (stricter) {
      if (faults.length === 0) differ.push({ text, error: row.error, told: "not stricter" });
      continue;
    }
    const [rule] = rules;
    const ours = rule && [rule.map, nameText(rule.system), nameText(rule.user)];
    const theirs = row.error === null ? [row.map_name, row.sys_name, row.pg_username] : undefined;
    if (ours !== undefined) compared++;
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      differ.push({ text, error: row.error, fault: faults[0]?.message, ours, theirs });
    }
  }
  assert.deepEqual(differ.slice(0, 10), [], `seed ${seed}, ${differ.length} differ`);
  assert.ok(compared > 50, `${compared} lines were compared`);
}

/**
 * Writes docs/config.md, the reference of the config file, and packaging/pg_doorman.toml, its default, from the tables
 * in src/config. With `--check` it only says whether the two are as the tables would have them.
 */

import { formatByteSize } from "../src/config/byte_size.ts";
import { formatDuration } from "../src/config/duration.ts";
import { formatSetting } from "../src/config/format_setting.ts";
import type { KeyRows, KeySpec } from "../src/config/schema.ts";
import { GENERAL_KEYS } from "../src/config/schema_general.ts";
import { AUTH_QUERY_KEYS, POOL_KEYS, USER_KEYS } from "../src/config/schema_pool.ts";
import { INCLUDE_KEYS, TALOS_KEYS, WEB_KEYS } from "../src/config/schema_web.ts";

/** Files this tool writes, by path from the repository's root, with their makers. */
export const GENERATED: ReadonlyMap<string, () => string> = new Map([
  ["docs/config.md", configReference],
  ["packaging/pg_doorman.toml", defaultConfig],
]);

const TYPE_NAMES: Readonly<Record<KeySpec["type"], string>> = {
  duration: "duration",
  seconds: "seconds",
  bytes: "size",
  u16: "0–65535",
  u32: "number",
  usize: "number",
  percent: "percent",
  bool: "boolean",
  string: "string",
  path: "path",
  octal_mode: "octal string",
  enum: "one of",
  string_list: "list of strings",
  path_list: "list of paths",
  cidr_list: "list of networks",
  url_list: "list of URLs",
  string_map: "table of strings",
  hba: "rules",
  ident: "rules",
  table: "table",
  user_list: "list of tables",
};

const INTRODUCTION = `<!-- deno-fmt-ignore-file -->

# Configuration reference

<!-- Made by \`./denow task docs\` from the tables in src/config: change those. -->

PgDoorman reads one config file, \`pg_doorman.toml\` in the working directory unless the command line names another.
\`pg_doorman -t FILE\` checks a file and lists everything that is wrong with it.

## Files

* A name that ends in \`.yaml\` or \`.yml\` is YAML 1.2, every other one TOML 1.0.
* \`include.files\` names more files, each in its own format. Tables are merged key by key, lists are joined, of two simple
  values the later one wins. A relative path starts at the working directory; where there is no such file, at the main
  file's directory. Includes of an included file are not followed.
* An unknown key is ignored with a warning that names the nearest known one.
* \`\${VARIABLE}\` is taken literally.
* In YAML a key without a value counts as absent, and a number where a string is wanted (\`password: 12345\`) must be quoted.

## Values

| Type | Accepted |
|---|---|
| duration | a whole number of milliseconds, or a string of a number and \`ms\`, \`s\`, \`m\`, \`h\` or \`d\`: \`"30s"\` |
| seconds | a whole number of seconds, or a string of a number and its unit: \`"2m"\` |
| size | a whole number of bytes, or a string of a number and \`K\`, \`M\` or \`G\` (\`KB\`…): \`"256MB"\`; powers of 1024 |
| network | an address and the length of its prefix: \`10.0.0.0/8\` |
| rules | text as of pg_hba.conf or pg_ident.conf, or a table with \`path\` (a file) or \`content\` (text) |

The column *Reload* says how a changed value comes into force:

| | |
|---|---|
| A | at once, for existing connections too |
| N | for new clients, sockets, logins or server connections |
| P | at the pool's next checkout |
| B | the pool's server connections are replaced, busy ones after their transaction |
| R | at the next start or binary upgrade; \`host\`, \`port\`, \`backlog\`, \`unix_socket_dir\` and \`unix_socket_mode\` at the next start only |
`;

const UPSTREAM = `## Differences from upstream

Every config that upstream loads and can run with loads here and means the same. Beyond that:

* All pool and user durations take strings with a unit; pool \`connect_timeout\` and user \`server_lifetime\` have effect.
* New keys: those that say *Not in upstream*, and \`pool_mode = "statement"\`.
* Plain passwords work, for clients and, where no \`server_password\` is given, towards PostgreSQL.
* Zero is refused where nothing could run with it; upstream loads it and fails later.
* pg_hba rules follow PostgreSQL's grammar, and a line that cannot be read is a fault: upstream skips it, or lets it match
  every address.
`;

/** The text of docs/config.md. */
export function configReference(): string {
  return [
    INTRODUCTION,
    section("`[general]`", "", GENERAL_KEYS),
    section(
      "`[pools.NAME]`",
      "One pool for each database that clients ask for by NAME. `pgdoorman` and `pgbouncer` are the admin console.",
      POOL_KEYS,
    ),
    section(
      "`[[pools.NAME.users]]`",
      "In YAML a list. The older form `[pools.NAME.users.0]`, with any numbers, means the same.",
      USER_KEYS,
    ),
    section("`[pools.NAME.auth_query]`", "Not in effect yet.", AUTH_QUERY_KEYS),
    section("`[web]`", "Also spelled `[prometheus]`. Not in effect yet.", WEB_KEYS),
    section("`[talos]`", "Not in effect yet.", TALOS_KEYS),
    section("`[include]`", "", INCLUDE_KEYS),
    UPSTREAM,
  ].join("\n");
}

function section(title: string, introduction: string, rows: KeyRows): string {
  const lines = [`## ${title}`, ""];
  if (introduction !== "") lines.push(introduction, "");
  let open = false;
  for (const [key, spec] of rows) {
    if (spec.heading !== undefined || !open) {
      if (open) lines.push("");
      if (spec.heading !== undefined) lines.push(`### ${spec.heading}`, "");
      lines.push("| Key | Type | Default | Reload | |", "|---|---|---|---|---|");
      open = true;
    }
    const cells = [`\`${key}\``, typeName(spec), defaultCell(spec), spec.reload, meaning(spec)];
    lines.push(`| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`);
  }
  lines.push("");
  return lines.join("\n");
}

function typeName(spec: KeySpec): string {
  const name = TYPE_NAMES[spec.type];
  if (spec.choices === undefined) return name;
  return `${name} ${spec.choices.map((choice) => `\`${choice}\``).join(", ")}`;
}

function defaultCell(spec: KeySpec): string {
  if (spec.required) return "**required**";
  if (spec.default !== undefined) return `\`${tomlValue(spec, spec.default)}\``;
  return spec.unset === undefined ? "unset" : `unset: ${spec.unset}`;
}

function meaning(spec: KeySpec): string {
  if (spec.ignored !== undefined) return `Accepted without effect: ${spec.ignored}.`;
  const notes = [spec.doc];
  if (spec.aliases !== undefined) {
    notes.push(`Older name: ${spec.aliases.map((alias) => `\`${alias}\``).join(", ")}.`);
  }
  if (spec.zeroFault !== undefined) notes.push("Not 0.");
  if (spec.later) notes.push("*Not in effect yet.*");
  return notes.join(" ");
}

/** A value as TOML writes it, durations and sizes with their unit. */
function tomlValue(spec: KeySpec, value: unknown): string {
  if (value === 0) return "0";
  switch (spec.type) {
    case "duration":
      return JSON.stringify(formatDuration(Number(value)));
    case "bytes":
      return JSON.stringify(formatByteSize(Number(value)));
    case "octal_mode":
      return JSON.stringify(formatSetting(spec, value));
  }
  if (value instanceof Map) return "{}";
  return JSON.stringify(value);
}

/** Values of the default file that differ from the built-in ones. */
const PACKAGED: ReadonlyMap<string, string> = new Map([
  ["port", "6432"],
  ["admin_username", '"admin"'],
  ["admin_password", '""'],
]);

const DEFAULT_HEAD = `# PgDoorman's configuration.
#
# A line "# key = value" shows the default; "# key =" has none. Remove the "# " to set it. What each key accepts, and
# which changes need more than a reload, is in config.md (/usr/share/doc/pg-doorman). Check the file with:
# pg_doorman -t /etc/pg_doorman/pg_doorman.toml
`;

const DEFAULT_POOLS = `
# A pool for each database, under the name that clients ask for. The password is best what PostgreSQL stores for the role
# (SELECT rolpassword FROM pg_authid WHERE rolname = 'app'): then no plain password is needed, here or towards PostgreSQL.
[pools]

# [pools.app]
# server_host = "127.0.0.1"
# server_port = 5432
# pool_mode = "transaction"
#
# [[pools.app.users]]
# username = "app"
# password = "SCRAM-SHA-256$4096:…"
# pool_size = 40
`;

/** The text of packaging/pg_doorman.toml. */
export function defaultConfig(): string {
  const lines = [DEFAULT_HEAD, "[general]"];
  for (const [key, spec] of GENERAL_KEYS) {
    if (spec.heading !== undefined) lines.push("", `# --- ${spec.heading} ---`);
    if (spec.ignored !== undefined) continue;
    const doc = spec.doc.replaceAll("`", "");
    lines.push("", ...comment(`${doc}${spec.later ? " Not in effect yet." : ""}`));
    if (key === "admin_password") {
      lines.push("# Empty: nobody enters by password, only by a trust rule in pg_hba.");
    }
    const packaged = PACKAGED.get(key);
    if (packaged !== undefined) lines.push(`${key} = ${packaged}`);
    else if (spec.default === undefined) lines.push(`# ${key} =`);
    else lines.push(`# ${key} = ${tomlValue(spec, spec.default)}`);
  }
  return `${lines.join("\n")}\n${DEFAULT_POOLS}`;
}

/** Text as comment lines of at most 100 characters. */
function comment(text: string): string[] {
  const lines: string[] = [];
  let line = "#";
  for (const word of text.split(" ")) {
    if (line.length + word.length + 1 > 100) {
      lines.push(line);
      line = "#";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

if (import.meta.main) {
  const root = new URL("..", import.meta.url);
  const stale: string[] = [];
  for (const [path, make] of GENERATED) {
    const file = new URL(path, root);
    if (Deno.args.includes("--check")) {
      if (Deno.readTextFileSync(file) !== make()) stale.push(path);
      continue;
    }
    Deno.mkdirSync(new URL(".", file), { recursive: true });
    Deno.writeTextFileSync(file, make());
  }
  if (stale.length > 0) {
    const text = `not as src/config has it: ${stale.join(", ")}: run ./denow task docs\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(text));
    Deno.exit(1);
  }
}

/**
 * `options` of a StartupMessage: switches of PostgreSQL's command line that are parameters in other words. What is taken
 * and what is refused is PostgreSQL's own (`pg_split_opts`, `process_postgres_switches`), down to getopt's groups.
 */

/** Why PostgreSQL would refuse parameters, whatever they are. */
export interface ParameterFault {
  code: string;
  why: string;
}

/** Parameters in the order in which PostgreSQL sets them. */
export type StartupSettings = { settings: [string, string][] } | { fault: ParameterFault };

/** What `isspace` takes for one. */
const BLANKS = " \t\n\v\f\r";
/** Switches with an argument. */
const WITH_ARGUMENT = new Set("BCcDdfhkNprStvW-");
/** What a switch without an argument sets; empty: nothing. */
const PLAIN: Record<string, [string, string] | []> = {
  b: [],
  E: [],
  e: ["datestyle", "euro"],
  F: ["fsync", "false"],
  i: ["listen_addresses", "*"],
  j: [],
  l: ["ssl", "true"],
  n: [],
  O: ["allow_system_table_mods", "true"],
  P: ["ignore_system_indexes", "true"],
  s: ["log_statement_stats", "true"],
  T: [],
};
/** The parameter that a switch's argument is the value of. */
const VALUES: Record<string, string> = {
  B: "shared_buffers",
  h: "listen_addresses",
  k: "unix_socket_directories",
  N: "max_connections",
  p: "port",
  S: "work_mem",
  W: "post_auth_delay",
};
/** Switches that say nothing to a server process that a client has started. */
const IGNORED = "CDrv";
/** `-f`: a kind of plan that is turned off. */
const PLANS: Record<string, string> = {
  s: "enable_seqscan",
  i: "enable_indexscan",
  o: "enable_indexonlyscan",
  b: "enable_bitmapscan",
  t: "enable_tidscan",
  n: "enable_nestloop",
  m: "enable_mergejoin",
  h: "enable_hashjoin",
};

/** The words of a text; a backslash takes the next character as it is. */
function splitOptions(text: string): string[] {
  const words: string[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && BLANKS.includes(text[at])) at++;
    if (at >= text.length) return words;
    let word = "";
    let escaped = false;
    for (; at < text.length && (escaped || !BLANKS.includes(text[at])); at++) {
      if (!escaped && text[at] === "\\") escaped = true;
      else {
        word += text[at];
        escaped = false;
      }
    }
    words.push(word);
  }
}

/** `-t`: statistics that are logged. */
function statistics(argument: string): string | undefined {
  if (argument.startsWith("pa")) return "log_parser_stats";
  if (argument.startsWith("pl")) return "log_planner_stats";
  return argument.startsWith("e") ? "log_executor_stats" : undefined;
}

/** `-d`: what a level of debugging sets beside the log's. */
function debugging(argument: string): [string, string][] {
  const level = parseInt(argument) || 0;
  const settings: [string, string][] = [
    ["log_min_messages", level > 0 ? `debug${level}` : "notice"],
  ];
  if (level >= 2) settings.push(["log_statement", "all"]);
  if (level >= 3) settings.push(["debug_print_parse", "true"]);
  if (level >= 4) settings.push(["debug_pretty_print", "true"]);
  if (level >= 5) settings.push(["debug_print_plan", "true"], ["debug_print_rewritten", "true"]);
  return settings;
}

/** What one switch sets; `undefined`: it is none. */
function switchSettings(
  letter: string,
  argument: string,
): [string, string][] | ParameterFault | undefined {
  if (letter === "c" || letter === "-") {
    const equals = argument.indexOf("=");
    if (equals < 0) {
      const shown = letter === "-" ? `--${argument}` : `-c ${argument}`;
      return { code: "42601", why: `${shown} requires a value` };
    }
    return [[argument.slice(0, equals).replaceAll("-", "_"), argument.slice(equals + 1)]];
  }
  if (letter === "d") return debugging(argument);
  if (letter === "f" || letter === "t") {
    const name = letter === "f" ? PLANS[argument[0] ?? ""] : statistics(argument);
    return name === undefined ? undefined : [[name, letter === "f" ? "false" : "true"]];
  }
  if (Object.hasOwn(VALUES, letter)) return [[VALUES[letter], argument]];
  if (IGNORED.includes(letter)) return [];
  const plain = Object.hasOwn(PLAIN, letter) ? PLAIN[letter] : undefined;
  return plain?.length === 0 ? [] : plain === undefined ? undefined : [plain as [string, string]];
}

/** Reads `options`. */
export function readOptions(text: string): StartupSettings {
  const words = splitOptions(text);
  const settings: [string, string][] = [];
  const rest: string[] = [];
  const invalid = (word: string): ParameterFault => ({
    code: "42601",
    why: `invalid command-line argument for server process: ${word}`,
  });
  let index = 0;
  while (index < words.length) {
    const word = words[index++];
    if (word === "--") {
      rest.push(...words.slice(index));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      rest.push(word);
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const letter = word[at];
      let argument = "";
      if (WITH_ARGUMENT.has(letter)) {
        if (at + 1 < word.length) argument = word.slice(at + 1);
        else if (index < words.length) argument = words[index++];
        else return { fault: invalid(word) };
        at = word.length;
      }
      const found = switchSettings(letter, argument);
      if (found === undefined) return { fault: invalid(words[index - 1]) };
      if (!Array.isArray(found)) return { fault: found };
      settings.push(...found);
    }
  }
  return rest.length > 0 ? { fault: invalid(rest[0]) } : { settings };
}

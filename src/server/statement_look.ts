// hot path
/**
 * Reads a text in which something was noticed (marks.ts), token by token: its marks, and what it names if that is asked
 * for. The scanner has been set to its beginning. It knows as much of the grammar as it needs: SET and its name,
 * UNLISTEN and its channel, the arguments of `set_config`, what stands before TEMP. Anything else of these is marked as
 * not understood.
 */

import { type CONFORMING, type ESCAPING, scanner, Token } from "../protocol/sql/scanner.ts";
import { isWord, nameTextOf, unicodeName } from "../protocol/sql/words.ts";
import {
  type Found,
  MOST_CHANNELS_FOUND,
  MOST_NAME_BYTES,
  MOST_VALUES,
  nameByte,
  noteName,
} from "./found_names.ts";
import {
  CHANGES_PARSE,
  DEALLOCATES,
  LOCAL_SET,
  NAMES,
  RUNS,
  SEVERAL,
  TEMP_PATH,
  UNKNOWN,
  UNKNOWN_NAMES,
  UNLISTENS,
} from "./mark_bits.ts";
import { isSearchPath, isTrue, pathOf } from "./look_arguments.ts";
import { Dirty } from "./state.ts";
import { literalMarks, nameAt, PG_TEMP, SEARCH_PATH, Word, wordAt } from "./text_words.ts";

/** Stages of a SET. */
const SetStage = { None: 0, Begun: 1, Name: 2, AfterName: 3, Value: 4, AfterWord: 5 } as const;
/** Stages of the first argument of set_config: what would still be a literal or a parameter, perhaps with its type. */
const Argument = { Begun: 0, Value: 1, Colon: 2, Type: 3, AfterType: 4, Other: 5 } as const;

const DOT = 0x2e;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const STAR = 0x2a;
const OPENS = 0x28;
const CLOSES = 0x29;

let marks = 0;
let found: Found | undefined;
let statements = 0;
/** Tokens of the statement. */
let position = 0;
let first: number = Word.Other;
let before: number = Word.Other;
let updates = false;
let set: number = SetStage.None;
let name = "";
let nameLength = 0;
let nameFault = false;
let nameDots = false;
/** SESSION, LOCAL or TRANSACTION behind SET, which may be the beginning of a name, too. */
let setWord: number = Word.Other;
/** What DO runs, as far as it is written there. */
const MOST_BODIES = 4;
const bodies = new Int32Array(2 * MOST_BODIES);
let bodyCount = 0;
let bodyMarks = 0;
let inBody = false;
/** Parentheses that are open. */
let depth = 0;
/** A call of set_config must follow now; those that its arguments stand in, 0: none. */
let calls = false;
let call = 0;
let argument = 0;
let argumentTokens = 0;
let argumentStage: number = Argument.Begun;
let endsTrue = false;
/** What its second argument may bring into a search_path: `TEMP_PATH`, `PATH_VALUE`, or nothing. */
let pathMarks = 0;
/** The literal, or the parameter, that its first argument is. */
let valueKind: number = Token.End;
let valuePlain = false;
let valueStart = 0;
let valueEnd = 0;
/** The content of the channel U&"…" whose UESCAPE may follow; 0: there is none. */
let channelStart = 0;
let channelEnd = 0;

/** The marks of the text that the scanner stands at the beginning of; with `conforming` it was set there. */
export function look(
  into: Found | undefined,
  conforming: typeof CONFORMING | typeof ESCAPING,
): number {
  found = into;
  marks = 0;
  bodyCount = bodyMarks = 0;
  const unterminated = readText() === Token.Unterminated;
  const one = !unterminated && statements === 1;
  const local = one ? marks & LOCAL_SET : SEVERAL;
  if (unterminated) marks |= UNKNOWN;
  if (bodyCount > 0) readBodies(conforming);
  found = undefined;
  const both = PG_TEMP | SEARCH_PATH;
  if ((marks & both) === both) marks |= TEMP_PATH;
  return marks & ~(both | LOCAL_SET) | local;
}

/** To the end of the text; the kind of its last token. */
function readText(): number {
  statements = 0;
  beginStatement();
  for (;;) {
    const kind = scanner.next();
    if (kind === Token.Unterminated) return kind;
    if (kind === Token.End || kind === Token.Semicolon) {
      endStatement();
      if (kind === Token.End) return kind;
      beginStatement();
    } else readToken(kind);
  }
}

/** What DO runs is read, too, for the names of what it sets. */
function readBodies(conforming: typeof CONFORMING | typeof ESCAPING): void {
  let { ambiguous, doubtful } = scanner;
  const { bytes } = scanner;
  inBody = true;
  for (let i = 0; i < bodyCount; i++) {
    scanner.begin(bytes, bodies[2 * i], bodies[2 * i + 1], conforming);
    if (readText() === Token.Unterminated) marks |= bodyMarks;
    ambiguous ||= scanner.ambiguous;
    doubtful ||= scanner.doubtful;
  }
  inBody = false;
  scanner.ambiguous = ambiguous;
  scanner.doubtful = doubtful;
}

/** A literal: the body of DO, or what may be run as SQL for all that is known. */
function readLiteral(kind: number): void {
  const { bytes, contentStart, contentEnd } = scanner;
  let its = literalMarks(bytes, contentStart, contentEnd);
  // Most likely it is no part of what runs.
  const runs = inBody || first === Word.Runs;
  if (!runs && (its & UNKNOWN_NAMES) !== 0) its = its & ~UNKNOWN_NAMES | Dirty.Hidden;
  const readable = scanner.plain && (kind === Token.DollarString || kind === Token.String);
  if (first !== Word.Runs || inBody || !readable || bodyCount === MOST_BODIES) {
    marks |= its;
    return;
  }
  bodies[2 * bodyCount] = contentStart;
  bodies[2 * bodyCount + 1] = contentEnd;
  bodyCount++;
  bodyMarks |= its & UNKNOWN_NAMES;
  marks |= its & ~UNKNOWN_NAMES;
}

function beginStatement(): void {
  position = 0;
  first = before = Word.Other;
  updates = false;
  set = SetStage.None;
  calls = false;
  call = depth = 0;
  channelStart = 0;
}

function endStatement(): void {
  if (position > 0) statements++;
  if (set === SetStage.AfterName) endName();
  if (channelStart > 0) endChannel(BACKSLASH);
  // Calls that do not end.
  if (calls || call > 0) marks |= Dirty.Config | NAMES | UNKNOWN_NAMES | TEMP_PATH;
}

function readToken(kind: number): void {
  position++;
  let word: number = Word.Other;
  if (kind === Token.Word) word = wordAt(scanner.bytes, scanner.start, scanner.end);
  else if (kind === Token.Quoted) {
    word = nameAt(scanner.bytes, scanner.contentStart, scanner.contentEnd);
    if (!scanner.plain) word = Word.Other;
  } else if (kind === Token.UnicodeQuoted && first !== Word.Unlisten) word = unicodeWord();
  else if (kind >= Token.String && kind <= Token.DollarString) {
    readLiteral(kind);
  }
  if (position === 1) begins(kind, word);
  else if (set !== SetStage.None) readSet(kind, word);
  // Behind BEGIN, THEN, ELSE: or in an UPDATE, where it names a column.
  else if (inBody && word === Word.Set && kind === Token.Word) set = SetStage.Begun;
  else if (first === Word.Unlisten) readChannel(kind);
  if (calls) beginCall();
  else if (call > 0) readArgument(kind, word);
  if (kind === Token.Symbol) {
    if (scanner.isSymbol(OPENS)) depth++;
    else if (scanner.isSymbol(CLOSES) && depth > 0) depth--;
  } else if (word !== Word.Other) noteWord(word);
  before = kind === Token.Word ? word : Word.Other;
}

/** The first token of a statement. */
function begins(kind: number, word: number): void {
  if (kind !== Token.Word) return;
  first = word;
  switch (word) {
    case Word.Set:
      marks |= NAMES;
      set = SetStage.Begun;
      break;
    case Word.Unlisten:
      marks |= UNLISTENS;
      break;
    case Word.Runs:
      marks |= RUNS;
      break;
    case Word.Deallocate:
      marks |= DEALLOCATES;
      break;
    default:
      break;
  }
}

/** A word that counts wherever it stands. */
function noteWord(word: number): void {
  switch (word) {
    case Word.Runs:
      if (first === Word.Create || first === Word.Explain) marks |= RUNS;
      break;
    case Word.RunsText:
      marks |= RUNS;
      break;
    case Word.Update:
      updates = true;
      break;
    case Word.Temporary:
      if (
        before === Word.Create || before === Word.BeforeTemporary || before === Word.Local
      ) marks |= Dirty.Temp;
      break;
    case Word.SetConfig:
      // One in the arguments of another.
      if (call > 0) marks |= Dirty.Config | NAMES | UNKNOWN_NAMES | TEMP_PATH;
      else calls = true;
      break;
    case Word.PgSettings:
      if (updates) marks |= Dirty.Config | TEMP_PATH;
      break;
    case Word.PgTemp:
      marks |= Dirty.Temp | PG_TEMP;
      break;
    case Word.Advisory:
      marks |= Dirty.Advisory;
      break;
    case Word.SearchPath:
      marks |= SEARCH_PATH;
      break;
    default:
      break;
  }
}

/** SET [SESSION | LOCAL] name… */
function readSet(kind: number, word: number): void {
  if (set === SetStage.Begun) {
    beginName();
    if (
      kind === Token.Word &&
      (word === Word.Session || word === Word.Local || word === Word.Transaction)
    ) {
      setWord = word;
      addToName(kind);
      set = SetStage.AfterWord;
      return;
    }
    set = SetStage.Name;
  } else if (set === SetStage.AfterWord) {
    // SET local.tenant = 'x' stays.
    if (scanner.isSymbol(DOT)) set = SetStage.AfterName;
    else if (setWord === Word.Session) {
      set = SetStage.Name;
      beginName();
    } else {
      marks |= LOCAL_SET;
      set = SetStage.Value;
      return;
    }
  }
  if (set === SetStage.Name) {
    addToName(kind);
    set = SetStage.AfterName;
    return;
  }
  if (set === SetStage.AfterName) {
    if (scanner.isSymbol(DOT)) {
      nameDots = true;
      name += ".";
      nameLength++;
      set = SetStage.Name;
      return;
    }
    endName();
    set = SetStage.Value;
  }
  // SET TIME ZONE LOCAL is the default, too.
  if (kind === Token.Word && (word === Word.Default || word === Word.Local)) {
    marks |= Dirty.Default;
  }
}

function beginName(): void {
  name = "";
  nameLength = 0;
  nameFault = nameDots = false;
}

function addToName(kind: number): void {
  if (kind === Token.Word) addPart(scanner.start, scanner.end);
  else if (kind === Token.Quoted) addPart(scanner.contentStart, scanner.contentEnd);
  else if (kind === Token.UnicodeQuoted) nameFault = true;
}

/** Letters of a name. What PostgreSQL would take beside these is not followed. */
function addPart(start: number, end: number): void {
  const { bytes } = scanner;
  nameLength += end - start;
  if (nameLength > MOST_NAME_BYTES) nameFault = true;
  for (let i = start; i < end && !nameFault; i++) {
    const byte = bytes[i];
    if (byte === DOT) nameDots = true;
    else if (!nameByte(byte)) nameFault = true;
    if (found !== undefined) name += String.fromCharCode(byte);
  }
}

function endName(): void {
  if (nameFault) marks |= UNKNOWN_NAMES;
  else if (nameDots) addName(name);
}

function addName(name: string): void {
  if (found === undefined) return;
  if (!noteName(found, name)) marks |= UNKNOWN_NAMES;
}

/** UNLISTEN channel [UESCAPE 'x'], or `*`. */
function readChannel(kind: number): void {
  if (position === 2) {
    if (kind === Token.UnicodeQuoted) {
      channelStart = scanner.contentStart;
      channelEnd = scanner.contentEnd;
    } else addChannel(scanner.isSymbol(STAR) ? "*" : nameTextOf(scanner));
  } else if (channelStart > 0 && !(position === 3 && isWord(scanner, "uescape"))) {
    const { bytes, contentStart } = scanner;
    endChannel(kind === Token.String ? bytes[contentStart] : BACKSLASH);
  }
}

function endChannel(escape: number): void {
  addChannel(unicodeName(scanner.bytes, channelStart, channelEnd, escape));
  channelStart = 0;
}

function addChannel(channel: string | undefined): void {
  if (found === undefined || channel === undefined) return;
  if (found.channels.length >= MOST_CHANNELS_FOUND || found.channels.includes(channel)) return;
  found.channels.push(channel);
}

/** What follows the name set_config. */
function beginCall(): void {
  calls = false;
  if (!scanner.isSymbol(OPENS)) {
    marks |= Dirty.Config | NAMES | UNKNOWN_NAMES | TEMP_PATH;
    return;
  }
  call = depth + 1;
  argument = 1;
  argumentTokens = 0;
  argumentStage = Argument.Begun;
  pathMarks = 0;
}

function readArgument(kind: number, word: number): void {
  if (depth === call && kind === Token.Symbol) {
    if (scanner.isSymbol(COMMA)) {
      if (argument === 1) {
        // Without its type it could be of any.
        if (argumentStage !== Argument.Value && argumentStage !== Argument.AfterType) {
          valueKind = Token.End;
        }
      }
      argument++;
      argumentTokens = 0;
      endsTrue = false;
      return;
    }
    if (scanner.isSymbol(CLOSES)) {
      endCall();
      return;
    }
  }
  argumentTokens++;
  if (argument === 1) readName(kind);
  else if (argument === 2) pathMarks = pathOf(kind, argumentTokens, pathMarks);
  else if (argument === 3) {
    endsTrue = argumentTokens === 1 && isTrue(kind, word);
  }
}

/** A literal or a parameter, and its type if it has one. */
function readName(kind: number): void {
  switch (argumentStage) {
    case Argument.Begun:
      valueKind = kind;
      valuePlain = scanner.plain;
      valueStart = kind === Token.Parameter ? scanner.start + 1 : scanner.contentStart;
      valueEnd = kind === Token.Parameter ? scanner.end : scanner.contentEnd;
      argumentStage = Argument.Value;
      break;
    case Argument.Value:
      argumentStage = scanner.isSymbol(COLON) ? Argument.Colon : Argument.Other;
      break;
    case Argument.Colon:
      argumentStage = scanner.isSymbol(COLON) ? Argument.Type : Argument.Other;
      break;
    case Argument.Type:
      argumentStage = kind === Token.Word || kind === Token.Quoted
        ? Argument.AfterType
        : Argument.Other;
      break;
    case Argument.AfterType:
      argumentStage = scanner.isSymbol(DOT) ? Argument.Type : Argument.Other;
      break;
    default:
      break;
  }
}

/** Whether its first argument is known to be another parameter than search_path. */
function setsAnother(): boolean {
  if (valueKind < Token.String || valueKind > Token.DollarString || !valuePlain) return false;
  return !isSearchPath(scanner.bytes, valueStart, valueEnd);
}

function endCall(): void {
  call = 0;
  marks |= CHANGES_PARSE;
  if (!setsAnother()) marks |= pathMarks;
  // It ends with its transaction.
  if (argument === 3 && endsTrue) return;
  marks |= Dirty.Config | NAMES;
  if (argument !== 3) valueKind = Token.End;
  switch (valueKind) {
    case Token.Parameter:
      addValue();
      break;
    case Token.String:
    case Token.EscapeString:
    case Token.UnicodeString:
    case Token.DollarString:
      beginName();
      if (!valuePlain) nameFault = true;
      else addPart(valueStart, valueEnd);
      endName();
      break;
    default:
      marks |= UNKNOWN_NAMES;
  }
}

/** The name is a value of the Bind that will come. */
function addValue(): void {
  if (found === undefined) return;
  let number = 0;
  for (let i = valueStart; i < valueEnd && number < 65536; i++) {
    number = number * 10 + scanner.bytes[i] - 0x30;
  }
  if (found.values.length >= MOST_VALUES) {
    marks |= UNKNOWN_NAMES;
  } else if (!found.values.includes(number)) found.values.push(number);
}

/** U&"…": without escapes it is the word that it shows, with them it may be any. */
function unicodeWord(): number {
  for (let i = scanner.contentStart; i < scanner.contentEnd; i++) {
    if (nameByte(scanner.bytes[i])) continue;
    marks |= UNKNOWN;
    return Word.Other;
  }
  return nameAt(scanner.bytes, scanner.contentStart, scanner.contentEnd);
}

/**
 * A model of PostgreSQL's side of the protocol for tests, written from the manual ("Message Flow") apart from the code
 * under test: frontend messages go in one by one, the replies to each come out. The first word of a Query or
 * Parse says what shall happen (`#run`), so that random pipelines can be made of a few words.
 *
 * It knows what decides which replies come: skipping to Sync after an error, COPY in both protocols, transaction status.
 */

import { Buffer } from "node:buffer";
import { Named } from "../codes.ts";
import { concat, frontend, int16, int32 } from "./wire.ts";

/** One message, either direction; `type` is the letter. */
export interface Message {
  type: string;
  body: Uint8Array;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Bytes of one message. */
export function bytesOf(message: Message): Uint8Array {
  return frontend(message.type, message.body);
}

const DEFAULT = "default";

type Copy = { extended: boolean; more: number };

export class ModelServer {
  /** `I`, `T` or `E`. */
  status = "I";
  /** `application_name`: a parameter that is reported when it changes. */
  parameter = DEFAULT;
  /** Frontend messages seen, for comparison with what a client sent. */
  readonly seen: Message[] = [];
  /** Messages of a type that a COPY does not take came while it ran: the caller's pipeline was no good. */
  confused = false;
  #skipping = false;
  #copy: Copy | undefined;
  #portalText = "noportal";
  /** Text by name of prepared statement. */
  readonly statements = new Map<string, string>();
  /** BEGIN fails, as if it were canceled. */
  refusesBegin = false;
  /** Parse messages that were done. */
  parses = 0;
  #rest: Uint8Array = new Uint8Array(0);

  /** Whether a COPY FROM STDIN waits for data. */
  get copying(): boolean {
    return this.#copy !== undefined;
  }

  /** Whether everything up to the next Sync is thrown away. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** Takes bytes however they are cut, returns the bytes of all replies that they bring about. */
  feed(bytes: Uint8Array): Uint8Array {
    let rest = this.#rest.length === 0 ? bytes : concat(this.#rest, bytes);
    const replies: Uint8Array[] = [];
    while (rest.length >= 5) {
      const view = new DataView(rest.buffer, rest.byteOffset);
      const length = view.getInt32(1);
      if (length < 4) throw new Error(`message of length ${length} reached the server`);
      if (rest.length < length + 1) break;
      const message = { type: String.fromCharCode(rest[0]), body: rest.slice(5, length + 1) };
      replies.push(...this.process(message).map(bytesOf));
      rest = rest.slice(length + 1);
    }
    this.#rest = rest.slice();
    return concat(...replies);
  }

  /** Bytes of a message that has not come to its end. */
  get unfinished(): Uint8Array {
    return this.#rest;
  }

  /** The replies to one message. */
  process(message: Message): Message[] {
    this.seen.push(message);
    const { type } = message;
    if (this.#copy !== undefined) return this.#duringCopy(message, this.#copy);
    if (this.#skipping && type !== "S") return [];
    switch (type) {
      case "Q":
        return this.#simple(text(message.body));
      case "F":
        return text(message.body).startsWith("error")
          ? [...this.#fail(), this.#ready()]
          : [reply("V", int32(-1)), this.#ready()];
      case "P":
        return this.#parse(message.body);
      case "B":
        return this.#bind(message.body);
      case "D":
        return this.#describe(message.body);
      case "C":
        return this.#close(message.body);
      case "E":
        return this.#execute(text(message.body));
      case "S":
        this.#skipping = false;
        this.#portalText = "noportal";
        return [this.#ready()];
      default:
        // Flush; and what is left of a COPY that has failed.
        return [];
    }
  }

  #ready(): Message {
    return reply("Z", encoder.encode(this.status));
  }

  #fail(): Message[] {
    if (this.status === "T") this.status = "E";
    return [reply("E", encoder.encode("SERROR\0VERROR\0C22012\0Mmodel\0\0"))];
  }

  #extended(bad: boolean, replies: Message[]): Message[] {
    if (!bad) return replies;
    this.#skipping = true;
    return this.#fail();
  }

  #parse(body: Uint8Array): Message[] {
    const name = text(body);
    const sql = text(body.slice(body.indexOf(0) + 1));
    if (name === "") this.statements.delete("");
    const bad = sql.startsWith("badparse") || this.statements.has(name);
    if (!bad) {
      this.statements.set(name, sql);
      this.parses++;
    }
    return this.#extended(bad, [reply("1")]);
  }

  #bind(body: Uint8Array): Message[] {
    const portal = text(body);
    const sql = this.statements.get(text(body.slice(body.indexOf(0) + 1)));
    const bad = sql === undefined || portal.startsWith("badbind");
    if (!bad) this.#portalText = sql;
    return this.#extended(bad, [reply("2")]);
  }

  #close(body: Uint8Array): Message[] {
    const name = text(body.slice(1));
    const bad = name.startsWith("badclose");
    if (!bad && body[0] === Named.Statement) this.statements.delete(name);
    else if (!bad && name === "") this.#portalText = "noportal";
    return this.#extended(bad, [reply("3")]);
  }

  #describe(body: Uint8Array): Message[] {
    const name = text(body.slice(1));
    const statement = body[0] === Named.Statement;
    const sql = statement ? this.statements.get(name) : this.#portalText;
    const rows = sql?.startsWith("rows") ? rowDescription() : reply("n");
    const bad = sql === undefined || name.startsWith("baddescribe");
    return this.#extended(bad, statement ? [reply("t", int16(0)), rows] : [rows]);
  }

  #simple(sql: string): Message[] {
    this.#portalText = "noportal";
    this.statements.delete("");
    const [replies, copying] = this.#run(sql, "simple");
    return copying ? replies : [...replies, this.#ready()];
  }

  #execute(portal: string): Message[] {
    const [replies] = this.#run(portal === "" ? this.#portalText : portal, "extended");
    if (replies.at(-1)?.type === "E") this.#skipping = true;
    return replies;
  }

  /** What a statement brings, and whether it waits for COPY data. */
  #run(sql: string, protocol: "simple" | "extended"): [Message[], boolean] {
    const extended = protocol === "extended";
    const [word, argument = ""] = sql.split(" ");
    const count = Number(argument) || 0;
    switch (word) {
      case "rows": {
        const rows = Array.from({ length: count % 50 }, (_, i) => dataRow(i, count));
        const done = extended && count % 3 === 2 ? reply("s") : complete(`SELECT ${rows.length}`);
        return [[...extended ? [] : [rowDescription()], ...rows, done], false];
      }
      case "empty":
        return [[reply("I")], false];
      case "error":
      case "noportal":
        return [this.#fail(), false];
      case "begin":
      case "BEGIN":
        if (this.refusesBegin) {
          return [
            [reply("E", encoder.encode("SERROR\0VERROR\0C57014\0Mcanceled\0\0"))],
            false,
          ];
        }
        if (this.status === "I") this.status = "T";
        return [[complete("BEGIN")], false];
      case "commit":
      case "rollback":
      case "ROLLBACK":
        this.status = "I";
        return [[complete(word.toUpperCase())], false];
      case "copyout": {
        const data = Array.from({ length: count % 20 }, (_, i) => dataRow(i, count, "d"));
        return [[copyResponse("H"), ...data, reply("c"), complete("COPY 1")], false];
      }
      case "copyin":
      case "twocopies":
        this.#copy = { extended, more: word === "twocopies" && !extended ? 1 : 0 };
        return [[copyResponse("G")], true];
      case "notice":
        return [[
          reply("N", encoder.encode("SNOTICE\0VNOTICE\0C00000\0Mmodel\0\0")),
          complete("DO"),
        ], false];
      case "DEALLOCATE": {
        if (argument === "ALL") {
          for (const name of [...this.statements.keys()]) {
            if (name !== "") this.statements.delete(name);
          }
          return [[complete("DEALLOCATE ALL")], false];
        }
        const done = this.statements.delete(argument.replaceAll('"', ""));
        return [done ? [complete("DEALLOCATE")] : this.#fail(), false];
      }
      case "set":
        return [[complete("SET")], false];
      case "parameter":
        return [[...this.#setParameter(`name${count}`), complete("SET")], false];
      case "long":
        // Longer than a read of the pooler.
        return [[
          ...extended ? [] : [rowDescription()],
          textRow(`${count}`.repeat(3000 * count)),
          complete("SELECT 1"),
        ], false];
      case "show":
        return [[
          ...extended ? [] : [rowDescription()],
          textRow(this.parameter),
          complete("SELECT 1"),
        ], false];
      default:
        return [this.#poolers(sql), false];
    }
  }

  /** The queries that a pooler may send on its own account. */
  #poolers(sql: string): Message[] {
    const wanted = /set_config\(E'application_name', E'(\w+)'/.exec(sql);
    if (wanted !== null) {
      const reports = this.#setParameter(wanted[1]);
      return [rowDescription(), textRow(wanted[1]), ...reports, complete("SELECT 1")];
    }
    if (sql.startsWith("SELECT pg_catalog.encode(")) {
      const set = this.parameter === DEFAULT ? null : { application_name: this.parameter };
      const answer = Buffer.from(JSON.stringify({ set, role: "none" })).toString("base64");
      return [rowDescription(), textRow(answer), complete("SELECT 1")];
    }
    const resets = /RESET ALL|DISCARD ALL|RESET "application_name"/.test(sql);
    return [...resets ? this.#setParameter(DEFAULT) : [], complete("OTHER")];
  }

  #setParameter(value: string): Message[] {
    if (value === this.parameter) return [];
    this.parameter = value;
    return [reply("S", encoder.encode(`application_name\0${value}\0`))];
  }

  #duringCopy(message: Message, copy: Copy): Message[] {
    switch (message.type) {
      case "d":
        return text(message.body).startsWith("bad") ? this.#copyFailed(copy) : [];
      case "f":
        return this.#copyFailed(copy);
      case "c":
        if (copy.more > 0) {
          copy.more--;
          return [complete("COPY 1"), copyResponse("G")];
        }
        this.#copy = undefined;
        return [complete("COPY 1"), ...copy.extended ? [] : [this.#ready()]];
      case "H":
      case "S":
        return [];
      default:
        this.confused = true;
        return this.#copyFailed(copy);
    }
  }

  #copyFailed(copy: Copy): Message[] {
    this.#copy = undefined;
    this.#skipping = copy.extended;
    const error = this.#fail();
    return copy.extended ? error : [...error, this.#ready()];
  }
}

function reply(type: string, body: Uint8Array | number[] = []): Message {
  return { type, body: Uint8Array.from(body) };
}

function complete(tag: string): Message {
  return reply("C", encoder.encode(tag + "\0"));
}

function copyResponse(type: string): Message {
  return reply(type, [0, ...int16(1), ...int16(0)]);
}

function rowDescription(): Message {
  return reply(
    "T",
    concat(
      Uint8Array.from(int16(1)),
      encoder.encode("x\0"),
      Uint8Array.from([...int32(0), ...int16(0), ...int32(25), ...int16(-1), ...int32(-1)]),
      Uint8Array.from(int16(0)),
    ),
  );
}

/** A row whose length and bytes follow from its place, so that a lost or doubled one shows. */
function dataRow(i: number, seed: number, type = "D"): Message {
  const value = encoder.encode(`${i}/${seed}/`.repeat(1 + (i * 7 + seed) % 40));
  return type === "d" ? reply("d", value) : row(value);
}

function row(value: Uint8Array): Message {
  return reply("D", concat(Uint8Array.from([...int16(1), ...int32(value.length)]), value));
}

function textRow(text: string): Message {
  return row(encoder.encode(text));
}

function text(body: Uint8Array): string {
  const zero = body.indexOf(0);
  return decoder.decode(zero < 0 ? body : body.slice(0, zero));
}

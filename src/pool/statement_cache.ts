/**
 * The prepared statements of a pool: one for each distinct text (with its types), under a name that is unique in the
 * process. Bounded: past `limit` the least used is forgotten, which costs sharing and nothing else, since clients keep
 * the statements that they have.
 *
 * A statement that was parsed before the schema changed may return other columns than a fresh one of the same text:
 * clients that have it keep it, as they would at a direct connection, and a new Parse makes a new one.
 */

import type { PreparedMemory } from "../stats/prepared_memory.ts";
import { statementMarks } from "../server/marks.ts";
import { parseMarks, WITHIN } from "../server/statements/read_by_parse.ts";
import type { InternedQuery, QueryInterner } from "../server/statements/query_interner.ts";
import {
  BESIDE_BYTES,
  type FrozenStatement,
  NOT_LOOKED,
  type Statement,
  statementName,
} from "../server/statements/on_server.ts";

/** What the pools of a worker share. */
export interface StatementSource {
  readonly interner: QueryInterner;
  /** Never given out before in this process. */
  nextStatementId(): number;
  /** Rises when a statement that changes the schema has gone through any pool of the process. */
  schemaGeneration(): number;
  raiseSchemaGeneration(): void;
  readonly preparedMemory: PreparedMemory;
}

/** The texts that a pool's snapshot carries may have so many bytes; further ones travel with their clients. */
const MOST_FROZEN_BYTES = 32 * 1024 * 1024;
/** The least used are forgotten when texts have more bytes than this, however few they are. */
const MOST_BYTES = 64 * 1024 * 1024;
/** A client's name takes so much beside its letters, whoever shares the statement. */
const NAME_BYTES = 256;
/**
 * Longer texts are not shared: nobody prepares such a statement twice. Nor are they copied: what so long a message came in
 * is used for nothing else (`keepLong` of client/socket.ts).
 */
const MOST_SHARED_BYTES = 1024 * 1024;
/** A terminator is looked for within this: longer texts may have anything for parseMarks. */
const MOST_SEARCHED_BYTES = 64 * 1024 + 1;

const OWN = true;
const SHARED = false;

export class StatementCache {
  readonly #source: StatementSource;
  /** The least used first. */
  readonly #statements = new Map<InternedQuery, Statement>();
  bytes = 0;
  /** Statements that went to another process with the pool's snapshot. */
  #frozen = new Set<number>();
  /** How many clients' names each statement has. */
  readonly #names = new Map<Statement, number>();
  /** Statements that came from another process, while clients that have them may follow. */
  readonly #arrived = new Map<number, Statement>();

  constructor(source: StatementSource) {
    this.#source = source;
  }

  /** Whether the schema is as it was when the statement's shape was found. */
  isCurrent({ generation }: Statement): boolean {
    return generation === this.#source.schemaGeneration();
  }

  /** The statement returns what it did, under the schema of now. */
  affirm(statement: Statement, nowMs: number): void {
    statement.affirmedMs = nowMs;
    if (statement.generation >= 0) statement.generation = this.#source.schemaGeneration();
  }

  get size(): number {
    return this.#statements.size;
  }

  all(): Iterable<Statement> {
    return this.#statements.values();
  }

  /** The statement for the body of a Parse, `bytes[start..end)`. */
  find(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    options: { planner: string; limit: number; nowMs: number },
  ): Statement {
    if (end - start > MOST_SHARED_BYTES) return this.own(bytes, start, end, options);
    const { interner } = this.#source;
    const generation = this.#source.schemaGeneration();
    const query = interner.intern(bytes, start, end, options.planner);
    const known = this.#statements.get(query);
    if (known !== undefined && known.generation === generation) {
      this.#statements.delete(query);
      this.#statements.set(query, known);
      known.parses++;
      return known;
    }
    if (known !== undefined) this.#forget(known);
    const statement = this.#make(query, options.nowMs, SHARED);
    this.#remember(statement, options.limit);
    interner.relieve();
    return statement;
  }

  /** One that the client alone has that asks for it: what its Parse reads may be read by no other. */
  own(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    { planner, nowMs }: { planner: string; nowMs: number },
  ): Statement {
    const { interner } = this.#source;
    const query = end - start <= MOST_SHARED_BYTES
      ? interner.intern(bytes, start, end, planner)
      : loneText(bytes.subarray(start, end), "");
    const statement = this.#make(query, nowMs, OWN);
    interner.relieve();
    return statement;
  }

  /** The same text once more, for one client alone. */
  ownCopy({ query, generation, shape, types }: Statement, nowMs: number): Statement {
    const statement = this.#make(query, nowMs, OWN);
    statement.generation = generation;
    statement.shape = shape;
    statement.types = types;
    return statement;
  }

  #make(query: InternedQuery, nowMs: number, own: boolean): Statement {
    const id = this.#source.nextStatementId();
    return {
      id,
      name: statementName(id),
      query,
      marks: textMarksOf(query.body),
      generation: this.#source.schemaGeneration(),
      shape: undefined,
      types: undefined,
      own,
      seenMs: nowMs,
      affirmedMs: nowMs,
      holders: 0,
      parses: 1,
    };
  }

  /** All that a pool's snapshot carries of it. */
  freezeAll(): FrozenStatement[] {
    const frozen: FrozenStatement[] = [];
    let bytes = 0;
    this.#frozen.clear();
    for (const { id, generation, shape, types, query } of this.#statements.values()) {
      bytes += query.body.length;
      if (bytes > MOST_FROZEN_BYTES) break;
      const { body, planner } = query;
      frozen.push({ id, generation, shape, types, body, planner, own: false });
      this.#frozen.add(id);
    }
    return frozen;
  }

  /** A statement as its client's snapshot carries it. */
  freeze({ id, generation, shape, types, own, query }: Statement): FrozenStatement {
    const body = this.#frozen.has(id) ? undefined : query.body;
    return { id, generation, shape, types, own, body, planner: query.planner };
  }

  /** Statements of another process, the least used first. */
  thawAll(frozen: readonly FrozenStatement[], limit: number): void {
    for (const one of frozen) this.thaw(one, limit);
  }

  /** The statement of another process; `undefined` when nobody has brought its text. */
  thaw(
    { id, generation, shape, types, body, planner, own }: FrozenStatement,
    limit: number,
  ): Statement | undefined {
    const arrived = this.#arrived.get(id);
    if (arrived !== undefined) return arrived;
    if (body === undefined) return undefined;
    const short = body.length <= MOST_SHARED_BYTES;
    const bytes = body as Uint8Array<ArrayBuffer>;
    const query = short
      ? this.#source.interner.intern(bytes, 0, bytes.length, planner)
      : loneText(alone(bytes), planner);
    const name = statementName(id);
    const statement: Statement = {
      id,
      name,
      query,
      // A long one takes its time, and a client that may never use it is no reason to let all others wait.
      marks: short ? textMarksOf(query.body) : NOT_LOOKED,
      generation,
      shape,
      types,
      own: own || !short,
      seenMs: -Infinity,
      affirmedMs: -Infinity,
      holders: 0,
      parses: 0,
    };
    this.#arrived.set(id, statement);
    if (!statement.own && !this.#statements.has(query)) this.#remember(statement, limit);
    return statement;
  }

  /** No more clients come from another process. */
  arrivalsEnd(): void {
    this.#arrived.clear();
  }

  #remember(statement: Statement, limit: number): void {
    this.#statements.set(statement.query, statement);
    this.bytes += statement.query.body.length;
    this.hold(statement);
    for (const eldest of this.#statements.values()) {
      if (this.#statements.size <= limit && this.bytes <= MOST_BYTES) break;
      this.#forget(eldest);
    }
  }

  #forget(statement: Statement): void {
    this.#statements.delete(statement.query);
    this.bytes -= statement.query.body.length;
    this.drop(statement);
  }

  /** A client has given the statement a name. What has one counts for `max_prepared_memory`, its text once. */
  named(name: Uint8Array, statement: Statement): void {
    this.hold(statement);
    const names = this.#names.get(statement) ?? 0;
    this.#names.set(statement, names + 1);
    this.#source.preparedMemory.add(
      NAME_BYTES + name.length + (names === 0 ? ownBytes(statement) : 0),
    );
  }

  /** The name is another's, or nobody's. */
  unnamed(name: Uint8Array, statement: Statement): void {
    const names = this.#names.get(statement)! - 1;
    if (names === 0) this.#names.delete(statement);
    else this.#names.set(statement, names);
    this.#source.preparedMemory.add(
      -NAME_BYTES - name.length - (names === 0 ? ownBytes(statement) : 0),
    );
    this.drop(statement);
  }

  /** What the named statements of all clients of the process take. */
  get namedBytes(): number {
    return this.#source.preparedMemory.total;
  }

  /** Keeps it. */
  hold(statement: Statement): void {
    if (statement.holders++ === 0) statement.query.users++;
  }

  drop(statement: Statement): void {
    if (--statement.holders === 0) statement.query.users--;
  }

  /** Forgets everything, when the pool ends. */
  clear(): void {
    for (const statement of [...this.#statements.values()]) this.#forget(statement);
  }
}

/** The bytes with no others in their buffer. */
function alone(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
}

/** A text that is not shared. */
function loneText(body: Uint8Array<ArrayBuffer>, planner: string): InternedQuery {
  return { hash: 0, body, planner, users: 0, sweeps: 0, next: undefined };
}

/** The marks of a statement's text. */
export function marksOf(statement: Statement): number {
  if (statement.marks === NOT_LOOKED) statement.marks = textMarksOf(statement.query.body);
  return statement.marks;
}

function textMarksOf(body: Uint8Array): number {
  const marks = statementMarks(body);
  const end = body.subarray(0, MOST_SEARCHED_BYTES).indexOf(0);
  return marks | parseMarks(body, 0, end < 0 ? body.length : end, marks, WITHIN);
}

function ownBytes({ query }: Statement): number {
  return BESIDE_BYTES + query.body.length;
}

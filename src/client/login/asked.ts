/**
 * What one log-in asks for, and what it comes to. An application's clients ask for the same, word for word: what that came to
 * is kept with the pool, as long as nothing has changed of what it depends on.
 */

import type { Holder, ParameterSet } from "../../server/parameters.ts";
import {
  begin,
  type Beginning,
  noteSpelling,
  type Settings,
  spelling,
  type Start,
  startOf,
  type StartPool,
  startQuestion,
} from "./start.ts";

/** What log-ins to a pool came to, by what they asked for. */
interface Known {
  readonly defaults: ParameterSet | undefined;
  readonly managed: ReadonlySet<string>;
  /** How many there were: names are only ever added. */
  readonly reported: number;
  readonly pinned: boolean;
  readonly beginnings: Map<string, Beginning>;
}

const knownOf = new WeakMap<StartPool, Known>();
/** Kept for a pool: an application has few ways to ask. */
const MOST_KNOWN = 100;
const MOST_KNOWN_LETTERS = 1000;

export class Asked {
  readonly #pool: StartPool;
  readonly #settings: Settings;
  /** The settings as one text; nothing of them has a NUL. */
  readonly #key: string;
  #start: Start | undefined = undefined;

  constructor(pool: StartPool, settings: Settings) {
    this.#pool = pool;
    this.#settings = settings;
    let key = "";
    for (const [name, value] of settings) key += `${name}\0${value}\0`;
    this.#key = key;
  }

  /** What it comes to; `undefined`: a server is needed to know. */
  get beginning(): Beginning | undefined {
    const pool = this.#pool;
    if (pool.defaults === undefined) return undefined;
    const known = this.#known();
    if (known !== undefined) return known;
    this.#start = startOf(pool, this.#settings);
    const values = spelling(pool, this.#start);
    if (values === undefined) return undefined;
    const beginning = begin(pool, this.#settings, values);
    this.#keep(beginning);
    return beginning;
  }

  /** What PostgreSQL is asked on a server, where the defaults are known and the beginning is not. */
  question(server: Holder): string {
    return startQuestion(this.#pool, server, this.#start!);
  }

  /** Notes PostgreSQL's answer; as `noteSpelling`. */
  note(answer: string): string | undefined {
    return noteSpelling(this.#pool, this.#start!, answer);
  }

  #known(): Beginning | undefined {
    const known = knownOf.get(this.#pool);
    return known !== undefined && holds(known, this.#pool)
      ? known.beginnings.get(this.#key)
      : undefined;
  }

  #keep(beginning: Beginning): void {
    const pool = this.#pool;
    if (this.#key.length > MOST_KNOWN_LETTERS) return;
    let known = knownOf.get(pool);
    if (known === undefined || !holds(known, pool) || known.beginnings.size >= MOST_KNOWN) {
      const { defaults, managed, reported, settings } = pool;
      const pinned = settings.application_name_pinned;
      known = { defaults, managed, reported: reported.size, pinned, beginnings: new Map() };
      knownOf.set(pool, known);
    }
    known.beginnings.set(this.#key, beginning);
  }
}

function holds(known: Known, { defaults, managed, reported, settings }: StartPool): boolean {
  return known.defaults === defaults && known.managed === managed &&
    known.reported === reported.size && known.pinned === settings.application_name_pinned;
}

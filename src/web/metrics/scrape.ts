/**
 * Answers `/metrics`. What was gathered, and each form of its text, is used again for a moment: however often is asked,
 * the workers are asked four times a second at most, and nothing is written or compressed twice.
 */

import { gzip } from "node:zlib";
import { promisify } from "node:util";
import type { Answer, HttpRequest } from "../http/answer.ts";
import {
  CONTENT_TYPES,
  expose,
  type Family,
  type Format,
  formatFor,
  takesGzip,
} from "./exposition.ts";

const KEPT_MS = 250;
/** Less is not worth it. */
const LEAST_GZIP_BYTES = 1024;

const compress = promisify(gzip);
const encoder = new TextEncoder();

type Bytes = Uint8Array<ArrayBuffer>;

/** What was told at one moment. */
interface Moment {
  atMs: number;
  families: Promise<Family[]>;
  bodies: Map<string, Promise<Bytes>>;
}

export class Scrape {
  readonly #gather: () => Promise<Family[]>;
  readonly #now: () => number;
  #moment: Moment | undefined;

  constructor(gather: () => Promise<Family[]>, now: () => number = () => performance.now()) {
    this.#gather = gather;
    this.#now = now;
  }

  /** The answer to a GET or HEAD. */
  async answer({ headers }: Pick<HttpRequest, "headers">): Promise<Answer> {
    const format = formatFor(headers.get("accept"));
    const moment = this.#current();
    const plain = await this.#body(
      moment,
      format,
      async () => encoder.encode(expose(await moment.families, format)),
    );
    const zipped = plain.length >= LEAST_GZIP_BYTES && takesGzip(headers.get("accept-encoding"));
    const body = zipped
      ? await this.#body(
        moment,
        `${format} gzip`,
        async () => new Uint8Array(await compress(plain)),
      )
      : plain;
    return {
      status: 200,
      headers: {
        "Content-Type": CONTENT_TYPES[format],
        ...zipped ? { "Content-Encoding": "gzip" } : {},
        "Vary": "Accept, Accept-Encoding",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
      },
      body,
    };
  }

  #current(): Moment {
    const known = this.#moment;
    const atMs = this.#now();
    if (known !== undefined && atMs - known.atMs < KEPT_MS) return known;
    const moment: Moment = { atMs, families: this.#gather(), bodies: new Map() };
    this.#moment = moment;
    moment.families.then(() => moment.atMs = this.#now(), () => {
      if (this.#moment === moment) this.#moment = undefined;
    });
    return moment;
  }

  #body({ bodies }: Moment, name: Format | `${Format} gzip`, make: () => Promise<Bytes>) {
    const made = bodies.get(name) ?? make();
    bodies.set(name, made);
    return made;
  }
}

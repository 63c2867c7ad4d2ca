/**
 * What this worker asks of the control plane, since it needs Deno: addresses of names, salted passwords, whether a
 * password is right that others check, and those towards PostgreSQL that are fetched. Answers come by mail, in any order.
 */

import type { ExternalRequest, ExternalVerdict } from "../config/external_check.ts";
import type { PasswordSource } from "../config/settings.ts";
import type { FoundPassword, WorkerToControl } from "../mail.ts";
import type { ServerAddress } from "../server/dial.ts";
import { literalAddress, resolvedAddresses } from "./addresses.ts";

type Resolved = (addresses: string[], error: string | undefined) => void;
type Checked = (verdict: ExternalVerdict) => void;
type Derived = (salted: Uint8Array | undefined) => void;
type Fetched = (found: FoundPassword) => void;

export class Requests {
  readonly #toControl: (mail: WorkerToControl) => void;
  readonly #resolving = new Map<number, Resolved>();
  readonly #deriving = new Map<number, Derived>();
  readonly #checking = new Map<number, Checked>();
  readonly #fetching = new Map<number, Fetched>();
  #last: number;

  /** Numbers count from `after` on. */
  constructor(toControl: (mail: WorkerToControl) => void, after = 0) {
    this.#toControl = toControl;
    this.#last = after;
  }

  /** Addresses of a server, in the order to try; at once where no name has to be resolved. */
  addresses(
    host: string,
    port: number,
    done: (addresses: ServerAddress[], error: string | undefined) => void,
  ): void {
    const known = literalAddress(host, port);
    if (known !== undefined) return done(known.addresses, known.error);
    const request = ++this.#last;
    this.#resolving.set(request, (found, error) => {
      const addresses = resolvedAddresses(host, port, found);
      done(addresses, error ?? (addresses.length === 0 ? "no address found" : undefined));
    });
    this.#toControl({ kind: "resolve", request, host });
  }

  derive(
    password: string | Uint8Array,
    salt: Uint8Array,
    iterations: number,
    done: Derived,
  ): void {
    const request = ++this.#last;
    this.#deriving.set(request, done);
    this.#toControl({ kind: "derive", request, password, salt, iterations });
  }

  /** The answer takes it back: then nothing is told. */
  check(asked: ExternalRequest, done: Checked): () => void {
    const request = ++this.#last;
    this.#checking.set(request, done);
    this.#toControl({ kind: "check", request, asked });
    return () => {
      if (this.#checking.delete(request)) this.#toControl({ kind: "check_over", request });
    };
  }

  serverPassword(source: PasswordSource, refused: string | undefined, done: Fetched): void {
    const request = ++this.#last;
    this.#fetching.set(request, done);
    this.#toControl({ kind: "server_password", request, source, refused });
  }

  resolved(request: number, addresses: string[], error: string | undefined): void {
    taken(this.#resolving, request)?.(addresses, error);
  }

  checked(request: number, verdict: ExternalVerdict): void {
    taken(this.#checking, request)?.(verdict);
  }

  serverPasswordIs(request: number, found: FoundPassword): void {
    taken(this.#fetching, request)?.(found);
  }

  derived(request: number, salted: Uint8Array | undefined): void {
    taken(this.#deriving, request)?.(salted);
  }
}

/** Who waits for an answer, once. */
function taken<Done>(waiting: Map<number, Done>, request: number): Done | undefined {
  const done = waiting.get(request);
  waiting.delete(request);
  return done;
}

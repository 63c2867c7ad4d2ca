/**
 * What workers ask for, since they never run Deno's event loop: addresses of names, and salted passwords, which take a
 * while.
 */

import { Derivations, deriveElsewhere, processDerivations } from "../auth/derivations.ts";
import type { ControlToWorker, WorkerToControl } from "../mail.ts";
import { Resolver } from "./resolver.ts";

type Send = (worker: number, mail: ControlToWorker) => void;

export class WorkerRequests {
  readonly #send: Send;
  readonly #resolver: Pick<Resolver, "resolve">;
  readonly #derivations = new Derivations(
    deriveElsewhere,
    processDerivations(navigator.hardwareConcurrency),
  );

  constructor(send: Send, resolver: Pick<Resolver, "resolve"> = new Resolver()) {
    this.#send = send;
    this.#resolver = resolver;
  }

  /** Answers by mail; resolves when it is sent. */
  async resolve(
    worker: number,
    { request, host }: WorkerToControl & { kind: "resolve" },
  ): Promise<void> {
    let addresses: string[] = [];
    let error: string | undefined;
    try {
      addresses = await this.#resolver.resolve(host);
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
    }
    this.#send(worker, { kind: "resolved", request, addresses, error });
  }

  derive(worker: number, mail: WorkerToControl & { kind: "derive" }): void {
    const { request, password, salt, iterations } = mail;
    this.#derivations.ask(password, salt, iterations, (saltedPassword) => {
      this.#send(worker, { kind: "derived", request, saltedPassword });
    });
  }
}

/**
 * What workers ask for, since they never run Deno's event loop: addresses of names, and salted passwords, which take a
 * while.
 */

import { pbkdf2 } from "node:crypto";
import { passwordBytes } from "../auth/saslprep.ts";
import type { ControlToWorker, WorkerToControl } from "../mail.ts";
import { Resolver } from "./resolver.ts";

type Send = (worker: number, mail: ControlToWorker) => void;

export class WorkerRequests {
  readonly #send: Send;
  readonly #resolver: Pick<Resolver, "resolve">;

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

  /** PBKDF2 on Deno's thread pool (RFC 5802 §2.2, Hi). */
  derive(worker: number, mail: WorkerToControl & { kind: "derive" }): void {
    const { request, password, salt, iterations } = mail;
    pbkdf2(passwordBytes(password), salt, iterations, 32, "sha256", (error, key) => {
      const saltedPassword = error === null ? new Uint8Array(key) : undefined;
      this.#send(worker, { kind: "derived", request, saltedPassword });
    });
  }
}

/**
 * What workers ask for, since they never run Deno's event loop: addresses of names, salted passwords, whether a password
 * is right that others check, and those towards PostgreSQL that are fetched, all of which take a while.
 */

import { Derivations, deriveElsewhere, processDerivations } from "../auth/derivations.ts";
import { ExternalChecks } from "../auth/external.ts";
import type { ControlToWorker, WorkerToControl } from "../mail.ts";
import { externalMethods } from "./identity/methods.ts";
import { Resolver } from "./resolver.ts";
import { ServerPasswords } from "./server_passwords.ts";

const ASKED = ["resolve", "derive", "check", "check_over", "server_password"] as const;

type Asked = WorkerToControl & { kind: typeof ASKED[number] };
type Send = (worker: number, mail: ControlToWorker) => void;

/** Whether a mail asks for something that is dealt with here. */
export function asks(mail: WorkerToControl): mail is Asked {
  return (ASKED as readonly string[]).includes(mail.kind);
}

export class WorkerRequests {
  readonly #send: Send;
  readonly #resolver: Pick<Resolver, "resolve">;
  readonly #derivations = new Derivations(
    deriveElsewhere,
    processDerivations(navigator.hardwareConcurrency),
  );
  readonly #passwords = new ServerPasswords();

  readonly #checks: Pick<ExternalChecks, "ask">;
  /** Checks under way, by worker and request: gives them up. */
  readonly #checking = new Map<number, Map<number, () => void>>();

  constructor(
    send: Send,
    resolver: Pick<Resolver, "resolve"> = new Resolver(),
    checks: Pick<ExternalChecks, "ask"> = new ExternalChecks(externalMethods),
  ) {
    this.#send = send;
    this.#resolver = resolver;
    this.#checks = checks;
  }

  /** Answers by mail. */
  take(worker: number, mail: Asked): void {
    switch (mail.kind) {
      case "resolve":
        void this.resolve(worker, mail);
        return;
      case "derive":
        this.derive(worker, mail);
        return;
      case "check":
        this.check(worker, mail);
        return;
      case "check_over":
        this.checkOver(worker, mail);
        return;
      case "server_password":
        void this.serverPassword(worker, mail);
        return;
      default:
        mail satisfies never;
    }
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

  check(worker: number, { request, asked }: WorkerToControl & { kind: "check" }): void {
    let checking = this.#checking.get(worker);
    if (checking === undefined) this.#checking.set(worker, checking = new Map());
    const giveUp = this.#checks.ask(asked, (verdict) => {
      checking.delete(request);
      this.#send(worker, { kind: "checked", request, verdict });
    });
    checking.set(request, giveUp);
  }

  checkOver(worker: number, { request }: WorkerToControl & { kind: "check_over" }): void {
    const checking = this.#checking.get(worker);
    const giveUp = checking?.get(request);
    checking?.delete(request);
    giveUp?.();
  }

  /** The worker is another thread now, and has asked nothing. */
  lost(worker: number): void {
    const checking = this.#checking.get(worker);
    this.#checking.delete(worker);
    for (const giveUp of checking?.values() ?? []) giveUp();
  }

  /** As `resolve`. */
  async serverPassword(
    worker: number,
    { request, source, refused }: WorkerToControl & { kind: "server_password" },
  ): Promise<void> {
    const found = await this.#passwords.get(source, refused);
    this.#send(worker, { kind: "server_password_is", request, found });
  }
}

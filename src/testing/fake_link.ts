/** What a server connection talks to above it, where nobody is there: it notes what it is told. */

import { concatAll } from "../protocol/testing/wire.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import type { Reason } from "../reasons.ts";
import type { ServerLink, ServerOwner } from "../server/link.ts";
import type { ParameterSet } from "../server/parameters.ts";
import type { Statement, Tracked } from "../server/statements/on_server.ts";

/** A client that is none. */
export class FakeLink implements ServerLink {
  pinned = 0;
  /** What it was told, in order, but for bytes. */
  readonly told: string[] = [];
  #delivered: Uint8Array[] = [];

  /** The bytes that are for it. */
  get delivered(): Uint8Array {
    return concatAll(this.#delivered);
  }

  deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.#delivered.push(bytes.slice(start, end));
  }

  readyForQuery(status: number, settled: boolean): void {
    this.told.push(`ready ${String.fromCharCode(status)}${settled ? " settled" : ""}`);
  }

  blockOpened(): void {
    this.told.push("block");
  }

  errorDelivered({ code }: ReceivedError): void {
    this.told.push(`error ${code}`);
  }

  parametersChanged({ values }: ParameterSet): void {
    this.told.push(`parameters ${[...values].map(([name, value]) => `${name}=${value}`)}`);
  }

  discarded(): void {
    this.told.push("discarded");
  }

  notified(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.told.push(`notified ${new TextDecoder().decode(bytes.subarray(start + 9, end))}`);
  }

  listened(): void {}

  unlistened(channels: readonly string[] | undefined): void {
    this.told.push(`unlistened ${channels}`);
  }

  serverWritable(): void {
    this.told.push("writable");
  }

  answered(error: ReceivedError | undefined): void {
    this.told.push(`answered ${error?.code}`);
  }

  ownQueryDone(error: ReceivedError | undefined): void {
    this.told.push(`own ${error?.code}`);
  }

  serverDoomed({ code }: ReceivedError): void {
    this.told.push(`doomed ${code}`);
  }

  serverLost({ code }: Reason, detail: string, toldWhy: boolean): void {
    this.told.push(`lost ${code} ${detail}${toldWhy ? ", told" : ""}`);
  }

  skipped(tracked: readonly Tracked[]): void {
    this.told.push(`skipped ${tracked.length}`);
  }

  shapeChecked(_statement: Statement, same: boolean): void {
    this.told.push(`shape ${same}`);
  }

  unnamedLost(): void {
    this.told.push("unnamed lost");
  }

  parsedAgain(statement: Statement, known: Statement): void {
    this.told.push(`parsed ${statement.id} like ${known.id}`);
  }

  caughtUp(): void {
    this.told.push("caught up");
  }

  statementName({ id }: Statement): string | undefined {
    return `name of ${id}`;
  }

  statementsDropped(later: readonly Tracked[]): void {
    this.told.push(`dropped, ${later.length} later`);
  }
}

/** A pool that is none. */
export class FakeOwner<Server> implements ServerOwner<Server> {
  readonly reported = new Set<string>();
  readonly traffic = { received: 0, sent: 0, server_parses: 0 };
  readonly told: string[] = [];
  /** Why the connection was closed. */
  closedFor: Reason | undefined = undefined;

  serverSettled(_server: Server, error: ReceivedError | undefined): void {
    this.told.push(`settled ${error?.code}`);
  }

  serverClosed(_server: Server, reason: Reason, detail: string): void {
    this.closedFor = reason;
    this.told.push(`closed ${detail}`);
  }

  schemaChanged(): void {
    this.told.push("schema");
  }
}

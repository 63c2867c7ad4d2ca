/**
 * A client that stops taking a long message must not keep a server for ever: `proxy_copy_data_timeout`. Watched is whoever
 * has not taken all; what counts is progress, not speed.
 */

import type { Timer } from "../reactor/timers.ts";
import { REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ClientContext } from "./context.ts";
import type { ClientEnd } from "./parts.ts";
import type { SessionState } from "./state.ts";

/** Who is watched. */
interface TakingClient extends Pick<ClientEnd, "close"> {
  readonly context: ClientContext;
  readonly state: Pick<SessionState, "replication">;
  readonly server: ServerConnection | undefined;
  readonly backlogged: boolean;
}

export class Taking {
  readonly #client: TakingClient;
  #timer: Timer | undefined = undefined;
  /** Times that the client has taken something. */
  #taken = 0;

  constructor(client: TakingClient) {
    this.#client = client;
  }

  took(): void {
    this.#taken++;
  }

  watch(): void {
    // A replication stream is PostgreSQL's to end: wal_sender_timeout.
    if (this.#timer !== undefined || this.#client.state.replication !== "none") return;
    const { reactor, general } = this.#client.context;
    const taken = this.#taken;
    const timeout = general.proxy_copy_data_timeout;
    this.#timer = reactor.at(reactor.now + timeout, () => {
      this.#timer = undefined;
      const state = this.#client.server?.state;
      if (!this.#client.backlogged || state === undefined) return;
      const long = state.left > 0 && general.message_size_to_be_stream > 0 &&
        state.messageBytes > general.message_size_to_be_stream;
      if (long && taken === this.#taken) this.#client.close(REASONS.clientStuck, String(timeout));
      else this.watch();
    });
  }

  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

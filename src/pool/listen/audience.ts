/**
 * Who listens to what: the clients of each channel and the channels of each client.
 */

export class Audience<Client> {
  readonly #byChannel = new Map<string, Set<Client>>();
  readonly #byClient = new Map<Client, Set<string>>();
  /** A channel has got its first client, or lost its last one. */
  readonly #changed: (channel: string) => void;

  constructor(changed: (channel: string) => void) {
    this.#changed = changed;
  }

  /** Number of clients. */
  get size(): number {
    return this.#byClient.size;
  }

  get clients(): Client[] {
    return [...this.#byClient.keys()];
  }

  get channels(): string[] {
    return [...this.#byChannel.keys()];
  }

  has(channel: string): boolean {
    return this.#byChannel.has(channel);
  }

  /** The clients of a channel. */
  of(channel: string): Client[] {
    return [...this.#byChannel.get(channel) ?? []];
  }

  /** The channels of a client. */
  channelsOf(client: Client): string[] {
    return [...this.#byClient.get(client) ?? []];
  }

  add(client: Client, channels: readonly string[]): void {
    let own = this.#byClient.get(client);
    if (own === undefined) this.#byClient.set(client, own = new Set());
    for (const channel of channels) {
      own.add(channel);
      const clients = this.#byChannel.get(channel);
      if (clients !== undefined) clients.add(client);
      else {
        this.#byChannel.set(channel, new Set([client]));
        this.#changed(channel);
      }
    }
  }

  remove(client: Client, channels: readonly string[]): void {
    const own = this.#byClient.get(client);
    if (own === undefined) return;
    for (const channel of channels) {
      if (!own.delete(channel)) continue;
      const clients = this.#byChannel.get(channel)!;
      clients.delete(client);
      if (clients.size > 0) continue;
      this.#byChannel.delete(channel);
      this.#changed(channel);
    }
    if (own.size === 0) this.#byClient.delete(client);
  }
}

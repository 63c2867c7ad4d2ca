/**
 * A PostgreSQL client that sends and receives single messages, for what no driver does: order, timing, odd sequences.
 *
 *     using client = await WireClient.login({ port: doorman.port, user: "app", database: "app" });
 *     assert.equal(letters(await client.query("SELECT 1")), "TDCZ");
 *
 * Every wait has a limit, so that a test whose answer never comes fails and says what it waited for.
 */

import { md5Answer, ScramLogin } from "./wire_login.ts";
import * as wire from "./wire_messages.ts";
import type { Message } from "./wire_messages.ts";

/** Where to connect to: a TCP port of this machine, with TLS or without, or the path of a unix socket. */
export type Place = { port: number; host?: string; tls?: WireTls } | { path: string };

/** TLS by Deno's own client, rustls. */
export interface WireTls {
  /** Whom to trust, in PEM. */
  ca: string;
  /** Without SSLRequest; the protocols that ALPN offers are then these. */
  direct?: string[];
}

/** Whom to log in as. */
export type LoginOptions = Place & {
  user: string;
  database?: string;
  /** Absent: the user's name. */
  password?: string;
  /** More fields of the StartupMessage. */
  parameters?: Record<string, string>;
  /** Minor version of the protocol. */
  minor?: number;
};

/** The server refused; `message` is its ErrorResponse. */
export class Refused extends Error {
  readonly fields: wire.ErrorFields;
  constructor(fields: wire.ErrorFields) {
    super(`${fields.S} ${fields.C}: ${fields.M}`);
    this.fields = fields;
  }
}

const PATIENCE_MS = 10_000;

export class WireClient {
  /** Parameters as the server reported them. */
  readonly parameters: Map<string, string> = new Map();
  /** Everything received at the login, in order. */
  loginMessages: Message[] = [];
  /** Key data of the login. */
  pid: number = 0;
  secret: Uint8Array = new Uint8Array(0);
  /** How long `read` waits before it throws. */
  patienceMs: number = PATIENCE_MS;
  #connection: Deno.Conn;
  readonly #reader = new wire.MessageReader();
  readonly #place: Place;
  readonly #buffer = new Uint8Array(1 << 18);
  #reading: Promise<number | null> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(connection: Deno.Conn, place: Place) {
    this.#connection = connection;
    this.#place = place;
  }

  /** Connects and says nothing. */
  static async open(place: Place): Promise<WireClient> {
    const connection = "path" in place
      ? await Deno.connect({ transport: "unix", path: place.path })
      : await Deno.connect({ hostname: place.host ?? "127.0.0.1", port: place.port });
    // Parts of one request leave in writes of their own: they must not wait for each other's acknowledgement.
    if ("setNoDelay" in connection) (connection as Deno.TcpConn).setNoDelay();
    const client = new WireClient(connection, place);
    if ("port" in place && place.tls !== undefined) {
      try {
        await client.encrypt(place.tls);
      } catch (error) {
        client.close();
        throw error;
      }
    }
    return client;
  }

  /** Asks for TLS, unless it is direct, and does the handshake. Throws where it comes to nothing. */
  async encrypt({ ca, direct }: WireTls): Promise<void> {
    if (direct === undefined) {
      this.send(wire.SSL_REQUEST);
      const answer = await this.readByte();
      if (answer !== "S") throw new Error(`SSLRequest was answered by ${answer}`);
    }
    await this.flushed();
    const encrypted = await Deno.startTls(this.#connection as Deno.TcpConn, {
      hostname: "localhost",
      caCerts: [ca],
      alpnProtocols: direct,
    });
    this.#connection = encrypted;
    await encrypted.handshake();
  }

  /** Connects and logs in, up to ReadyForQuery; throws `Refused`. */
  static async login(options: LoginOptions): Promise<WireClient> {
    const client = await WireClient.open(options);
    try {
      await client.logIn(options);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Sends the StartupMessage and answers what is asked; returns all that was received, ReadyForQuery included. */
  async logIn(options: Omit<LoginOptions, "port" | "path">): Promise<Message[]> {
    const { user, database, parameters, minor, password = user } = options;
    const fields = { user, ...(database === undefined ? {} : { database }), ...parameters };
    this.send(wire.startup(fields, minor));
    let scram: ScramLogin | undefined;
    for (;;) {
      const message = await this.read();
      this.loginMessages.push(message);
      if (message.type === "E") throw new Refused(wire.errorFields(message));
      if (message.type === "Z") return this.loginMessages;
      if (message.type !== "R") continue;
      const data = message.body.subarray(4);
      switch (new DataView(message.body.buffer).getInt32(0)) {
        case 3:
          this.send(wire.message("p", wire.cstring(password)));
          break;
        case 5:
          this.send(wire.message("p", wire.cstring(md5Answer(user, password, data))));
          break;
        case 10:
          scram = new ScramLogin(password);
          this.send(scram.first());
          break;
        case 11:
          this.send(scram!.final(data));
          break;
        case 12:
          scram!.verify(data);
          break;
        default:
          break;
      }
    }
  }

  /** Sends bytes; they leave in the order of the calls. */
  send(...parts: Uint8Array[]): void {
    for (const part of parts) {
      this.#writing = this.#writing.then(async () => {
        for (let at = 0; at < part.length;) at += await this.#connection.write(part.subarray(at));
      });
      // Told by `flushed`, or by the end of the stream.
      this.#writing.catch(() => undefined);
    }
  }

  /** Waits until the kernel has taken all that was sent. */
  async flushed(): Promise<void> {
    await this.#writing;
  }

  async #receive(what: string): Promise<boolean> {
    // A read that was not waited for to its end goes on: the next one takes its bytes.
    this.#reading ??= this.#connection.read(this.#buffer);
    let timer: number | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), this.patienceMs);
    });
    let count: number | null | "late";
    try {
      count = await Promise.race([this.#reading, late]);
    } finally {
      clearTimeout(timer);
    }
    if (count === "late") throw new Error(`${what}: nothing came within ${this.patienceMs} ms`);
    this.#reading = undefined;
    if (count === null) return false;
    this.#reader.push(this.#buffer.subarray(0, count));
    return true;
  }

  /** The next message. Throws at the end of the stream. */
  async read(): Promise<Message> {
    for (;;) {
      const message = this.#reader.next();
      if (message !== undefined) {
        this.#note(message);
        return message;
      }
      if (!await this.#receive("the next message")) throw new Error("the connection was closed");
    }
  }

  /** One byte that is no message. */
  async readByte(): Promise<string> {
    for (;;) {
      const byte = this.#reader.byte();
      if (byte !== undefined) return byte;
      if (!await this.#receive("one byte")) throw new Error("the connection was closed");
    }
  }

  #note(message: Message): void {
    if (message.type === "S") {
      const [name, value] = wire.strings(message);
      this.parameters.set(name!, value!);
    } else if (message.type === "K") {
      this.pid = new DataView(message.body.buffer).getUint32(0);
      this.secret = message.body.slice(4);
    }
  }

  /** Messages up to the next of a type, that one included. */
  async readUntil(type: string): Promise<Message[]> {
    const messages: Message[] = [];
    for (;;) {
      messages.push(await this.read());
      if (messages.at(-1)!.type === type) return messages;
    }
  }

  /** Messages up to the end of the stream. */
  async readToEnd(): Promise<Message[]> {
    const messages: Message[] = [];
    for (;;) {
      const message = this.#reader.next();
      if (message !== undefined) messages.push(message);
      else if (!await this.#receiveLast()) return messages;
    }
  }

  async #receiveLast(): Promise<boolean> {
    try {
      return await this.#receive("the end of the connection");
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return false;
      throw error;
    }
  }

  /** True when nothing comes for a while. */
  async silent(milliseconds: number): Promise<boolean> {
    if (this.#reader.left > 0) return false;
    const before = this.patienceMs;
    this.patienceMs = milliseconds;
    try {
      await this.#receive("silence");
      return false;
    } catch (error) {
      if (error instanceof Error && error.message.includes("nothing came")) return true;
      throw error;
    } finally {
      this.patienceMs = before;
    }
  }

  /** Sends and waits for ReadyForQuery. */
  async ask(...parts: Uint8Array[]): Promise<Message[]> {
    this.send(...parts);
    return await this.readUntil("Z");
  }

  /** Runs SQL by the simple protocol. */
  async query(sql: string): Promise<Message[]> {
    return await this.ask(wire.query(sql));
  }

  /** Rows of SQL by the simple protocol; throws PostgreSQL's error. */
  async rows(sql: string): Promise<(string | null)[][]> {
    const messages = await this.query(sql);
    const error = messages.find(({ type }) => type === "E");
    if (error) throw new Refused(wire.errorFields(error));
    return wire.rowsOf(messages);
  }

  /** The one value of a query. */
  async value(sql: string): Promise<string | null> {
    return (await this.rows(sql))[0]![0]!;
  }

  /** Asks the server to cancel what this client runs, and waits until the server has hung up. */
  async cancel(secret: Uint8Array = this.secret, pid: number = this.pid): Promise<void> {
    using other = await WireClient.open(this.#place);
    other.send(wire.cancelRequest(pid, secret));
    const said = await other.readToEnd();
    if (said.length > 0) throw new Error(`cancel was answered: ${wire.letters(said)}`);
  }

  /** Says goodbye and closes. */
  async terminate(): Promise<void> {
    this.send(wire.TERMINATE);
    await this.flushed();
    this.close();
  }

  /** Half-closes: the other side sees the end of the stream. */
  async closeWrite(): Promise<void> {
    await this.flushed();
    await (this.#connection as Deno.TcpConn).closeWrite();
  }

  /** Closes without a word. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reading?.catch(() => undefined);
    this.#connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * From the config file to what the process runs on: reads the files, keeps the workers' homes and the verifiers from
 * one load to the next, and resolves the settings. Relative names count from the directory that the process was started
 * in, also when a daemon has left it.
 */

import { createHmac, pbkdf2 } from "node:crypto";
import { legacyHbaRules } from "../auth/hba.ts";
import { optionFaults } from "../auth/method_options.ts";
import { readTokenKeys } from "../auth/token_keys.ts";
import type { LoginFaults } from "../config/checks.ts";
import type { ExternalMethod } from "../config/external_check.ts";
import { externalMethods } from "./identity/methods.ts";
import { parseHba } from "../auth/hba_file.ts";
import { parseIdent } from "../auth/ident_file.ts";
import { md5Hash } from "../auth/md5.ts";
import { passwordBytes } from "../auth/saslprep.ts";
import { DEFAULT_ITERATIONS, formatVerifier, keysOf, makeVerifier } from "../auth/scram.ts";
import { repeatableSalt, verifierOfKeys } from "../auth/scram.ts";
import { resolveSettings } from "../config/effective.ts";
import { loadConfig, type LoadResult } from "../config/load.ts";
import { verificationOf } from "../config/server_tls.ts";
import type { ClientTls, ServerTls, Settings } from "../config/settings.ts";
import { passwordForm } from "../config/stored_password.ts";
import type { Config } from "../config/types.ts";
import { clientTls } from "../config/validate_tls.ts";
import { openPam } from "../os/pam.ts";
import { openOpenssl } from "../os/openssl.ts";
import { AskingContext, ServingContext } from "../tls/context.ts";

/** A configuration in force. */
export interface Configured {
  config: Config;
  settings: Settings;
  /** Verifiers of the plain passwords in it, by `verifierKey`; each costs a millisecond to make. */
  verifiers: Map<string, string>;
}

const PIECE_BYTES = 65_536;
/** Of a file that is read: that many are hundreds of thousands of users. */
const MOST_BYTES = 64 << 20;

const homes = new Map<string, number>();
/** Verifiers made ahead of the next `resolve`. */
const madeAhead = new Map<string, string>();
/** Verifiers that another process has made, by `blindKey`: for the start of this one. */
let handedVerifiers: ReadonlyMap<string, string> = new Map();
/** Makes the salts of plain passwords' verifiers, for the life of the process. */
let saltSecret = crypto.getRandomValues(new Uint8Array(32));
let startDirectory = Deno.cwd();

/** What salts are made with; a secret. */
export function currentSaltSecret(): Uint8Array {
  return saltSecret;
}

/** Salts as another process made them: a client that logs in around an upgrade sees the same one. */
export function setSaltSecret(secret: Uint8Array): void {
  saltSecret = secret.slice();
}

/**
 * Verifiers of the plain passwords in force, for a process that takes over: thousands of them take longer to make than
 * it has. By a keyed digest of user and password, so that no password travels; secrets all the same.
 */
export function verifiersToHand(configured: Configured): Map<string, string> {
  return new Map(
    Array.from(configured.verifiers, ([key, verifier]) => [blindKey(key), verifier]),
  );
}

/** Verifiers as another process made them with the same salt secret; used by the next `makeVerifiers`. */
export function setHandedVerifiers(verifiers: ReadonlyMap<string, string>): void {
  handedVerifiers = verifiers;
}

function blindKey(key: string): string {
  return createHmac("sha256", saltSecret).update(key).digest("base64");
}

/** Where relative names count from, if not from where the process is now. */
export function setStartDirectory(directory: string): void {
  startDirectory = directory;
}

/** A name as the operator meant it when the process was started. */
export function fromStartDirectory(file: string): string {
  return file.startsWith("/") ? file : `${startDirectory}/${file}`;
}

/** What clients are served TLS with, as its files are now. */
export function clientTlsOf({ general }: Config): ClientTls | undefined {
  return clientTls(general, readText);
}

/** What OpenSSL says against serving clients with this. */
function clientTlsFaults({ files, limits }: ClientTls): string[] {
  return faultsOf(() => ServingContext.open(files, limits));
}

/** What OpenSSL says against asking PostgreSQL for TLS with this. */
function serverTlsFaults({ mode, files }: ServerTls): string[] {
  return faultsOf(() => AskingContext.open(files, { verification: verificationOf(mode) }));
}

function faultsOf(open: () => { end(): void } | string[]): string[] {
  const missing = openOpenssl();
  if (missing !== undefined) return [missing];
  const context = open();
  if (Array.isArray(context)) return context;
  context.end();
  return [];
}

/** The contents of a file that the configuration names. */
export function readFile(file: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(fromStartDirectory(file));
}

const loginFaults: LoginFaults = {
  tokenKeys(text) {
    const read = readTokenKeys(text);
    return "fault" in read ? read.fault : undefined;
  },
  options: optionFaults,
  pam: openPam,
};

const available: ReadonlySet<ExternalMethod> = new Set(externalMethods.keys());

/** The text of a file that the configuration names. */
export function readText(file: string): string {
  using opened = Deno.openSync(fromStartDirectory(file));
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const piece = new Uint8Array(PIECE_BYTES);
  let text = "";
  let length = 0;
  for (;;) {
    const count = opened.readSync(piece);
    if (count === null) return text + decoder.decode();
    length += count;
    // A device has no end, and the process would not survive a reload that reads it.
    if (length > MOST_BYTES) throw new Error(`it has more than ${MOST_BYTES >> 20} MB`);
    text += decoder.decode(piece.subarray(0, count), { stream: true });
  }
}

/** Reads and checks the config at `path`, with all that it names. */
export function load(path: string): LoadResult {
  return loadConfig(path, {
    readText,
    fileMode: (file) => Deno.statSync(fromStartDirectory(file)).mode ?? undefined,
    clientTlsFaults,
    serverTlsFaults,
    loginFaults,
    listDirectory: (directory) =>
      Array.from(Deno.readDirSync(fromStartDirectory(directory)), ({ name }) => name),
    parseHba,
    parseIdent,
    externalMethods: available,
  });
}

/**
 * Makes the verifiers that `resolve` will ask for, on `threads` other threads: a thousand new passwords would hold this
 * one up for more than a second. Those of `before`, and those that another process has handed on, are there already.
 */
export async function makeVerifiers(
  config: Config,
  threads: number,
  before?: Configured,
): Promise<void> {
  madeAhead.clear();
  const missing = new Map<string, { user: string; password: string }>();
  for (const { users } of config.pools.values()) {
    for (const { username: user, password, auth_pam_service } of users) {
      const key = verifierKey(password, user);
      if (auth_pam_service !== undefined || before?.verifiers.has(key)) continue;
      if (!PLAIN_FORMS.has(passwordForm(password))) continue;
      const handed = handedVerifiers.size > 0 ? handedVerifiers.get(blindKey(key)) : undefined;
      if (handed !== undefined) madeAhead.set(key, handed);
      else missing.set(key, { user, password });
    }
  }
  handedVerifiers = new Map();
  const waiting = missing.entries();
  const work = async () => {
    for (const [key, { user, password }] of waiting) {
      madeAhead.set(key, await verifierOn(password, repeatableSalt(user, saltSecret)));
    }
  };
  await Promise.all(Array.from({ length: threads }, work));
}

/** The forms of a password that a verifier is made of, as `resolveSettings` has it. */
const PLAIN_FORMS: ReadonlySet<string> = new Set(["plain", "plain_like_md5", "broken_scram"]);

/** As `resolveSettings` asks for a verifier. */
function verifierKey(password: string, user: string): string {
  return `${user}\0${password}`;
}

function verifierOn(password: string, salt: Uint8Array): Promise<string> {
  const iterations = DEFAULT_ITERATIONS;
  return new Promise((resolve, reject) => {
    pbkdf2(passwordBytes(password), salt, iterations, 32, "sha256", (error, salted) => {
      if (error !== null) reject(error);
      else resolve(formatVerifier(verifierOfKeys(keysOf(salted), salt, iterations)));
    });
  });
}

/**
 * The settings of a valid configuration, for so many workers. Verifiers of `before` are used again, and those of
 * passwords that are gone from the configuration are not kept.
 */
export function resolve(config: Config, workers: number, before?: Configured): Configured {
  const verifiers = new CarriedOver(before?.verifiers);
  for (const [key, verifier] of madeAhead) verifiers.offer(key, verifier);
  madeAhead.clear();
  const settings = resolveSettings(config, {
    workers,
    homes,
    verifiers,
    legacyHbaRules,
    externalMethods: available,
    md5Hash,
    readFile,
    tlsFiles: new Map(
      before?.settings.pools.map(({ server_tls: { files } }) => [files.digest, files]),
    ),
    makeVerifier: (password, user) =>
      formatVerifier(makeVerifier(password, repeatableSalt(user, saltSecret))),
  });
  return { config, settings, verifiers: verifiers.used };
}

/** A map that looks into an older one, and notes what it was asked for. */
class CarriedOver extends Map<string, string> {
  readonly used = new Map<string, string>();
  readonly #before: ReadonlyMap<string, string> | undefined;
  readonly #offered = new Map<string, string>();

  constructor(before: ReadonlyMap<string, string> | undefined) {
    super();
    this.#before = before;
  }

  /** To be found by `get`, and forgotten if nobody asks for it. */
  offer(key: string, value: string): void {
    this.#offered.set(key, value);
  }

  override get(key: string): string | undefined {
    const value = this.used.get(key) ?? this.#before?.get(key) ?? this.#offered.get(key);
    if (value !== undefined) this.used.set(key, value);
    return value;
  }

  override set(key: string, value: string): this {
    this.used.set(key, value);
    return this;
  }
}

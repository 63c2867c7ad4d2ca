/**
 * Certificates for tests, made by the openssl program: authorities, what they sign, keys in every common form. Each has
 * its files in the folder that the test gives, and is read from there.
 */

import { join } from "node:path";

/** Kinds of keys. */
export type KeyKind = "ec" | "rsa" | "ed25519" | "rsa-pss";

export interface CertificateOptions {
  /** The common name. */
  name: string;
  /** The whole subject, as the openssl program takes it: `/O=Acme/CN=ann`. The common name alone where nothing is said. */
  subject?: string;
  /** Names and addresses that it is for: `DNS:localhost`, `IP:127.0.0.1`; by default both of these. */
  for?: readonly string[];
  kind?: KeyKind;
  /** For so many days from now on; a negative number: it has expired. 365 where nothing is said. */
  days?: number;
  /** The hash of its signature: sha256 where nothing is said. */
  hash?: "sha1" | "sha256" | "sha384" | "sha512";
}

const KEY_ARGUMENTS: Record<KeyKind, string[]> = {
  ec: ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
  rsa: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
  ed25519: ["-algorithm", "ED25519"],
  "rsa-pss": ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"],
};

/** Runs the openssl program; throws with what it said if it fails. Returns its output. */
export function runOpenssl(folder: string, args: readonly string[]): Uint8Array<ArrayBuffer> {
  const { success, stdout, stderr } = new Deno.Command("openssl", {
    args: [...args],
    cwd: folder,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).outputSync();
  if (success) return stdout;
  throw new Error(`openssl ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** A certificate with its key, in files. */
export class Certificate {
  readonly folder: string;
  /** What its files are called. */
  readonly label: string;

  constructor(folder: string, label: string) {
    this.folder = folder;
    this.label = label;
  }

  get certificatePath(): string {
    return join(this.folder, `${this.label}.crt`);
  }

  get keyPath(): string {
    return join(this.folder, `${this.label}.key`);
  }

  get certificate(): Uint8Array<ArrayBuffer> {
    return Deno.readFileSync(this.certificatePath);
  }

  get key(): Uint8Array<ArrayBuffer> {
    return Deno.readFileSync(this.keyPath);
  }

  get der(): Uint8Array<ArrayBuffer> {
    return runOpenssl(this.folder, ["x509", "-in", this.certificatePath, "-outform", "DER"]);
  }

  /** The key in another form: the traditional one of RSA or EC keys, or encrypted by a password. */
  keyAs(form: "traditional" | "encrypted" | "encrypted-traditional"): Uint8Array<ArrayBuffer> {
    const args = ["pkey", "-in", this.keyPath];
    if (form !== "encrypted") args.push("-traditional");
    if (form !== "traditional") args.push("-aes256", "-passout", "pass:secret");
    return runOpenssl(this.folder, args);
  }
}

/** An authority that signs certificates. */
export class Authority extends Certificate {
  #made = 0;

  /** A new one, that has signed itself. */
  static create(folder: string, name = "Test CA", kind: KeyKind = "ec"): Authority {
    const authority = new Authority(folder, `ca-${name.replaceAll(/\W+/g, "-").toLowerCase()}`);
    makeKey(authority, kind);
    runOpenssl(folder, [
      ...["req", "-x509", "-new", "-key", authority.keyPath, "-out", authority.certificatePath],
      ...["-subj", `/CN=${name}`, "-days", "3650"],
      ...["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
    ]);
    return authority;
  }

  /** A certificate of its own hand. */
  issue(options: CertificateOptions): Certificate {
    const { name, kind = "ec" } = options;
    const issued = new Certificate(this.folder, `${this.label}-${++this.#made}`);
    makeKey(issued, kind);
    const names = options.for ?? ["DNS:localhost", "IP:127.0.0.1"];
    const alternatives = names.length === 0 ? [] : [`subjectAltName=${names.join(",")}`];
    this.#sign(issued, options, [`basicConstraints=CA:FALSE`, ...alternatives], name);
    return issued;
  }

  /** An authority below this one. */
  issueAuthority(name: string): Authority {
    const authority = new Authority(this.folder, `${this.label}-${++this.#made}`);
    makeKey(authority, "ec");
    const extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"];
    this.#sign(authority, { name }, extensions, name);
    return authority;
  }

  #sign(
    certificate: Certificate,
    options: CertificateOptions,
    extensions: string[],
    name: string,
  ): void {
    const request = join(this.folder, `${certificate.label}.csr`);
    const extensionFile = join(this.folder, `${certificate.label}.ext`);
    Deno.writeTextFileSync(extensionFile, extensions.join("\n"));
    runOpenssl(this.folder, [
      ...[
        "req",
        "-new",
        "-key",
        certificate.keyPath,
        "-out",
        request,
        "-subj",
        options.subject ?? `/CN=${name}`,
      ],
      ...["-utf8"],
    ]);
    runOpenssl(this.folder, [
      ...["x509", "-req", "-in", request, "-out", certificate.certificatePath],
      ...["-CA", this.certificatePath, "-CAkey", this.keyPath, "-CAcreateserial"],
      ...["-days", String(options.days ?? 365), "-extfile", extensionFile],
      ...(options.hash === undefined ? [] : [`-${options.hash}`]),
    ]);
  }
}

function makeKey(certificate: Certificate, kind: KeyKind): void {
  runOpenssl(certificate.folder, [
    ...["genpkey", ...KEY_ARGUMENTS[kind], "-out", certificate.keyPath],
  ]);
  Deno.chmodSync(certificate.keyPath, 0o600);
}

/** Several texts in one file: a chain, a bundle. */
export function bundle(...texts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + text.length + 1, 0));
  let at = 0;
  for (const text of texts) {
    bytes.set(text, at);
    at += text.length;
    bytes[at++] = 0x0a;
  }
  return bytes;
}

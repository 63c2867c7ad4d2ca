/** A directory for tests: OpenLDAP's server on free ports, with two users and one who may search. Debian: package slapd. */

import { join } from "node:path";
import { Authority } from "./certificates.ts";
import { freePort } from "./ports.ts";

const PROGRAM = "/usr/sbin/slapd";
const LOADER = "/usr/sbin/slapadd";

/** What stands in the way of a directory, if anything does. */
export function slapdMissing(): string | undefined {
  try {
    Deno.statSync(PROGRAM);
    return undefined;
  } catch {
    return `there is no ${PROGRAM} (Debian: package slapd)`;
  }
}

/** Where everything in the directory is. */
export const BASE = "dc=example,dc=org";
/** Who may search, and nobody else. */
export const READER = { name: `cn=reader,${BASE}`, password: "search me" };
/** Users by uid. Their names are `cn=…,ou=people,` and the base; there are two of `twin`. */
export const USERS = { ann: "ann's secret", "bob*(x)": "bob's secret", twin: "t" } as const;

const ENTRIES = `dn: ${BASE}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ${READER.name}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ${READER.password}

dn: ou=people,${BASE}
objectClass: organizationalUnit
ou: people

${person("Ann", "ann", USERS.ann)}
${person("bob*(x)", "bob*(x)", USERS["bob*(x)"])}
${person("twin one", "twin", USERS.twin)}
${person("twin two", "twin", USERS.twin)}`;

function person(cn: string, uid: string, password: string): string {
  return `dn: cn=${cn},ou=people,${BASE}
objectClass: inetOrgPerson
cn: ${cn}
sn: x
uid: ${uid}
userPassword: ${password}
`;
}

export class Slapd {
  readonly port: number;
  /** Of ldaps. */
  readonly tlsPort: number;
  readonly authorityFile: string;
  readonly #process: Deno.ChildProcess;
  #stopped = false;

  private constructor(ports: [number, number], authorityFile: string, process: Deno.ChildProcess) {
    [this.port, this.tlsPort] = ports;
    this.authorityFile = authorityFile;
    this.#process = process;
  }

  /** Starts one with its files in this folder; resolves when it answers. */
  static async start(folder: string): Promise<Slapd> {
    const authority = Authority.create(folder);
    const certificate = authority.issue({ name: "localhost" });
    const config = join(folder, "slapd.conf");
    const data = join(folder, "data");
    await Deno.mkdir(data);
    await Deno.writeTextFile(
      config,
      `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${folder}/slapd.pid
argsfile ${folder}/slapd.args
TLSCertificateFile ${certificate.certificatePath}
TLSCertificateKeyFile ${certificate.keyPath}
allow bind_anon_cred
database mdb
suffix "${BASE}"
directory ${data}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="${READER.name}" read by * none
`,
    );
    const entries = join(folder, "entries.ldif");
    await Deno.writeTextFile(entries, ENTRIES);
    const loaded = await new Deno.Command(LOADER, {
      args: ["-f", config, "-l", entries],
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!loaded.success) throw new Error(`slapadd: ${new TextDecoder().decode(loaded.stderr)}`);
    const ports: [number, number] = [freePort(), freePort()];
    const process = new Deno.Command(PROGRAM, {
      args: [
        "-f",
        config,
        "-h",
        `ldap://127.0.0.1:${ports[0]}/ ldaps://127.0.0.1:${ports[1]}/`,
        "-d",
        "0",
      ],
      cwd: folder,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await answers(ports[1]);
    return new Slapd(ports, authority.certificatePath, process);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }
}

async function answers(port: number): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await new Promise((done) => setTimeout(done, 20));
    }
  }
  throw new Error(`slapd does not answer on port ${port}`);
}

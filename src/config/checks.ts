/**
 * Checks that the general section and every pool share.
 */

import type { DecodedPool } from "./decode_pool.ts";
import type { HbaExternalMethod } from "./hba_rule.ts";
import type { ReadText } from "./include.ts";
import { readFailure } from "./include.ts";
import { canonicalName } from "./parameter_names.ts";
import type { Report } from "./report.ts";
import { keyPath } from "./source.ts";
import { readServerAuth, SERVER_AUTH_METHODS } from "./server_auth.ts";
import { PARAMETER_BUDGET_BYTES, parameterBytes, parameterFault } from "./startup_parameters.ts";
import type { ClientTls, ServerTls } from "./settings.ts";
import type { Config } from "./types.ts";

/** Longest name of a Unix socket that the kernel takes (`sun_path`, with its closing NUL). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** What is said against something that other programs or libraries have to do. */
export interface LoginFaults {
  /** The text of a file with keys that tokens are checked with. */
  tokenKeys?: (text: string) => string | undefined;
  /** Options of a rule, by method. */
  options?: (
    method: HbaExternalMethod,
    options: Readonly<Record<string, string>>,
  ) => { message: string; hint: string }[];
  /** PAM as a whole. */
  pam?: () => string | undefined;
}

/** What the checks work on. */
export interface Checked {
  config: Config;
  pools: readonly DecodedPool[];
  report: Report;
  readText: ReadText;
  /** Permission bits of a file; `undefined`: they tell nothing. */
  fileMode?: (path: string) => number | undefined;
  /** What the library that will use the files for clients says of them. */
  clientTlsFaults?: (tls: ClientTls) => string[];
  /** The same of those for PostgreSQL. */
  serverTlsFaults?: (tls: ServerTls) => string[];
  loginFaults?: LoginFaults;
}

/** A socket in this directory must have a name that the kernel takes. */
export function checkSocketPath(dir: string, port: number, path: string, report: Report): void {
  const bytes = new TextEncoder().encode(`${dir}/.s.PGSQL.${port}`).length;
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    report.fault(
      path,
      `the socket's path would have ${bytes} bytes`,
      `at most ${MAX_SOCKET_PATH_BYTES}`,
    );
  }
}

/** `server_auth` names methods. */
export function checkServerAuth(value: string | undefined, section: string, report: Report): void {
  const read = readServerAuth(value ?? "");
  if ("allowed" in read) return;
  report.fault(`${section}.server_auth`, read.fault, `of ${SERVER_AUTH_METHODS.join(", ")}`);
}

/** The file must be readable and look like PEM: its text. */
export function checkPem(
  path: string,
  file: string | undefined,
  checked: Checked,
): string | undefined {
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = checked.readText(file);
  } catch (error) {
    checked.report.fault(path, `could not open ${JSON.stringify(file)}: ${readFailure(error)}`);
    return undefined;
  }
  if (text.includes("-----BEGIN ")) return text;
  checked.report.fault(path, `${JSON.stringify(file)} holds no PEM block`);
  return undefined;
}

/** One layer of startup parameters by itself. */
export function checkParameterLayer(
  layer: ReadonlyMap<string, string>,
  path: string,
  report: Report,
): void {
  const names = new Map<string, string>();
  for (const [name, value] of layer) {
    const entryPath = keyPath(path, name);
    const fault = parameterFault(name, value);
    if (fault !== undefined) report.fault(entryPath, fault);
    const canonical = canonicalName(name);
    const other = names.get(canonical);
    if (other !== undefined) {
      report.fault(entryPath, `"${name}" and "${other}" are the same parameter: keep one`);
    }
    names.set(canonical, name);
  }
  const bytes = parameterBytes(layer);
  if (bytes > PARAMETER_BUDGET_BYTES) {
    report.fault(path, `takes ${bytes} bytes`, `at most ${PARAMETER_BUDGET_BYTES}`);
  }
}

/** The checks of `server_password_file` and `server_password_command`, of a pool and of its users. */

import type { Checked } from "./checks.ts";
import type { DecodedPool } from "./decode_pool.ts";
import { readFailure } from "./include.ts";
import type { Report } from "./report.ts";
import { readPassword } from "./server_password.ts";
import type { UserConfig } from "./types.ts";

const OTHERS_READ = 0o004;
const EXECUTABLE = 0o111;
const KIND_BITS = 0o170000;
const REGULAR = 0o100000;

type Keys = Pick<UserConfig, "server_password_file" | "server_password_command">;

/** Runs them. */
export function checkServerPasswords(
  { path, pool, userPaths }: DecodedPool,
  checked: Checked,
): void {
  checkKeys(path, pool, checked);
  if (pool.server_password !== undefined) excludes(path, "server_password", pool, checked.report);
  pool.users.forEach((user, index) => {
    const userPath = userPaths[index] as string;
    if (checked.report.isFaulty(userPath)) return;
    checkKeys(userPath, user, checked);
    if (user.server_password !== undefined) {
      excludes(userPath, "server_password", user, checked.report);
    }
  });
}

function excludes(section: string, key: string, keys: Keys, report: Report): void {
  for (const other of ["server_password_file", "server_password_command"] as const) {
    if (other === key || keys[other] === undefined) continue;
    report.fault(`${section}.${key}`, `excludes ${other}`, "keep one of the two");
  }
}

function checkKeys(section: string, keys: Keys, checked: Checked): void {
  const { server_password_file: file, server_password_command: command } = keys;
  if (file !== undefined) {
    excludes(section, "server_password_file", keys, checked.report);
    checkFile(`${section}.server_password_file`, file, checked);
  }
  if (command !== undefined) checkCommand(`${section}.server_password_command`, command, checked);
}

function checkFile(path: string, file: string, checked: Checked): void {
  const { report } = checked;
  const name = JSON.stringify(file);
  let text: string;
  try {
    text = checked.readText(file);
  } catch (error) {
    report.fault(path, `could not open ${name}: ${readFailure(error)}`);
    return;
  }
  const read = readPassword(new TextEncoder().encode(text));
  if ("fault" in read) report.fault(path, `${name}: ${read.fault}`);
  if (((checked.fileMode?.(file) ?? 0) & OTHERS_READ) !== 0) {
    report.warn(path, `${name} is open to others`, "chmod o-rwx");
  }
}

function checkCommand(path: string, command: readonly string[], checked: Checked): void {
  const { report } = checked;
  if (report.isFaulty(path)) return;
  const [program] = command;
  if (program === undefined || program === "") {
    return report.fault(path, "must not be empty", "the program, then its arguments");
  }
  const name = JSON.stringify(program);
  if (!program.includes("/")) {
    return report.fault(
      path,
      `${name} is no path`,
      "programs are not looked for: write where it is",
    );
  }
  let mode: number | undefined;
  try {
    mode = checked.fileMode?.(program);
  } catch (error) {
    return report.fault(path, `could not look at ${name}: ${readFailure(error)}`);
  }
  if (mode === undefined) return;
  if ((mode & KIND_BITS) !== REGULAR || (mode & EXECUTABLE) === 0) {
    report.fault(path, `${name} is not executable`);
  }
}

/**
 * The executable run to its end: what it prints and the status it ends with.
 */

import { doormanExecutable } from "./doorman.ts";

/** What a run printed and how it ended. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the executable with an environment of nothing but `env`; kills it, and fails, when it does not end. */
export async function runDoorman(
  args: string[],
  options: { env?: Record<string, string>; cwd?: string; timeoutMs?: number } = {},
): Promise<CommandResult> {
  const child = new Deno.Command(await doormanExecutable(), {
    args,
    cwd: options.cwd,
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 10_000);
  const { code, signal, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  const result = { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  if (signal !== null) {
    throw new Error(`pg_doorman ${args.join(" ")}: ${signal}\n${result.stdout}${result.stderr}`);
  }
  return result;
}

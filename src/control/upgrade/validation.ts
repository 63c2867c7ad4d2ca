/** Whether the program that now lies at its path accepts the configuration: it is asked, by `-t`. */

import type { Program } from "../service/program.ts";

const VALIDATION_MS = 10_000;

/** What stands against it, if anything; a stopped check says so. */
export async function validate(
  { program, configFile, directory }: { program: Program; configFile: string; directory: string },
  stop: AbortSignal,
): Promise<string | undefined> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(program.path, {
      args: [...program.prefix, "-t", configFile],
      cwd: directory,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.any([stop, AbortSignal.timeout(VALIDATION_MS)]),
    }).output();
    if (code === 0) return undefined;
    const decoder = new TextDecoder();
    const said = (decoder.decode(stderr) + decoder.decode(stdout)).trim();
    return `exit status ${code}${said === "" ? "" : `\n${said}`}`;
  } catch (error) {
    return `${program.path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

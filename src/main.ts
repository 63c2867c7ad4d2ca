/**
 * PgDoorman: the program's entry, and nothing but the choice of what the command line asks for.
 */

import { EXIT, parseCommandLine, type RunOptions } from "./cli/args.ts";
import { configFaults, testConfigOutput } from "./cli/test_config.ts";
import { VERSION } from "./cli/version.ts";
import { load } from "./control/configuration.ts";
import { Doorman, ListenError } from "./control/process.ts";

async function run(args: string[]): Promise<void> {
  const command = parseCommandLine(args, (name) => Deno.env.get(name));
  switch (command.kind) {
    case "help":
      finish(command.text, "", EXIT.ok);
      return;
    case "version":
      finish(`pg_doorman ${VERSION}\n`, "", EXIT.ok);
      return;
    case "usage_error":
      finish("", command.text, EXIT.usage);
      return;
    case "unavailable":
      finish("", command.text, EXIT.failure);
      return;
    case "test": {
      const { configFile } = command.options;
      const { stdout, stderr, code } = testConfigOutput(configFile, load(configFile));
      finish(stdout, stderr, code);
      return;
    }
    case "run":
      await serve(command.options);
      return;
    default:
      command satisfies never;
  }
}

async function serve(options: RunOptions): Promise<void> {
  const result = load(options.configFile);
  if (result.config === undefined) {
    finish("", configFaults(options.configFile, result), EXIT.config);
    return;
  }
  try {
    await new Doorman(options, result.config).start(result);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    finish("", `pg_doorman: ${error.message}\n`, error.code);
  }
}

function finish(stdout: string, stderr: string, code: number): void {
  const encoder = new TextEncoder();
  Deno.stdout.writeSync(encoder.encode(stdout));
  Deno.stderr.writeSync(encoder.encode(stderr));
  Deno.exit(code);
}

await run(Deno.args);

/**
 * PgDoorman: the program's entry, and nothing but the choice of what the command line asks for.
 */

import { EXIT, parseCommandLine, type RunOptions } from "./cli/args.ts";
import { configFaults, onlineOutput, testConfigOutput } from "./cli/test_config.ts";
import { VERSION } from "./cli/version.ts";
import {
  load,
  makeVerifiers,
  setHandedVerifiers,
  setSaltSecret,
  setStartDirectory,
} from "./control/configuration.ts";
import { PAM_HELPER_ARGUMENT, servePam } from "./control/identity/pam_helper.ts";
import { becomeDaemon, daemonStartDirectory, launchDaemon } from "./control/service/daemon.ts";
import { launchNewProcess } from "./control/upgrade/new_process.ts";
import { sayLast } from "./control/log.ts";
import { Doorman, ListenError, PidFileError } from "./control/process.ts";
import { hasToStay, stayAsParent } from "./control/service/first_process.ts";
import { tryOnline } from "./control/online/online.ts";
import { findProgram } from "./control/service/program.ts";
import { Signals } from "./control/service/signals.ts";
import { inherited, Succession } from "./control/upgrade/successor.ts";
import { keepFromChildren } from "./control/service/file_limit.ts";

const DAEMON_UNDER_SYSTEMD =
  "pg_doorman: --daemon does not go with systemd's Type=notify (NOTIFY_SOCKET is set): leave it out, " +
  "the service manager runs the process in the background\n";

async function run(args: string[]): Promise<void> {
  if (args.length === 1 && args[0] === PAM_HELPER_ARGUMENT) return servePam();
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
      const result = load(configFile);
      const { stdout, stderr, code } = testConfigOutput(configFile, result);
      if (!command.online || result.config === undefined) return finish(stdout, stderr, code);
      const online = onlineOutput(await tryOnline(result.config));
      finish(stdout + online.stdout, stderr + online.stderr, online.code);
      return;
    }
    case "run":
      await serve(command.options);
      return;
    default:
      command satisfies never;
  }
}

/** Under `--daemon` this runs twice: in the launcher, and in the daemon that it starts. */
async function serve(options: RunOptions): Promise<void> {
  const program = findProgram();
  const takeOver = inherited();
  // What a launcher has the old process has chosen for the new one.
  if (takeOver?.launch !== undefined) {
    Deno.exit(await launchNewProcess(takeOver.launch, takeOver));
  }
  keepFromChildren();
  if (takeOver === undefined && !options.daemon && isFirst()) {
    Deno.exit(await stayAsParent(program));
  }
  const startDirectory = options.daemon ? daemonStartDirectory() : undefined;
  const launcher = options.daemon && startDirectory === undefined;
  if (launcher && Deno.env.get("NOTIFY_SOCKET")) {
    finish("", DAEMON_UNDER_SYSTEMD, EXIT.usage);
    return;
  }
  if (startDirectory !== undefined) {
    setStartDirectory(startDirectory);
    becomeDaemon();
  }
  const signals = launcher ? undefined : new Signals();
  const result = load(options.configFile);
  if (result.config === undefined) {
    finish("", configFaults(options.configFile, result), EXIT.config);
    return;
  }
  if (signals === undefined) {
    Deno.exit(await launchDaemon(options.inheritFd, program.path));
  }
  try {
    const succession = takeOver === undefined ? undefined : await Succession.open(takeOver);
    if (succession !== undefined) {
      const { salt, verifiers } = succession.init.secrets;
      setSaltSecret(salt);
      setHandedVerifiers(verifiers ?? new Map());
    }
    await makeVerifiers(result.config, navigator.hardwareConcurrency);
    await new Doorman(options, result.config, { signals, program, succession }).start(result);
  } catch (error) {
    if (error instanceof ListenError) {
      finish("", `pg_doorman: ${error.message}\n`, error.code);
    } else if (error instanceof PidFileError) {
      finish("", `pg_doorman: ${error.message}\n`, EXIT.os);
    } else throw error;
  }
}

function isFirst(): boolean {
  const { pid, ppid } = Deno;
  return hasToStay({ pid, parentPid: ppid, env: (name) => Deno.env.get(name) });
}

function finish(stdout: string, stderr: string, code: number): void {
  Deno.stdout.writeSync(new TextEncoder().encode(stdout));
  sayLast(stderr);
  Deno.exit(code);
}

await run(Deno.args);

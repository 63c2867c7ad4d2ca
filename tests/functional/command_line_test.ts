/**
 * The command line: options, environment, the answer of -t, exit statuses, and the shapes and levels of the log.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Doorman, doormanExecutable } from "../support/doorman.ts";
import { runDoorman } from "../support/doorman_command.ts";
import { freePort } from "../support/ports.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { WireClient } from "../support/wire_client.ts";

const VALID = `[general]
host = "127.0.0.1"
port = \${PORT}
admin_username = "admin"
admin_password = "word-of-the-admin"
[pools.app]
server_host = "127.0.0.1"
server_port = 1
[[pools.app.users]]
username = "app"
password = "word-of-the-user"
pool_size = 1
`;

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await makeTestFolder("cli");
  try {
    await test(folder);
  } finally {
    await removeFolder(folder);
  }
}

async function withConfig(
  config: string,
  test: (path: string, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const path = join(folder, "pg_doorman.toml");
    await Deno.writeTextFile(path, config.replaceAll("${PORT}", String(freePort())));
    await test(path, folder);
  });
}

Deno.test("--help and -h print usage with every option on standard output and end with 0", async () => {
  const long = await runDoorman(["--help"]);
  assert.equal(long.code, 0);
  assert.equal(long.stderr, "");
  assert.match(long.stdout, /^Usage: pg_doorman \[OPTIONS\] \[CONFIG_FILE\]/m);
  for (
    const option of [
      "--log-level",
      "--log-format",
      "--no-color",
      "--daemon",
      "--inherit-fd",
      "--test-config",
      "--help",
      "--version",
    ]
  ) assert.ok(long.stdout.includes(option), option);
  assert.deepEqual(await runDoorman(["-h"]), long);
});

Deno.test("--version and -V print name and the version of deno.json", async () => {
  const { version } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  for (const option of ["--version", "-V"]) {
    assert.deepEqual(await runDoorman([option]), {
      code: 0,
      stdout: `pg_doorman ${version}\n`,
      stderr: "",
    });
  }
});

Deno.test("an unknown option, a wrong value or one argument too many ends with 2 and says which", async () => {
  const cases: [string[], RegExp][] = [
    [["--no-such-option"], /--no-such-option/],
    [["-x"], /-x/],
    [["--log-leve", "debug"], /--log-leve.*did you mean --log-level/],
    [["-l", "loud"], /"loud".*--log-level.*error, warn, info, debug, trace/],
    [["-l", "INFO"], /"INFO"/],
    [["-F", "xml"], /"xml".*--log-format.*text, structured/],
    [["--inherit-fd", "three"], /"three".*--inherit-fd/],
    [["one.toml", "two.toml"], /two\.toml/],
  ];
  for (const [args, said] of cases) {
    const { code, stdout, stderr } = await runDoorman(args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, said);
    assert.match(stderr, /Usage: pg_doorman/);
  }
});

Deno.test("a wrong value in an environment variable ends with 2 and names the variable", async () => {
  for (
    const [name, value] of [
      ["LOG_LEVEL", "loud"],
      ["LOG_FORMAT", "xml"],
      ["DAEMON", "1"],
      ["INHERIT_FD", "x"],
    ] as const
  ) {
    const { code, stderr } = await runDoorman(["-t"], { env: { [name]: value } });
    assert.equal(code, 2, name);
    assert.ok(stderr.includes(name) && stderr.includes(value), stderr);
  }
});

Deno.test("-t says that a valid config is ok, on standard output, and ends with 0", () =>
  withConfig(VALID, async (path) => {
    for (const args of [["-t", path], ["--test-config", path], [path, "-t"]]) {
      const { code, stdout, stderr } = await runDoorman(args);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
      assert.match(stdout, /syntax is ok\n.*test is successful\n$/s);
      assert.ok(stdout.includes(path));
    }
  }));

Deno.test("-t takes the config from CONFIG_FILE, from the command line first, else pg_doorman.toml", () =>
  withConfig(VALID, async (path, folder) => {
    assert.equal((await runDoorman(["-t"], { env: { CONFIG_FILE: path } })).code, 0);
    assert.equal((await runDoorman(["-t"], { cwd: folder })).code, 0);
    const both = await runDoorman(["-t", "absent.toml"], { env: { CONFIG_FILE: path } });
    assert.equal(both.code, 78);
    assert.match(both.stderr, /absent\.toml/);
  }));

Deno.test("-t reads YAML by the file's name", () =>
  withFolder(async (folder) => {
    const path = join(folder, "doorman.yml");
    await Deno.writeTextFile(
      path,
      "general:\n  admin_username: admin\n  admin_password: secret\npools: {}\n",
    );
    assert.equal((await runDoorman(["-t", path])).code, 0);
  }));

Deno.test("-t tells all faults at once, each with file, key and what would be right, and ends with 78", () =>
  withConfig(
    VALID.replace("port = ${PORT}", 'port = "many"')
      .replace("pool_size = 1", "pool_size = 0")
      .replace("server_port = 1", 'server_port = 99999\npool_mode = "query"')
      .replace("[general]", '[general]\nquery_wait_timeout = "1h30m"\npg_hba = "host all"'),
    async (path) => {
      const { code, stdout, stderr } = await runDoorman(["-t", path]);
      assert.equal(code, 78);
      assert.equal(stdout, "");
      assert.match(stderr, /^Config parse error:/);
      const faults = stderr.split("\n").filter((line) => line.startsWith("error: "));
      for (
        const [key, said] of [
          ["general.port", /whole number/],
          ["pools.app.users", /pool_size/],
          ["pools.app.server_port", /99999|65535/],
          ["pools.app.pool_mode", /transaction/],
          ["general.query_wait_timeout", /1h30m/],
          ["pg_hba", /./],
        ] as const
      ) {
        const fault = faults.find((line) => line.includes(key));
        assert.ok(fault, `no fault for ${key} in:\n${stderr}`);
        assert.match(fault, said);
        assert.ok(fault.includes("pg_doorman.toml"), fault);
      }
    },
  ));

Deno.test("-t names the file and line of a fault in pg_hba's file and in an included file", () =>
  withFolder(async (folder) => {
    const hba = join(folder, "hba.conf");
    await Deno.writeTextFile(hba, "# fine\nlocal all all trust\nhost all all 127.0.0.1/33 trust\n");
    const users = join(folder, "users.yaml");
    await Deno.writeTextFile(users, "pools:\n  app:\n    pool_mode: sesion\n");
    const path = join(folder, "main.toml");
    const text = VALID.replace("${PORT}", "1") + `[include]\nfiles = ["${users}"]\n`;
    await Deno.writeTextFile(
      path,
      text.replace("[general]", `[general]\npg_hba = { path = "${hba}" }`),
    );
    const { code, stderr } = await runDoorman(["-t", path]);
    assert.equal(code, 78);
    assert.match(stderr, /hba\.conf:3\b.*127\.0\.0\.1\/33|hba\.conf.*line 3.*127\.0\.0\.1\/33/);
    assert.match(stderr, /users\.yaml.*pools\.app\.pool_mode.*session/);
  }));

Deno.test("-t tells no password, whatever is wrong with the line that it is on", async () => {
  for (
    const line of [
      'password = "word-of-the-user',
      "password = word-of-the-user",
      'password = ["word-of-the-user"]',
      'password = { is = "word-of-the-user" }',
      'passwort = "word-of-the-user"',
      'password = "SCRAM-SHA-256$word-of-the-user"',
      'password = "x"\nserver_password = "word-of-the-user"',
      'password = "x"\nserver_username = 5\nserver_password = "word-of-the-user"',
      'password = "word-of-the-user"\npassword = "word-of-the-user"',
    ]
  ) {
    await withConfig(
      VALID.replace('password = "word-of-the-user"', line).replace(
        'admin_password = "word-of-the-admin"',
        'admin_password = "word-of-the-admin"\nport = "x"',
      ),
      async (path) => {
        const { code, stdout, stderr } = await runDoorman(["-t", path]);
        assert.equal(code, 78, line);
        assert.ok(!(stdout + stderr).includes("word-of-the"), stderr);
      },
    );
    await withFolder(async (folder) => {
      const path = join(folder, "doorman.yaml");
      const yaml = line.replace(" = ", ": ").replace("\n", "\n        ").replaceAll(" = ", ": ");
      await Deno.writeTextFile(
        path,
        `general:\n  admin_username: admin\n  admin_password: word-of-the-admin\n  port: x\n` +
          `pools:\n  app:\n    users:\n      - username: app\n        ${yaml}\n        pool_size: 1\n`,
      );
      const { code, stdout, stderr } = await runDoorman(["-t", path]);
      assert.equal(code, 78, yaml);
      assert.ok(!(stdout + stderr).includes("word-of-the"), stderr);
    });
  }
});

Deno.test("-t opens no port and writes no file", () =>
  withConfig(VALID, async (path, folder) => {
    const port = Number(/port = (\d+)/.exec(await Deno.readTextFile(path))![1]);
    const taken = Deno.listen({ hostname: "127.0.0.1", port });
    try {
      assert.equal((await runDoorman(["-t", path], { cwd: folder })).code, 0);
    } finally {
      taken.close();
    }
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["pg_doorman.toml"]);
  }));

Deno.test("-t warns of unknown keys with the nearest name, of keys without effect, and still succeeds", () =>
  withConfig(VALID.replace("pool_size = 1", "pool_size = 1\npool_sice = 3"), async (path) => {
    const { code, stderr } = await runDoorman(["-t", path]);
    assert.equal(code, 0);
    assert.match(stderr, /warning: .*pool_sice.*pool_size/);
  }));

Deno.test("a start with a wrong, unreadable or absent config ends with 78 and says why", () =>
  withFolder(async (folder) => {
    const path = join(folder, "broken.toml");
    await Deno.writeTextFile(path, "[general\n");
    const broken = await runDoorman([path]);
    assert.equal(broken.code, 78);
    assert.match(broken.stderr, /^Config parse error:.*broken\.toml/s);
    const absent = await runDoorman([join(folder, "absent.toml")]);
    assert.equal(absent.code, 78);
    assert.match(absent.stderr, /absent\.toml/);
    const directory = await runDoorman([folder]);
    assert.equal(directory.code, 78);
  }));

Deno.test("a port that is taken ends with 1, a unix socket that can't be made with 71", async () => {
  const taken = Deno.listen({ hostname: "127.0.0.1", port: freePort() });
  try {
    await withConfig(
      VALID.replace("${PORT}", String((taken.addr as Deno.NetAddr).port)),
      async (path) => {
        const { code, stderr } = await runDoorman([path]);
        assert.equal(code, 1);
        assert.match(stderr, /listen on 127\.0\.0\.1:\d+: .*in use/i);
      },
    );
  } finally {
    taken.close();
  }
  await withConfig(
    VALID.replace("[general]", '[general]\nunix_socket_dir = "/nonexistent/folder"'),
    async (path) => {
      const { code, stderr } = await runDoorman([path]);
      assert.equal(code, 71, stderr);
      assert.match(stderr, /\/nonexistent\/folder/);
    },
  );
});

Deno.test("SIGTERM and SIGINT in the foreground end it with 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using doorman = await Doorman.start({
      config: VALID,
      // Without a terminal SIGINT asks for a binary upgrade.
      env: { PG_DOORMAN_CI_SHUTDOWN_ONLY: "1" },
    });
    assert.equal(await doorman.stop(signal), 0);
  }
});

Deno.test("text log: UTC time, level, place and message a line; the level info by default", async () => {
  await using doorman = await Doorman.start({ config: VALID });
  await doorman.waitForLog(/Accepting connections/);
  const lines = doorman.logs.trimEnd().split("\n");
  for (const line of lines) {
    assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z {2}INFO \S+:\d+: \S/);
  }
  assert.match(lines.join("\n"), /PgDoorman \d+\.\d+\.\d+.*Running on 127\.0\.0\.1:\d+/s);
  assert.ok(!doorman.logs.includes("\x1b"), "colour in a file");
});

Deno.test("structured log: a JSON object a line with upstream's keys in upstream's order", async () => {
  for (
    const options of [
      { args: ["--log-format", "structured"] },
      { env: { LOG_FORMAT: "structured" } },
      { args: ["-F", "structured"], env: { LOG_FORMAT: "text" } },
    ]
  ) {
    await using doorman = await Doorman.start({ config: VALID, ...options });
    await doorman.waitForLog(/Accepting connections/);
    for (const line of doorman.logs.trimEnd().split("\n")) {
      const record = JSON.parse(line);
      assert.deepEqual(Object.keys(record), ["timestamp", "level", "file", "line", "message"]);
      assert.equal(record.level, "INFO");
      assert.equal(new Date(record.timestamp).toISOString(), record.timestamp);
    }
  }
});

Deno.test("-l: error keeps the log empty, debug and LOG_LEVEL=debug tell more", async () => {
  await using quiet = await Doorman.start({ config: VALID, args: ["-l", "error"] });
  {
    using client = await WireClient.login({
      port: quiet.port,
      user: "admin",
      database: "pgdoorman",
      password: "word-of-the-admin",
    });
    await client.terminate();
  }
  assert.equal(await quiet.stop(), 0);
  assert.equal(quiet.logs, "");

  for (const options of [{ args: ["-l", "debug"] }, { env: { LOG_LEVEL: "debug" } }]) {
    await using doorman = await Doorman.start({
      config: VALID.replace("[general]", "[general]\nlog_client_disconnections = false"),
      ...options,
    });
    using client = await WireClient.login({
      port: doorman.port,
      user: "admin",
      database: "pgdoorman",
      password: "word-of-the-admin",
    });
    await client.terminate();
    await doorman.waitForLog(/DEBUG .*client disconnected/);
  }
});

Deno.test("the executable needs nothing beside it: it runs from an empty folder without HOME", () =>
  withFolder(async (folder) => {
    const copy = join(folder, "doorman");
    await Deno.copyFile(await doormanExecutable(), copy);
    await Deno.chmod(copy, 0o755);
    const output = await new Deno.Command(copy, { args: ["-V"], cwd: folder, clearEnv: true })
      .output();
    assert.equal(output.code, 0);
    assert.equal(output.stderr.length, 0);
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assert.deepEqual(left, ["doorman"]);
  }));

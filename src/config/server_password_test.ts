import assert from "node:assert/strict";
import { GENERAL, memoryIo, resolvingWith, validConfig } from "../../tests/support/config_io.ts";
import { resolveSettings } from "./effective.ts";
import { configRows } from "./diff.ts";
import { loadConfig } from "./load.ts";
import { readPassword } from "./server_password.ts";

const MODES: Record<string, number> = {
  "/bin/it": 0o100755,
  "/bin/data": 0o100644,
  "/bin/dir": 0o040755,
};
const USER = '[[pools.app.users]]\nusername = "a"\npassword = "x"\npool_size = 1\n';
const FILES = { "token": "secret\n", "empty": "", "lines": "secret\nsecret\n" };

function load(pool: string, user = "") {
  const text = `${GENERAL}[pools.app]\nserver_host = "db.test"\n${pool}\n${USER}${user}\n`;
  const io = {
    ...memoryIo({ ...FILES, "t.toml": text }),
    fileMode(path: string): number | undefined {
      if (path.startsWith("/bin/") && MODES[path] === undefined) {
        throw Object.assign(new Error("no such file"), { code: "ENOENT" });
      }
      return MODES[path];
    },
  };
  return loadConfig("t.toml", io);
}

function faults(pool: string, user = ""): string[] {
  return load(pool, user).faults.map(({ path, message }) => `${path}: ${message}`);
}

function credentials(pool: string, user = "") {
  const { pools } = resolveSettings(validConfig(load(pool, user)), resolvingWith());
  return pools[0]!.credentials;
}

Deno.test("server password: what there is not, what can't be run, and what excludes each other, is a fault", () => {
  const cases: [pool: string, user: string, told: string[]][] = [
    ['server_password_file = "token"', "", []],
    ['server_password_file = "gone"', "", ["pools.app.server_password_file: could not open"]],
    ['server_password_file = "empty"', "", [
      'pools.app.server_password_file: "empty": it holds nothing',
    ]],
    ["", 'server_password_file = "lines"', [
      'pools.app.users[0].server_password_file: "lines": it holds more than one line',
    ]],
    ['server_password_command = ["/bin/it", "x"]', "", []],
    ["server_password_command = []", "", ["pools.app.server_password_command: must not be empty"]],
    ['server_password_command = ["it"]', "", [
      'pools.app.server_password_command: "it" is no path',
    ]],
    ['server_password_command = ["/bin/gone"]', "", [
      'pools.app.server_password_command: could not look at "/bin/gone"',
    ]],
    ['server_password_command = ["/bin/data"]', "", [
      'pools.app.server_password_command: "/bin/data" is not executable',
    ]],
    ['server_password_command = ["/bin/dir"]', "", [
      'pools.app.server_password_command: "/bin/dir" is not executable',
    ]],
    ['server_password_file = "token"\nserver_password_command = ["/bin/it"]', "", [
      "pools.app.server_password_file: excludes server_password_command",
    ]],
    ["", 'server_username = "r"\nserver_password = "p"\nserver_password_file = "token"', [
      "pools.app.users[0].server_password: excludes server_password_file",
    ]],
    ["server_password_command_timeout = 0", "", [
      "pools.app.server_password_command_timeout: ",
    ]],
  ];
  for (const [pool, user, told] of cases) {
    const found = faults(pool, user);
    assert.equal(found.length, told.length, found.join("\n"));
    told.forEach((text, i) => assert.ok(found[i]!.startsWith(text), found[i]));
  }
});

Deno.test("server password: a user's own key beats the pool's, and one that is written beats both", () => {
  const file = { kind: "fetched", source: { from: "file", file: "token" } };
  assert.deepEqual(credentials('server_password_file = "token"'), file);
  const command = 'server_password_command = ["/bin/it", "{user}@{host}:{port}/{database} {x}"]\n' +
    "server_password_command_ttl = 7000\nserver_password_command_timeout = 3000";
  const source = {
    from: "command",
    command: ["/bin/it", "a@db.test:5432/app {x}"],
    ttlMs: 7000,
    timeoutMs: 3000,
  };
  assert.deepEqual(credentials(command), { kind: "fetched", source });
  assert.deepEqual(credentials(command, 'server_password_file = "token"'), file);
  const role = 'server_username = "r"\n';
  assert.deepEqual(credentials(command, `${role}server_password = "p"`), {
    kind: "password",
    password: "p",
  });
  const other = credentials(command, role);
  assert.ok(other.kind === "fetched" && other.source.from === "command");
  assert.equal(other.source.command[1], "r@db.test:5432/app {x}");
});

Deno.test("server password: a command may have secrets among its arguments, which nobody is shown", () => {
  const config = validConfig(load('server_password_command = ["/bin/it", "hidden"]'));
  const rows = configRows(config).filter(({ key }) => key.endsWith("server_password_command"));
  assert.equal(rows.length, 2);
  assert.ok(!JSON.stringify(rows).includes("hidden"));
});

Deno.test("server password: one line of UTF-8 without its end, 65,530 bytes at most", () => {
  const read = (text: string) => readPassword(new TextEncoder().encode(text));
  for (const end of ["", "\n", "\r\n"]) {
    assert.deepEqual(read(` pä ${end}`), { password: " pä " });
    assert.ok("password" in read("x".repeat(65_530) + end));
    assert.ok("fault" in read("x".repeat(65_531) + end));
    assert.ok("fault" in read(end));
  }
  for (const text of ["a\n\n", "a\nb", "\na", "a\0"]) assert.ok("fault" in read(text));
  assert.ok("fault" in readPassword(Uint8Array.of(0xff)));
});

import assert from "node:assert/strict";
import { readServerAuth } from "./server_auth.ts";

Deno.test("server_auth: methods, or all but some", () => {
  const cases: [string, string[]][] = [
    ["", []],
    ["scram-sha-256", ["scram-sha-256"]],
    [" md5 , scram-sha-256,md5", ["md5", "scram-sha-256"]],
    ["!password", ["none", "md5", "scram-sha-256"]],
    ["!none, !password,!md5", ["scram-sha-256"]],
  ];
  for (const [value, allowed] of cases) assert.deepEqual(readServerAuth(value), { allowed }, value);
});

Deno.test("server_auth: what makes no sense is a fault", () => {
  for (
    const [value, fault] of [
      ["scram", /no method "scram"/],
      ["SCRAM-SHA-256", /no method/],
      ["md5,", /no method ""/],
      ["!", /no method ""/],
      ["md5,!none", /both/],
      ["!md5,none", /both/],
      ["!none,!password,!md5,!scram-sha-256", /allows no method/],
    ] as const
  ) {
    const read = readServerAuth(value);
    assert.match("fault" in read ? read.fault : "", fault, value);
  }
});

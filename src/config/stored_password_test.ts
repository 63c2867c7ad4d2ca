import assert from "node:assert/strict";
import { passwordForm } from "./stored_password.ts";

// `SELECT rolpassword FROM pg_authid` of a role with the password "foo".
const VERIFIER = "SCRAM-SHA-256$4096:uSCLZSlfF0HPpbjGqLBFLQ==" +
  "$sn5wSzRPdTkU0bBEzEaOMaLCWgRLcGrtiXf0qXMdQo0=:iDLZ8hVb0U8HLAFAKXUmRQCjhvbwW6AXHCb7xFQaYJ0=";

Deno.test("stored password: forms are told apart as PostgreSQL does", () => {
  for (
    const [password, form] of [
      ["", "empty"],
      [VERIFIER, "scram"],
      [VERIFIER.slice(0, -3), "broken_scram"],
      ["SCRAM-SHA-256", "broken_scram"],
      ["SCRAM-SHA-1$x", "plain"],
      ["md5d41d8cd98f00b204e9800998ecf8427e", "md5"],
      ["md5D41D8CD98F00B204E9800998ECF8427E", "md5"],
      ["md5d41d8cd98f00b204e9800998ecf8427", "plain_like_md5"],
      ["md5sum of nothing", "plain_like_md5"],
      ["MD5d41d8cd98f00b204e9800998ecf8427e", "plain"],
      ["jwt-pkey-fpath:/etc/key.pem", "jwt"],
      ["correct horse", "plain"],
    ] as const
  ) assert.equal(passwordForm(password), form, password);
});

import assert from "node:assert/strict";
import { kidOfFile, talosRole } from "./talos.ts";

function role(access: unknown, database = "app"): string {
  const found = talosRole({ clientId: "svc", resource_access: access } as never, database);
  return "role" in found ? `${found.role} of ${found.clientId}` : found.fault;
}

Deno.test("talos: the highest role for the database that is asked for", () => {
  assert.equal(role({ "pg:app": { roles: ["read_only"] } }), "read_only of svc");
  assert.equal(role({ "pg:app": { roles: ["read_only", "read_write"] } }), "read_write of svc");
  assert.equal(
    role({ "a:app": { roles: ["read_only"] }, "b:app": { roles: ["owner"] } }),
    "owner of svc",
  );
  // Split at the first colon.
  assert.equal(role({ "pg:x:app": { roles: ["owner"] } }, "x:app"), "owner of svc");
});

Deno.test("talos: a role in one database is none in another", () => {
  const access = { "pg:app": { roles: ["owner"] }, "pg:billing": { roles: ["read_only"] } };
  assert.equal(role(access, "billing"), "read_only of svc");
  assert.equal(role(access, "other"), "the token has no role in this database");
  assert.equal(role({ app: { roles: ["owner"] } }), "the token has no role in this database");
  // A role that is not known matters in the database that is asked for, and there alone.
  assert.match(role({ "pg:app": { roles: ["owner", "admin"] } }), /another role/);
  assert.equal(
    role({ "pg:app": { roles: ["owner"] }, "pg:billing": { roles: ["admin"] } }),
    "owner of svc",
  );
});

Deno.test("talos: claims of the wrong shape", () => {
  assert.match(role(undefined), /no resource_access/);
  assert.match(role([]), /no resource_access/);
  assert.match(role({ "pg:app": {} }), /no roles/);
  assert.match(role({ "pg:app": { roles: "owner" } }), /no roles/);
  assert.match(role({ "pg:app": { roles: [] } }), /no role in/);
  assert.match(role({ "pg:app": { roles: [null] } }), /another role/);
  for (const clientId of [undefined, "", 5]) {
    const found = talosRole({ clientId, resource_access: {} } as never, "app");
    assert.ok("fault" in found && /clientId/.test(found.fault));
  }
});

Deno.test("talos: a key file is for the kid that it is called by", () => {
  assert.equal(kidOfFile("/etc/keys/prod-1.pem"), "prod-1");
  assert.equal(kidOfFile("a.b.pem"), "a.b");
  assert.equal(kidOfFile("key"), "key");
  assert.equal(kidOfFile("dir.d/.pem"), ".pem");
});

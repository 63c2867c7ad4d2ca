import assert from "node:assert/strict";
import { optionFaults } from "./method_options.ts";

function faults(method: "pam" | "ldap" | "jwt", options: Record<string, string>): string {
  return optionFaults(method, options).map(({ message }) => message).join("; ");
}

Deno.test("method options: what each method takes", () => {
  assert.equal(faults("pam", {}), "");
  assert.equal(faults("pam", { pamservice: "x", pam_use_hostname: "0" }), "");
  assert.match(faults("pam", { pamservice: "../x" }), /no service's name/);
  assert.match(faults("pam", { pamservice: "" }), /is empty/);
  assert.match(faults("pam", { pam_use_hostname: "1" }), /not supported/);
  assert.match(faults("pam", { key: "x" }), /none of pam's/);
  assert.equal(faults("jwt", { key: "/k", audience: "a b", leeway: "30" }), "");
  assert.match(faults("jwt", { leeway: "30s" }), /number of seconds/);
  assert.match(faults("ldap", {}), /ldapserver is missing/);
  assert.equal(faults("ldap", { ldapserver: "a", ldapprefix: "cn=" }), "");
});

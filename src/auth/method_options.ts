/** Options that rules of pg_hba give to the methods that others carry out; those of `ldap` have a file of their own. */

import type { HbaExternalMethod } from "../config/hba_rule.ts";
import { type OptionFault, readLdapOptions } from "./ldap_options.ts";

const NAMES: Readonly<Record<Exclude<HbaExternalMethod, "ldap">, ReadonlySet<string>>> = {
  pam: new Set(["pamservice", "pam_use_hostname"]),
  jwt: new Set(["key", "audience", "issuer", "leeway", "claim"]),
};

/** What is wrong with a rule's options. Values are left out: some are secrets. */
export function optionFaults(
  method: HbaExternalMethod,
  options: Readonly<Record<string, string>>,
): OptionFault[] {
  if (method === "ldap") {
    const read = readLdapOptions(options);
    return "faults" in read ? read.faults : [];
  }
  const faults: OptionFault[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (!NAMES[method].has(name)) {
      faults.push({
        message: `option "${name}" is none of ${method}'s`,
        hint: `remove it, or write one of ${[...NAMES[method]].join(", ")}`,
      });
    } else if (value === "") {
      faults.push({ message: `option "${name}" is empty`, hint: "remove it, or say which" });
    }
  }
  if (options.pamservice?.includes("/")) {
    faults.push({
      message: "pamservice is no service's name",
      hint: "write that of a file in /etc/pam.d",
    });
  }
  if ((options.pam_use_hostname ?? "0") !== "0") {
    faults.push({
      message: "pam_use_hostname=1 is not supported: PAM is told the address",
      hint: "remove it",
    });
  }
  if (options.leeway !== undefined && !/^[0-9]{1,6}$/.test(options.leeway)) {
    faults.push({ message: "leeway is no number of seconds", hint: "write leeway=30" });
  }
  return faults;
}

/** The fields of the StartupMessage that a pool's connections begin with. */

import { canonicalName } from "../config/parameter_names.ts";
import type { PoolSettings } from "../config/settings.ts";

/**
 * The pool's role and database, then `parameters`: the operator's if absent. Where those name no application, it is the
 * pool's.
 */
export function startupFields(
  settings: PoolSettings,
  parameters: readonly [string, string][] = settings.startup_parameters,
): [string, string][] {
  const fields: [string, string][] = [
    ["user", settings.server_username],
    ["database", settings.server_database],
  ];
  if (!parameters.some(([name]) => canonicalName(name) === "application_name")) {
    fields.push(["application_name", settings.application_name]);
  }
  return [...fields, ...parameters];
}

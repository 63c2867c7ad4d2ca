/**
 * The version of this program, taken from deno.json: the one place that a release changes. The build embeds that file's
 * name and version, so a compiled executable answers the same.
 */

import project from "../../deno.json" with { type: "json" };

/** Version number as `pg_doorman --version` prints it. */
export const VERSION: string = project.version;

/** A PostgreSQL whose users can be looked up by an auth_query, and that notes whom it was asked for. */

import type { Config } from "./instance.ts";
import type { Postgres } from "./postgres.ts";

const SETUP = `
CREATE ROLE finder LOGIN PASSWORD 'finder';
CREATE ROLE shared LOGIN PASSWORD 'shared';
CREATE SCHEMA pooler;
CREATE TABLE pooler.asked (name text);
CREATE TABLE pooler.own (name text PRIMARY KEY, startup_parameters jsonb);
CREATE FUNCTION pooler.lookup(wanted text)
RETURNS TABLE (passwd text, startup_parameters jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  INSERT INTO pooler.asked VALUES (wanted);
  RETURN QUERY
    SELECT CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END,
           (SELECT o.startup_parameters FROM pooler.own o WHERE o.name = wanted)
    FROM pg_authid WHERE rolname = wanted AND rolcanlogin;
END $$;
GRANT USAGE ON SCHEMA pooler TO finder;
`;

/** Makes the function, who calls it, a role that users share (each password is the role's name), and these users. */
export async function makeLookup(postgres: Postgres, users: readonly string[]): Promise<void> {
  const roles = users.map((name) => `CREATE ROLE ${name} LOGIN PASSWORD '${name}';`);
  await postgres.query(SETUP + roles.join("\n"));
}

/** The table `auth_query` of a pool. */
export function lookupOf(change: Config = {}): Config {
  return {
    query: "SELECT passwd, startup_parameters FROM pooler.lookup($1)",
    user: "finder",
    password: "finder",
    database: "postgres",
    ...change,
  };
}

/** How often the function was asked for the user. */
export async function askedFor(postgres: Postgres, user: string): Promise<number> {
  const rows = await postgres.query<{ count: string }>(
    `SELECT count(*) FROM pooler.asked WHERE name = '${user}'`,
  );
  return Number(rows[0]!.count);
}

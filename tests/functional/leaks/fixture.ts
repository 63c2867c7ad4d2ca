/** What the databases of the leak test hold: what the ways use, and a function for each way that hides it in its body. */

import { body } from "./forms.ts";
import type { Ways } from "./way.ts";

const SET_CONFIG = "set_config('work_mem', '7MB', false)";

const SCHEMA = `
CREATE EXTENSION dblink;
CREATE SCHEMA leak; CREATE SCHEMA one; CREATE SCHEMA two; CREATE SCHEMA evil;
GRANT ALL ON SCHEMA leak, one, two, evil TO weak;
CREATE TABLE leak.t (x text); INSERT INTO leak.t VALUES ('x');
CREATE TABLE leak.wide (x int, z int);
CREATE TABLE leak.names AS SELECT 'app.tenant' AS x;
CREATE SEQUENCE leak.counter;
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;

CREATE FUNCTION leak.run(sql text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END';
CREATE FUNCTION leak.run_in_temp(sql text) RETURNS void LANGUAGE plpgsql
  SET search_path = pg_temp AS 'BEGIN EXECUTE sql; END';
CREATE FUNCTION leak.with_parameter() RETURNS text LANGUAGE sql
  SET work_mem = '7MB' AS $$ SELECT current_setting('work_mem') $$;
CREATE PROCEDURE leak.commits() LANGUAGE plpgsql AS $$ BEGIN
  PERFORM ${SET_CONFIG}; COMMIT; PERFORM pg_advisory_lock(1); END $$;
CREATE PROCEDURE leak.commits_and_fails() LANGUAGE plpgsql AS $$ BEGIN
  PERFORM ${SET_CONFIG}; COMMIT; RAISE EXCEPTION 'no'; END $$;

CREATE FUNCTION leak.sql_setting() RETURNS text LANGUAGE sql AS $$ SELECT ${SET_CONFIG} $$;
CREATE FUNCTION leak.setting(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  PERFORM ${SET_CONFIG}; RETURN true; END $$;
CREATE FUNCTION leak.setting(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  PERFORM ${SET_CONFIG}; RETURN 1; END $$;
CREATE FUNCTION leak.setting_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM ${SET_CONFIG}; RETURN NEW; END $$;
CREATE VIEW leak.setting_view AS SELECT ${SET_CONFIG} AS x;
CREATE VIEW leak.settings AS SELECT * FROM pg_settings;
CREATE RULE settings AS ON UPDATE TO leak.settings DO INSTEAD
  SELECT set_config(old.name, new.setting, false);
CREATE TABLE leak.defaulting (x text DEFAULT ${SET_CONFIG});
CREATE TABLE leak.checked (x int CHECK (leak.setting(x)));
CREATE TABLE leak.triggered (x int);
CREATE TRIGGER setting BEFORE INSERT ON leak.triggered
  FOR EACH ROW EXECUTE FUNCTION leak.setting_trigger();
CREATE TABLE leak.ruled (x int);
CREATE RULE setting AS ON INSERT TO leak.ruled DO ALSO SELECT ${SET_CONFIG};
CREATE DOMAIN leak.checked_domain AS int CHECK (leak.setting(VALUE));
CREATE OPERATOR leak.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = leak.setting);
CREATE AGGREGATE leak.aggregating (int) (SFUNC = leak.setting, STYPE = int, INITCOND = 0);

CREATE FUNCTION evil.lie(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.lie);
`;

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** SQL that makes a database for these ways; the number of a way is its place. */
export function fixture(ways: Ways): string {
  const hidden = Object.values(ways).flatMap(({ sql }, number) => {
    if (sql === undefined) return [];
    const text = quoted(body(sql));
    return [
      `CREATE FUNCTION leak.hidden_${number}() RETURNS void LANGUAGE plpgsql AS ${text};`,
      `CREATE PROCEDURE leak.procedure_${number}() LANGUAGE plpgsql AS ${text};`,
    ];
  });
  return SCHEMA + hidden.join("\n");
}

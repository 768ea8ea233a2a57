-- Everything is read as the caller: with its privileges, column privileges and row-level security.
CREATE ROLE pyn_test_reader;
CREATE SCHEMA private;
GRANT USAGE ON SCHEMA private TO pyn_test_reader;
GRANT CREATE ON SCHEMA public TO pyn_test_reader;
CREATE TABLE private.account (id int PRIMARY KEY, owner text, balance float8, pin int);
INSERT INTO private.account SELECT i, CASE WHEN i % 2 = 0 THEN 'pyn_test_reader' ELSE 'another' END, i % 10, i % 7 FROM generate_series(1, 200) AS i;
UPDATE private.account SET balance = 1e6 WHERE id = 99;     -- another's
UPDATE private.account SET balance = 5e5 WHERE id = 100;    -- the reader's
CREATE VIEW private.account_view AS SELECT * FROM private.account;

-- Who may not read gets 42501, by any call.
SET ROLE pyn_test_reader;
\set VERBOSITY terse
SELECT count(*) FROM pynomaly.detect('private.account');
SELECT count(*) FROM pynomaly.anomalies('private.account');
SELECT count(*) FROM pynomaly.detect_query('SELECT * FROM private.account');
SELECT pynomaly.sketch_of('private.account');
SELECT count(*) FROM pynomaly.detect('private.account_view');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- Who may read some columns gets those; naming another is an error.
GRANT SELECT (id, balance) ON private.account TO pyn_test_reader;
SET ROLE pyn_test_reader;
SELECT count(*) FROM pynomaly.detect('private.account');
SELECT key, "row" FROM pynomaly.anomalies('private.account', contamination => 0.005);
SELECT count(*) FROM pynomaly.detect('private.account', '{balance,pin}');
SELECT count(*) FROM pynomaly.detect('private.account', key => '{owner}');
SELECT count(*) FROM pynomaly.detect('private.account', options => '{"label_column": "pin"}');
RESET ROLE;
REVOKE SELECT (id) ON private.account FROM pyn_test_reader;
SET ROLE pyn_test_reader;
SELECT count(*) AS rows, bool_and(key ? 'row') AS "without the primary key's column rows are numbered" FROM pynomaly.detect('private.account');
RESET ROLE;

-- Row-level security: the reader's rows only, in the sketch, the scores and the reasons.
GRANT SELECT ON private.account, private.account_view TO pyn_test_reader;
ALTER TABLE private.account ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON private.account USING (owner = current_user);
SET ROLE pyn_test_reader;
SELECT count(*) AS rows, max((key ->> 'id')::int % 2) AS foreign_rows FROM pynomaly.detect('private.account');
SELECT key, reasons #> '{0,value}' AS value FROM pynomaly.anomalies('private.account', contamination => 0.01);
SELECT pynomaly.sketch_of('private.account')::jsonb -> 'rows' AS rows;
SELECT count(*) FROM pynomaly.detect_query('SELECT * FROM private.account');
RESET ROLE;

-- A function or operator of the caller's schemas is never run in place of PostgreSQL's own.
SET ROLE pyn_test_reader;
CREATE FUNCTION public.float8(anyelement) RETURNS float8 LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'shadowed'; END $$;
CREATE FUNCTION public.hijacked(int, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'shadowed'; END $$;
CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, PROCEDURE = public.hijacked);
CREATE TEMPORARY TABLE account (id int, trap int);
SET search_path = public, pg_temp, pg_catalog;
SELECT count(*) AS rows FROM pynomaly.detect('private.account');
RESET search_path;
DROP OPERATOR public.= (int, int);
DROP FUNCTION public.float8(anyelement), public.hijacked(int, int);
DROP TABLE account;
RESET ROLE;

-- A security definer function reads as its owner, as anywhere.
CREATE FUNCTION private.flagged() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$SELECT count(*) FROM pynomaly.detect('private.account')$$;
GRANT EXECUTE ON FUNCTION private.flagged() TO pyn_test_reader;
SET ROLE pyn_test_reader;
SELECT private.flagged();
RESET ROLE;

-- Nobody needs a grant for the pure calls, and nothing else is there for PUBLIC.
SELECT has_function_privilege('pyn_test_reader', oid, 'EXECUTE') AS public, count(*) AS functions,
    string_agg(DISTINCT proname, ' ' ORDER BY proname) AS names
FROM pg_proc WHERE pronamespace = 'pynomaly'::regnamespace GROUP BY 1 ORDER BY 1;
SELECT has_schema_privilege('pyn_test_reader', 'pynomaly', 'USAGE') AS usage, has_schema_privilege('pyn_test_reader', 'pynomaly', 'CREATE') AS "create";
REVOKE CREATE ON SCHEMA public FROM pyn_test_reader;
DROP SCHEMA private CASCADE;
DROP ROLE pyn_test_reader;

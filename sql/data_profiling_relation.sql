-- Profiling a relation: data_science reads it once, as the caller, and the profile is that of the sketch.
-- needs: data_science
CREATE SCHEMA data_profiling_relation;
SET search_path = data_profiling_relation;
\pset null '(null)'
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE ROLE pyn_profile_dora;
GRANT USAGE ON SCHEMA data_profiling_relation, pynomaly_data_profiling TO pyn_profile_dora;
GRANT SELECT ON ALL TABLES IN SCHEMA pynomaly_data_profiling TO pyn_profile_dora;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) TO pyn_profile_dora;
CREATE TABLE sale AS SELECT i AS id, i % 10 AS amount, 'shop ' || i % 3 AS shop, i * 1.5 AS price FROM generate_series(1, 90) AS i;
ALTER TABLE sale ADD PRIMARY KEY (id);
CREATE VIEW shops AS SELECT shop, sum(price) AS price FROM sale GROUP BY shop;
CREATE TABLE hidden AS SELECT 1 AS pin;
GRANT SELECT ON sale, shops TO pyn_profile_dora;
ALTER TABLE sale ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON sale USING (shop = 'shop 1');
CREATE FUNCTION profile(arguments jsonb) RETURNS SETOF pynomaly_data_profiling.column_profile LANGUAGE sql AS $$
    SELECT * FROM jsonb_populate_recordset(NULL::pynomaly_data_profiling.column_profile, pynomaly_kernel.call('data_profiling', 'profile', arguments))
$$;

-- By OID or by name; all usable columns, or those that are named.
SELECT column_name, kind, is_key, rows, distinct_values, minimum, maximum FROM profile(jsonb_build_object('relation', 'sale'::regclass::oid::bigint));
SELECT column_name, rows, maximum FROM profile('{"source": "data_profiling_relation.sale", "columns": ["price", "amount"]}');
SELECT column_name, is_key FROM profile('{"source": "data_profiling_relation.sale", "columns": ["amount"], "key": ["id"], "options": {"seed": 7}}');
SELECT column_name, rows, maximum FROM profile(jsonb_build_object('relation', 'shops'::regclass::oid::bigint));
SELECT source, rows, columns, request FROM pynomaly_data_profiling.profile ORDER BY id;

-- The same again is the next profile of the same dataset.
INSERT INTO sale VALUES (91, 10, 'shop 1', 1000);
ALTER TABLE sale ADD paid boolean DEFAULT true, DROP amount;
SELECT column_name, rows, distinct_values, maximum FROM profile(jsonb_build_object('relation', 'sale'::regclass::oid::bigint));
SELECT source, column_name, property, before, after FROM pynomaly_data_profiling.latest_change ORDER BY "position";
SELECT subject, data - 'dataset' - 'profile' AS data FROM pynomaly_kernel.event WHERE type = 'data_profiling.schema_changed.v1' AND subject = 'data_profiling_relation.sale';

-- With the caller's rights: other rows under row-level security, 42501 without the privilege; what is wrong is data_science's to tell.
SET ROLE pyn_profile_dora;
SELECT column_name, rows, distinct_values, top_values FROM profile('{"source": "data_profiling_relation.sale", "columns": ["shop"]}');
SELECT owner, source, rows FROM pynomaly_data_profiling.profile;
SELECT count(*) FROM profile('{"source": "data_profiling_relation.hidden"}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profile(jsonb_build_object('relation', 'hidden'::regclass::oid::bigint));
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profile('{"source": "data_profiling_relation.nothing"}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profile('{"source": "data_profiling_relation.sale", "columns": ["nothing"]}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profile('{"source": "data_profiling_relation.sale", "options": {"sead": 7}}');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

DELETE FROM pynomaly_data_profiling.profile WHERE source LIKE 'data\_profiling\_relation.%';
SET client_min_messages = warning;
DROP SCHEMA data_profiling_relation CASCADE;
DELETE FROM pynomaly_kernel.artifact WHERE owner::text = 'pyn_profile_dora';
DROP OWNED BY pyn_profile_dora;
DROP ROLE pyn_profile_dora;

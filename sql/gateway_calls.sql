-- Public calls that lead to one operation of a domain, and models by name.
\set VERBOSITY terse
\pset null '(null)'
SET client_min_messages = warning;
CREATE SCHEMA "Odd ""schema""";
CREATE TABLE "Odd ""schema"""."Zählwerk" (id bigint PRIMARY KEY, "Wert" float8, art text);
INSERT INTO "Odd ""schema"""."Zählwerk" SELECT i, sin(i), 'art ' || i % 4 FROM generate_series(1, 1000) AS i;
UPDATE "Odd ""schema"""."Zählwerk" SET "Wert" = 50 WHERE id = 500;
\set source '''"Odd ""schema"""."Zählwerk"'''

SELECT pynomaly.train('counter', :source);
SELECT pynomaly.train('counter', :source, columns => '{Wert}', algorithm => 'ecod', contamination => 0.02, options => '{"seed": 7}');
SELECT name, version, aliases, algorithm, columns, rows, contamination, seed, source, status FROM pynomaly_mlops.version WHERE name = 'counter' ORDER BY version;

-- By name, with the same scores as by value.
SELECT bool_and(pynomaly.score('counter', t) = pynomaly.score(m.model, t)) AS "the champion's"
FROM "Odd ""schema"""."Zählwerk" AS t, (SELECT pynomaly.fit(pynomaly.sketch_of(:source)) AS model OFFSET 0) AS m;
SELECT bool_and(pynomaly.score('counter/2', "Wert") = pynomaly.score(m.model, "Wert")) AS "the second's"
FROM "Odd ""schema"""."Zählwerk", (SELECT pynomaly.fit(pynomaly.sketch_of(:source, '{Wert}'), 'ecod', '{"contamination": 0.02, "seed": 7}') AS model OFFSET 0) AS m;
SELECT pynomaly.is_anomaly('counter/2', 50::float8), pynomaly.explain('counter/2', 50::float8) #>> '{reasons,0,feature}' AS feature;
SELECT key, score = 1 OR score > 0.99 AS odd FROM pynomaly.anomalies(:source, model => 'counter/2', "limit" => 1);
SELECT pynomaly.score('counter/3', 1);
SELECT pynomaly.score('nobody', 1);
SELECT pynomaly.score('counter@', 1);
SELECT pynomaly.score('', 1);

-- A name gets another model: at once in the same session, also in PL/pgSQL's simple expressions, within one transaction.
CREATE FUNCTION by_name(value float8) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN pynomaly.score('counter@live', value); END $$;
SELECT pynomaly.promote('counter/2', 'live');
BEGIN;
SELECT by_name(0.5) = pynomaly.score('counter/2', 0.5::float8) AS second;
SELECT pynomaly.train('counter', :source, columns => '{Wert}', options => '{"seed": 99}');
SELECT pynomaly.promote('counter/3', 'live', 'better');
SELECT by_name(0.5) = pynomaly.score('counter/3', 0.5::float8) AS third, by_name(0.5) = pynomaly.score('counter/2', 0.5::float8) AS second;
COMMIT;
SELECT pynomaly.rollback('counter', 'live', 'it was not');
SELECT by_name(0.5) = pynomaly.score('counter/2', 0.5::float8) AS second;
SELECT pynomaly.rollback('counter', 'live');
-- In parallel workers, too.
CREATE TABLE many AS SELECT (i % 100) / 50.0 - 1 AS "Wert" FROM generate_series(1, 20000) AS i;
ALTER TABLE many SET (parallel_workers = 2);
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(pynomaly.score('counter/2', "Wert")) FROM many;
SELECT round(sum(pynomaly.score('counter/2', "Wert"))::numeric, 6) = (SELECT round(sum(pynomaly.score(m.model, "Wert"))::numeric, 6)
    FROM many, (SELECT pynomaly.fit(pynomaly.sketch_of(:source, '{Wert}'), 'ecod', '{"contamination": 0.02, "seed": 7}') AS model OFFSET 0) AS m) AS "the same in parallel"
FROM many;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
-- And in a read-only transaction.
BEGIN READ ONLY;
SELECT pynomaly.score('counter/2', 0.5::float8) > 0 AS scored;
SELECT pynomaly.train('counter', :source);
ROLLBACK;

-- Profile and check.
SELECT column_name, kind, is_key, rows, nulls, distinct_values, round(mean::numeric, 4) AS mean, minimum, maximum FROM pynomaly.profile(:source);
SELECT max(id) AS profile FROM pynomaly_data_profiling.profile \gset
UPDATE "Odd ""schema"""."Zählwerk" SET "Wert" = "Wert" + 3;
SELECT count(*) FROM pynomaly.profile(:source, columns => '{Wert}');
SELECT count(*) FROM pynomaly.profile(:source);
SELECT column_name, property FROM pynomaly.compare_profiles((SELECT max(id) FROM pynomaly_data_profiling.profile), :profile) ORDER BY 1 NULLS FIRST, 2;
SELECT pynomaly.compare_profiles(123456);
SELECT dimension, name, column_name, passed, severity FROM pynomaly.check(:source) WHERE name IN ('key', 'schema');
SELECT pynomaly.add_rule(:source, 'row_count', low => 2000) AS rule \gset
SELECT name, value, low, passed, severity FROM pynomaly.check(:source) WHERE NOT passed;
SELECT pynomaly.drop_rule(:rule);
SELECT count(*) AS failed FROM pynomaly.check(:source) WHERE NOT passed;
\set VERBOSITY sqlstate
SELECT pynomaly.drop_rule(:rule);
\set VERBOSITY terse
-- A rule on a column that was not asked for is not judged.
SELECT pynomaly.add_rule(:source, 'completeness', 'Wert', low => 1) AS rule \gset
SELECT name, column_name, passed, severity FROM pynomaly.check(:source, columns => '{art}') WHERE column_name = 'Wert';
SELECT name, column_name, passed, severity FROM pynomaly.check(:source) WHERE column_name = 'Wert' AND severity = 'error';
SELECT pynomaly.drop_rule(:rule);
SELECT pynomaly.add_rule(:source, 'colour');
SELECT pynomaly.profile(NULL);
SELECT pynomaly.train(NULL, :source);
SELECT pynomaly.train('a@b', :source);

-- The status of an anomaly.
SELECT pynomaly.submit(:source, contamination => 0.005) AS request \gset
CALL pynomaly.process_events();
SELECT id AS anomaly, status FROM pynomaly.request_anomalies(:'request', 1) \gset
SELECT pynomaly.set_anomaly_status(:anomaly, 'acknowledged', 'looked at');
SELECT pynomaly.set_anomaly_status(:anomaly, 'false_alarm');
SELECT pynomaly.set_anomaly_status(:anomaly, 'gone');
SELECT pynomaly.set_anomaly_status(-1, 'open');
SELECT status, source, model_name FROM pynomaly_data_science.found_anomaly WHERE id = :anomaly;
SELECT status_before, status, note, changed_by = current_user AS changed_by FROM pynomaly_data_science.anomaly_history WHERE anomaly = :anomaly ORDER BY changed_at;

SELECT pynomaly.drop_model('counter');
SELECT pynomaly.score('counter', 1);
SELECT domain, version, location, status FROM pynomaly.services() ORDER BY domain;
DROP FUNCTION by_name;
DROP TABLE many;
DROP SCHEMA "Odd ""schema""" CASCADE;

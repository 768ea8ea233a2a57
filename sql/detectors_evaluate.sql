-- evaluate and compare, against scikit-learn, scipy and numpy (test/fixtures/evaluation.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set labels :directory '/test/fixtures/labels.csv'
\set evaluation :directory '/test/fixtures/evaluation.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE labels (id int PRIMARY KEY, odd boolean);
COPY labels FROM :'labels' (FORMAT csv, HEADER);
CREATE TABLE labelled AS SELECT id, a, b, c, odd, odd::int AS number, odd::int::numeric AS decimal FROM points JOIN labels USING (id);
CREATE TABLE expected (model text, metric text, value float8, low float8, high float8, p_value float8);
COPY expected FROM :'evaluation' (FORMAT csv, HEADER);
CREATE TABLE fitted AS SELECT columns, pynomaly.fit(pynomaly.sketch_of('points', ('{' || columns || '}')::name[]), 'ecod',
    '{"threshold_method": "mad", "threshold_multiplier": 2}') AS model FROM unnest('{"a,b,c","a,c",c}'::text[]) AS columns;

-- Each measure and count is scikit-learn's, ties among them; intervals are as near as those of two bootstraps are.
SELECT columns, count(*) AS measures, count(*) FILTER (WHERE abs(f.value - e.value) < 1e-9) AS equal
FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd', '{"k": 20}') AS f JOIN expected AS e USING (metric)
WHERE e.model = columns GROUP BY columns ORDER BY columns;
SELECT metric, abs(f.low - e.low) < 0.051 AS low, abs(f.high - e.high) < 0.051 AS high, f.low <= f.value AND f.value <= f.high AS within
FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd', '{"k": 20}') AS f JOIN expected AS e USING (metric)
WHERE columns = 'a,b,c' AND e.model = columns AND e.low IS NOT NULL;
SELECT metric, value, low, high FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'a,b,c';

-- Labels may be numbers; the same seed gives the same intervals, another confidence narrower ones, no replicates none.
SELECT count(DISTINCT (metric, value, low, high)) = count(DISTINCT metric) AS "same for all types"
FROM fitted, unnest('{odd,number,decimal}'::name[]) AS label, LATERAL pynomaly.evaluate(model, 'labelled', label) WHERE columns = 'a,b,c';
SELECT bool_and(a.low > b.low AND a.high < b.high) AS narrower, bool_and(c.low IS NULL AND c.value = a.value) AS none
FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd', '{"confidence": 0.5}') AS a
    JOIN LATERAL pynomaly.evaluate(model, 'labelled', 'odd') AS b USING (metric)
    JOIN LATERAL pynomaly.evaluate(model, 'labelled', 'odd', '{"replicates": 0}') AS c USING (metric)
WHERE columns = 'a,b,c' AND metric IN ('roc_auc', 'average_precision', 'recall');

-- By name; by another contamination or threshold, which change the flags alone.
SELECT pynomaly.train('evaluate_test', 'points', '{a,b,c}', 'ecod'), pynomaly.train('evaluate_other', 'points', '{a,c}', 'ecod');
SELECT options, bool_and(e.value = f.flagged) AS flagged, bool_and(abs(r.value - x.value) < 1e-9) AS "same area"
FROM (VALUES ('{}', 0.99), ('{"contamination": 0.2}', 0.8), ('{"threshold": 0.7}', 0.7)) AS v (options, from_score),
    LATERAL (SELECT count(*) FILTER (WHERE odd AND pynomaly.score('evaluate_test', labelled) >= from_score) AS flagged FROM labelled) AS f,
    LATERAL pynomaly.evaluate('evaluate_test', 'labelled', 'odd', options::jsonb) AS e,
    LATERAL pynomaly.evaluate('evaluate_test', 'labelled', 'odd', options::jsonb) AS r
JOIN expected AS x USING (metric)
WHERE x.model = 'a,b,c' AND e.metric = 'true_positives' AND r.metric = 'roc_auc' GROUP BY options ORDER BY options;

-- Differences, intervals and significance: DeLong's and McNemar's to the last digits, the bootstrap's nearly.
SELECT e.model, metric, abs(f.difference - e.value) < 1e-9 AS difference,
    abs(f.low - e.low) < CASE metric WHEN 'average_precision' THEN 0.04 ELSE 1e-9 END AS low,
    abs(f.high - e.high) < CASE metric WHEN 'average_precision' THEN 0.04 ELSE 1e-9 END AS high,
    CASE metric WHEN 'average_precision' THEN f.p_value BETWEEN 0 AND 1 ELSE abs(f.p_value - e.p_value) < 1e-9 END AS p
FROM (SELECT array_agg(model ORDER BY columns) AS models, array_agg(columns ORDER BY columns) AS names FROM fitted) AS m,
    LATERAL pynomaly.compare('labelled', 'odd', VARIADIC models) AS f
    JOIN expected AS e USING (metric)
WHERE e.model = names[f.model::int] || ' - ' || names[f.baseline::int] ORDER BY 1, 2;
SELECT metric, model, baseline, value > baseline_value AS better, p_value < 0.05 AS significant
FROM pynomaly.compare('labelled', 'odd', 'evaluate_other', 'evaluate_test');
SELECT metric, difference, low, high, p_value FROM pynomaly.compare('labelled', 'odd', 'evaluate_test', 'evaluate_test/1');

-- Rows without a label and rows without a value are left out and counted; one row of a kind has no interval.
SELECT metric, value FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c' AND metric IN ('rows', 'unlabelled', 'missing', 'anomalies');
UPDATE labelled SET c = NULL WHERE id <= 7;
SELECT metric, value FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c' AND metric IN ('rows', 'unlabelled', 'missing');
CREATE VIEW "few ""rows" AS SELECT id, a AS c, id = 3 AS "odd?" FROM points WHERE id <= 5;
SELECT metric, value IS NOT NULL AS value, low, high FROM fitted, LATERAL pynomaly.evaluate(model, '"few ""rows"', 'odd?') WHERE columns = 'c';
SELECT metric, low IS NULL AS "no interval" FROM fitted AS x, fitted AS y, LATERAL pynomaly.compare('"few ""rows"', 'odd?', x.model, x.model) WHERE x.columns = 'c' AND y.columns = 'c';

-- Reads as the caller, also where nothing may be written.
START TRANSACTION READ ONLY;
SELECT count(*) FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c';
SELECT count(*) FROM fitted, LATERAL pynomaly.compare('labelled', 'odd', model, model) WHERE columns = 'c';
COMMIT;
CREATE ROLE pyn_evaluate_reader;
GRANT SELECT ON fitted TO pyn_evaluate_reader;
SET ROLE pyn_evaluate_reader;
\set VERBOSITY terse
SELECT count(*) FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c';
RESET ROLE;
GRANT SELECT (c) ON labelled TO pyn_evaluate_reader;
SET ROLE pyn_evaluate_reader;
SELECT count(*) FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c';
SELECT count(*) FROM fitted, LATERAL pynomaly.compare('labelled', 'odd', model, model) WHERE columns = 'c';
RESET ROLE;
GRANT SELECT (odd) ON labelled TO pyn_evaluate_reader;
ALTER TABLE labelled ENABLE ROW LEVEL SECURITY;
CREATE POLICY first_hundred ON labelled FOR SELECT TO pyn_evaluate_reader USING (id <= 100);
SET ROLE pyn_evaluate_reader;
SELECT value AS "rows that it may see" FROM fitted, LATERAL pynomaly.evaluate(model, 'labelled', 'odd') WHERE columns = 'c' AND metric = 'rows';
RESET ROLE;
REVOKE ALL ON fitted, labelled FROM pyn_evaluate_reader;
DROP POLICY first_hundred ON labelled;
DROP ROLE pyn_evaluate_reader;

-- Bad input.
CREATE TABLE bad (id int PRIMARY KEY, a float8, b float8, c float8, odd boolean, two int, half float8, word text, at timestamp, box box, "Od""d" boolean, none boolean);
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || CASE WHEN hint <> '' THEN E'\n  hint: ' || hint ELSE '' END;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT outcome(format('SELECT * FROM pynomaly.evaluate(''evaluate_test'', ''bad'', %L)', label))
FROM unnest('{odd,missing,word,at,box,ctid,"Od\"d"}'::text[]) AS label;
INSERT INTO bad SELECT id, a, b, c, true, 2, 0.5, 'true', now(), NULL, true, NULL FROM points;
SELECT outcome(format('SELECT * FROM pynomaly.evaluate(''evaluate_test'', ''bad'', %L)', label)) FROM unnest('{odd,two,half,none,a,"Od\"d",two}'::text[]) AS label;
UPDATE bad SET half = 'NaN', two = id % 2;
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'bad', 'half')$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'bad', 'two')$$);
SELECT outcome(format('SELECT * FROM pynomaly.evaluate(''evaluate_test'', ''bad'', ''two'', %L)', options))
FROM unnest(ARRAY['{"k": 0}', '{"k": 1.5}', '{"replicates": -1}', '{"confidence": 1}', '{"contamination": 0.9}', '{"threshold": 2}', '{"top": 5}', '[]', '{"k": 1000000}']) AS options;
SELECT outcome($$SELECT * FROM pynomaly.evaluate(NULL::text, 'bad', 'two')$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', NULL, 'two')$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'bad', NULL)$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'bad', 'two', NULL)$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('no such', 'bad', 'two')$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'no_table', 'two')$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'two', 'evaluate_test')$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'two', 'evaluate_test', NULL)$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'two', VARIADIC NULL::text[])$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'two', VARIADIC '{}'::pynomaly.model[])$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'two', VARIADIC array_fill('evaluate_test'::text, '{9}'))$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('bad', 'odd', 'evaluate_test', 'evaluate_other')$$);
SELECT outcome($$SELECT * FROM pynomaly.compare('labels', 'odd', 'evaluate_test', 'evaluate_other')$$);
SELECT outcome($$SELECT * FROM pynomaly.evaluate(pynomaly.fit(pynomaly.sketch_of('bad', '{a,two}'), 'ecod'), 'bad', 'two')$$);
-- Rows beyond the first thousand are kept past the query that reads them.
CREATE TABLE many AS SELECT (i * 7919 % 1000)::float8 AS x, abs(i * 7919 % 1000 - 499.5) > 490 AS odd FROM generate_series(1, 20000) AS i;
SELECT metric, value FROM pynomaly.evaluate(pynomaly.fit(pynomaly.sketch_of('many', '{x}'), 'zscore'), 'many', 'odd', '{"replicates": 0}')
WHERE metric IN ('rows', 'anomalies', 'roc_auc', 'average_precision');
CREATE VIEW grown AS SELECT labelled.* FROM labelled, generate_series(1, 100);
SET pynomaly.work_mem = '1MB';
SELECT outcome($$SELECT * FROM pynomaly.evaluate('evaluate_test', 'grown', 'odd')$$);
RESET pynomaly.work_mem;
SELECT pynomaly.drop_model('evaluate_test'), pynomaly.drop_model('evaluate_other');
DROP VIEW "few ""rows", grown;
DROP TABLE points, labels, labelled, expected, fitted, bad, many;
DROP FUNCTION outcome;

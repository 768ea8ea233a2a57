-- How rows are flagged: the methods' thresholds, what says so, and what contradicts itself.
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set thresholds :directory '/test/fixtures/thresholds.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE expected (options jsonb, raw_threshold float8, flagged int);
COPY expected FROM :'thresholds' (FORMAT csv, HEADER);

-- Thresholds are those that numpy and scipy compute from the raw scores (test/fixtures/thresholds.py), and flag the same rows.
CREATE TABLE fitted AS
    SELECT *, pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}'), 'ecod', options) AS model FROM expected;
SELECT options, model::jsonb ->> 'threshold_method' AS method,
    abs((model::jsonb ->> 'raw_threshold')::float8 / raw_threshold - 1) < 1e-9 AS "same threshold",
    (SELECT count(*) FROM points WHERE pynomaly.is_anomaly(model, points)) = flagged AS "same rows", flagged
FROM fitted ORDER BY options::text;
SELECT options, model::jsonb ->> 'threshold_reason' AS reason FROM fitted ORDER BY options::text;

-- Percentiles, budgets and the contamination that they stand for flag the same rows.
SELECT options, raw IS NOT NULL AS "on raw scores", round(contamination::numeric, 9) AS contamination, flagged, share
FROM (VALUES ('{"percentile": 90}', 0.1), ('{"percentile": 97.5}', 0.025), ('{"alarms_per_day": 30, "rows_per_day": 1000}', 0.03),
             ('{"alarms_per_day": 0.1, "rows_per_day": 100000}', 0.000001), ('{"contamination": 0.1}', 0.1)) AS v (options, share),
    LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}'), 'ecod', options::jsonb) AS model) AS m,
    LATERAL (SELECT model::jsonb ->> 'raw_threshold' AS raw, (model::jsonb ->> 'contamination')::float8 AS contamination) AS j,
    LATERAL (SELECT count(*) AS flagged FROM points WHERE pynomaly.is_anomaly(model, points)) AS f;
SELECT bool_and(a.is_anomaly = b.is_anomaly) AS "percentile 97.5 is contamination 0.025"
FROM pynomaly.detect('points', '{a,b,c}', 'ecod', 0.025) AS a
    JOIN pynomaly.detect('points', '{a,b,c}', 'ecod', options => '{"percentile": 97.5}') AS b USING (key);

-- detect, anomalies, is_anomaly and explain agree; a row is flagged exactly when its severity is medium or more.
SELECT options, bool_and(d.is_anomaly = pynomaly.is_anomaly(model, points)) AS agree,
    bool_and(d.is_anomaly = (d.severity IN ('medium', 'high', 'critical'))) AS severity,
    count(*) FILTER (WHERE d.is_anomaly) = (SELECT count(*) FROM pynomaly.anomalies('points', '{a,b,c}', 'ecod', options => fitted.options)) AS anomalies,
    bool_and((pynomaly.explain(model, points) ->> 'is_anomaly')::boolean = d.is_anomaly) AS explained
FROM fitted, LATERAL pynomaly.detect('points', '{a,b,c}', 'ecod', options => fitted.options) AS d
    JOIN points ON points.id = (d.key ->> 'id')::int
GROUP BY options ORDER BY options::text;
SELECT severity, is_anomaly, count(*) FROM pynomaly.detect('points', '{a,b,c}', 'ecod', 0.01, options => '{"threshold": 0.9}') GROUP BY 1, 2 ORDER BY 3;

-- The threshold travels with the model as text and as binary.
SELECT bool_and((model::text::pynomaly.model)::jsonb = model::jsonb) AS text,
    bool_and((pynomaly.model_in(pynomaly.model_out(model)))::jsonb = model::jsonb) AS "in and out" FROM fitted;

-- With a model by name, a contamination or a score takes its threshold's place; both: the score flags, the contamination grades.
SELECT pynomaly.train('thresholds_test', 'points', '{a,b,c}', 'ecod', options => '{"threshold_method": "iqr"}');
SELECT what, count(*) FILTER (WHERE is_anomaly) AS flagged, count(*) FILTER (WHERE severity = 'critical') AS critical
FROM (SELECT 'its own' AS what, * FROM pynomaly.detect('points', model => 'thresholds_test')
      UNION ALL SELECT 'contamination', * FROM pynomaly.detect('points', model => 'thresholds_test', contamination => 0.1)
      UNION ALL SELECT 'score', * FROM pynomaly.detect('points', model => 'thresholds_test', options => '{"threshold": 0.8}')
      UNION ALL SELECT 'both', * FROM pynomaly.detect('points', model => 'thresholds_test', contamination => 0.5, options => '{"threshold": 0.8}')) AS d
GROUP BY what ORDER BY what;

-- Equal scores: nothing lies past the fence but what is odder than all.
CREATE TABLE two_values AS SELECT i AS id, (i % 2)::float8 AS x FROM generate_series(1, 200) AS i;
SELECT method, count(*) FILTER (WHERE pynomaly.is_anomaly(model, x)) AS flagged, bool_or(pynomaly.is_anomaly(model, 50.0)) AS "a new one"
FROM unnest('{iqr,mad,largest_gap,tail}'::text[]) AS method,
    LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('two_values', '{x}', '{id}'), 'ecod', jsonb_build_object('threshold_method', method)) AS model) AS m,
    two_values GROUP BY method ORDER BY method;
SELECT method, count(*) AS rows, count(*) FILTER (WHERE is_anomaly) AS flagged
FROM unnest('{percentile,iqr,mad,largest_gap,tail}'::text[]) AS method,
    pynomaly.detect_query('VALUES (1.0), (2.0)', algorithm => 'ecod', options => jsonb_build_object('threshold_method', method)) GROUP BY method ORDER BY method;

-- What contradicts itself is an error with a hint.
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
SELECT outcome(format('SELECT pynomaly.fit(pynomaly.sketch_of(''points'', ''{a,b,c}''), ''ecod'', %L)', o))
FROM unnest(ARRAY['{"threshold_method": "otsu"}', '{"threshold_method": 1}', '{"threshold_method": "iqr", "percentile": 98}',
    '{"threshold_method": "percentile", "threshold_multiplier": 2}', '{"threshold_method": "contamination", "tail_probability": 0.1}',
    '{"percentile": 98, "tail_probability": 0.1}', '{"threshold": 0.5, "threshold_method": "iqr"}', '{"threshold": 0.5, "percentile": 98}',
    '{"contamination": 0.1, "threshold_method": "mad"}', '{"contamination": 0.1, "threshold_method": "contamination"}',
    '{"contamination": 0.1, "threshold": 0.9}', '{"alarms_per_day": 5}', '{"rows_per_day": 5}', '{"threshold_method": "budget"}',
    '{"alarms_per_day": 5, "rows_per_day": 6}', '{"percentile": 100}', '{"percentile": "99"}', '{"tail_probability": 0}',
    '{"threshold_method": "iqr", "threshold_multiplier": -1}', '{"threshold_multiplier": 3}', '{"threshold_method": null}']) AS o;
SELECT outcome($$SELECT * FROM pynomaly.detect('points', contamination => 0.1, options => '{"threshold_method": "iqr"}')$$);
SELECT outcome($$SELECT * FROM pynomaly.anomalies('points', contamination => 0.1, options => '{"percentile": 90}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('points', model => 'thresholds_test', options => '{"threshold_method": "iqr"}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('points', model => 'thresholds_test', options => '{"percentile": 90}')$$);
SELECT outcome($$SELECT pynomaly.train('thresholds_bad', 'points', '{a,b,c}', 'ecod', 0.1, options => '{"threshold_method": "iqr"}')$$);
SELECT pynomaly.drop_model('thresholds_test');
DROP TABLE points, expected, fitted, two_values;
DROP FUNCTION outcome;

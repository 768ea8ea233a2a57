-- Rules of suppression: what they keep from being flagged, what is flagged all the same, and what it looks like.
\pset format unaligned
CREATE TABLE readings AS
SELECT i AS id, (50 + i % 3 / 10.0)::float8 AS temperature, 1000 + i / 3 % 3 AS pressure,
    'a' || i % 3 AS line, timestamp '2026-01-05 08:00' + i / 9 % 3 * interval '1 hour' AS at
FROM generate_series(1, 3000) AS i;
ALTER TABLE readings ADD PRIMARY KEY (id);
INSERT INTO readings VALUES
    (10001, 54, 1000, 'a1', '2026-01-05 09:00'),     -- a little too warm
    (10002, 46, 1000, 'a1', '2026-01-05 09:00'),     -- a little too cold
    (10003, 90, 1000, 'a1', '2026-01-05 09:00'),     -- much too warm
    (10004, 54, 9000, 'a1', '2026-01-05 09:00'),     -- a little too warm, and another pressure
    (10005, 10, 1000, 'a1', '2026-01-05 09:00'),     -- much too cold
    (10006, 54, 1000, 'a1', '2026-01-05 20:00');     -- a little too warm, and late
CREATE FUNCTION verdicts(suppress jsonb, algorithm text DEFAULT 'ecod') RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(right((key->>'id'), 1) || CASE WHEN is_anomaly THEN ' flagged' WHEN reasons @> '[{"suppressed_by": {}}]' THEN ' suppressed'
        ELSE ' ordinary' END, ', ' ORDER BY (key->>'id')::int)
    FROM pynomaly.detect('readings', '{temperature,pressure,at}', algorithm, 0.01, options => jsonb_build_object('suppress', suppress))
    WHERE (key->>'id')::int > 10000
$$;
\pset tuples_only on

-- Without rules all six are flagged; a minimum suppresses what is near in that column alone.
SELECT verdicts(NULL);
SELECT verdicts('[]');
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 5}]');
SELECT verdicts('[{"column": "temperature", "minimum_relative": 0.1}]');
SELECT verdicts('[{"column": "temperature", "minimum_relative": 0.05}]');
-- Both minimums must be reached.
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 1, "minimum_relative": 0.1}]');
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 5, "minimum_relative": 0.01}]');
-- A minimum is reached by what is just as far; none is the same as 0.
SELECT verdicts(format('[{"column": "temperature", "minimum_absolute": %s}]', 54 - percentile_disc(0.5) WITHIN GROUP (ORDER BY temperature))::jsonb)
FROM readings;
-- Only above, only below.
SELECT verdicts('[{"column": "temperature", "direction": "up"}]');
SELECT verdicts('[{"column": "temperature", "direction": "down"}]');
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 5, "direction": "up"}]');
-- A rule for another column mutes nothing of this one; several rules work together; a rule for a time counts seconds.
SELECT verdicts('[{"column": "pressure", "minimum_absolute": 100}]');
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 5}, {"column": "pressure", "minimum_absolute": 1e6}]');
SELECT verdicts('[{"column": "at", "minimum_absolute": 86400}, {"column": "temperature", "minimum_absolute": 5}]');
-- The isolation forest is asked in the same way; to it pressure alone is not odd enough.
SELECT verdicts(NULL, 'isolation_forest');
SELECT verdicts('[{"column": "temperature", "minimum_absolute": 5}]', 'isolation_forest');

-- A suppressed row keeps its score and p-value and gets reasons that say by what; severity is none.
CREATE TABLE kept AS SELECT pynomaly.fit(pynomaly.sketch_of('readings', '{temperature,pressure}'), 'ecod',
    '{"contamination": 0.01, "suppress": [{"column": "temperature", "minimum_absolute": 5}]}') AS model,
    pynomaly.fit(pynomaly.sketch_of('readings', '{temperature,pressure}'), 'ecod', '{"contamination": 0.01}') AS free;
SELECT d.is_anomaly, d.severity, d.score = f.score AND d.p_value = f.p_value AS same_score,
    d.reasons->0->>'feature' AS feature, d.reasons->0->'suppressed_by' AS suppressed_by, f.is_anomaly AS without, f.reasons->0 ? 'suppressed_by' AS said
FROM pynomaly.detect('readings', '{temperature,pressure}', 'ecod', 0.01,
         options => '{"suppress": [{"column": "temperature", "minimum_absolute": 5}]}') AS d
    JOIN pynomaly.detect('readings', '{temperature,pressure}', 'ecod', 0.01) AS f USING (key)
WHERE key = '{"id": 10001}';
-- Of a row that is flagged all the same, and with explain none, nothing is said.
SELECT count(*) FILTER (WHERE is_anomaly), count(*) FILTER (WHERE reasons::text LIKE '%suppressed_by%' AND is_anomaly)
FROM pynomaly.detect('readings', '{temperature,pressure}', 'ecod', 0.01, options => '{"suppress": [{"column": "temperature", "minimum_absolute": 5}]}');
SELECT count(reasons) FROM pynomaly.detect('readings', '{temperature,pressure}', 'ecod', 0.01,
    options => '{"explain": "none", "suppress": [{"column": "temperature", "minimum_absolute": 5}]}');
-- anomalies leaves suppressed rows out.
SELECT count(*) FILTER (WHERE key IN ('{"id": 10001}', '{"id": 10002}')), count(*) FILTER (WHERE key IN ('{"id": 10003}', '{"id": 10004}'))
FROM pynomaly.anomalies('readings', '{temperature,pressure}', 'ecod', 0.01, options => '{"suppress": [{"column": "temperature", "minimum_absolute": 5}]}');

-- The rules are part of the model: score is unchanged, is_anomaly and explain obey, text and binary form keep them.
SELECT model::jsonb->'suppress', free::jsonb ? 'suppress' FROM kept;
SELECT pynomaly.score(model, 54.0, 1000) = pynomaly.score(free, 54.0, 1000), pynomaly.is_anomaly(free, 54.0, 1000),
    pynomaly.is_anomaly(model, 54.0, 1000), pynomaly.is_anomaly(model, 90.0, 1000), pynomaly.is_anomaly(model::text::pynomaly.model, 54.0, 1000),
    pynomaly.explain(model, 54.0, 1000) @> '{"is_anomaly": false, "severity": "none", "reasons": [{"feature": "temperature", "suppressed_by": {"column": "temperature", "direction": "both", "minimum_absolute": 5}}]}'
FROM kept;
-- A missing value is not near, and a threshold in the place of the contamination is obeyed, too.
SELECT pynomaly.is_anomaly(pynomaly.fit(pynomaly.sketch_of('readings', '{temperature,pressure}'), 'ecod',
        '{"threshold": 0.99, "suppress": [{"column": "temperature", "minimum_absolute": 5}]}'), 54.0, 1000),
    pynomaly.is_anomaly(pynomaly.fit(pynomaly.sketch_of('readings', '{temperature,pressure}'), 'ecod', '{"threshold": 0.99}'), 54.0, 1000);
-- Columns that do not vary may have rules, which then do nothing.
SELECT pynomaly.fit(pynomaly.sketch_agg('{a,b}', i, i, 7), 'ecod', '{"suppress": [{"column": "b", "minimum_absolute": 1}]}')::jsonb->'suppress'
FROM generate_series(1, 100) AS i;

-- Bad rules.
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || COALESCE(E'\n  hint: ' || NULLIF(hint, ''), '');
END $$;
SELECT suppress || ' -> ' || outcome(format('SELECT * FROM pynomaly.detect(''readings'', options => %L)', '{"suppress": ' || suppress || '}'))
FROM unnest(ARRAY['5', '{}', '"x"', '[5]', '[{}]', '[{"column": "temperature"}]', '[{"column": "temperature", "minimum_absolute": 0}]',
    '[{"column": "temperature", "minimum_absolute": -1}]', '[{"column": "temperature", "minimum_relative": -0.1}]',
    '[{"column": "temperature", "minimum_absolute": "5"}]', '[{"column": "temperature", "minimum": 5}]', '[{"column": "temperature", "direction": "left"}]',
    '[{"column": "nowhere", "direction": "up"}]', '[{"column": "id", "direction": "up"}]', '[{"column": "line", "direction": "up"}]',
    '[{"column": "at", "minimum_relative": 0.1}]', '[{"column": 5}]', '[null]', '[[]]',
    '[{"column": "pressure", "direction": "up"}, {"column": "pressure", "minimum_absolute": 1}]',
    '[{"column": "' || repeat('x', 300) || '", "direction": "up"}]']) AS suppress;
SELECT outcome($$SELECT pynomaly.fit(pynomaly.sketch_of('readings'), 'ecod', '{"suppress": [{"column": "nowhere", "direction": "up"}]}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('readings', options => '{"label_column": "pressure", "suppress": [{"column": "pressure", "direction": "up"}]}')$$);

-- With a model of the registry rules are learnt with it, and can be replaced or taken away for one call.
CREATE ROLE regress_pynomaly_suppressing SUPERUSER;
SET ROLE regress_pynomaly_suppressing;
SELECT pynomaly.train('suppressing', 'readings', '{temperature,pressure}', 'ecod', 0.01, options => '{"suppress": [{"column": "temperature", "direction": "down"}]}');
SELECT pynomaly.is_anomaly('suppressing', 54.0, 1000), pynomaly.is_anomaly('suppressing', 46.0, 1000);
SELECT options, string_agg(key->>'id', ', ' ORDER BY key->>'id')
FROM unnest(ARRAY['{}', '{"suppress": []}', '{"suppress": [{"column": "temperature", "minimum_absolute": 5}]}']::jsonb[]) AS options,
    pynomaly.detect('readings', model => 'suppressing', options => options)
WHERE is_anomaly AND (key->>'id')::int BETWEEN 10001 AND 10005 GROUP BY options ORDER BY options;
SELECT outcome($$SELECT * FROM pynomaly.detect('readings', model => 'suppressing', options => '{"suppress": [{"column": "nowhere", "direction": "up"}]}')$$);
SELECT pynomaly.drop_model('suppressing');
RESET ROLE;
DROP TABLE readings, kept;
DROP ROLE regress_pynomaly_suppressing;
DROP FUNCTION verdicts, outcome;

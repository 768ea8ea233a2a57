-- What a profile says of the one before, with the sizes of the effects; what is kept, and what is told by events.
CREATE SCHEMA data_profiling_changes;
SET search_path = data_profiling_changes;
SET extra_float_digits = 0;
\pset null '(null)'
CREATE FUNCTION profile(source regclass, dataset bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('dataset', dataset, 'source', source::text,
            'sketch', encode(pynomaly_kernel.put_artifact('sketch',
                decode(split_part(pynomaly.sketch_of(source)::text, ':', 2), 'base64')), 'hex')));
    RETURN (SELECT max(id) FROM pynomaly_data_profiling.profile);
END $$;
CREATE VIEW event AS
    SELECT id, type, subject, data FROM pynomaly_kernel.event WHERE type LIKE 'data\_profiling.%' AND subject LIKE '%stock';
CREATE FUNCTION effect(before float8[], after float8[]) RETURNS TABLE (mean float8, sd float8, median float8) LANGUAGE sql AS $$
    SELECT (b.mean - a.mean) / sqrt((a.sd ^ 2 + b.sd ^ 2) / 2), b.sd / a.sd, b.median - a.median
    FROM (SELECT avg(v) AS mean, stddev_samp(v) AS sd, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS median FROM unnest(before) AS v) AS a,
        (SELECT avg(v) AS mean, stddev_samp(v) AS sd, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS median FROM unnest(after) AS v) AS b
$$;

-- The first profile has nothing to be compared with; the same data again show no change.
CREATE TABLE stock AS
    SELECT i AS id, i % 50 AS level, i % 40 AS spread, CASE WHEN i % 10 = 0 THEN NULL ELSE i % 7 END AS gaps, 'w' || i % 8 AS place,
        i % 20 AS kinds, 'old' AS old, i AS retyped, date '2026-01-01' + i % 100 AS day, i % 4 = 0 AS flag
    FROM generate_series(1, 1000) AS i;
ALTER TABLE stock ADD PRIMARY KEY (id);
SELECT profile('stock', 11) AS first \gset
SELECT profile('stock', 11) AS second \gset
SELECT id = :first AS first, previous = :first AS second, rows, sampled_rows, columns FROM pynomaly_data_profiling.profile WHERE dataset = 11 ORDER BY id;
SELECT count(*) FROM pynomaly_data_profiling.latest_change WHERE dataset = 11;
SELECT type, subject, data - 'seconds' - 'profile' - 'previous' AS data, data ->> 'previous' = :'first' AS previous FROM event ORDER BY id;

-- One change of each property.
CREATE TABLE before AS SELECT * FROM stock;
INSERT INTO stock SELECT i, 25, 20, NULL, 'w9', 1, 'old', i, '2026-01-10', false FROM generate_series(1001, 1200) AS i;
UPDATE stock SET level = level + 10;                            -- mean, median, maximum
UPDATE stock SET spread = 20 + (spread - 20) * 2;               -- standard deviation, minimum, maximum
UPDATE stock SET kinds = id % 30 WHERE id <= 1000;              -- distinct values
UPDATE stock SET flag = id % 2 = 0;
ALTER TABLE stock DROP old, ADD fresh float8 DEFAULT 1, ALTER retyped TYPE text;
SELECT profile('stock', 11) AS third \gset
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 11 ORDER BY "position";
SELECT 'level' AS column_name, e.*, median / (25 / 1.349) AS median_in_spreads
FROM effect((SELECT array_agg(level) FROM before), (SELECT array_agg(level) FROM stock)) AS e
UNION ALL SELECT 'spread', e.*, NULL FROM effect((SELECT array_agg(spread) FROM before), (SELECT array_agg(spread) FROM stock)) AS e
UNION ALL SELECT 'flag', e.*, NULL FROM effect((SELECT array_agg(flag::int) FROM before), (SELECT array_agg(flag::int) FROM stock)) AS e;
SELECT q75 - q25 AS "interquartile range" FROM pynomaly_data_profiling.column_profile WHERE profile = :second AND column_name = 'level';
SELECT type, subject, data - 'seconds' - 'profile' - 'previous' AS data FROM event ORDER BY id OFFSET 2;

-- compare gives for two profiles what was stored for the later; the other way round it is the reverse.
SELECT count(*) AS compared, count(*) FILTER (WHERE (c.before, c.after, c.difference::text) IS NOT DISTINCT FROM
    (s.before, s.after, s.difference::text)) AS "as stored"
FROM jsonb_to_recordset(pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :third)))
        AS c (column_name text, property text, before text, after text, difference float8)
    LEFT JOIN pynomaly_data_profiling.change s ON s.profile = :third AND s.property = c.property AND s.column_name IS NOT DISTINCT FROM c.column_name;
SELECT column_name, property, before, after
FROM jsonb_to_recordset(pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :second, 'previous', :third)))
    AS c (column_name text, property text, before text, after text, difference float8)
WHERE property IN ('rows', 'kind', 'column_added', 'column_removed', 'top_values', 'null_share');
BEGIN READ ONLY;
SELECT jsonb_array_length(pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :third, 'previous', :first))) AS changes;
SELECT p ->> 'source' AS source, (p ->> 'previous')::bigint = :second AS previous, jsonb_array_length(p -> 'columns') AS columns,
    jsonb_array_length(p -> 'changes') AS changes, p #> '{columns,1,column_name}' AS second_column, p #> '{columns,1,maximum}' AS maximum,
    p #> '{changes,0}' AS first_change, p -> 'request' AS request
FROM pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', :third)) AS p;
COMMIT;

-- Small effects are left out: less than a tenth of the spread, one percentage point, a tenth of the different values.
CREATE TABLE calm AS SELECT i AS id, i % 100 AS level, CASE WHEN i % 100 >= 5 THEN i % 90 END AS gaps, i % 100 AS kinds FROM generate_series(1, 1000) AS i;
SELECT profile('calm', 12) IS NOT NULL AS profiled;
UPDATE calm SET level = least(level + id / 100 % 2, 99), kinds = id % 92 + 4;
UPDATE calm SET gaps = NULL WHERE id % 100 = 50 AND id < 1000 AND id > 100;
SELECT profile('calm', 12) IS NOT NULL AS profiled;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 12 ORDER BY "position";

-- Effects without a measure: no spread before, no row before, no value before.
CREATE TABLE bare (id int, constant int, missing float8, label text);
SELECT profile('bare', 13) IS NOT NULL AS profiled;
INSERT INTO bare SELECT i, 5, NULL, 'a' FROM generate_series(1, 10) AS i;
SELECT profile('bare', 13) IS NOT NULL AS profiled;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 13 ORDER BY "position";
UPDATE bare SET constant = 6, missing = 1;
SELECT profile('bare', 13) IS NOT NULL AS profiled;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 13 ORDER BY "position";
UPDATE bare SET constant = id, label = CASE WHEN id > 5 THEN 'ж' ELSE 'a' END;
SELECT profile('bare', 13) IS NOT NULL AS profiled;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 13 ORDER BY "position";

-- What rounding does to a constant's moments is no change.
CREATE TABLE tenth AS SELECT 0.1::float8 AS tenth, timestamptz '2026-01-01 00:00:00.1' AS moment FROM generate_series(1, 3) AS i;
SELECT profile('tenth', 13) IS NOT NULL AS profiled;
INSERT INTO tenth SELECT * FROM tenth LIMIT 1;
SELECT profile('tenth', 13) IS NOT NULL AS profiled;
SELECT count(DISTINCT mean) AS means, max(mean) - min(mean) < 1e-6 AS alike FROM pynomaly_data_profiling.column_profile c JOIN pynomaly_data_profiling.profile p ON p.id = c.profile
WHERE p.source = 'tenth' GROUP BY column_name ORDER BY column_name;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 13 ORDER BY "position";

-- Frequent values: what has changed places is not new, nor is what only chance brought among the ten that are listed.
CREATE TABLE frequent AS SELECT 'v' || i % 20 AS alike, 'v' || i % 3 AS few, 'n' || i AS unique_before FROM generate_series(1, 2000) AS i;
SELECT profile('frequent', 14) IS NOT NULL AS profiled;
INSERT INTO frequent SELECT 'v' || i % 20, 'v' || i % 2, 'same' FROM generate_series(1, 1000) AS i WHERE i % 20 > 8;
UPDATE frequent SET few = 'new' WHERE few = 'v2';
SELECT profile('frequent', 14) IS NOT NULL AS profiled;
SELECT column_name, property, before, after, difference FROM pynomaly_data_profiling.latest_change WHERE dataset = 14 ORDER BY "position";

-- The newest hundred of a dataset are kept, and others' are left alone.
SELECT count(profile('bare', 15)) AS made FROM generate_series(1, 103);
SELECT dataset, count(*) AS kept, max(id) - min(id) + 1 AS span FROM pynomaly_data_profiling.profile WHERE dataset IN (11, 15) GROUP BY dataset ORDER BY dataset;
SELECT count(*) = 400 AS "columns went along" FROM pynomaly_data_profiling.column_profile c JOIN pynomaly_data_profiling.profile p ON p.id = c.profile WHERE dataset = 15;
SELECT count(*) AS orphans FROM pynomaly_data_profiling.column_profile c WHERE NOT EXISTS (SELECT FROM pynomaly_data_profiling.profile p WHERE p.id = c.profile);

DELETE FROM pynomaly_data_profiling.profile WHERE dataset BETWEEN 11 AND 15;
SELECT count(*) AS changes_left FROM pynomaly_data_profiling.change;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA data_profiling_changes CASCADE;

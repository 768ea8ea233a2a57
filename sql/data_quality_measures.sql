-- A first check of a dataset measures what plain SQL counts, judges what needs no history, and records the rest.
\set SHOW_CONTEXT never
\pset null '-'
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA measures;
SET search_path = measures;
CREATE FUNCTION digest(source regclass, columns name[] DEFAULT NULL, key name[] DEFAULT NULL) RETURNS text LANGUAGE sql AS
    $$SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of(source, columns, key))), 'hex')$$;
CREATE FUNCTION run(dataset bigint, source regclass, columns name[] DEFAULT NULL, key name[] DEFAULT NULL)
    RETURNS TABLE (place bigint, dimension text, name text, column_name text, value float8, low float8, high float8, passed boolean,
                   severity text, message text) LANGUAGE sql AS
$$
    SELECT row_number() OVER (), r.* FROM jsonb_to_recordset(pynomaly_kernel.call('data_quality', 'check', jsonb_build_object(
        'dataset', dataset, 'source', source::text, 'sketch', digest(source, columns, key)))) AS r(dimension text, name text,
        column_name text, value float8, low float8, high float8, passed boolean, severity text, message text)
$$;

-- Every value, beside the same counted by SQL.
CREATE TABLE sale (id int PRIMARY KEY, amount float8, price numeric, note text, shop uuid, paid boolean, day date, at timestamptz, local timestamp, hour time);
INSERT INTO sale SELECT i, CASE WHEN i % 10 = 0 THEN NULL WHEN i % 25 = 1 THEN 'NaN'::float8 WHEN i % 50 = 2 THEN 'Infinity' ELSE (i * 37) % 101 END,
    CASE WHEN i % 4 > 0 THEN i / 7.0 END, CASE WHEN i % 3 = 0 THEN '' WHEN i % 7 > 0 THEN 'note ' || i END,
    md5(i::text)::uuid, i % 2 = 0, CASE WHEN i = 5 THEN 'infinity' ELSE DATE '2024-01-01' + i END, TIMESTAMPTZ '2024-01-01 12:00+00' + i * interval '1 minute',
    TIMESTAMP '2024-01-01 12:00' + i * interval '1 hour', TIME '00:00' + i * interval '1 minute' FROM generate_series(1, 1000) AS i;
CREATE TABLE measured AS SELECT * FROM run(910001, 'sale');
CREATE TABLE counted (column_name text, name text, value float8);
INSERT INTO counted SELECT NULL, 'row_count', count(*) FROM sale;
INSERT INTO counted SELECT 'id', 'key', count(DISTINCT id)::float8 / count(*) FROM sale;
INSERT INTO counted SELECT c.key, 'completeness', count(*) FILTER (WHERE c.value IS NOT NULL AND c.value <> 'NaN')::float8 / count(*)
    FROM sale s, jsonb_each_text(to_jsonb(s)) AS c GROUP BY c.key;
INSERT INTO counted SELECT 'amount', 'finite', avg((amount < 'Infinity')::int) FROM sale WHERE amount IS NOT NULL
    UNION ALL SELECT 'price', 'finite', 1 UNION ALL SELECT 'day', 'finite', avg(isfinite(day)::int) FROM sale
    UNION ALL SELECT 'at', 'finite', 1 UNION ALL SELECT 'local', 'finite', 1
    UNION ALL SELECT 'note', 'not_empty', avg((note <> '')::int) FROM sale WHERE note IS NOT NULL;
INSERT INTO counted
    SELECT t.column_name, s.name, CASE s.name WHEN 'minimum' THEN t.minimum WHEN 'median' THEN t.median ELSE t.maximum END
    FROM (SELECT 'amount' AS column_name, min(amount) AS minimum, percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS median, max(amount) AS maximum
            FROM sale WHERE amount < 'Infinity' UNION ALL
          SELECT 'price', min(price), percentile_cont(0.5) WITHIN GROUP (ORDER BY price), max(price) FROM sale UNION ALL
          SELECT 'hour', extract(epoch FROM min(hour)), percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM hour)), extract(epoch FROM max(hour)) FROM sale) AS t,
        unnest('{minimum,median,maximum}'::text[]) AS s (name) UNION ALL
    SELECT 'day', 'minimum', extract(epoch FROM min(day)) FROM sale UNION ALL
    SELECT 'at', 'minimum', extract(epoch FROM min(at)) FROM sale UNION ALL
    SELECT 'local', 'minimum', extract(epoch FROM min(local)) FROM sale;
-- The median is judged here by closeness: the sketch interpolates otherwise between two values.
SELECT coalesce(m.column_name, c.column_name) AS column_name, coalesce(m.name, c.name) AS name, m.value, c.value AS counted
FROM measured m FULL JOIN counted c ON m.name = c.name AND m.column_name IS NOT DISTINCT FROM c.column_name
WHERE coalesce(m.name, '') NOT IN ('schema', 'freshness') AND (abs(m.value - c.value) <= 1e-9 * greatest(1, abs(c.value))) IS NOT TRUE;
SELECT count(*) AS "values compared" FROM measured m JOIN counted c ON m.name = c.name AND m.column_name IS NOT DISTINCT FROM c.column_name;
-- Ages, from the moment of the check.
SELECT m.column_name, abs(m.value - c.age) < 60 AS "is the age"
FROM measured m JOIN (SELECT 'day' AS column_name, extract(epoch FROM now() - max(day)) AS age FROM sale WHERE isfinite(day) UNION ALL
    SELECT 'at', extract(epoch FROM now() - max(at)) FROM sale UNION ALL
    SELECT 'local', extract(epoch FROM now()::timestamp - max(local)) FROM sale) AS c USING (column_name)
WHERE m.name = 'freshness' ORDER BY 1;
-- What is judged without history, what fails (first), and what is only recorded.
SELECT dimension, name, column_name, low, high, passed, severity, message FROM measured WHERE name NOT IN ('minimum', 'maximum', 'median') ORDER BY place;
SELECT count(*) AS recorded, count(passed) AS judged, count(low) + count(high) AS bounds FROM measured WHERE name IN ('minimum', 'maximum', 'median', 'freshness');

-- What was stored is what was given.
SELECT count(*) AS stored, count(*) FILTER (WHERE (m.value, m.low, m.high, m.passed, m.severity, m.message) IS NOT DISTINCT FROM
    (r.value, r.low, r.high, r.passed, r.severity, r.message)) AS alike
FROM pynomaly_data_quality.latest_result r LEFT JOIN measured m ON m.name = r.name AND m.column_name IS NOT DISTINCT FROM r.column_name
WHERE r.dataset = 910001;
-- The score by hand: completeness is the mean share; of three judged checks of validity one failed, of 840 values in 900.
SELECT r.rows, r.score, r.grade, r.verdict, r.failed, r.dimensions FROM pynomaly_data_quality.latest_run r WHERE dataset = 910001;
SELECT completeness, validity, round(100 * (0.25 * completeness + 0.2 * 1 + 0.25 * validity) / (0.25 + 0.2 + 0.25), 2) AS score
FROM (SELECT round(avg(value)::numeric, 4) AS completeness, round((0.75 * 840 / 900 + 1 + 1) / 3, 4) AS validity FROM counted WHERE name = 'completeness') AS s;
SELECT (SELECT array_agg(c ->> 'kind') FROM jsonb_array_elements(columns) AS c) AS kinds,
    (SELECT array_agg(c ->> 'name' ORDER BY c ->> 'name') FROM jsonb_array_elements(columns) AS c WHERE c ? 'spread') AS with_spread
FROM pynomaly_data_quality.check_run WHERE dataset = 910001;

-- Nothing, one row, nothing but NULL, NaN and infinities.
CREATE TABLE hostile (a int, b float8, c text, d timestamptz);
SELECT dimension, name, column_name, value, low, passed, severity, message FROM run(910002, 'hostile');
SELECT score, grade, verdict, dimensions FROM pynomaly_data_quality.latest_run WHERE dataset = 910002;
INSERT INTO hostile VALUES (1, 2, 'x', '2024-01-01 00:00+00');
SELECT dimension, name, column_name, CASE WHEN name <> 'freshness' THEN value END AS value, low, passed, message FROM run(910003, 'hostile');
TRUNCATE hostile;
INSERT INTO hostile SELECT NULL FROM generate_series(1, 5);
SELECT dimension, name, column_name, value, low, passed, message FROM run(910004, 'hostile');
SELECT score, grade, verdict, dimensions FROM pynomaly_data_quality.latest_run WHERE dataset = 910004;
TRUNCATE hostile;
INSERT INTO hostile SELECT NULL, (ARRAY['NaN', 'Infinity', '-Infinity'])[1 + i % 3]::float8, '', (ARRAY['infinity', '-infinity'])[1 + i % 2]::timestamptz FROM generate_series(1, 6) AS i;
SELECT dimension, name, column_name, value, low, passed, message FROM run(910005, 'hostile') WHERE column_name IS NOT NULL;
TRUNCATE hostile;
INSERT INTO hostile VALUES (2147483647, 1.7e308, repeat('x', 10000), '294276-01-01 00:00+00'), (-2147483648, -1.7e308, 'y', '4700-01-01 00:00+00 BC');
SELECT dimension, name, column_name, CASE WHEN name <> 'freshness' THEN value END AS value, passed FROM run(910006, 'hostile') WHERE column_name IS NOT NULL;

-- Names that need quotes.
CREATE TABLE "Größe ""x"" 表" ("select" int, "Ünï ""code"" 列" float8, "percent %s %n" text);
INSERT INTO "Größe ""x"" 表" VALUES (1, 'NaN', NULL), (2, 'NaN', NULL);
SELECT name, column_name, value, passed, message FROM run(910007, '"Größe ""x"" 表"') WHERE name IN ('completeness', 'finite');
SELECT source FROM pynomaly_data_quality.latest_run WHERE dataset = 910007;

-- Keys: whole, repeated, with missing values, compound, of a type that takes no part, and none.
CREATE TABLE keyed_row (a int, b int, c bytea);
INSERT INTO keyed_row SELECT i / 10, i % 10, i::text::bytea FROM generate_series(0, 4999) AS i;
CREATE FUNCTION key_of(dataset bigint, columns name[] DEFAULT NULL, key name[] DEFAULT NULL)
    RETURNS TABLE (column_name text, value float8, passed boolean, severity text, message text) LANGUAGE sql AS
    $$SELECT column_name, value, passed, severity, message FROM run(dataset, 'keyed_row', columns, key) WHERE name = 'key'$$;
SELECT * FROM key_of(910010, key => '{a,b}');
SELECT *, (SELECT count(DISTINCT a)::float8 / count(*) FROM keyed_row) AS counted FROM key_of(910011, key => '{a}');
SELECT * FROM key_of(910012, key => '{a,c}');
SELECT * FROM key_of(910013);
SELECT * FROM key_of(910014, '{a,b}', '{a,b}');
INSERT INTO keyed_row VALUES (7, 7), (8, 8);
SELECT *, (SELECT count(DISTINCT (a, b))::float8 / count(*) FROM keyed_row) AS counted FROM key_of(910015, key => '{a,b}');
TRUNCATE keyed_row;
INSERT INTO keyed_row SELECT i, nullif(i, 3), i::text::bytea FROM generate_series(1, 10) AS i;
SELECT * FROM key_of(910016, key => '{b}');
SELECT * FROM key_of(910017, key => '{a,b}');
TRUNCATE keyed_row;
SELECT * FROM key_of(910018, key => '{a}');
-- More rows than the sample holds: a key is judged by the sampled ones, and a few repeated keys can escape it.
INSERT INTO keyed_row SELECT i, i FROM generate_series(1, 200000) AS i;
SELECT * FROM key_of(910019, key => '{a}');
INSERT INTO keyed_row SELECT i, i FROM generate_series(1, 1000) AS i;
SELECT round(value::numeric, 2) AS value, passed, message LIKE 'the key is repeated: % different keys in % sampled rows' AS told,
    abs(value - 200000 / 201000.0) < 0.002 AS close FROM key_of(910020, key => '{a}');
SELECT verdict FROM pynomaly_data_quality.latest_run WHERE dataset IN (910019, 910020) ORDER BY dataset;
DELETE FROM pynomaly_data_quality.check_run WHERE dataset BETWEEN 910000 AND 910099;
DROP SCHEMA measures CASCADE;

-- The statistics of a sketch against those that scipy and numpy compute (test/fixtures/make.py), and bounds of what is
-- estimated against exact SQL.
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set statistics :directory '/test/fixtures/statistics.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE statistics (subject text, statistic text, value float8);
COPY statistics FROM :'statistics' (FORMAT csv, HEADER);

-- Moments and quantiles of a table that the sample holds in full.
SELECT count(*) AS compared, count(*) FILTER (WHERE abs(found - value) <= 1e-9 * greatest(1, abs(value))) AS equal
FROM statistics,
    LATERAL (SELECT (COALESCE(c -> statistic, c -> 'quantiles' -> statistic))::float8 AS found
             FROM jsonb_array_elements(pynomaly.sketch_of('points')::jsonb -> 'columns') AS c
             WHERE c ->> 'name' = subject) AS s
WHERE subject <> 'ecod';

-- One column of each type.
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN percentage AS numeric CHECK (value BETWEEN 0 AND 100);
CREATE TABLE kinds (
    "boolean" boolean, "int2" int2, "int4" int4, "int8" int8, "float4" float4, "float8" float8, "numeric" numeric,
    "text" text, "varchar" varchar(10), "bpchar" char(10), "name" name, "uuid" uuid, "mood" mood, "domain" percentage,
    "date" date, "time" time, "timestamp" timestamp, "timestamptz" timestamptz);
SET timezone = 'UTC';
INSERT INTO kinds
    SELECT i % 2 = 0, i, -i, i * 1000000000000, i / 4.0, i / 8.0, i / 3.0, 'text ' || i % 3, 'v' || i % 2, 'b' || i % 2, 'n' || i % 2,
        ('00000000-0000-0000-0000-00000000000' || i % 2)::uuid, CASE WHEN i % 3 = 0 THEN 'sad' ELSE 'happy' END::mood,
        i, date '2026-02-27' + i, time '10:00' + i * interval '1 minute', timestamp '2026-02-27 23:59:59' + i * interval '1 day',
        timestamptz '2026-02-27 23:59:59+02' + i * interval '1 day'
    FROM generate_series(1, 4) AS i;
INSERT INTO kinds VALUES (NULL);
INSERT INTO kinds ("float8", "float4", "numeric", "text", "date", "timestamptz")
    VALUES ('NaN', 'Infinity', '-Infinity', '', 'infinity', '-infinity');
SELECT c ->> 'name' AS name, c ->> 'kind' AS kind, c -> 'nulls' AS nulls, c -> 'distinct' AS distinct, c -> 'nan' AS nan,
    c -> 'infinite' AS infinite, c -> 'empty' AS empty, COALESCE(c -> 'min', c -> 'length' -> 'min') AS min,
    COALESCE(c -> 'max', c -> 'length' -> 'max') AS max, c #>> '{top_values,0,value}' AS top, c #> '{top_values,0,count}' AS count
FROM jsonb_array_elements(pynomaly.sketch_of('kinds')::jsonb -> 'columns') AS c;

-- Texts are counted in characters, whatever they are made of.
SELECT c -> 'length' ->> 'min' AS shortest, c -> 'length' ->> 'max' AS longest, c -> 'empty' AS empty, c -> 'nulls' AS nulls
FROM (SELECT pynomaly.sketch_agg('{t}', NULL, t)::jsonb -> 'columns' -> 0 AS c
      FROM (VALUES ('Ελλάδα'), ('été'), ('日本'), (''), (NULL)) AS v (t)) AS s;

-- Dates go further than timestamps.
SELECT c -> 'min' AS min, c -> 'max' AS max
FROM (SELECT pynomaly.sketch_agg('{d}', NULL, d)::jsonb #> '{columns,0}' AS c FROM (VALUES ('5874897-12-31'::date), ('4713-01-01 BC')) AS v (d)) AS s;

-- What is estimated keeps to its bounds: distinct counts within three standard errors of 0.81 %, frequent values within
-- their stated error, ranks of quantiles within 1 %.
CREATE TABLE large AS
    SELECT i AS id, hashint8extended(i, 1) % 100000 AS many, abs(hashint8extended(i, 2) % 700) AS few,
        CASE WHEN hashint8extended(i, 3) % 10 = 0 THEN 7 ELSE hashint8extended(i, 4) END AS hitter,
        ln(1 + (hashint8extended(i, 5) >> 11 & 9007199254740991) / 9007199254740992.0::float8) AS level
    FROM generate_series(1, 200000) AS i;
CREATE TABLE large_sketch AS SELECT pynomaly.sketch_of('large', key => '{id}') AS sketch;
CREATE VIEW large_column AS
    SELECT c ->> 'name' AS name, c FROM large_sketch, jsonb_array_elements(sketch::jsonb -> 'columns') AS c;
SELECT name, c -> 'distinct_is_exact' AS exact, abs((c ->> 'distinct')::float8 / truth - 1) <= 3 * 0.0081 AS "near"
FROM large_column, (SELECT count(DISTINCT many) AS many, count(DISTINCT few) AS few, count(DISTINCT id) AS id FROM large) AS t,
    LATERAL (SELECT CASE name WHEN 'many' THEN many WHEN 'few' THEN few ELSE t.id END AS truth) AS l
WHERE name IN ('id', 'many', 'few');
SELECT c #>> '{top_values,0,value}' AS value, truth BETWEEN (c #>> '{top_values,0,count}')::int
        AND (c #>> '{top_values,0,count}')::int + (c ->> 'top_values_error')::int AS "count holds",
    (c ->> 'top_values_error')::int <= 200000 / 193 AS "error holds"
FROM large_column, (SELECT count(*) AS truth FROM large WHERE hitter = 7) AS t WHERE name = 'hitter';
SELECT share, abs(rank - share::float8) <= 0.01 AS "rank holds"
FROM large_column, jsonb_each_text(c -> 'quantiles') AS q (share, value),
    LATERAL (SELECT count(*) FILTER (WHERE level < value::float8) / count(*)::float8 AS rank FROM large) AS r
WHERE name = 'level' ORDER BY share::float8;
SELECT sketch::jsonb -> 'rows' AS rows, sketch::jsonb -> 'sample' AS sample FROM large_sketch;

-- Moments stay right far from zero and near overflow.
SELECT abs((c ->> 'sd')::float8 - 1.58113883008419) < 1e-6 AS sd, abs((c ->> 'skewness')::float8) < 1e-6 AS skewness
FROM (SELECT pynomaly.sketch_agg('{x}', NULL, x)::jsonb -> 'columns' -> 0 AS c
      FROM (SELECT 1e9::float8 + i FROM generate_series(1, 5) AS i) AS v (x)) AS s;
SELECT c -> 'mean' AS mean, (c -> 'min')::float8 AS min, (c -> 'max')::float8 AS max, c -> 'sd' AS sd
FROM (SELECT pynomaly.sketch_agg('{x}', NULL, x)::jsonb -> 'columns' -> 0 AS c
      FROM (VALUES (1e308::float8), (1e308), (-1e308), (-1e308)) AS v (x)) AS s;
CREATE TABLE extreme AS SELECT i AS id, CASE WHEN i / 1024 % 2 = 0 THEN 1e308 ELSE -1e308 END::float8 AS x FROM generate_series(0, 5119) AS i;
SELECT abs((c -> 'mean')::float8) < 1e308 AS mean, pynomaly.fit(sketch::text::pynomaly.sketch, 'ecod') IS NOT NULL AS fits
FROM (SELECT pynomaly.sketch_of('extreme', key => '{id}') AS sketch) AS s, LATERAL (SELECT sketch::jsonb #> '{columns,1}' AS c) AS c;

DROP TABLE points, statistics, kinds, extreme, large, large_sketch CASCADE;
DROP TYPE mood;
DROP DOMAIN percentage;

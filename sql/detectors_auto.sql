-- auto: what it finds of planted anomalies, whether its reasons are right, and tables that are no good.
SET extra_float_digits = 0;
SET client_min_messages = warning;
-- Pseudo-random numbers that depend on their place alone: uniform, and standard normal (Box and Muller).
CREATE FUNCTION uniform(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((pynomaly.row_key(i, j) & 1125899906842623) + 0.5) / 1125899906842624 $$;
CREATE FUNCTION normal(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sqrt(-2 * ln(uniform(i, 2 * j))) * cos(2 * pi() * uniform(i, 2 * j + 1)) $$;

-- Four kinds of anomalies, 5 % each (ADBench, section 3): ordinary rows are of two correlated normal groups; local anomalies have
-- five times their variance, clustered ones five times their means, global ones are uniform over the range and a tenth more; where
-- all columns follow one factor (dependency), anomalies have the same margins without that.
CREATE TABLE planted AS
    SELECT kind, i AS id, i % 20 = 0 AS odd, v.*
    FROM unnest('{local,clustered,global,dependency}'::text[]) WITH ORDINALITY AS k (kind, number), generate_series(1, 2000) AS i,
        LATERAL (SELECT 100000 * number::int + i AS s, i % 20 = 0 AS o, CASE WHEN i % 3 = 0 THEN 3 ELSE -1 END AS m) AS p,
        LATERAL (SELECT normal(s, 1) AS n1, normal(s, 2) AS n2, normal(s, 3) AS n3, normal(s, 4) AS n4, normal(s, 5) AS f,
                 CASE WHEN o AND kind = 'local' THEN sqrt(5) ELSE 1 END AS spread, CASE WHEN o AND kind = 'clustered' THEN 5 ELSE 1 END AS far) AS n,
        LATERAL (SELECT
            CASE WHEN kind = 'global' AND o THEN -5.5 + 13 * uniform(s, 20) WHEN kind = 'dependency' THEN CASE WHEN o THEN n1 ELSE 0.95 * f + 0.31 * n1 END ELSE far * m + spread * n1 END AS a,
            CASE WHEN kind = 'global' AND o THEN -5.5 + 13 * uniform(s, 21) WHEN kind = 'dependency' THEN CASE WHEN o THEN n2 ELSE 0.95 * f + 0.31 * n2 END
                ELSE far * m + spread * (0.5 * n1 + 0.8 * n2) END AS b,
            CASE WHEN kind = 'global' AND o THEN -5.5 + 13 * uniform(s, 22) WHEN kind = 'dependency' THEN CASE WHEN o THEN exp(n3) ELSE exp(0.95 * f + 0.31 * n3) END ELSE far * m + spread * n3 END AS c,
            CASE WHEN kind = 'global' AND o THEN -5.5 + 13 * uniform(s, 23) WHEN kind = 'dependency' THEN CASE WHEN o THEN exp(n4) ELSE exp(-0.95 * f + 0.31 * n4) END
                ELSE far * -m + spread * (0.5 * n3 + 0.8 * n4) END AS d) AS v;
-- ROC-AUC by the ranks' sum.
SELECT kind, area >= CASE WHEN kind IN ('local', 'dependency') THEN 0.9 ELSE 0.95 END AS found
FROM (SELECT kind, (sum(rank) FILTER (WHERE odd) - 100 * 101 / 2) / (100 * 1900) AS area
      FROM (SELECT p.kind, p.odd, rank() OVER (PARTITION BY p.kind ORDER BY d.score) AS rank
            FROM unnest('{local,clustered,global,dependency}'::text[]) AS kinds (k),
                LATERAL (SELECT (key ->> 'id')::int AS id, score FROM pynomaly.detect_query(format('SELECT id, a, b, c, d FROM planted WHERE kind = %L', k), key => '{id}')) AS d,
                planted AS p WHERE p.kind = k AND p.id = d.id) AS r
      GROUP BY kind) AS a ORDER BY kind;

-- The first reason is a column whose value was replaced: 8 correlated columns, three of them skewed, one or two values in 1 % of the rows.
CREATE TABLE replaced AS
    SELECT i AS id, i % 100 = 0 AS bad, 1 + i / 100 % 8 AS first, CASE WHEN i % 200 = 0 THEN 1 + (i / 100 + 3) % 8 END AS second, v.*
    FROM generate_series(1, 4000) AS i, LATERAL (SELECT 900000 + i AS s) AS p,
        LATERAL (SELECT normal(s, 1) AS f, normal(s, 2) AS g) AS n,
        LATERAL (SELECT exp(0.7 * (0.8 * f + 0.6 * normal(s, 3))) AS c1, 0.8 * f + 0.6 * normal(s, 4) AS c2, 0.7 * f + 0.5 * g + 0.5 * normal(s, 5) AS c3,
            exp(0.7 * (0.8 * g + 0.6 * normal(s, 6))) AS c4, 0.8 * g + 0.6 * normal(s, 7) AS c5, f - g + 0.5 * normal(s, 8) AS c6,
            exp(0.7 * normal(s, 9)) AS c7, normal(s, 10) AS c8) AS v;
UPDATE replaced SET c1 = 14 WHERE bad AND 1 IN (first, second);
UPDATE replaced SET c2 = -6 WHERE bad AND 2 IN (first, second);
UPDATE replaced SET c3 = 6 WHERE bad AND 3 IN (first, second);
UPDATE replaced SET c4 = 14 WHERE bad AND 4 IN (first, second);
UPDATE replaced SET c5 = 6 WHERE bad AND 5 IN (first, second);
UPDATE replaced SET c6 = -8 WHERE bad AND 6 IN (first, second);
UPDATE replaced SET c7 = 14 WHERE bad AND 7 IN (first, second);
UPDATE replaced SET c8 = 6 WHERE bad AND 8 IN (first, second);
SELECT count(*) >= 20 AS "more than half are flagged", count(*) FILTER (WHERE d.feature IN ('c' || r.first, 'c' || r.second)) >= 0.9 * count(*) AS "their first reason is right"
FROM (SELECT (key ->> 'id')::int AS id, reasons -> 0 ->> 'feature' AS feature
      FROM pynomaly.detect('replaced', '{c1,c2,c3,c4,c5,c6,c7,c8}', key => '{id}', contamination => 0.01) WHERE is_anomaly) AS d
    JOIN replaced AS r USING (id) WHERE r.bad;

-- A block has the bits of its rows; the same data and seed give the same bytes, another seed others; the model has some 0.3 MB.
CREATE TABLE fitted AS SELECT seed, pynomaly.fit(pynomaly.sketch_of('replaced', '{c1,c2,c3,c4,c5,c6,c7,c8}', '{id}'), options => jsonb_build_object('seed', seed)) AS m
    FROM unnest('{42,42,7}'::int[]) AS seed;
SELECT count(DISTINCT m::text) AS models, max((m::jsonb ->> 'bytes')::int) < 500000 AS small FROM fitted;
SELECT count(*) AS rows, count(*) FILTER (WHERE d.score = pynomaly.score(m, c1, c2, c3, c4, c5, c6, c7, c8)) AS equal
FROM (SELECT m FROM fitted WHERE seed = 42 LIMIT 1) AS f, replaced AS r
    JOIN pynomaly.detect('replaced', '{c1,c2,c3,c4,c5,c6,c7,c8}', key => '{id}') AS d ON r.id = (d.key ->> 'id')::int;

-- The model says what was chosen.
SELECT DISTINCT m::jsonb ->> 'decisions' AS decisions FROM fitted;

-- Groups of ordinary rows are found, and local anomalies beside them: four correlated normal groups of unlike spread, and a fifth with 4 % of the
-- rows, which is not taken for ordinary; 5 % of the rows of the four have five times their group's variance.
CREATE TABLE grouped AS
    SELECT i AS id, g, odd, a, b, c, d, (a - ma) ^ 2 + (b - mb - 0.8 * (a - ma)) ^ 2 / 0.36 + (c - mc) ^ 2 + (d - md + 0.6 * (c - mc)) ^ 2 / 0.64 AS square, spread
    FROM generate_series(1, 3000) AS i,
        LATERAL (SELECT 2000000 + i AS s, CASE WHEN i % 25 = 7 THEN 4 ELSE i % 4 END AS g, i % 20 = 0 AS odd) AS p,
        LATERAL (SELECT (ARRAY[0, 20, -15, 5, 60])[g + 1] AS ma, (ARRAY[0, -12, -18, 25, -60])[g + 1] AS mb, (ARRAY[0, 9, 22, -20, 60])[g + 1] AS mc,
            (ARRAY[0, 24, -9, 12, 60])[g + 1] AS md, (ARRAY[1, 0.5, 2, 1, 1])[g + 1] AS spread, CASE WHEN odd THEN sqrt(5) ELSE 1 END AS far) AS m,
        LATERAL (SELECT ma + spread * far * normal(s, 1) AS a, mc + spread * far * normal(s, 3) AS c) AS v,
        LATERAL (SELECT mb + 0.8 * (a - ma) + 0.6 * spread * far * normal(s, 2) AS b, md - 0.6 * (c - mc) + 0.8 * spread * far * normal(s, 4) AS d) AS w;
CREATE TABLE grouped_scores AS
    SELECT r.*, score, rank() OVER (ORDER BY score) AS rank, rank() OVER (ORDER BY square / spread ^ 2) AS best
    FROM pynomaly.detect_query('SELECT id, a, b, c, d FROM grouped', '{a,b,c,d}', key => '{id}') AS f JOIN grouped AS r ON r.id = (f.key ->> 'id')::int WHERE g < 4;
-- ROC-AUC of the score, against that of the distance by the covariance that the rows were drawn with, which is the best there is.
SELECT area >= 0.9 AS found, most - area <= 0.02 AS "near to the best"
FROM (SELECT (sum(rank) FILTER (WHERE odd) - o * (o + 1) / 2) / (o * (n - o)) AS area, (sum(best) FILTER (WHERE odd) - o * (o + 1) / 2) / (o * (n - o)) AS most
      FROM grouped_scores, (SELECT count(*) AS n, count(*) FILTER (WHERE odd) AS o FROM grouped_scores) AS counts GROUP BY n, o) AS areas;
CREATE TABLE grouped_model AS SELECT pynomaly.fit(pynomaly.sketch_of('grouped', '{a,b,c,d}', '{id}')) AS m;
SELECT substring(m::jsonb ->> 'decisions' from 'ordinary rows fall.*before') AS found, m::jsonb ->> 'decisions' LIKE '%; 1 smaller group %' AS "and the small one" FROM grouped_model;
-- A block has the bits of its rows, also of those nearest to the small group, whose score is that of the other parts.
SELECT count(*) AS rows, count(*) FILTER (WHERE f.score = pynomaly.score(m, a, b, c, d)) AS equal
FROM grouped_model, grouped AS r JOIN pynomaly.detect('grouped', '{a,b,c,d}', key => '{id}') AS f ON r.id = (f.key ->> 'id')::int;
-- The reason is the column that does not go with the others of its group, although its value lies between those of others.
SELECT score > 0.9 AS odd, reasons -> 0 ->> 'feature' AS feature
FROM (SELECT m FROM grouped_model) AS f, LATERAL pynomaly.explain(m, 0::float8, 5::float8, 0::float8, 0::float8) AS e,
    LATERAL (SELECT (e::jsonb ->> 'score')::float8 AS score, e::jsonb -> 'reasons' AS reasons) AS r;
-- Where rows are one group none are found, nor where two are next to each other; nor do two values of a column make groups, the ends of a wave, or
-- the days of a time, which are parallel lines where the hour is a feature, too.
CREATE TABLE alike AS SELECT i AS id, normal(i, 1) AS n1, normal(i, 2) AS n2, normal(i, 3) AS n3, exp(normal(i, 4)) AS skewed1, exp(normal(i, 5)) AS skewed2,
    normal(i, 6) + 3 * (i % 2) AS near1, normal(i, 7) + 3 * (i % 2) AS near2, uniform(i, 20) AS uniform1, uniform(i, 21) AS uniform2, i % 2 = 0 AS flag1, i % 3 = 0 AS flag2,
    sin(i) AS wave, timestamptz '2026-01-01 UTC' + i * interval '5 minutes' AS at
    FROM generate_series(1, 2000) AS i;
SELECT columns, substring(pynomaly.fit(pynomaly.sketch_of('alike', columns::name[], '{id}'))::jsonb ->> 'decisions' from 'ordinary rows do not [^,]*') AS told
FROM (VALUES ('{n1,n2,n3}'), ('{skewed1,skewed2}'), ('{near1,near2}'), ('{uniform1,uniform2}'), ('{flag1,flag2,n1}'), ('{wave,flag1}'), ('{at}')) AS c (columns);
DROP TABLE alike, grouped, grouped_scores, grouped_model;

-- Tables of few rows, of equal rows, of texts or truth values alone, with more columns than rows, of huge numbers and of missing ones.
CREATE FUNCTION range(query text, OUT rows bigint, OUT scored bigint, OUT "in [0, 1]" boolean) LANGUAGE sql AS
    $$ SELECT count(*), count(score), bool_and(score BETWEEN 0 AND 1) FROM pynomaly.detect_query(query, options => '{"explain": "all"}') $$;
SELECT n, (range(format('SELECT i * i AS a, i %% 3 AS b FROM generate_series(1, %s) AS i', n))).* FROM unnest('{2,3,5,8,13,40,41}'::int[]) AS n;
SELECT * FROM range('SELECT 1 AS a, 2.5 AS b FROM generate_series(1, 50) UNION ALL SELECT 1, 2.5000001');
SELECT * FROM range('SELECT i % 2 AS a, i % 3 AS b FROM generate_series(1, 3000) AS i');
SELECT * FROM range('SELECT i % 2 = 0 AS a, i % 97 = 0 AS b, i % 5 = 1 AS c FROM generate_series(1, 500) AS i');
SELECT * FROM range('SELECT CASE WHEN i % 50 = 0 THEN ''rare'' ELSE ''often'' END AS a, ''x'' || i % 7 AS b FROM generate_series(1, 500) AS i');
SELECT * FROM range('SELECT CASE i WHEN 1 THEN 1e308 WHEN 2 THEN -1e308 WHEN 3 THEN ''NaN'' WHEN 4 THEN ''Infinity'' WHEN 5 THEN NULL ELSE i END::float8 AS a, i % 4 AS b FROM generate_series(1, 300) AS i');
SELECT * FROM range('SELECT CASE WHEN i % 2 = 0 THEN 1e308 ELSE -1e308 END::float8 AS a, CASE WHEN i % 3 = 0 THEN 1e-308 ELSE -1e-308 END::float8 AS b FROM generate_series(1, 300) AS i');
SELECT * FROM range((SELECT 'SELECT ' || string_agg(format('i * %s %% 11 AS c%s', j, j), ', ') || ' FROM generate_series(1, 9) AS i' FROM generate_series(1, 200) AS j));
-- A row among many equal ones that is not equal is the oddest.
SELECT odd FROM (SELECT (key ->> 'i')::int = 777 AS odd, rank() OVER (ORDER BY score DESC) AS place
    FROM pynomaly.detect_query('SELECT i, CASE i WHEN 777 THEN 3 ELSE 1 END AS a, CASE i WHEN 777 THEN 0 ELSE i % 2 END AS b FROM generate_series(1, 2000) AS i', '{a,b}', key => '{i}')) AS r WHERE place = 1;
SELECT count(*) FROM pynomaly.detect_query('SELECT 1 AS a');
SELECT count(*) FROM pynomaly.detect_query('SELECT 1 AS a FROM generate_series(1, 10)');
-- References are bounded for many columns: 1,500 of them.
DO $$ BEGIN EXECUTE (SELECT format('CREATE TEMP TABLE broad AS SELECT i AS id, %s FROM generate_series(1, 60) AS i',
    string_agg(format('uniform(i, %s)::float4 AS c%s', j, j), ', ')) FROM generate_series(1, 1500) AS j); END $$;
SELECT (m ->> 'bytes')::int < 8000000 AS bounded, m ->> 'decisions' LIKE '%for 1500 features fewer sets than usual%' AS told
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('broad', key => '{id}'))::jsonb AS m) AS f;
DROP TABLE broad;
DROP TABLE planted, replaced, fitted;
DROP FUNCTION range, normal, uniform;

-- The isolation forest's kinds of splits: against a program of their own, on planted rows, and on data at the edges.
\getenv directory PG_ABS_SRCDIR
\set fixture :directory '/test/fixtures/fair_cut_forest.csv'
CREATE TABLE clusters (id int PRIMARY KEY, a float8, b float8, c float8, d float8, forest float8, averaged float8);
COPY clusters FROM :'fixture' (FORMAT csv, HEADER);

-- Splits of pooled and averaged gain order rows as the forests of test/fixtures/fair_cut_forest.py do (rank correlation, mean over
-- seeds), and their raw scores reach as far.
CREATE TABLE compared AS
    SELECT splits, seed, (d.key ->> 'id')::int AS id, d.score
    FROM (VALUES ('averaged_gain', 10), ('pooled_gain', 1)) AS v (splits, tries), generate_series(1, 5) AS seed,
        LATERAL pynomaly.detect('clusters', '{a,b,c,d}', 'isolation_forest', options => jsonb_build_object('seed', seed,
            'splits', splits, 'tries', tries, 'trees', 200, 'sample_size', 128, 'explain', 'none')) AS d;
SELECT splits, avg(correlation) >= 0.95 AS "rank correlation"
FROM (SELECT splits, seed, corr(ours, theirs) AS correlation
      FROM (SELECT splits, seed, rank() OVER (PARTITION BY splits, seed ORDER BY score)::float8 AS ours,
                rank() OVER (PARTITION BY splits, seed ORDER BY CASE splits WHEN 'pooled_gain' THEN forest ELSE averaged END)::float8 AS theirs
            FROM compared JOIN clusters USING (id)) AS r GROUP BY splits, seed) AS q GROUP BY splits ORDER BY splits;
SELECT splits, abs((c ->> 'highest_raw_score')::float8 - highest) < 0.02 AS highest, abs((c ->> 'lowest_raw_score')::float8 - lowest) < 0.02 AS lowest
FROM (SELECT 'averaged_gain' AS splits, 10 AS tries, max(averaged) AS highest, min(averaged) AS lowest FROM clusters
      UNION ALL SELECT 'pooled_gain', 1, max(forest), min(forest) FROM clusters) AS t,
    LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('clusters', '{a,b,c,d}', '{id}'), 'isolation_forest',
                                 jsonb_build_object('splits', splits, 'tries', tries, 'trees', 200, 'sample_size', 128))::jsonb -> 'calibration' AS c) AS f
ORDER BY splits;
DROP TABLE clusters, compared;

-- The same score row by row and in bulk, of each kind of split, with few and many columns in a split, for few and many rows.
CREATE TABLE numbers AS
    SELECT i AS id, sin(i) AS a, i % 7 AS b, CASE WHEN i % 11 > 0 THEN cos(i * i) * (i % 5) END AS c, i * i % 101 AS d FROM generate_series(1, 3000) AS i;
SELECT options, (SELECT bool_and(s.score = pynomaly.score(m, n.a, n.b, n.c, n.d))
                 FROM pynomaly.detect('numbers', '{a,b,c,d}', 'isolation_forest', key => '{id}', options => options || '{"explain": "none"}') AS s
                     JOIN numbers AS n ON n.id = (s.key ->> 'id')::int) AS equal
FROM (SELECT options, pynomaly.fit(pynomaly.sketch_of('numbers', '{a,b,c,d}', '{id}'), 'isolation_forest', options) AS m
      FROM unnest('{"{}","{\"trees\": 30, \"sample_size\": 1000}","{\"sample_size\": 2}","{\"splits\": \"extended\"}",
                    "{\"splits\": \"extended\", \"dimensions\": 16, \"sample_size\": 1000}","{\"splits\": \"pooled_gain\"}",
                    "{\"splits\": \"pooled_gain\", \"dimensions\": 1}","{\"splits\": \"pooled_gain\", \"dimensions\": 3, \"tries\": 4}",
                    "{\"splits\": \"averaged_gain\", \"tries\": 3}",
                    "{\"splits\": \"pooled_gain\", \"trees\": 3, \"sample_size\": 16384}"}'::jsonb[]) AS options OFFSET 0) AS f;
DROP TABLE numbers;

-- Reasons name a corrupted column first in at least nine of ten flagged rows: one or two of eight columns that go together hold a
-- value far out; of skewed columns a large one.
CREATE FUNCTION uniform(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN ((hashint8extended(i * 100 + j, 1) >> 11 & 9007199254740991) + 0.5) / 9007199254740992;
CREATE FUNCTION normal(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN sqrt(-2 * ln(uniform(i, j))) * cos(2 * pi() * uniform(i, j + 50));
CREATE TABLE planted AS
    SELECT id, skewed, bad, array_agg(CASE WHEN skewed THEN exp(x) WHEN is_bad THEN x * (1 - (id + j) % 2 * 2) ELSE x END ORDER BY j) AS x
    FROM (VALUES (false), (true)) AS k (skewed), generate_series(1, 3000) AS id, generate_series(1, 8) AS j,
        LATERAL (SELECT CASE WHEN id > 60 THEN '{}' WHEN id % 2 = 0 THEN ARRAY[id % 8 + 1] ELSE ARRAY[id % 8 + 1, (id % 8 + id % 7) % 8 + 1] END AS bad) AS b,
        LATERAL (SELECT j = ANY (bad) AS is_bad) AS c,
        LATERAL (SELECT CASE WHEN is_bad THEN 4.5 + id % 3 * 0.5 ELSE 0.8 * normal(id, 0) + 0.6 * normal(id, j) END AS x) AS v
    GROUP BY id, skewed, bad;
CREATE VIEW correlated AS
    SELECT id, x[1] AS c1, x[2] AS c2, x[3] AS c3, x[4] AS c4, x[5] AS c5, x[6] AS c6, x[7] AS c7, x[8] AS c8 FROM planted WHERE NOT skewed;
CREATE VIEW skewed AS
    SELECT id, x[1] AS c1, x[2] AS c2, x[3] AS c3, x[4] AS c4, x[5] AS c5, x[6] AS c6, x[7] AS c7, x[8] AS c8 FROM planted WHERE skewed;
SELECT splits, data, count(*) >= 15 AS flagged, avg((reasons -> 0 ->> 'feature' = ANY (SELECT 'c' || b FROM unnest(bad) AS b))::int) >= 0.9 AS "named first"
FROM unnest('{plain,extended,pooled_gain,averaged_gain}'::text[]) AS splits, unnest('{correlated,skewed}'::text[]) AS data, LATERAL (
    SELECT * FROM pynomaly.anomalies(data::regclass, '{c1,c2,c3,c4,c5,c6,c7,c8}', 'isolation_forest', 0.02, '{id}',
                                     options => jsonb_build_object('splits', splits))) AS a
    JOIN planted AS p ON p.id = (a.key ->> 'id')::int
WHERE p.skewed = (data = 'skewed') AND p.bad <> '{}'
GROUP BY splits, data ORDER BY splits, data;
DROP TABLE planted CASCADE;
DROP FUNCTION normal, uniform;

-- Data at the edges: no row, one, two, all equal, a constant column, nothing but NULL, NaN and infinities, huge values, more columns
-- than rows, 0 and 1, duplicates, texts.  What cannot be learnt from is refused; otherwise every row has a score in (0, 1).
CREATE FUNCTION outcome(statement text, splits text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('CREATE TEMP TABLE edge AS %s', statement);
    SELECT format('%s rows, %s', count(*), CASE WHEN bool_and(score > 0 AND score < 1) THEN 'scored' ELSE 'not all' END) INTO result
    FROM pynomaly.detect('edge', NULL, 'isolation_forest', options => jsonb_build_object('splits', splits, 'explain', 'all', 'trees', 20));
    DROP TABLE edge;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT name, outcome(statement, 'plain') AS plain, outcome(statement, 'extended') AS extended, outcome(statement, 'pooled_gain') AS pooled_gain,
    outcome(statement, 'averaged_gain') AS averaged_gain
FROM (VALUES
    (1, 'no row', $$SELECT 1.5 AS x WHERE false$$),
    (2, 'one row', $$SELECT 1.5 AS x, 2 AS y$$),
    (3, 'two rows', $$SELECT x, -x AS y FROM generate_series(1, 2) AS x$$),
    (4, 'all equal', $$SELECT 3 AS x, 1 AS y FROM generate_series(1, 50)$$),
    (5, 'a constant column', $$SELECT 3 AS x, y FROM generate_series(1, 50) AS y$$),
    (6, 'nothing', $$SELECT NULL::float8 AS x, y FROM generate_series(1, 50) AS y$$),
    (7, 'no number', $$SELECT CASE i % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN 'Infinity' WHEN 3 THEN i::text END::float8 AS x, i AS y FROM generate_series(1, 50) AS i$$),
    (8, 'huge', $$SELECT CASE i % 3 WHEN 0 THEN 1e308 WHEN 1 THEN -1e308 ELSE i END::float8 AS x, CASE i WHEN 7 THEN 1e308 ELSE i * 1e-300 END::float8 AS y FROM generate_series(1, 50) AS i$$),
    (9, 'wide', $$SELECT i AS a, i % 2 AS b, i % 3 AS c, sin(i) AS d, cos(i) AS e, i * i AS f FROM generate_series(1, 4) AS i$$),
    (10, '0 and 1', $$SELECT i % 2 AS x, i / 25 % 2 AS y, (i = 9)::int AS z FROM generate_series(1, 200) AS i$$),
    (11, 'duplicates', $$SELECT CASE WHEN i < 990 THEN 1 ELSE i END AS x, CASE WHEN i < 990 THEN 2 ELSE -i END AS y FROM generate_series(1, 1000) AS i$$),
    (12, 'texts', $$SELECT 'kind ' || i % 3 AS x, 'kind ' || i / 90 AS y FROM generate_series(1, 100) AS i$$)) AS t (place, name, statement)
ORDER BY place;
DROP FUNCTION outcome;

-- Detectors that look at columns on their own against numpy, scipy and the papers' formulas (test/fixtures/columns.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set columns :directory '/test/fixtures/columns.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE expected (id int PRIMARY KEY, zscore float8, zscore_mean float8, zscore_norm float8, mad float8, iqr float8, copod float8,
                       hbos float8, hbos_10 float8, dynamic float8, rosner boolean);
COPY expected FROM :'columns' (FORMAT csv, HEADER);

-- The same order of all rows, and the same raw scores at both ends.
CREATE FUNCTION compare(algorithm text, options jsonb, expected text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    disordered bigint;
    ends boolean;
BEGIN
    EXECUTE format('WITH scored AS MATERIALIZED (SELECT (d.key ->> ''id'')::int AS id, d.score, e.%I AS expected
                        FROM pynomaly.detect(''points'', ''{a,b,c}'', %L, options => %L) AS d JOIN expected AS e ON e.id = (d.key ->> ''id'')::int)
                    SELECT count(*) FROM scored AS x, scored AS y
                    WHERE x.id < y.id AND abs(x.expected - y.expected) > 1e-9 AND sign(x.expected - y.expected) <> sign(x.score - y.score)',
                   expected, algorithm, options) INTO disordered;
    EXECUTE format('SELECT abs((c ->> ''highest_raw_score'')::float8 - highest) < 1e-9 AND abs((c ->> ''lowest_raw_score'')::float8 - lowest) < 1e-9
                    FROM (SELECT pynomaly.fit(pynomaly.sketch_of(''points'', ''{a,b,c}'', ''{id}''), %L, %L)::jsonb -> ''calibration'' AS c) AS f,
                        (SELECT max(%I) AS highest, min(%I) AS lowest FROM expected) AS e', algorithm, options, expected, expected) INTO ends;
    RETURN disordered || ' pairs in another order, ' || CASE WHEN ends THEN 'the same ends' ELSE 'other ends' END;
END $$;
SELECT expected, compare(algorithm, options::jsonb, expected) FROM (VALUES
    ('zscore', '{}', 'zscore'), ('zscore', '{"combine": "mean"}', 'zscore_mean'), ('zscore', '{"combine": "norm"}', 'zscore_norm'),
    ('mad', '{}', 'mad'), ('iqr', '{}', 'iqr'), ('copod', '{}', 'copod'), ('hbos', '{}', 'hbos'), ('hbos', '{"bins": 10}', 'hbos_10'),
    ('hbos', '{"bins": 12, "width": "dynamic"}', 'dynamic'))
    AS v (algorithm, options, expected);

-- gesd flags the rows that Rosner's test declares outliers, and no others; a contamination that is given decides instead.
SELECT count(*) FILTER (WHERE is_anomaly) AS flagged, count(*) FILTER (WHERE is_anomaly <> rosner) AS different
FROM pynomaly.detect('points', '{a,b,c}', 'gesd', options => '{"max_outliers": 30}') AS d JOIN expected ON id = (key ->> 'id')::int;
SELECT count(*) AS "by contamination" FROM pynomaly.anomalies('points', '{a,b,c}', 'gesd', 0.02);
SELECT m ->> 'threshold_method' AS method, m -> 'raw_threshold' AS raw_threshold, m ->> 'threshold_reason' AS reason
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}'), 'gesd')::jsonb AS m) AS f;

-- Rosner's own example, as in NIST's Engineering Statistics Handbook (1.3.5.17.3): of 54 values 3 are outliers, though the test of one or
-- of two finds none.
CREATE TABLE rosner (x float8);
INSERT INTO rosner SELECT unnest('{-0.25,0.68,0.94,1.15,1.20,1.26,1.26,1.34,1.38,1.43,1.49,1.49,1.55,1.56,1.58,1.65,1.69,1.70,1.76,1.77,1.81,
    1.91,1.94,1.96,1.99,2.06,2.09,2.10,2.14,2.15,2.23,2.24,2.26,2.35,2.37,2.40,2.47,2.54,2.62,2.64,2.90,2.92,2.92,2.93,3.21,3.26,3.30,3.59,3.68,
    4.30,4.64,5.34,5.42,6.01}'::float8[]);
SELECT most, (SELECT string_agg("row" ->> 'x', ' ') FROM pynomaly.anomalies('rosner', algorithm => 'gesd', options => jsonb_build_object('max_outliers', most))) AS outliers
FROM unnest('{1,2,3,10}'::int[]) AS most;

-- Each value given as often as its weight says is one value of that weight.
CREATE TABLE thrice AS SELECT a, b, c FROM points, generate_series(1, 3);
SELECT algorithm, count(*) AS rows, count(*) FILTER (WHERE abs(x.score - y.score) > 0.003) AS different
FROM unnest('{zscore,mad,iqr,ecod,copod}'::text[]) AS algorithm,
    LATERAL (SELECT p.a, p.b, p.c, d.score FROM pynomaly.detect('points', '{a,b,c}', algorithm) AS d JOIN points AS p ON p.id = (d.key ->> 'id')::int) AS x
    JOIN LATERAL (SELECT DISTINCT (row ->> 'a')::float8 AS a, (row ->> 'b')::float8 AS b, (row ->> 'c')::float8 AS c, d.score
          FROM (SELECT pynomaly.fit(pynomaly.sketch_agg('{a,b,c}', NULL, a, b, c), algorithm) AS m FROM thrice) AS f,
              LATERAL (SELECT to_jsonb(p) AS row, pynomaly.score(m, a, b, c) AS score FROM points AS p) AS d) AS y USING (a, b, c)
GROUP BY algorithm ORDER BY algorithm;

-- The first reason is the column that was corrupted.
CREATE TABLE corrupted AS SELECT id, CASE WHEN id % 60 = 1 THEN 900 ELSE a END AS a, CASE WHEN id % 60 = 2 THEN -300 ELSE b END AS b, c FROM points
    WHERE a BETWEEN 20 AND 80 AND b < 60 AND c < 15;
ALTER TABLE corrupted ADD PRIMARY KEY (id);
SELECT algorithm, count(*) AS corrupted, count(*) FILTER (WHERE is_anomaly) AS flagged,
    count(*) FILTER (WHERE reasons -> 0 ->> 'feature' = CASE (key ->> 'id')::int % 60 WHEN 1 THEN 'a' ELSE 'b' END) AS "with that reason"
FROM unnest('{zscore,mad,iqr,gesd,ecod,copod,hbos}'::text[]) AS algorithm, pynomaly.detect('corrupted', '{a,b,c}', algorithm, 0.05, options => '{"explain": "all"}')
WHERE (key ->> 'id')::int % 60 IN (1, 2) GROUP BY algorithm ORDER BY algorithm;

-- hbos finds what lies in a gap, which no tail can tell; values outside are odd, those just outside not more than the outermost bin.
CREATE TABLE two_heaps AS SELECT i AS id, CASE WHEN i = 1000 THEN 50 ELSE i % 2 * 90 + i % 10 + sqrt(i) / 100 END AS x FROM generate_series(1, 1000) AS i;
SELECT algorithm, (SELECT string_agg("row" ->> 'x', ' ') FROM pynomaly.anomalies('two_heaps', '{x}', algorithm, 0.001) WHERE "row" ->> 'x' = '50') AS "in the gap"
FROM unnest('{hbos,ecod,mad}'::text[]) AS algorithm;
SELECT outside > inside AS odd, farther = outside AS "no odder", just_outside = edge AS "as the outermost"
FROM (SELECT pynomaly.score(m, 200) AS outside, pynomaly.score(m, 300) AS farther, pynomaly.score(m, 5) AS inside,
          pynomaly.score(m, 99.5) AS just_outside, pynomaly.score(m, 99.3) AS edge
      FROM (SELECT pynomaly.fit(pynomaly.sketch_of('two_heaps', '{x}'), 'hbos', '{"bins": 50}') AS m) AS f) AS s;

DROP TABLE points, expected, rosner, thrice, corrupted, two_heaps;
DROP FUNCTION compare;

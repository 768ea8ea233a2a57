-- Scores, contributions and p-values against those computed by numpy, scipy and scikit-learn (test/fixtures/make.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set statistics :directory '/test/fixtures/statistics.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE statistics (subject text, statistic text, value float8);
COPY statistics FROM :'statistics' (FORMAT csv, HEADER);
CREATE TABLE scored AS
    SELECT p.*, e.score AS ecod_score, e.p_value AS ecod_p, e.reasons AS ecod_reasons, f.score AS forest_score, f.p_value AS forest_p
    FROM points AS p
        JOIN pynomaly.detect('points', '{a,b,c}', 'ecod', options => '{"explain": "all"}') AS e ON (e.key ->> 'id')::int = p.id
        JOIN pynomaly.detect('points', '{a,b,c}', 'isolation_forest') AS f ON (f.key ->> 'id')::int = p.id;

-- ECOD: the same order of all rows, the same raw scores at the end, the same contributions (given to four decimals).
SELECT count(*) FILTER (WHERE sign(round((x.ecod - y.ecod)::numeric, 9)) <> sign(x.ecod_score - y.ecod_score)) AS "pairs in another order"
FROM scored AS x JOIN scored AS y ON x.id < y.id;
SELECT statistic, abs(found - value) < 1e-9 AS equal
FROM statistics, LATERAL (SELECT (pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'ecod')::jsonb
                                  -> 'calibration' ->> statistic)::float8 AS found) AS f
WHERE subject = 'ecod' ORDER BY statistic;
SELECT count(*) AS contributions, count(*) FILTER (WHERE abs((r ->> 'contribution')::float8 - part) <= 0.0003) AS equal
FROM scored, jsonb_array_elements(ecod_reasons) AS r,
    LATERAL (SELECT CASE r ->> 'feature' WHEN 'a' THEN part_a WHEN 'b' THEN part_b ELSE part_c END AS part) AS p;
SELECT bool_and(total = 1) AS "contributions sum to 1"
FROM (SELECT sum((r ->> 'contribution')::numeric) AS total FROM scored, jsonb_array_elements(ecod_reasons) AS r GROUP BY id) AS s;

-- The isolation forest: as near to the mean of scikit-learn's forests as one of those is (rank correlation, worst rows).
SELECT corr(ours, theirs) > 0.97 AS "rank correlation"
FROM (SELECT rank() OVER (ORDER BY forest_score)::float8 AS ours, rank() OVER (ORDER BY forest)::float8 AS theirs FROM scored) AS r;
SELECT count(*) >= 18 AS "of the worst 20 at least 18"
FROM (SELECT id FROM scored ORDER BY forest_score DESC LIMIT 20) AS o JOIN (SELECT id FROM scored ORDER BY forest DESC LIMIT 20) AS t USING (id);
SELECT abs((c ->> 'highest_raw_score')::float8 - highest) < 0.03 AS highest, abs((c ->> 'lowest_raw_score')::float8 - lowest) < 0.02 AS lowest
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'isolation_forest')::jsonb -> 'calibration' AS c) AS f,
    (SELECT max(forest) AS highest, min(forest) AS lowest FROM points) AS t;

-- p-values are the share of training rows that score as high, counted from the middle of the row: at the knots exactly,
-- between them by interpolation, so never more than 1/64 of all rows or an eighth of the tail's halving off.
SELECT algorithm, bool_and(abs(p - tail) <= greatest(0.5 / 300, least(1.0 / 64, 0.095 * tail))) AS near, bool_or(p = tail) AS exact,
    bool_and(p > 0 AND p <= 1) AS range
FROM (SELECT 'ecod' AS algorithm, ecod_p AS p, (rank() OVER w + count(*) OVER (w RANGE CURRENT ROW) - 1 - 0.5) / 300 AS tail
      FROM scored WINDOW w AS (ORDER BY ecod_score DESC)
      UNION ALL
      SELECT 'isolation_forest', forest_p, (rank() OVER w + count(*) OVER (w RANGE CURRENT ROW) - 1 - 0.5) / 300
      FROM scored WINDOW w AS (ORDER BY forest_score DESC)) AS p
GROUP BY algorithm ORDER BY algorithm;

-- The share flagged of the training rows is the contamination.
SELECT contamination, (SELECT count(*) FILTER (WHERE is_anomaly) FROM pynomaly.detect('points', '{a,b,c}', contamination => c.contamination)) AS flagged
FROM (VALUES (0.5), (0.1), (0.05), (0.01)) AS c (contamination);
SELECT severity, count(*), min(p_value) > 0 AS positive,
    bool_and(CASE severity WHEN 'none' THEN p_value > 0.15 WHEN 'low' THEN p_value <= 0.15 AND NOT is_anomaly
             WHEN 'medium' THEN p_value <= 0.05 AND is_anomaly WHEN 'high' THEN p_value <= 0.005 ELSE p_value <= 0.0005 END) AS fits
FROM pynomaly.detect('points', '{a,b,c}', contamination => 0.05) GROUP BY severity ORDER BY min(p_value);

-- Score rises strictly with the raw score, also past the last training row, where ever odder values go on to be told apart.
SELECT bool_and(score > lower) AS rises, min(score) < 0.5 AS low, max(score) < 1 AS "below 1"
FROM (SELECT score, lag(score) OVER (ORDER BY x) AS lower
      FROM (SELECT x, pynomaly.score(m, x) AS score
            FROM (SELECT pynomaly.fit(pynomaly.sketch_agg('{x}', NULL, x), 'ecod') AS m FROM generate_series(0.0, 100.0, 0.5) AS x) AS f,
                generate_series(50.0, 100.0, 0.5) AS x) AS s) AS l;
DROP TABLE points, statistics, scored;

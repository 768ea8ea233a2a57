-- Detectors that learn a covariance, against numpy and scikit-learn (test/fixtures/covariance.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/covariance.csv'
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, d float8, e float8, f float8, wrong text, plain float8,
                     trimmed float8, mcd float8, pca float8, plane float8, loda float8, part_a float8,
                     part_b float8, part_c float8, part_d float8, part_e float8, part_f float8);
COPY points FROM :'points' (FORMAT csv, HEADER, FORCE_NOT_NULL (wrong));
-- Every row's score by a detector, its reasons, and what was expected.
CREATE FUNCTION compare(algorithm text, options jsonb, expected text,
                        OUT "pairs in another order" bigint, OUT "highest raw score" boolean, OUT "lowest raw score" boolean)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE compared AS SELECT p.%I AS expected, s.score FROM points AS p
                    JOIN pynomaly.detect(''points'', ''{a,b,c,d,e,f}'', %L, options => %L) AS s ON (s.key ->> ''id'')::int = p.id',
                   expected, algorithm, options);
    SELECT count(*) FILTER (WHERE sign(round((x.expected - y.expected)::numeric, 7)) <> sign(x.score - y.score))
    FROM compared AS x, compared AS y WHERE abs(x.expected - y.expected) > 1e-7 INTO "pairs in another order";
    SELECT abs((m ->> 'highest_raw_score')::float8 - max(c.expected)) < 1e-6 * max(c.expected),
        abs((m ->> 'lowest_raw_score')::float8 - min(c.expected)) < 1e-6 * max(c.expected)
    FROM compared AS c, (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c,d,e,f}', '{id}'), algorithm, options)::jsonb -> 'calibration' AS m) AS f
    GROUP BY m INTO "highest raw score", "lowest raw score";
    DROP TABLE compared;
END $$;

-- Mahalanobis: numpy's distances, with and without trimming.
SELECT * FROM compare('mahalanobis', '{"trimming": 0}', 'plain');
SELECT * FROM compare('mahalanobis', '{}', 'trimmed');
-- Each column's share is what brute force finds (contributions are given to four decimals).
SELECT count(*) AS contributions, count(*) FILTER (WHERE abs((r ->> 'contribution')::float8 - part) <= 0.0003) AS equal
FROM points AS p JOIN pynomaly.detect('points', '{a,b,c,d,e,f}', 'mahalanobis', options => '{"explain": "all"}') AS s ON (s.key ->> 'id')::int = p.id,
    jsonb_array_elements(reasons) AS r,
    LATERAL (SELECT CASE r ->> 'feature' WHEN 'a' THEN part_a WHEN 'b' THEN part_b WHEN 'c' THEN part_c WHEN 'd' THEN part_d
                    WHEN 'e' THEN part_e ELSE part_f END AS part) AS x;
-- Rows with wrong values that are flagged have a wrong column named first.
SELECT count(*) AS "wrong and flagged", count(*) FILTER (WHERE strpos(wrong, reasons -> 0 ->> 'feature') > 0) AS "rightly blamed"
FROM points AS p JOIN pynomaly.detect('points', '{a,b,c,d,e,f}', 'mahalanobis', 0.06) AS s ON (s.key ->> 'id')::int = p.id
WHERE is_anomaly AND wrong <> '';

-- MCD: nearly scikit-learn's distances; which half has the smallest determinant, both only seek.
SELECT corr(rank_ours, rank_theirs) > 0.9995 AS "same order", abs(max(highest) / max(mcd) - 1) < 0.05 AS "same highest"
FROM (SELECT mcd, rank() OVER (ORDER BY s.score)::float8 AS rank_ours, rank() OVER (ORDER BY mcd)::float8 AS rank_theirs,
          (SELECT (pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c,d,e,f}', '{id}'), 'mcd')::jsonb -> 'calibration' ->> 'highest_raw_score')::float8) AS highest
      FROM points AS p JOIN pynomaly.detect('points', '{a,b,c,d,e,f}', 'mcd') AS s ON (s.key ->> 'id')::int = p.id) AS r;
-- Principal components: numpy's distances.
SELECT * FROM compare('pca', '{}', 'pca');
SELECT * FROM compare('pca', '{"score": "reconstruction"}', 'plane');
-- LODA: the scores of numpy's histograms along the same projections.
SELECT * FROM compare('loda', '{}', 'loda');
SELECT count(*) AS "wrong and flagged", count(*) FILTER (WHERE strpos(wrong, reasons -> 0 ->> 'feature') > 0) AS "rightly blamed"
FROM points AS p JOIN pynomaly.detect('points', '{a,b,c,d,e,f}', 'mcd', 0.06) AS s ON (s.key ->> 'id')::int = p.id
WHERE is_anomaly AND wrong <> '';
DROP TABLE points;
DROP FUNCTION compare;

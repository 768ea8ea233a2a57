-- Detectors that measure distances, beside what scikit-learn and numpy give (test/fixtures/neighbours.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set neighbours :directory '/test/fixtures/neighbours.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE neighbours (id int PRIMARY KEY, largest float8, mean float8, median float8, subsets float8);
COPY neighbours FROM :'neighbours' (FORMAT csv, HEADER);

-- Asks a detector for all rows, and whether their order and the largest and the least raw score are what the fixture says.
CREATE FUNCTION compare(algorithm text, options jsonb, expected text, OUT "pairs in another order" bigint, OUT "same extremes" boolean)
LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE compared ON COMMIT DROP AS
        SELECT (d.key ->> 'id')::int AS id, d.score, (to_jsonb(n) ->> expected)::float8 AS expected
        FROM pynomaly.detect('points', '{a,b,c}', algorithm, options => options) AS d JOIN neighbours AS n ON n.id = (d.key ->> 'id')::int;
    SELECT count(*) FILTER (WHERE sign(round((x.expected - y.expected)::numeric, 9)) <> sign(round((x.score - y.score)::numeric, 12)))
    INTO "pairs in another order" FROM compared AS x JOIN compared AS y ON x.id < y.id;
    SELECT abs(max(c.expected) - (m ->> 'highest_raw_score')::float8) < 1e-9 AND abs(min(c.expected) - (m ->> 'lowest_raw_score')::float8) < 1e-9
    INTO "same extremes"
    FROM compared AS c, (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), algorithm, options)::jsonb -> 'calibration' AS m) AS f
    GROUP BY m;
    DROP TABLE compared;
END $$;

-- knn: the distances to the 5 nearest other rows are scikit-learn's.
SELECT method, c.* FROM unnest('{largest,mean,median}'::text[]) AS method,
    compare('knn', jsonb_build_object('references', 'sample', 'scale', 'standard', 'method', method), method) AS c;

-- Many random subsets: as in numpy's mean over 4,000 of them.
SELECT corr(ours, theirs) > 0.99 AS "rank correlation"
FROM (SELECT rank() OVER (ORDER BY d.score)::float8 AS ours, rank() OVER (ORDER BY n.subsets)::float8 AS theirs
      FROM pynomaly.detect('points', '{a,b,c}', 'knn', options => '{"references": "subsets", "subsets": 100, "subset_size": 64, "scale": "standard"}') AS d
          JOIN neighbours AS n ON n.id = (d.key ->> 'id')::int) AS r;
DROP FUNCTION compare;
DROP TABLE points, neighbours;

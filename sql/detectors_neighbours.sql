-- Detectors that measure distances, beside what scikit-learn and numpy give (test/fixtures/neighbours.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
\set neighbours :directory '/test/fixtures/neighbours.csv'
\set novelties :directory '/test/fixtures/novelties.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE neighbours (id int PRIMARY KEY, largest float8, mean float8, median float8, subsets float8, lof float8, inne float8,
                         cblof float8, cblof_weighted float8);
COPY neighbours FROM :'neighbours' (FORMAT csv, HEADER);
CREATE TABLE novelties (id int PRIMARY KEY, copies float8, novelty float8);
COPY novelties FROM :'novelties' (FORMAT csv, HEADER);

-- Asks a detector for all rows, and whether their order and the largest and the least raw score are what the fixture says.
CREATE FUNCTION compare(algorithm text, options jsonb, expected text, OUT "pairs in another order" bigint, OUT "same extremes" boolean)
LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE compared AS
        SELECT (d.key ->> 'id')::int AS id, d.score, (to_jsonb(n) ->> expected)::float8 AS expected
        FROM pynomaly.detect('points', '{a,b,c}', algorithm, options => options) AS d JOIN neighbours AS n ON n.id = (d.key ->> 'id')::int;
    SELECT count(*) FILTER (WHERE abs(x.expected - y.expected) > 1e-8 AND sign(x.expected - y.expected) <> sign(x.score - y.score))
    INTO "pairs in another order" FROM compared AS x JOIN compared AS y ON x.id < y.id;
    SELECT abs(max(c.expected) - (m ->> 'highest_raw_score')::float8) < 1e-9 AND abs(min(c.expected) - (m ->> 'lowest_raw_score')::float8) < 1e-9
    INTO "same extremes"
    FROM compared AS c, (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), algorithm, options)::jsonb -> 'calibration' AS m) AS f
    GROUP BY m;
    DROP TABLE compared;
END $$;
CREATE FUNCTION rank_correlation(algorithm text, options jsonb, expected text) RETURNS float8
BEGIN ATOMIC
    SELECT corr(ours, theirs)
    FROM (SELECT rank() OVER (ORDER BY d.score)::float8 AS ours, rank() OVER (ORDER BY (to_jsonb(n) ->> expected)::float8)::float8 AS theirs
          FROM pynomaly.detect('points', '{a,b,c}', algorithm, options => options) AS d JOIN neighbours AS n ON n.id = (d.key ->> 'id')::int) AS r;
END;

-- knn: the distances to the 5 nearest other rows are scikit-learn's.
SELECT method, c.* FROM unnest('{largest,mean,median}'::text[]) AS method,
    compare('knn', jsonb_build_object('references', 'sample', 'scale', 'standard', 'method', method), method) AS c;

-- Many random subsets: as numpy's mean over 4,000 of them.
SELECT rank_correlation('knn', '{"references": "subsets", "subsets": 100, "subset_size": 64, "scale": "standard"}', 'subsets') > 0.99 AS near;

-- lof: the factors of the rows themselves are those of scikit-learn's fit_predict,
SELECT * FROM compare('lof', '{"scale": "standard"}', 'lof');

-- also where rows are there several times, and one more often than there are neighbours;
CREATE TABLE copies AS
    SELECT row_number() OVER () AS id, p.id AS point, a, b, c
    FROM points AS p JOIN LATERAL generate_series(1, CASE id WHEN 1 THEN 28 ELSE 3 END) ON true WHERE id <= 100;
ALTER TABLE copies ADD PRIMARY KEY (id);
SELECT abs((c ->> 'highest_raw_score')::float8 / max(copies) - 1) < 1e-6 AS highest, abs((c ->> 'lowest_raw_score')::float8 / min(copies) - 1) < 1e-6 AS lowest
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('copies', '{a,b,c}', '{id}'), 'lof', '{"scale": "standard"}')::jsonb -> 'calibration' AS c) AS f,
    novelties GROUP BY c;
SELECT count(*) FILTER (WHERE abs(x.copies / y.copies - 1) > 1e-6 AND sign(x.copies - y.copies) <> sign(x.score - y.score)) AS "pairs in another order"
FROM (SELECT point, score, n.copies FROM pynomaly.detect('copies', '{a,b,c}', 'lof', options => '{"scale": "standard"}') AS d
      JOIN copies AS c ON c.id = (d.key ->> 'id')::int JOIN novelties AS n ON n.id = point) AS x
    CROSS JOIN LATERAL (SELECT point, score, n.copies FROM pynomaly.detect('copies', '{a,b,c}', 'lof', options => '{"scale": "standard"}') AS d
      JOIN copies AS c ON c.id = (d.key ->> 'id')::int JOIN novelties AS n ON n.id = point WHERE x.point = 1) AS y;

-- and new rows are scored as scikit-learn scores novelties.
SELECT count(*) FILTER (WHERE abs(x.novelty - y.novelty) > 1e-8 AND sign(x.novelty - y.novelty) <> sign(x.score - y.score)) AS "pairs in another order"
FROM (WITH f AS MATERIALIZED (SELECT pynomaly.fit(pynomaly.sketch_agg('{a,b,c}', pynomaly.row_key(id), a, b, c), 'lof', '{"scale": "standard"}') AS model
                              FROM points WHERE id <= 200)
      SELECT array_agg(row(n.id, novelty, pynomaly.score(model, a, b, c)) ORDER BY n.id) FROM f, points AS p JOIN novelties AS n ON n.id = p.id - 200) AS all_rows (r),
    unnest(r) AS x (id int, novelty float8, score float8), unnest(r) AS y (id int, novelty float8, score float8);

-- inne: as the mean over 20,000 estimators.
SELECT rank_correlation('inne', '{"n_estimators": 1000, "scale": "standard"}', 'inne') > 0.99 AS near;

-- cblof: the distances to the centres that scikit-learn's k-means finds, from that of the large one for rows of the two small ones.
SELECT options, c.* FROM (VALUES ('{"n_clusters": 3, "scale": "standard"}'::jsonb, 'cblof'), ('{"n_clusters": 3, "use_weights": "yes", "scale": "standard"}', 'cblof_weighted')) AS v (options, expected),
    compare('cblof', options, expected) AS c;
DROP FUNCTION compare, rank_correlation;
DROP TABLE points, neighbours, novelties, copies;

-- Reasons: where one or two columns of a row were made odd, such a column is named first in at least 90 of 100 such rows.
CREATE TABLE corrupted AS
    SELECT i AS id, 2 * x + sin(i * 7.1) AS c1, x - sin(i * 3.7) AS c2, 5 * cos(i * 1.3) AS c3, exp(sin(i * 2.3)) AS c4, x * x AS c5, (i * 31 % 17)::float8 AS c6
    FROM generate_series(1, 2000) AS i, LATERAL (SELECT sin(i * 0.61) + cos(i * 1.93) AS x) AS x;
ALTER TABLE corrupted ADD PRIMARY KEY (id);
UPDATE corrupted SET c1 = c1 + 40 + id WHERE id % 100 = 1;
UPDATE corrupted SET c4 = c4 - 30 - id, c6 = c6 + 200 WHERE id % 100 = 2;
UPDATE corrupted SET c2 = c2 - 25 - id WHERE id % 100 = 3;
UPDATE corrupted SET c5 = c5 + 60 + id, c3 = c3 + 80 WHERE id % 100 = 4;
UPDATE corrupted SET c6 = -150 - id WHERE id % 100 = 5;
SELECT algorithm, options, count(*) AS "rows", count(*) FILTER (WHERE first = ANY (made_odd)) >= 0.9 * count(*) AS "named first"
FROM (VALUES ('knn', '{"references": "sample"}'::jsonb), ('knn', '{"references": "subsets"}'), ('knn', '{"references": "subsets", "scale": "tails"}'), ('lof', '{}'), ('inne', '{}'), ('cblof', '{}')) AS v (algorithm, options),
    LATERAL (SELECT (ARRAY['{c1}', '{c4,c6}', '{c2}', '{c3,c5}', '{c6}']::text[][])[(key ->> 'id')::int % 100]::text[] AS made_odd, reasons #>> '{0,feature}' AS first
             FROM pynomaly.detect('corrupted', NULL, algorithm, options => options || '{"explain": "all"}') WHERE (key ->> 'id')::int % 100 BETWEEN 1 AND 5) AS d
GROUP BY algorithm, options ORDER BY algorithm, options;
DROP TABLE corrupted;

-- Tables that are hard on distances: every row gets a score, or the call says why not.
CREATE TABLE two AS SELECT i AS id, i * 1.5 AS x FROM generate_series(1, 2) AS i;
CREATE TABLE equal AS SELECT i AS id, 1.5 AS x, 'a' AS t FROM generate_series(1, 20) AS i;
CREATE TABLE huge AS SELECT i AS id, CASE i % 9 WHEN 0 THEN 1e308 WHEN 1 THEN -1e308 ELSE i END AS x, CASE i % 7 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN 'Infinity' ELSE i % 5 END AS y,
    NULL::float8 AS nothing, 1e-308 * i AS tiny, 3 AS three FROM generate_series(1, 100) AS i;
CREATE TABLE binary_columns AS SELECT i AS id, i % 2 = 0 AS p, i % 3 AS q, (i % 50 = 0)::int AS r, (ARRAY['red', 'green', 'blue'])[1 + i % 3] AS t FROM generate_series(1, 3000) AS i;
CREATE TABLE one AS SELECT 1 AS id, 2.5 AS x;
CREATE TABLE empty AS SELECT * FROM one LIMIT 0;
DO $$ BEGIN EXECUTE 'CREATE TABLE wide AS SELECT i AS id, ' || (SELECT string_agg(format('sin(i * %s) AS c%s', n, n), ', ') FROM generate_series(1, 300) AS n) || ' FROM generate_series(1, 12) AS i'; END $$;
CREATE FUNCTION try_detect(source regclass, algorithm text, options jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT count(*) || ' rows' || CASE WHEN count(*) = count(*) FILTER (WHERE score BETWEEN 0 AND 1 AND p_value BETWEEN 0 AND 1) THEN '' ELSE ', not all scored' END
            FROM pynomaly.detect(source, NULL, algorithm, key => '{id}', options => options || '{"explain": "all"}'));
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SET client_min_messages = warning;
SELECT source, string_agg(DISTINCT try_detect(source::regclass, algorithm, options), '; ') AS outcome
FROM unnest('{empty,one,two,equal,huge,binary_columns,wide}'::text[]) WITH ORDINALITY AS s (source, place),
    (VALUES ('knn', '{"references": "sample"}'::jsonb), ('knn', '{"references": "subsets", "scale": "tails"}'), ('knn', '{"references": "sample", "k": 256, "method": "median", "scale": "standard"}'),
        ('lof', '{}'), ('lof', '{"k": 256, "scale": "tails"}'), ('inne', '{}'), ('inne', '{"max_samples": 256, "n_estimators": 3, "scale": "standard"}'),
        ('cblof', '{}'), ('cblof', '{"n_clusters": 256, "use_weights": "yes", "scale": "tails"}')) AS v (algorithm, options)
GROUP BY place, source ORDER BY place;
DROP TABLE two, equal, huge, binary_columns, one, empty, wide;
DROP FUNCTION try_detect;

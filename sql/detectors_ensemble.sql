-- Ensembles: what they combine is checked by combining the members' own p-values in SQL.
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/points.csv'
SET extra_float_digits = 0;
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, ecod float8, part_a float8, part_b float8,
                     part_c float8, forest float8);
COPY points FROM :'points' (FORMAT csv, HEADER);
CREATE TABLE alone AS
    SELECT p.id, p.a, p.b, p.c, -ln(f.p_value) AS forest, -ln(e.p_value) AS ecod
    FROM points AS p
        JOIN pynomaly.detect('points', '{a,b,c}', 'isolation_forest') AS f ON (f.key ->> 'id')::int = p.id
        JOIN pynomaly.detect('points', '{a,b,c}', 'ecod') AS e ON (e.key ->> 'id')::int = p.id;
CREATE TABLE wanted (combination text, options jsonb);
INSERT INTO wanted VALUES
    ('average', '{"members": ["isolation_forest", "ecod"]}'),
    ('weighted', '{"members": ["isolation_forest", {"algorithm": "ecod", "weight": 3}]}'),
    ('maximum', '{"members": ["isolation_forest", "ecod"], "combine": "maximum"}'),
    ('median of two', '{"members": ["isolation_forest", "ecod"], "combine": "median"}'),
    ('median of three', '{"members": ["isolation_forest", "ecod", "ecod"], "combine": "median"}'),
    ('average of maximum', '{"members": ["isolation_forest", "ecod", "ecod", "ecod"], "combine": "average_of_maximum"}'),
    ('one group', '{"members": ["isolation_forest", "ecod"], "combine": "average_of_maximum", "groups": 1}'),
    ('nested', '{"members": ["isolation_forest", {"algorithm": "ensemble", "members": ["ecod"], "scores": "calibrated"}]}');
CREATE TABLE expected AS
    SELECT id, w.combination, CASE w.combination
        WHEN 'average' THEN (forest + ecod) / 2
        WHEN 'weighted' THEN (forest + 3 * ecod) / 4
        WHEN 'maximum' THEN greatest(forest, ecod)
        WHEN 'median of two' THEN (forest + ecod) / 2
        WHEN 'median of three' THEN ecod
        WHEN 'average of maximum' THEN (greatest(forest, ecod) + ecod) / 2
        WHEN 'one group' THEN greatest(forest, ecod)
        WHEN 'nested' THEN (forest + ecod) / 2 END AS score
    FROM alone, wanted AS w;

-- Where none are named there is one of each family: a forest, single columns, distances and covariance.
SELECT bool_and(u.score = n.score) AS "the usual members"
FROM pynomaly.detect('points', '{a,b,c}', 'ensemble') AS u
    JOIN pynomaly.detect('points', '{a,b,c}', 'ensemble', options => '{"members": ["isolation_forest", "hbos", "knn", "mahalanobis"]}') AS n USING (key);

-- The same order of all rows, and the same raw score at both ends.
SELECT w.combination, abs((c ->> 'highest_raw_score')::float8 - highest) < 1e-9 AS highest,
    abs((c ->> 'lowest_raw_score')::float8 - lowest) < 1e-9 AS lowest
FROM (SELECT * FROM wanted WHERE combination <> 'nested') AS w,
    LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'ensemble',
                                 w.options || '{"scores": "calibrated"}')::jsonb -> 'calibration' AS c) AS f,
    LATERAL (SELECT max(score) AS highest, min(score) AS lowest FROM expected AS e WHERE e.combination = w.combination) AS e;
CREATE TABLE found AS
    SELECT w.combination, (d.key ->> 'id')::int AS id, d.score
    FROM wanted AS w, pynomaly.detect('points', '{a,b,c}', 'ensemble', options => w.options || '{"scores": "calibrated"}') AS d;
SELECT x.combination, count(*) FILTER (WHERE abs(x.score - y.score) > 1e-9 AND sign(x.score - y.score) <> sign(v.score - u.score)) AS "pairs in another order"
FROM expected AS x JOIN expected AS y ON x.combination = y.combination AND x.id < y.id
    JOIN found AS v ON v.combination = x.combination AND v.id = x.id
    JOIN found AS u ON u.combination = y.combination AND u.id = y.id
GROUP BY x.combination ORDER BY x.combination;

-- Gaussian ranks: the oddest of 300 rows is at the standard normal quantile of 1 - 0.5/300, the least odd at its opposite
-- (scipy.stats.norm.ppf).
SELECT abs((c ->> 'highest_raw_score')::float8 - 2.935199468866698) < 1e-9 AS highest,
    abs((c ->> 'lowest_raw_score')::float8 + 2.935199468866698) < 1e-9 AS lowest
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'ensemble',
                          '{"members": ["ecod"]}')::jsonb -> 'calibration' AS c) AS f;

-- Both scales go on rising past all training rows.
SELECT scale, bool_and(score > lower) AS rises, max(score) < 1 AS "below 1"
FROM (SELECT scale, score, lag(score) OVER (PARTITION BY scale ORDER BY x) AS lower
      FROM (SELECT scale, x, pynomaly.score(m, x) AS score
            FROM (SELECT scale, pynomaly.fit(pynomaly.sketch_agg('{x}', NULL, x), 'ensemble',
                                             jsonb_build_object('members', '["ecod"]'::jsonb, 'scores', scale)) AS m
                  FROM generate_series(0.0, 100.0, 0.5) AS x, unnest('{calibrated,ranks}'::text[]) AS scale GROUP BY scale) AS f,
                generate_series(50.0, 100.0, 0.5) AS x) AS s) AS l
GROUP BY scale ORDER BY scale;

-- One row scored alone has the same bits as in a block.
SELECT count(*) AS rows, count(*) FILTER (WHERE f.score = pynomaly.score(m, p.a, p.b, p.c)) AS equal
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'ensemble', (SELECT options || '{"scores": "calibrated"}'
      FROM wanted WHERE combination = 'nested')) AS m) AS m, points AS p JOIN found AS f ON f.id = p.id AND f.combination = 'nested';

-- A row is explained by the members that find it odd; the contributions sum to 1, and the corrupted column comes first.
CREATE TABLE corrupted AS
    SELECT id, CASE WHEN id % 100 = 0 THEN 40 + id ELSE a END AS a, CASE WHEN id % 100 = 1 THEN -40 - id ELSE b END AS b, c FROM points;
SELECT combine, count(*) AS rows, count(*) FILTER (WHERE reasons -> 0 ->> 'feature' = CASE id % 100 WHEN 0 THEN 'a' ELSE 'b' END) AS first,
    bool_and((SELECT sum((r ->> 'contribution')::numeric) FROM jsonb_array_elements(reasons) AS r) = 1) AS "sum 1"
FROM unnest('{average,maximum,median,average_of_maximum}'::text[]) AS combine,
    LATERAL (SELECT (key ->> 'id')::int AS id, reasons
             FROM pynomaly.detect('corrupted', '{a,b,c}', 'ensemble', key => '{id}', options => jsonb_build_object('combine', combine, 'explain', 'all'))) AS d
WHERE id % 100 IN (0, 1) GROUP BY combine ORDER BY combine;

-- The same data, the same bytes; the model says which algorithm it is.
SELECT count(DISTINCT m::text) AS models, min(m::jsonb ->> 'algorithm') AS algorithm
FROM (SELECT pynomaly.fit(pynomaly.sketch_of('points', '{a,b,c}', '{id}'), 'ensemble') AS m FROM generate_series(1, 2)) AS f;

-- What cannot be combined is refused, by name.
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": []}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": "ecod"}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": {"algorithm": "ecod"}}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble',
    options => jsonb_build_object('members', (SELECT jsonb_agg('ecod'::text) FROM generate_series(1, 17))));
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": ["ecod", 1]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": [["ecod"]]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": [{"weight": 2}]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": [{"algorithm": "ecod", "trees": 7}]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": [{"algorithm": "ecod", "weight": 0}]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"members": [{"algorithm": "isolation_forest", "trees": 0}]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble', options => '{"combine": "product"}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble',
    options => '{"members": [{"algorithm": "ensemble", "members": [{"algorithm": "ensemble", "members": ["ecod"]}]}]}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ensemble',
    options => '{"members": ["isolation_forest", {"algorithm": "ecod", "weight": 2}], "combine": "median"}');
SELECT count(*) FROM pynomaly.detect('points', algorithm => 'ecod', options => '{"members": ["ecod"]}');
DO $$ BEGIN PERFORM pynomaly.detect('points', algorithm => 'nothing'); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM; END $$;
DROP TABLE points, alone, wanted, expected, found, corrupted;

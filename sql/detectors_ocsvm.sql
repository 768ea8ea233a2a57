-- The one-class support vector machine against scikit-learn's (test/fixtures/ocsvm.py).
\getenv directory PG_ABS_SRCDIR
\set points :directory '/test/fixtures/ocsvm.csv'
CREATE TABLE points (id int PRIMARY KEY, a float8, b float8, c float8, d float8, e float8, f float8, wrong text, robust float8,
                     standard float8, tails float8, narrow float8);
COPY points FROM :'points' (FORMAT csv, HEADER, FORCE_NOT_NULL (wrong));
CREATE TABLE known AS SELECT * FROM points WHERE id <= 400;
ALTER TABLE known ADD PRIMARY KEY (id);
-- Scores of the 400 rows learnt from and of 200 new ones: the raw scores at the ends of the former, and the order of all, are
-- scikit-learn's to a thousandth of their range.
CREATE FUNCTION compare(options jsonb, expected text, OUT pairs bigint, OUT "in another order" bigint, OUT "highest raw score" boolean,
                        OUT "lowest raw score" boolean)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE compared AS SELECT p.id, p.%I AS expected, pynomaly.score(m, a, b, c, d, e, f) AS score, m::jsonb -> ''calibration'' AS ends
                    FROM points AS p, (SELECT pynomaly.fit(pynomaly.sketch_of(''known'', ''{a,b,c,d,e,f}'', ''{id}''), ''ocsvm'', %L) AS m OFFSET 0) AS f',
                   expected, options);
    SELECT count(*), count(*) FILTER (WHERE NOT x.score > y.score)
    FROM compared AS x, compared AS y, (SELECT max(c.expected) - min(c.expected) AS span FROM compared AS c) AS r
    WHERE x.expected > y.expected + 0.001 * span INTO pairs, "in another order";
    SELECT abs((ends ->> 'highest_raw_score')::float8 - max(c.expected)) < 0.001 * (max(c.expected) - min(c.expected)),
        abs((ends ->> 'lowest_raw_score')::float8 - min(c.expected)) < 0.001 * (max(c.expected) - min(c.expected))
    FROM compared AS c WHERE c.id <= 400 GROUP BY ends INTO "highest raw score", "lowest raw score";
    DROP TABLE compared;
END $$;
SELECT * FROM compare('{"scale": "robust"}', 'robust');
SELECT * FROM compare('{"scale": "standard"}', 'standard');
SELECT * FROM compare('{"scale": "tails"}', 'tails');
SELECT * FROM compare('{"scale": "standard", "nu": 0.1, "gamma": 0.5}', 'narrow');

-- Rows with wrong values that are flagged have a wrong column named first.
SELECT count(*) AS "wrong and flagged", count(*) FILTER (WHERE strpos(wrong, reasons -> 0 ->> 'feature') > 0) AS "rightly blamed"
FROM known AS p JOIN pynomaly.detect('known', '{a,b,c,d,e,f}', 'ocsvm', 0.06) AS s ON (s.key ->> 'id')::int = p.id
WHERE is_anomaly AND wrong <> '';

-- New rows are flagged as often as contamination says, though the training rows are what the border was drawn around.
CREATE FUNCTION noise(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
$$SELECT (hashint8extended(i, j) >> 11 & 9007199254740991) / 9007199254740992.0::float8$$;
CREATE TABLE same AS SELECT i AS id, noise(i, 1) + noise(i, 2) - noise(i, 3) AS a, noise(i, 4) + noise(i, 5) - noise(i, 6) AS b, noise(i, 7) + noise(i, 8) - noise(i, 9) AS c,
    noise(i, 10) + noise(i, 11) - noise(i, 12) AS d, noise(i, 13) + noise(i, 14) - noise(i, 15) AS e, noise(i, 16) + noise(i, 17) - noise(i, 18) AS f
    FROM generate_series(1, 6000) AS i;
CREATE TABLE learnt AS SELECT * FROM same WHERE id <= 1000;
SELECT round(avg(pynomaly.is_anomaly(m, a, b, c, d, e, f)::int), 2) AS flagged
FROM same, (SELECT pynomaly.fit(pynomaly.sketch_of('learnt', '{a,b,c,d,e,f}', '{id}'), 'ocsvm', '{"contamination": 0.05}') AS m OFFSET 0) AS f WHERE id > 1000;

-- At least the share nu of the rows become support vectors, and these are the model.
SELECT nu, length(pynomaly.model_send(pynomaly.fit(s, 'ocsvm', jsonb_build_object('nu', nu)))) >= 400 * nu * 28 AS "enough support vectors"
FROM (SELECT pynomaly.sketch_of('known', '{a,b,c,d,e,f}', '{id}') AS s OFFSET 0) AS k, unnest('{0.5,1}'::numeric[]) AS nu ORDER BY nu;

DROP TABLE points, known, same, learnt;
DROP FUNCTION compare, noise;

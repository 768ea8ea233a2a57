-- What every algorithm has to keep to on data of all kinds: the tests loop over pynomaly.algorithms(), whichever there are.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET extra_float_digits = 0;
CREATE FUNCTION noise(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$SELECT (hashint8extended(i, j) >> 11 & 9007199254740991) / 9007199254740992.0::float8$$;

-- Tables that must work: numbers, booleans, texts, times, uuid and NULL together; duplicates; constant columns; flags; the
-- largest numbers there are, NaN and infinities; more columns than rows; columns that are NULL; text of all different values.
CREATE TABLE kinds AS SELECT i AS id, noise(i, 1) * 100 AS amount, i % 7 AS level, i % 3 = 0 AS flag, (ARRAY['red', 'green', 'blue', NULL])[1 + i * i % 4] AS colour,
    timestamptz '2026-01-01' + i * interval '7 hours' AS at, date '2026-01-01' + i % 40 AS day, time '08:00' + i % 480 * interval '1 minute' AS start,
    CASE WHEN i % 5 = 0 THEN NULL ELSE noise(i, 2)::numeric(6, 4) END AS gaps, ('00000000-0000-0000-0000-00000000000' || i % 4)::uuid AS place
    FROM generate_series(1, 300) AS i;
CREATE TABLE copies AS SELECT i AS id, i % 5 AS a, i % 5 * 1.5 AS b, 'k' || i % 5 AS c FROM generate_series(1, 300) AS i;
CREATE TABLE still AS SELECT i AS id, 7 AS a, 'x' AS b, NULL::float8 AS c, i % 10 AS d, CASE WHEN i = 30 THEN 1 ELSE 0 END AS e FROM generate_series(1, 200) AS i;
CREATE TABLE flags AS SELECT i AS id, i % 2 AS a, (i % 3 = 0)::int AS b, i % 5 = 0 AS c, CASE WHEN i = 9 THEN 1 ELSE 0 END AS d FROM generate_series(1, 200) AS i;
CREATE TABLE huge AS SELECT i AS id, CASE i % 50 WHEN 0 THEN 1.7e308 WHEN 1 THEN -1.7e308 WHEN 2 THEN 'NaN' WHEN 3 THEN 'Infinity' WHEN 4 THEN 4.9e-324 ELSE noise(i, 1) END AS a,
    CASE i % 2 WHEN 0 THEN 1.7e308 ELSE -1.7e308 END AS b, noise(i, 3) * 1e-310 AS c, 1e308 * noise(i, 4) - 5e307 AS d FROM generate_series(1, 200) AS i;
CREATE TABLE near AS SELECT i AS id, 1e15 + i % 9 * 0.125 AS a, 1.7e9 + noise(i, 1) AS b, 1 + i % 3 * 2.3e-16 AS c FROM generate_series(1, 200) AS i;
DO $$ BEGIN EXECUTE 'CREATE TABLE wide AS SELECT i AS id, ' || (SELECT string_agg(format('noise(i, %s) AS c%s', j, j), ', ') FROM generate_series(1, 60) AS j) || ' FROM generate_series(1, 12) AS i'; END $$;
CREATE TABLE named AS SELECT i AS id, 'text ' || i AS a, gen_random_uuid() AS b, noise(i, 1) AS c FROM generate_series(1, 300) AS i;
CREATE TABLE pair AS SELECT i AS id, i AS a, i * 2.5 AS b FROM generate_series(1, 2) AS i;
CREATE TABLE trio AS SELECT i AS id, i AS a, NULLIF(i, 3) AS b, 'x' || i AS c FROM generate_series(1, 3) AS i;

CREATE FUNCTION check_table(relation text, algorithm text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    -- Each row once, scores and p-values in range, contributions that sum to 1, a score wherever there is a value, and `score` of a
    -- row gives the bits that `detect` gives.
    EXECUTE format($q$
        WITH detected AS MATERIALIZED (SELECT (key ->> 'id')::int AS id, * FROM pynomaly.detect(%L, NULL, $1, key => '{id}', options => '{"explain": "all"}')),
            model AS MATERIALIZED (SELECT pynomaly.fit(pynomaly.sketch_of(%L, NULL, '{id}'), $1) AS m)
        SELECT concat_ws(', ',
            CASE WHEN count(*) <> (SELECT count(*) FROM %I) OR count(DISTINCT d.id) <> count(*) THEN 'rows are missing or given twice' END,
            CASE WHEN count(*) FILTER (WHERE NOT (d.score >= 0 AND d.score <= 1 AND d.p_value > 0 AND d.p_value <= 1)) > 0 THEN 'scores out of range' END,
            CASE WHEN count(*) FILTER (WHERE d.score IS NULL AND state <> 'missing' OR d.score IS NOT NULL AND state <> 'scored') > 0 THEN 'states do not fit' END,
            CASE WHEN count(*) FILTER (WHERE float8send(d.score) IS DISTINCT FROM float8send(s.score)) > 0 THEN 'score differs from detect in ' || count(*) FILTER (WHERE d.score IS DISTINCT FROM s.score) || ' rows' END,
            CASE WHEN count(*) FILTER (WHERE abs(contributions - 1) > 1e-9) > 0 THEN 'contributions do not sum to 1' END)
        FROM detected AS d JOIN LATERAL (SELECT pynomaly.score(m, t) AS score FROM %I AS t, model WHERE t.id = d.id) AS s ON true,
            LATERAL (SELECT sum((r ->> 'contribution')::numeric) AS contributions FROM jsonb_array_elements(reasons) AS r) AS r $q$,
        relation, relation, relation, relation) INTO problem USING algorithm;
    RETURN NULLIF(problem, '');
EXCEPTION WHEN OTHERS THEN
    RETURN 'error ' || SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT relation, algorithm, problem
FROM unnest('{kinds,copies,still,flags,huge,near,wide,named,pair,trio}'::text[]) AS relation, pynomaly.algorithms() AS a, check_table(relation, algorithm) AS problem
WHERE problem IS NOT NULL ORDER BY relation, algorithm;

-- Texts of which no two are equal take part where they are named; every row is scored then, too.
SELECT a.algorithm, count(*) FROM pynomaly.algorithms() AS a, pynomaly.detect('named', '{a,b,c}', a.algorithm, key => '{id}') AS d
WHERE state = 'scored' AND score BETWEEN 0 AND 1 GROUP BY a.algorithm HAVING count(*) <> 300;

-- What cannot be learnt from is refused by every algorithm, with the same state.
CREATE TABLE nobody (id int, a float8);
CREATE TABLE lonely AS SELECT 1 AS id, 2.5::float8 AS a;
CREATE TABLE nothing AS SELECT i AS id, NULL::float8 AS a, 'NaN'::float8 AS b FROM generate_series(1, 20) AS i;
CREATE TABLE equal AS SELECT i AS id, 4 AS a, 'x' AS b FROM generate_series(1, 20) AS i;
CREATE FUNCTION state_of(relation text, algorithm text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pynomaly.detect(relation::regclass, NULL, algorithm, key => '{id}');
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT relation, state, count(*) = (SELECT count(*) FROM pynomaly.algorithms()) AS "by every algorithm"
FROM unnest('{nobody,lonely,nothing,equal}'::text[]) AS relation, pynomaly.algorithms() AS a, state_of(relation, algorithm) AS state GROUP BY relation, state ORDER BY relation, state;

-- A category never seen before is odder than a common one; so is a text where there was none, a flag, a time of day.
CREATE TABLE shop AS SELECT i AS id, CASE WHEN i % 100 = 0 THEN 'mauve' WHEN i % 10 = 0 THEN 'blue' WHEN i % 3 = 0 THEN 'green' ELSE 'red' END AS colour, noise(i, 1) + noise(i, 2) + noise(i, 3) AS x,
    noise(i, 4) + noise(i, 5) + noise(i, 6) AS y, timestamp '2026-01-01 09:00' + i % 200 * interval '1 day' + noise(i, 7) * interval '8 hours' AS at FROM generate_series(1, 1000) AS i;
SELECT algorithm, never > common AS never, none > common AS none, night > common AS night
FROM pynomaly.algorithms() AS a, LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('shop', '{colour,x,y,at}', '{id}'), algorithm) AS m OFFSET 0) AS f,
    LATERAL (SELECT pynomaly.score(m, 'red'::text, 1.5, 1.5, timestamp '2026-03-11 13:00') AS common, pynomaly.score(m, 'never seen'::text, 1.5, 1.5, timestamp '2026-03-11 13:00') AS never,
                 pynomaly.score(m, NULL::text, 1.5, 1.5, timestamp '2026-03-11 13:00') AS none, pynomaly.score(m, 'red'::text, 1.5, 1.5, timestamp '2026-03-11 03:00') AS night) AS s
WHERE NOT (never > common AND none > common AND night > common) ORDER BY algorithm;

-- One NULL in a column that is full otherwise: the column is the first reason, and the row is flagged, but by algorithms that learn from
-- subsamples, in which that row hardly ever is.
CREATE TABLE full_but_one AS SELECT id, CASE WHEN id <> 500 THEN x END AS x, CASE WHEN id <> 500 THEN y ELSE 1.5 END AS y, noise(id, 8) AS z FROM shop;
SELECT a.algorithm, is_anomaly, reasons -> 0 ->> 'feature' AS feature
FROM pynomaly.algorithms() AS a, pynomaly.detect('full_but_one', '{x,y,z}', a.algorithm, 0.05, '{id}', options => '{"explain": "all"}') AS d
WHERE (key ->> 'id')::int = 500 AND NOT (reasons -> 0 ->> 'feature' = 'x' AND (is_anomaly OR a.algorithm IN ('auto', 'isolation_forest', 'ensemble')))
ORDER BY a.algorithm;

-- A million different texts are learnt from in bounded memory where they are named; else they are left out, with a notice.
CREATE UNLOGGED TABLE million AS SELECT i AS id, 'text ' || i AS t, (i % 100)::float8 AS x FROM generate_series(1, 1000000) AS i;
SET client_min_messages = notice;
SELECT count(*) AS scored, count(DISTINCT score) <= 100 AS "one text is like another"
FROM pynomaly.detect('million', '{t,x}', 'hbos', options => '{"explain": "none"}');
SELECT count(*) AS flagged FROM pynomaly.anomalies('million', algorithm => 'ecod', contamination => 0.001, key => '{id}', "limit" => 5);

DROP TABLE kinds, copies, still, flags, huge, near, wide, named, pair, trio, nobody, lonely, nothing, equal, shop, full_but_one, million;
DROP FUNCTION check_table, state_of, noise;

-- Sketches merge: the whole is what its parts make, whoever has read which part.
SET extra_float_digits = 0;
CREATE TABLE event AS
    SELECT i AS id, i % 1000 AS step, sqrt(i::float8) AS root, 'kind ' || i % 7 AS kind, i % 10 AS part,
        timestamptz '2026-01-01 UTC' + i * interval '1 minute' AS at
    FROM generate_series(1, 150000) AS i;
ALTER TABLE event ADD PRIMARY KEY (id);
ANALYZE event;

-- What a model is fitted from is the same bytes; all else says the same.
CREATE FUNCTION model_of(sketch pynomaly.sketch) RETURNS text LANGUAGE sql
    AS $$SELECT md5(pynomaly.fit(sketch)::text) || md5(pynomaly.fit(sketch, 'ecod')::text)$$;
CREATE TABLE whole AS SELECT pynomaly.sketch_agg('{step,root,kind,at}', pynomaly.row_key(id), step, root, kind, at) AS sketch FROM event;
CREATE TABLE part AS
    SELECT part, pynomaly.sketch_agg('{step,root,kind,at}', pynomaly.row_key(id), step, root, kind, at) AS sketch
    FROM event GROUP BY part;
SELECT model_of(pynomaly.merge(part.sketch)) = (SELECT model_of(sketch) FROM whole) AS "same models",
    pynomaly.merge(part.sketch)::jsonb -> 'rows' AS rows
FROM part;
SELECT model_of(pynomaly.merge(sketch ORDER BY part DESC)) = (SELECT model_of(sketch) FROM whole) AS "same models, another order" FROM part;
SELECT model_of(pynomaly.sketch_of('event', '{step,root,kind,at}')) = model_of(sketch) AS "sketch_of gives the same" FROM whole;

-- With 0, 1 and 2 parallel workers.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION in_parallel(workers int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    sketch pynomaly.sketch;
    used int;
BEGIN
    PERFORM set_config('max_parallel_workers_per_gather', workers::text, true);
    EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON)
        SELECT pynomaly.sketch_agg(''{step,root,kind,at}'', pynomaly.row_key(id), step, root, kind, at) FROM event' INTO plan;
    SELECT (regexp_match(plan::text, '"Workers Launched": (\d+)'))[1] INTO used;
    SELECT pynomaly.sketch_agg('{step,root,kind,at}', pynomaly.row_key(id), step, root, kind, at) FROM event INTO sketch;
    RETURN format('%s workers: %s', COALESCE(used, 0),
                  CASE WHEN model_of(sketch) = (SELECT model_of(w.sketch) FROM whole AS w) THEN 'same models' ELSE 'other models' END);
END $$;
SELECT in_parallel(workers) FROM generate_series(0, 2) AS workers;

-- After the rows' order on disk has changed.
CREATE TABLE shuffled AS SELECT * FROM event ORDER BY hashint4extended(id, 1);
ALTER TABLE shuffled ADD PRIMARY KEY (id);
SELECT model_of(pynomaly.sketch_of('shuffled', '{step,root,kind,at}')) = model_of(sketch) AS "same models" FROM whole;
SELECT model_of(pynomaly.sketch_agg('{step,root,kind,at}', pynomaly.row_key(id), step, root, kind, at)) =
    (SELECT model_of(sketch) FROM whole) AS "same models from the aggregate" FROM shuffled;

-- Without a key the row is its own key, and rows that are alike count by their number.
SELECT pynomaly.sketch_agg('{step,kind}', NULL, step % 5, kind)::jsonb #> '{sample,rows}' AS "different rows",
    pynomaly.sketch_agg('{step,kind}', NULL, step % 5, kind)::jsonb -> 'rows' AS rows
FROM event;

-- A row value brings its columns' names; a NULL row is none.
SELECT pynomaly.sketch_agg(NULL, pynomaly.row_key(id), e) IS NOT NULL AS sketch,
    (SELECT string_agg(c ->> 'name', ',') FROM jsonb_array_elements(pynomaly.sketch_agg(NULL, NULL, e)::jsonb -> 'columns') AS c) AS columns
FROM event AS e WHERE id <= 10;
SELECT (SELECT string_agg(c ->> 'name', ',') FROM jsonb_array_elements(pynomaly.sketch_agg('{kind,root}', NULL, e)::jsonb -> 'columns') AS c) AS columns
FROM event AS e WHERE id <= 10;
SELECT pynomaly.sketch_agg(NULL, NULL, NULL::event) IS NULL AS "no row, no sketch";
SELECT pynomaly.sketch_agg('{a}', NULL, a) IS NULL AS "no row, no sketch" FROM (SELECT 1 AS a WHERE false) AS none;
SELECT pynomaly.merge(s) IS NULL AS "no sketch" FROM (SELECT NULL::pynomaly.sketch AS s) AS none;

-- Grouped, filtered, as a window function.
SELECT count(*) AS groups, bool_and((s::jsonb ->> 'rows')::int = 150) AS rows
FROM (SELECT pynomaly.sketch_agg('{root}', NULL, root) AS s FROM event GROUP BY id % 1000) AS g;
SELECT pynomaly.sketch_agg('{root}', NULL, root) FILTER (WHERE id <= 7)::jsonb -> 'rows' AS rows FROM event;
SELECT id, pynomaly.sketch_agg('{id}', NULL, id) OVER (ORDER BY id)::jsonb -> 'rows' AS rows FROM event WHERE id <= 3;
SELECT id, pynomaly.sketch_agg('{id}', NULL, id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)::jsonb -> 'rows' AS rows
FROM event WHERE id <= 3;

-- row_key: whole numbers of different widths and NULLs.
SELECT pynomaly.row_key(1::int2) = pynomaly.row_key(1::int8) AS "widths hash alike",
    pynomaly.row_key(1, NULL::int) <> pynomaly.row_key(1) AS "NULL counts", pynomaly.row_key(1, 2) <> pynomaly.row_key(2, 1) AS "order counts",
    pynomaly.row_key('a') = pynomaly.row_key('a'::text) AS "literals are texts";

-- Any type can be part of a key, and hashes alike whatever the session's settings are.
CREATE FUNCTION keys() RETURNS bigint[] LANGUAGE sql AS $$SELECT ARRAY[pynomaly.row_key(interval '1 day 2 hours'), pynomaly.row_key('\x00ff'::bytea),
    pynomaly.row_key(tstzrange('2020-01-01Z', '2020-01-02Z')), pynomaly.row_key('{0.1,0.2}'::float8[]), pynomaly.row_key('{2020-02-01}'::date[]),
    pynomaly.row_key(timestamptz '2020-01-01 00:00Z'), pynomaly.row_key(12.50), pynomaly.row_key(12.34::money)]$$;
SELECT keys() AS plain \gset
SET intervalstyle = iso_8601; SET bytea_output = escape; SET timezone = 'Asia/Tokyo'; SET extra_float_digits = -3; SET datestyle = 'SQL, DMY';
SELECT keys() = :'plain' AS "the same keys";
RESET intervalstyle; RESET bytea_output; RESET timezone; SET extra_float_digits = 0; RESET datestyle;

-- A column that one part knows as the key is the key of the whole, whichever comes first.
SELECT pynomaly.merge(s ORDER BY o)::jsonb #> '{columns,0,key}' AS forwards, pynomaly.merge(s ORDER BY -o)::jsonb #> '{columns,0,key}' AS backwards
FROM (SELECT pynomaly.sketch_of('event', key => '{id}') AS s, 1 AS o
      UNION ALL SELECT pynomaly.sketch_agg(NULL, pynomaly.row_key(id), e), 2 FROM event AS e) AS v;

-- Values: text and binary forms give back the same.
SELECT sketch::text::pynomaly.sketch::text = sketch::text AS text FROM whole;
CREATE TABLE copy (LIKE whole);
\copy (SELECT sketch FROM whole) TO 'sketch.bin' (FORMAT binary)
\copy copy FROM 'sketch.bin' (FORMAT binary)
\! rm -f sketch.bin
SELECT copy.sketch::text = whole.sketch::text AS "binary" FROM copy, whole;

-- The same rows again and again: large weights still make models, until there are too many rows.
CREATE TABLE doubled AS SELECT pynomaly.sketch_of('part', '{part}') AS sketch;
DO $$
BEGIN
    FOR i IN 1..48 LOOP
        UPDATE doubled SET sketch = (SELECT pynomaly.merge(s) FROM (SELECT sketch UNION ALL SELECT sketch) AS v (s));
    END LOOP;
END $$;
SELECT sketch::jsonb -> 'rows' AS rows, pynomaly.score(pynomaly.fit(sketch, 'ecod'), 3) BETWEEN 0 AND 1 AS ecod,
    pynomaly.score(pynomaly.fit(sketch, 'isolation_forest'), 3) BETWEEN 0 AND 1 AS forest FROM doubled;
DO $$
BEGIN
    FOR i IN 1..12 LOOP
        UPDATE doubled SET sketch = (SELECT pynomaly.merge(s) FROM (SELECT sketch UNION ALL SELECT sketch) AS v (s));
    END LOOP;
END $$;

-- What does not fit together is refused.
SELECT pynomaly.merge(s) FROM (SELECT pynomaly.sketch_agg('{a}', NULL, 1) UNION ALL SELECT pynomaly.sketch_agg('{b}', NULL, 1)) AS v (s);
SELECT pynomaly.merge(s) FROM (SELECT pynomaly.sketch_agg('{a}', NULL, 1) UNION ALL SELECT pynomaly.sketch_agg('{a}', NULL, 'x'::text)) AS v (s);
SELECT pynomaly.merge(s) FROM (VALUES (pynomaly.sketch_of('part', '{part}')), (pynomaly.sketch_of('part', '{part}', options => '{"seed": 7}'))) AS v (s);
SELECT pynomaly.sketch_agg('{a,b}', NULL, 1);
SELECT pynomaly.sketch_agg('{a,a}', NULL, 1, 2);
SELECT pynomaly.sketch_agg(NULL, NULL, 1);
SELECT pynomaly.sketch_agg('{a}', NULL, '{}'::json);
SELECT pynomaly.sketch_agg('{nothing}', NULL, e) FROM event AS e;
SELECT pynomaly.sketch_agg('{a}', NULL, VARIADIC ARRAY[1]);
SELECT pynomaly.sketch_accumulate(NULL, '{a}', NULL, 1);
SELECT 'pynomaly.sketch:AAAA'::pynomaly.sketch;
SELECT 'nonsense'::pynomaly.sketch;
DROP TABLE event, shuffled, whole, part, copy, doubled;
DROP FUNCTION model_of, in_parallel, keys;

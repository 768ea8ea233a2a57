-- Every bad input gets an error with its SQLSTATE, the object and value, and a hint where the user can act.
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || message || COALESCE(E'\n  detail: ' || NULLIF(detail, ''), '') || COALESCE(E'\n  hint: ' || NULLIF(hint, ''), '');
END $$;
\pset tuples_only on
\pset format unaligned
CREATE TABLE good AS SELECT i AS id, i % 10 AS a, (i % 7)::float8 AS b, 'k' || i % 3 AS c FROM generate_series(1, 100) AS i;
CREATE TABLE empty (a int, b text);
CREATE TABLE no_columns ();
CREATE TABLE unusable (id int PRIMARY KEY, a jsonb, b int[]);
INSERT INTO unusable VALUES (1, '{}', '{}');
CREATE TABLE constant AS SELECT i AS id, 1 AS a, 'x' AS b, NULL::float8 AS c, 'NaN'::float8 AS d FROM generate_series(1, 20) AS i;
ALTER TABLE constant ADD PRIMARY KEY (id);
CREATE TABLE one AS SELECT 1 AS a, 2.0 AS b;
CREATE TABLE unique_text AS SELECT 'text ' || i AS t FROM generate_series(1, 2000) AS i;
CREATE SEQUENCE counter;
CREATE INDEX good_a ON good (a);
CREATE TYPE pair AS (a int, b int);
CREATE MATERIALIZED VIEW unpopulated AS SELECT * FROM good WITH NO DATA;

-- The source.
SELECT outcome($$SELECT * FROM pynomaly.detect('nowhere')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect(NULL)$$);
SELECT outcome($$SELECT * FROM pynomaly.detect(4294967295::oid)$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('empty')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('no_columns')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('unusable')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('constant')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('constant', '{c}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('constant', '{d}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('one')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('unique_text')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('counter')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good_a')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('pair')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('unpopulated')$$);
SELECT outcome($$SELECT pynomaly.sketch_of('counter')$$);
SELECT outcome($$SELECT pynomaly.fit(pynomaly.sketch_of('empty'))$$);

-- Columns and key.
SELECT outcome($$SELECT * FROM pynomaly.detect('good', '{a,z}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', '{a,a}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', '{}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', '{a,NULL}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('unusable', '{a}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', key => '{z}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', key => '{}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', '{ctid}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', options => '{"label_column": "z"}')$$);

-- Algorithm, contamination, options.
SELECT outcome($$SELECT * FROM pynomaly.detect('good', algorithm => 'magic')$$);
SELECT outcome(format($$SELECT * FROM pynomaly.detect('good', contamination => %L)$$, c)) FROM unnest('{0,-1,0.51,NaN,Infinity}'::float8[]) AS c;
SELECT outcome(format($$SELECT * FROM pynomaly.detect('good', options => %L)$$, o)) FROM unnest(ARRAY[
    '{"seeed": 1}', '{"seed": -1}', '{"seed": 1.5}', '{"seed": 1e300}', '{"seed": "x"}', '{"seed": {}}', '{"trees": 0}', '{"trees": 100000}', '{"sample_size": 1}',
    '{"time_zone": "Mars/Olympus"}', '{"threshold": 2}', '{"explain": "some"}', '{"explain": true}', '{"sample_text": 1}', '{"contamination": 0.1}',
    '{"explain": "flagged, all"}', '{"seed": 1e400}', '{"label_column": 5}', '{"time_zone": "../../etc/passwd"}', '{"time_zone": "<é>3"}',
    '[1]', '3', 'null', '"x"']) AS o;
SELECT outcome($$SELECT * FROM pynomaly.detect('good', algorithm => 'ecod', options => '{"trees": 10}')$$);
SELECT outcome($$SELECT pynomaly.fit(pynomaly.sketch_of('good'), 'auto', '{"contamination": 0.9}')$$);
SELECT outcome($$SELECT pynomaly.sketch_of('good', options => '{"tree": 1}')$$);
SELECT outcome($$SELECT * FROM pynomaly.anomalies('good', "limit" => -1)$$);
SELECT outcome($$SELECT pynomaly.sketch_agg(ARRAY['c' || i % 2]::name[], i, i) FROM generate_series(1, 4) AS i GROUP BY i % 2$$);
SELECT outcome($$SELECT * FROM pynomaly.detect('good', model => 'm', algorithm => 'ecod')$$);

-- Queries.
SELECT outcome(format('SELECT * FROM pynomaly.detect_query(%L)', q)) FROM unnest(ARRAY[
    '', 'nonsense', 'SELECT 1; SELECT 2', 'DELETE FROM good', 'INSERT INTO good VALUES (1) RETURNING *', 'WITH d AS (DELETE FROM good RETURNING *) SELECT * FROM d',
    'SELECT * INTO elsewhere FROM good', 'EXPLAIN SELECT 1', 'SELECT $1', 'SELECT a, a FROM good', 'SELECT * FROM empty', 'SELECT', 'COPY good TO STDOUT', 'SELECT * FROM good FOR UPDATE',
    'SELECT 1/0 AS a', 'VALUES (5), (NULL), (NULL)', 'SELECT 1, 2 FROM good']) AS q;
SELECT outcome($$SELECT * FROM pynomaly.detect_query('SELECT 1 AS id, i AS id, i % 3 AS r FROM generate_series(1, 9) AS i', key => '{id}')$$);
SELECT outcome($$SELECT * FROM pynomaly.detect_query(NULL)$$);
SELECT count(*) AS "nothing was deleted" FROM good;

-- Models and rows that do not fit.
CREATE TABLE model AS SELECT pynomaly.fit(pynomaly.sketch_of('good', '{a,b,c}')) AS m;
SELECT outcome($$SELECT pynomaly.score(m) FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, 1) FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, 1, 2, 'x', 4) FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, 'x'::text, 2, 'x') FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, 'x', 2, 'x') FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, 1, 2, 3) FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, now(), 2, 'x') FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, one) FROM model, one$$);
SELECT outcome($$SELECT pynomaly.score(m, VARIADIC ARRAY[1, 2]) FROM model$$);
SELECT outcome($$SELECT pynomaly.score(m, '{}'::jsonb, 2, 'x') FROM model$$);
SELECT outcome($$SELECT 'pynomaly.model:AAAA'::pynomaly.model$$);
SELECT outcome($$SELECT 'x'::pynomaly.model$$);
SELECT outcome($$SELECT ''::pynomaly.model$$);
SELECT outcome($$SELECT overlay(m::text PLACING translate(substr(m::text, 3000, 1), 'ABC', 'BCA') || 'z' FROM 3000)::pynomaly.model FROM model$$);
SELECT outcome($$SELECT left(m::text, -4)::pynomaly.model FROM model$$);
SELECT outcome($$SELECT overlay(pynomaly.sketch_of('good')::text PLACING 'A' FROM 2000)::pynomaly.sketch$$);

-- Cancelling.
SET statement_timeout = '300ms';
\set VERBOSITY terse
SELECT count(*) FROM pynomaly.detect_query('SELECT i AS a, i * i AS b FROM generate_series(1, 20000000::bigint) AS i');
SELECT pynomaly.sketch_of('good', (SELECT array_agg(('c' || i)::name) FROM generate_series(1, 60000) AS i));
\set VERBOSITY default
RESET statement_timeout;

-- Memory.
SET pynomaly.work_mem = '1MB';
SELECT outcome($$SELECT pynomaly.sketch_of('good')$$);
SELECT outcome($$SELECT pynomaly.sketch_agg(NULL, NULL, good) FROM good$$);
RESET pynomaly.work_mem;
SELECT outcome($$SET pynomaly.work_mem = '1kB'$$);
SELECT outcome($$SET pynomaly.work_memory = '1MB'$$);
DROP MATERIALIZED VIEW unpopulated;
DROP TABLE good, empty, no_columns, unusable, constant, one, unique_text, model;
DROP SEQUENCE counter;
DROP TYPE pair;
DROP FUNCTION outcome;

-- Datasets: registered, processed into sketches, kept and forgotten; called through the door.
\set VERBOSITY terse
\pset null '(null)'
CREATE ROLE regress_science_ann LOGIN;
CREATE ROLE regress_science_bob LOGIN;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) TO regress_science_ann, regress_science_bob;
CREATE SCHEMA science;
GRANT USAGE ON SCHEMA science TO regress_science_ann, regress_science_bob;
CREATE TABLE science.reading (id int PRIMARY KEY, value float8, place text, secret int);
INSERT INTO science.reading SELECT i, i * 0.5, 'place ' || i % 3, i FROM generate_series(1, 500) AS i;
GRANT SELECT (id, value, place) ON science.reading TO regress_science_ann;
CREATE VIEW science.window_on AS SELECT * FROM science.reading;
GRANT SELECT ON science.window_on TO regress_science_ann;
CREATE FUNCTION science(operation text, arguments jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE state text; message text;
BEGIN
    RETURN pynomaly_kernel.call('data_science', operation, arguments);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    RETURN jsonb_build_object('error', state || ': ' || message);
END $$;

-- The same dataset for the same role, relation, columns and key.
SET ROLE regress_science_ann;
SELECT science('register_dataset', '{"source": "science.reading"}') ->> 'source' AS source;
SELECT science('register_dataset', '{"source": "science.reading"}') = science('register_dataset', jsonb_build_object('relation', 'science.reading'::regclass::oid::bigint)) AS "the same",
    science('register_dataset', '{"source": "science.reading"}') = science('register_dataset', '{"source": "science.reading", "columns": ["value"]}') AS "other columns",
    science('register_dataset', '{"source": "science.reading", "columns": ["value"]}') = science('register_dataset', '{"source": "science.reading", "columns": ["value"], "key": ["place"]}') AS "other key";
-- What cannot be read, or done with it, is refused before anything is stored.
SELECT science('register_dataset', '{}');
SELECT science('register_dataset', '{"source": "science.nothing"}');
SELECT science('register_dataset', '{"source": "science.reading", "columns": ["colour"]}');
SELECT science('register_dataset', '{"source": "science.reading", "columns": ["secret"]}');
SELECT science('register_dataset', '{"source": "science.reading", "key": ["secret"]}');
SELECT science('register_dataset', '{"source": "science.reading", "algorithm": "magic"}');
SELECT science('register_dataset', '{"source": "science.reading", "contamination": 0}');
SELECT science('register_dataset', '{"source": "science.reading", "options": {"seed": -1}}');
SELECT science('register_dataset', '{"source": "science.window_on"}') ? 'dataset' AS "a view that its owner may read";
SET ROLE regress_science_bob;
SELECT science('register_dataset', '{"source": "science.reading"}');
RESET ROLE;
CREATE VIEW science.bobs AS SELECT * FROM science.reading;
ALTER VIEW science.bobs OWNER TO regress_science_bob;
SET ROLE regress_science_bob;
SELECT science('register_dataset', '{"source": "science.bobs"}');
SELECT science('process_dataset', '{"source": "science.bobs"}');
RESET ROLE;
SELECT owner, source, columns, key FROM pynomaly_data_science.dataset WHERE owner::text LIKE 'regress_science%' ORDER BY id;

-- Processing is one scan; the sketch is that of sketch_of, stored for the role.
SET ROLE regress_science_ann;
SELECT science('process_dataset', '{"source": "science.reading"}') AS processed \gset
RESET ROLE;
SELECT :'processed'::jsonb - 'dataset' - 'seconds' - 'sketch' AS processed, (:'processed'::jsonb ->> 'seconds')::float8 > 0 AS seconds;
SET ROLE regress_science_ann;
SELECT sha256(pynomaly.sketch_send(pynomaly.sketch_of('science.reading'))) = decode(:'processed'::jsonb ->> 'sketch', 'hex') AS "the bytes of sketch_of";
RESET ROLE;
SELECT owner, kind FROM pynomaly_kernel.artifact WHERE digest = decode(:'processed'::jsonb ->> 'sketch', 'hex');
SET ROLE regress_science_ann;
SELECT science('process_dataset', '{"source": "science.reading", "options": {"seed": 5, "sample_text": false}}') ->> 'version' AS version;
SELECT science('get_sketch', jsonb_build_object('dataset', :'processed'::jsonb -> 'dataset', 'version', 1)) - 'seconds' = :'processed'::jsonb - 'seconds' AS "version 1";
SELECT science('get_sketch', jsonb_build_object('dataset', :'processed'::jsonb -> 'dataset')) ->> 'version' AS latest;
SELECT science('get_sketch', jsonb_build_object('dataset', :'processed'::jsonb -> 'dataset', 'version', 77)) ->> 'error' ~ '^42704: dataset \d+ has no version 77$' AS refused;
SET ROLE regress_science_bob;
SELECT science('get_sketch', jsonb_build_object('dataset', :'processed'::jsonb -> 'dataset')) ->> 'error' ~ '^42704: dataset \d+ does not exist$' AS "not for others";
RESET ROLE;
BEGIN READ ONLY;
SELECT science('get_sketch', jsonb_build_object('dataset', :'processed'::jsonb -> 'dataset')) ? 'sketch' AS "reads in a read-only transaction";
SELECT science('process_dataset', '{"source": "science.reading"}');
ROLLBACK;

-- Row-level security: the caller's rows.
ALTER TABLE science.reading ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON science.reading USING (id <= 100);
SET ROLE regress_science_ann;
SELECT science('process_dataset', '{"source": "science.reading"}') ->> 'rows' AS rows;
RESET ROLE;
ALTER TABLE science.reading DISABLE ROW LEVEL SECURITY;

-- Only the newest sketches are kept: 10, unless pynomaly.data_science_kept_sketches says otherwise.
INSERT INTO science.reading SELECT 1000, 1, 'place', 1;
DO $$ BEGIN FOR i IN 1 .. 12 LOOP
    INSERT INTO science.reading VALUES (1000 + i, i, 'place', 0);
    SET LOCAL ROLE regress_science_ann;
    PERFORM science('process_dataset', '{"source": "science.reading"}');
    RESET ROLE;
END LOOP; END $$;
SELECT count(*) AS versions, count(sketch) AS sketches, min(version) FILTER (WHERE sketch IS NOT NULL) AS "from version" FROM pynomaly_data_science.dataset_version WHERE dataset = (:'processed'::jsonb ->> 'dataset')::bigint;
SELECT count(*) AS "artifacts without a version" FROM pynomaly_kernel.artifact a WHERE owner = 'regress_science_ann'::regrole AND kind = 'sketch'
    AND NOT EXISTS (SELECT FROM pynomaly_data_science.dataset_version v WHERE v.sketch = a.digest AND v.owner = a.owner);

-- Relations of all kinds, and of none.
CREATE TABLE science.parted (id int, value float8) PARTITION BY RANGE (id);
CREATE TABLE science.parted_1 PARTITION OF science.parted FOR VALUES FROM (0) TO (50);
CREATE TABLE science.parted_2 PARTITION OF science.parted FOR VALUES FROM (50) TO (100);
INSERT INTO science.parted SELECT i, i FROM generate_series(0, 99) AS i;
CREATE MATERIALIZED VIEW science.stored AS SELECT * FROM science.parted;
CREATE TABLE science.empty (a int);
CREATE TABLE science.useless (a point);
CREATE TEMPORARY TABLE passing AS SELECT 1 AS a;
SELECT name, science('process_dataset', jsonb_build_object('source', name)) - 'dataset' - 'seconds' - 'sketch' - 'columns' AS processed
FROM unnest('{science.parted,science.parted_2,science.stored,science.empty,science.useless,passing,pg_class}'::text[]) AS name WHERE name <> 'pg_class';
DROP TABLE science.empty;
SELECT science('process_dataset', '{"source": "science.empty"}');
SELECT science('process_dataset', jsonb_build_object('relation', 1));

DROP SCHEMA science CASCADE;
DROP FUNCTION science;
REVOKE ALL ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) FROM regress_science_ann, regress_science_bob;
DELETE FROM pynomaly_data_science.dataset WHERE owner::text LIKE 'regress_science%';
DELETE FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_science%';
DROP ROLE regress_science_ann, regress_science_bob;

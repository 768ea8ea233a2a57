-- detect, anomalies and detect_query: each kind of relation, key, column and option.
SET timezone = 'UTC';
SET extra_float_digits = 0;
CREATE TABLE reading (id int PRIMARY KEY, level float8, place text, at timestamptz);
INSERT INTO reading
    SELECT i, sin(i) * 10, 'room ' || i % 4, timestamptz '2026-01-01 UTC' + i * interval '11 minutes' FROM generate_series(1, 1000) AS i;
UPDATE reading SET level = 500 WHERE id = 77;
UPDATE reading SET level = -400, place = 'attic' WHERE id = 512;

-- Each row once, keyed by the primary key; the two odd rows are the worst, for their reasons.
SELECT count(*) AS rows, count(DISTINCT key) AS keys, count(*) FILTER (WHERE is_anomaly) AS flagged,
    bool_and(state = 'scored') AS scored, bool_and(score BETWEEN 0 AND 1) AS range,
    count(reasons) = count(*) FILTER (WHERE is_anomaly) AS "reasons of flagged rows only"
FROM pynomaly.detect('reading', '{level,place}', 'ecod', 0.002);
SELECT key, is_anomaly, reasons -> 0 ->> 'feature' AS feature, reasons -> 0 -> 'value' AS value,
    (reasons -> 0 ->> 'low')::float8 BETWEEN -10 AND -9 AS low, (reasons -> 0 ->> 'high')::float8 BETWEEN 9 AND 10 AS high, "row"
FROM pynomaly.anomalies('reading', '{level,place}', 'ecod', 0.002);
SELECT bool_and(score <= before) AS "worst first", count(*) + 1 AS rows
FROM (SELECT score, lag(score) OVER (ORDER BY ordinality) AS before
      FROM pynomaly.anomalies('reading', contamination => 0.5, "limit" => 300) WITH ORDINALITY) AS a WHERE before IS NOT NULL;
SELECT count(*) AS "none wanted" FROM pynomaly.anomalies('reading', contamination => 0.1, "limit" => 0);

-- The same rows under every kind of relation give the same scores.
CREATE FUNCTION fingerprint(relation regclass, key_columns name[] DEFAULT '{id}') RETURNS text LANGUAGE sql
    AS $$SELECT md5(string_agg(score::text || key, ',' ORDER BY (key ->> 'id')::int)) FROM pynomaly.detect(relation, key => key_columns)$$;
CREATE VIEW reading_view AS SELECT * FROM reading;
CREATE VIEW reading_barrier WITH (security_barrier) AS SELECT * FROM reading WHERE id > 0;
CREATE MATERIALIZED VIEW reading_matview AS SELECT * FROM reading;
CREATE TEMPORARY TABLE reading_temporary AS SELECT * FROM reading;
CREATE UNLOGGED TABLE reading_unlogged AS SELECT * FROM reading;
CREATE TABLE reading_partitioned (LIKE reading) PARTITION BY RANGE (id);
CREATE TABLE reading_part_2 (at timestamptz, gone int, place text, id int NOT NULL, level float8);
ALTER TABLE reading_part_2 DROP COLUMN gone;
CREATE TABLE reading_part_1 PARTITION OF reading_partitioned FOR VALUES FROM (1) TO (400);
ALTER TABLE reading_partitioned ATTACH PARTITION reading_part_2 FOR VALUES FROM (400) TO (2000);
INSERT INTO reading_partitioned SELECT * FROM reading;
CREATE TABLE reading_parent (LIKE reading);
CREATE TABLE reading_child () INHERITS (reading_parent);
INSERT INTO reading_parent SELECT * FROM reading WHERE id % 2 = 0;
INSERT INTO reading_child SELECT * FROM reading WHERE id % 2 = 1;
CREATE EXTENSION postgres_fdw;
CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host :'HOST', port :'PORT', dbname :'DBNAME');
CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user :'USER');
CREATE FOREIGN TABLE reading_foreign (id int, level float8, place text, at timestamptz) SERVER here OPTIONS (table_name 'reading');
SELECT relation, fingerprint(relation::regclass) = fingerprint('reading') AS same
FROM unnest('{reading_view,reading_barrier,reading_matview,reading_temporary,reading_unlogged,reading_partitioned,reading_parent,reading_foreign}'::text[]) AS relation;
SELECT md5(string_agg(score::text || key, ',' ORDER BY (key ->> 'id')::int)) = fingerprint('reading') AS "a query gives the same"
FROM pynomaly.detect_query('SELECT * FROM reading', key => '{id}');

-- Keys: the primary key, what is named, the row's place, the row's number.
SELECT relation, (SELECT regexp_replace(key::text, '\d+', 'N', 'g') FROM pynomaly.detect(relation::regclass) LIMIT 1) AS key
FROM unnest('{reading,reading_unlogged,reading_partitioned,reading_parent,reading_view,reading_foreign}'::text[]) AS relation;
SELECT key FROM pynomaly.detect('reading', key => '{at,id}') LIMIT 1;
SELECT key FROM pynomaly.detect_query('SELECT level FROM reading WHERE id < 4');
SELECT count(*) AS "found again by ctid" FROM pynomaly.detect('reading_unlogged') AS d JOIN reading_unlogged AS r ON r.ctid = (d.key ->> 'ctid')::tid;
CREATE TABLE composed (b int, a text, c date, level int, PRIMARY KEY (a, b));
INSERT INTO composed SELECT i, 'k' || i % 3, date '2026-01-01' + i, i * i % 17 FROM generate_series(1, 50) AS i;
SELECT key FROM pynomaly.detect('composed') LIMIT 1;
SELECT key FROM pynomaly.detect('composed', key => '{c}') LIMIT 1;

CREATE TABLE parent (id int PRIMARY KEY, a int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent SELECT i, i % 7 FROM generate_series(1, 50) AS i;
INSERT INTO child SELECT i, i % 7 FROM generate_series(1, 50) AS i;
SELECT count(DISTINCT key) AS "each row has a key of its own", string_agg(DISTINCT r ->> 'feature', ', ') AS features
FROM pynomaly.detect('parent', options => '{"explain": "all"}') AS d, jsonb_array_elements(reasons) AS r;

-- A key that is named is no feature, unless it is named as a column, too.
SELECT string_agg(DISTINCT r ->> 'feature', ', ') AS features
FROM pynomaly.detect('composed', key => '{c}', options => '{"explain": "all"}') AS d, jsonb_array_elements(reasons) AS r;
SELECT string_agg(DISTINCT r ->> 'feature', ', ') AS features
FROM pynomaly.detect('composed', '{b,level}', key => '{b}', options => '{"explain": "all"}') AS d, jsonb_array_elements(reasons) AS r;

-- What is left out is said, unless the columns were named.
CREATE TABLE wide (id int PRIMARY KEY, level int, same int DEFAULT 1, nothing float8, document jsonb, note text, list int[]);
INSERT INTO wide (id, level, document, note) SELECT i, i % 9, '{}', 'note ' || i FROM generate_series(1, 3000) AS i;
SELECT count(*) FROM pynomaly.detect('wide');
SELECT count(*) FROM pynomaly.detect('wide', '{level,same,nothing}');
SELECT count(*) FROM pynomaly.detect('wide', '{level,note}');

-- Names and texts of any shape.
CREATE SCHEMA "Odd ""Schema""";
CREATE TABLE "Odd ""Schema"""."Tä""ble; --" ("Select" int PRIMARY KEY, "a ""b"" c" float8, "größe in m²" float8, "日本" text, "t" text, "ctid " int);
INSERT INTO "Odd ""Schema"""."Tä""ble; --" SELECT i, i % 10, CASE i WHEN 40 THEN 1e6 ELSE i % 7 END, 'x' || i % 3, 't', i % 2 FROM generate_series(1, 200) AS i;
SELECT key, reasons -> 0 ->> 'feature' AS feature FROM pynomaly.anomalies('"Odd ""Schema"""."Tä""ble; --"', contamination => 0.005);

-- NaN, infinities and NULL are missing values, never an error; a row of nothing else is not scored.
CREATE TABLE gaps AS SELECT i AS id, (i % 11)::float8 AS a, (i % 13)::float8 AS b, NULL::text AS c FROM generate_series(1, 500) AS i;
UPDATE gaps SET a = 'NaN', b = 'Infinity' WHERE id = 3;
UPDATE gaps SET a = NULL, b = '-Infinity' WHERE id = 4;
UPDATE gaps SET a = 'NaN' WHERE id = 5;
UPDATE gaps SET a = 1e308 WHERE id = 6;
SELECT key, score IS NULL AS "no score", is_anomaly, severity, state FROM pynomaly.detect('gaps', '{a,b}', key => '{id}')
WHERE (key ->> 'id')::int IN (3, 4, 5, 6, 7) ORDER BY key;
SELECT key, reasons -> 0 -> 'feature' AS feature, (reasons -> 0 -> 'value')::float8 AS value FROM pynomaly.anomalies('gaps', '{a,b}', 'isolation_forest', key => '{id}', contamination => 0.004) ORDER BY key;

-- Categories by rarity, booleans, dates; a category that most rows do not have is the reason.
CREATE TABLE mixed AS SELECT i AS id, CASE WHEN i % 3 = 0 THEN 'red' ELSE 'green' END AS colour, i % 2 = 0 AS even,
    date '2026-01-01' + i % 60 AS day, time '08:00' + (i % 480) * interval '1 minute' AS start FROM generate_series(1, 600) AS i;
UPDATE mixed SET colour = 'mauve' WHERE id = 300;
UPDATE mixed SET start = '03:00' WHERE id = 301;
SELECT key, reasons -> 0 ->> 'feature' AS feature, reasons -> 0 ->> 'value' AS value, reasons -> 0 ->> 'expected' AS expected
FROM pynomaly.anomalies('mixed', '{colour,even,day,start}', 'ecod', 0.0034, '{id}') ORDER BY key;

-- Categories that are all as frequent as each other: the model knows another one when it comes.
SELECT place, pynomaly.is_anomaly(m, place, level) AS odd
FROM (SELECT pynomaly.fit(pynomaly.sketch_agg('{place,level}', NULL, 'room ' || i % 4, i % 10), 'ecod') AS m FROM generate_series(1, 1000) AS i) AS f,
    (VALUES ('room 2', 5), ('attic', 5)) AS v (place, level);

-- Few rows, duplicates.
SELECT score, p_value, is_anomaly FROM pynomaly.detect_query('SELECT * FROM (VALUES (1), (2)) AS v (a)');
SELECT count(DISTINCT score) AS scores, count(*) AS rows FROM pynomaly.detect_query('SELECT i % 2 AS a FROM generate_series(1, 1000) AS i');

-- Options: the seed changes the forest, the threshold what is flagged, label_column is never a feature.
SELECT count(DISTINCT seed_scores) AS "different seeds" FROM (SELECT md5(string_agg(score::text, ',' ORDER BY key::text)) AS seed_scores
    FROM generate_series(1, 3) AS seed, pynomaly.detect('reading', options => jsonb_build_object('seed', seed)) GROUP BY seed) AS s;
SELECT count(*) FILTER (WHERE is_anomaly) = count(*) FILTER (WHERE score >= 0.8) AS "by threshold", count(*) FILTER (WHERE is_anomaly) AS flagged
FROM pynomaly.detect('reading', options => '{"threshold": 0.8}');
SELECT count(*) FILTER (WHERE reasons IS NOT NULL) AS none FROM pynomaly.detect('reading', options => '{"explain": "none"}');
SELECT string_agg(DISTINCT r ->> 'feature', ', ') AS features
FROM pynomaly.detect('reading', algorithm => 'isolation_forest', options => '{"explain": "all", "label_column": "place"}') AS d, jsonb_array_elements(reasons) AS r;
SELECT (pynomaly.fit(pynomaly.sketch_of('reading'), 'isolation_forest', '{"trees": 3, "sample_size": 16}')::jsonb ->> 'bytes')::int <
    (pynomaly.fit(pynomaly.sketch_of('reading'), 'isolation_forest')::jsonb ->> 'bytes')::int / 20 AS "small forests are small";
SELECT f ->> 'encoding' AS encoding, f -> 'low' AS low, f -> 'high' AS high
FROM jsonb_array_elements(pynomaly.fit(pynomaly.sketch_of('reading', '{at}'), 'ecod', '{"time_zone": "Asia/Tokyo"}')::jsonb -> 'features') AS f;

SELECT algorithm, options, source FROM pynomaly.algorithms() WHERE algorithm IN ('isolation_forest', 'ecod');

-- Within a transaction one's own rows are seen; nothing is written, so all of it works in a read-only one.
BEGIN;
INSERT INTO reading VALUES (1001, 9999, 'cellar', now());
SELECT key FROM pynomaly.anomalies('reading', '{level,place}', 'ecod', 0.002, "limit" => 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM pynomaly.detect('reading');
COMMIT;
-- In a subquery for each row, in a function, twice in one query.
SELECT relation, flagged FROM unnest('{reading,composed}'::text[]) AS relation,
    LATERAL (SELECT count(*) AS flagged FROM pynomaly.anomalies(relation::regclass, contamination => 0.02)) AS a;
SELECT count(*) FROM pynomaly.detect('reading') AS a JOIN pynomaly.detect('reading') AS b ON a.key = b.key AND a.score = b.score;
SELECT count(*) FROM pynomaly.detect_query('SELECT score FROM pynomaly.detect(''reading'')');
SET client_min_messages = warning;
DROP EXTENSION postgres_fdw CASCADE;
DROP TABLE parent, reading, reading_partitioned, reading_parent, composed, wide, gaps, mixed, reading_unlogged CASCADE;
DROP SCHEMA "Odd ""Schema""" CASCADE;
DROP FUNCTION fingerprint;

-- Tables and arguments that nobody hopes for.
CREATE SCHEMA data_profiling_bad_input;
SET search_path = data_profiling_bad_input;
SET extra_float_digits = 0;
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE FUNCTION stored_sketch(source regclass, options jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT encode(pynomaly_kernel.put_artifact('sketch',
        decode(split_part(pynomaly.sketch_of(source, options => options)::text, ':', 2), 'base64')), 'hex')
$$;
CREATE FUNCTION profile(source regclass, options jsonb DEFAULT '{}') RETURNS SETOF pynomaly_data_profiling.column_profile LANGUAGE sql AS $$
    SELECT * FROM jsonb_populate_recordset(NULL::pynomaly_data_profiling.column_profile, pynomaly_kernel.call('data_profiling', 'profile',
        jsonb_build_object('dataset', 31, 'source', source::text, 'sketch', stored_sketch(source, options))))
$$;

-- No rows, one row, only NULL.
CREATE TABLE empty (i int, f float8, t text, d date);
SELECT column_name, rows, nulls, null_share, distinct_values, minimum, mean, median, top_values, histogram, length_minimum, alerts FROM profile('empty');
CREATE TABLE single AS SELECT 5 AS i, 1.5::float8 AS f, 'x' AS t, date '2026-01-01' AS d;
SELECT column_name, distinct_values, minimum, maximum, mean, standard_deviation, skewness, median, q01, median_absolute_deviation, top_values, histogram, length_mean, alerts
FROM profile('single');
CREATE TABLE nothing AS SELECT NULL::int AS i, NULL::text AS t, NULL::timestamptz AS z FROM generate_series(1, 3);
SELECT column_name, rows, nulls, null_share, distinct_values, minimum, minimum_text, length_minimum, top_values, histogram, alerts FROM profile('nothing');

-- NaN and infinities are counted and left out; constants have no shape; numbers at the end of their range keep to it.
CREATE TABLE odd AS
    SELECT v AS special, 3.0::float8 AS constant, CASE WHEN i % 2 = 0 THEN 1e308 ELSE -1e308 END::float8 AS huge, i * 5e-324::float8 AS tiny,
        9007199254740990 + i AS whole
    FROM unnest('{NaN,Infinity,-Infinity,1,2,NULL}'::float8[]) WITH ORDINALITY AS s (v, i);
SELECT column_name, nulls, nans, infinities, distinct_values, minimum, maximum, mean, standard_deviation, skewness, median, alerts FROM profile('odd');
SELECT column_name, histogram -> 'rule' AS rule, jsonb_array_length(histogram -> 'edges') - 1 AS bins, (SELECT jsonb_agg(c) FROM jsonb_array_elements(histogram -> 'counts') AS c WHERE c <> '0') AS counts
FROM profile('odd');
SELECT q25, median, q75, median_absolute_deviation FROM profile('odd') WHERE column_name = 'huge';

-- Names of any kind, and a dot or a quote in the source.
CREATE TABLE "Größe, ""quoted""" ("Spalte ""1""" int, "Ünïcode ☃" text, "select" date, "a.b" float8);
INSERT INTO "Größe, ""quoted""" VALUES (1, 'né', '2026-01-01', 1), (1, 'né', '2026-01-02', 2);
SELECT column_name, kind, top_values FROM profile('"Größe, ""quoted"""');
SELECT source, pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', id)) #> '{columns,1,column_name}' AS "column"
FROM pynomaly_data_profiling.profile ORDER BY id DESC LIMIT 1;

-- Without sampled text the frequent values are counted, not shown.
CREATE TABLE personal AS SELECT 'name ' || i % 3 AS name, i % 2 AS n FROM generate_series(1, 30) AS i;
SELECT column_name, top_values FROM profile('personal', '{"sample_text": false}');

-- 1,600 columns, then the half of them under other names: the event tells of as many as it can hold.
SELECT format('CREATE TABLE wide AS SELECT %s FROM generate_series(1, 3) AS i', string_agg(format('(i + %s)::int2 AS column_%s', n, n), ', ')) FROM generate_series(1, 1600) AS n \gexec
SELECT count(*) AS columns, sum(maximum) = 1600 * 1601 / 2 + 3 * 1600 AS maxima FROM profile('wide');
DO $$BEGIN FOR n IN 1..800 LOOP EXECUTE format('ALTER TABLE wide RENAME column_%s TO other_%s', n, n); END LOOP; END$$;
SELECT count(*) AS columns FROM profile('wide');
SELECT property, count(*) FROM pynomaly_data_profiling.latest_change WHERE dataset = 31 GROUP BY property ORDER BY property;
SELECT jsonb_array_length(data -> 'added') AS added, jsonb_array_length(data -> 'removed') AS removed, data -> 'complete' AS complete
FROM pynomaly_kernel.event WHERE type = 'data_profiling.schema_changed.v1' ORDER BY id DESC LIMIT 1;

-- Arguments.
SELECT pynomaly_kernel.call('data_profiling', 'profile', '{}');
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('sketch', stored_sketch('single')));
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('sketch', stored_sketch('single'), 'dataset', 31));
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('sketch', stored_sketch('single'), 'dataset', 31, 'source', 's', 'columns', '["i"]'::jsonb));
SELECT pynomaly_kernel.call('data_profiling', 'profile', '{"sketch": "abc", "dataset": 31, "source": "s"}');
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('sketch', repeat('0', 64), 'dataset', 31, 'source', 's'));
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('dataset', 31, 'source', 's',
    'sketch', encode(pynomaly_kernel.put_artifact('sketch', 'no sketch'), 'hex')));
SELECT pynomaly_kernel.call('data_profiling', 'profile', '{"relations": 1}');
SELECT pynomaly_kernel.call('data_profiling', 'compare', '{}');
SELECT pynomaly_kernel.call('data_profiling', 'compare', '{"profile": 9007199254740993}');
SELECT pynomaly_kernel.call('data_profiling', 'compare', '{"profile": 1e30}');
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', '{}');
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', '{"profile": 1, "request": "00000000-0000-0000-0000-000000000001"}');
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', '{"request": "00000000-0000-0000-0000-000000000001"}');
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', '{"request": "no uuid"}');
BEGIN READ ONLY;
SELECT pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('sketch', repeat('0', 64), 'dataset', 31, 'source', 's'));
ROLLBACK;

DELETE FROM pynomaly_data_profiling.profile WHERE dataset = 31;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA data_profiling_bad_input CASCADE;

-- Rules: what is refused, and that the answers are those of SQL.
\set SHOW_CONTEXT never
\pset null '-'
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA rules;
SET search_path = rules;
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', SQLSTATE || ': ' || message, 'detail: ' || nullif(detail, ''), 'hint: ' || nullif(hint, ''));
END $$;
CREATE FUNCTION add_rule(source text, kind text, "column" text DEFAULT NULL, low numeric DEFAULT NULL, high numeric DEFAULT NULL, severity text DEFAULT NULL)
    RETURNS text LANGUAGE sql AS
$$
    SELECT CASE WHEN id ~ '^[0-9]+$' THEN 'added' ELSE id END FROM rules.outcome(format('SELECT pynomaly_kernel.call(''data_quality'', ''add_rule'', %L)',
        jsonb_strip_nulls(jsonb_build_object('source', source, 'kind', kind, 'column', "column", 'low', low, 'high', high, 'severity', severity)))) AS id
$$;
CREATE FUNCTION run(dataset bigint, source regclass)
    RETURNS TABLE (place bigint, dimension text, name text, column_name text, value float8, low float8, high float8, passed boolean,
                   severity text, message text) LANGUAGE sql AS
$$
    SELECT row_number() OVER (), r.* FROM jsonb_to_recordset(pynomaly_kernel.call('data_quality', 'check', jsonb_build_object(
        'dataset', dataset, 'source', source::text, 'sketch',
        encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of(source))), 'hex')))) AS r(dimension text,
        name text, column_name text, value float8, low float8, high float8, passed boolean, severity text, message text)
$$;
\pset tuples_only on
\pset format unaligned

-- What is no rule.
SELECT add_rule('t', 'completness', 'a', 0.5);
SELECT add_rule('t', '', 'a', 0.5);
SELECT add_rule('', 'row_count', low => 1);
SELECT add_rule(repeat('t', 1025), 'row_count', low => 1);
SELECT add_rule('t', 'completeness', low => 0.5);
SELECT add_rule('t', 'completeness', 'a');
SELECT add_rule('t', 'completeness', 'a', 95);
SELECT add_rule('t', 'completeness', 'a', -0.1);
SELECT add_rule('t', 'completeness', 'a', 0.5, 1);
SELECT add_rule('t', 'unique');
SELECT add_rule('t', 'unique', 'a', 1);
SELECT add_rule('t', 'unique', '');
SELECT add_rule('t', 'unique', repeat('a', 64));
SELECT add_rule('t', 'range', 'a');
SELECT add_rule('t', 'range', 'a', 2, 1);
SELECT add_rule('t', 'range', 'a', 1e400);
SELECT add_rule('t', 'row_count', 'a', 1);
SELECT add_rule('t', 'row_count');
SELECT add_rule('t', 'row_count', low => -1);
SELECT add_rule('t', 'freshness', 'a');
SELECT add_rule('t', 'freshness', 'a', 1, 2);
SELECT add_rule('t', 'distinct_count', 'a');
SELECT add_rule('t', 'unique', 'a', severity => 'fatal');
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'add_rule', '{"source": "t", "kind": "unique", "colum": "a"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'add_rule', '{"source": "t"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'add_rule', '{"source": "t", "kind": "range", "column": "a", "low": "1"}')$$);
SELECT count(*) FROM pynomaly_data_quality.rule WHERE source IN ('t', 'u');

-- One of each kind, column and source; gone when it is dropped.
SELECT add_rule('t', 'unique', 'a'), add_rule('t', 'unique', 'b'), add_rule('u', 'unique', 'a'), add_rule('t', 'row_count', low => 1);
SELECT add_rule('t', 'unique', 'a', severity => 'info');
SELECT add_rule('t', 'row_count', high => 2);
SELECT owner = current_user::regrole AS own, source, column_name, kind, low, high, severity FROM pynomaly_data_quality.rule WHERE source IN ('t', 'u') ORDER BY id;
SELECT pynomaly_kernel.call('data_quality', 'drop_rule', jsonb_build_object('rule', id)) FROM pynomaly_data_quality.rule WHERE source IN ('t', 'u') ORDER BY id;
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'drop_rule', '{"rule": 99999999}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'drop_rule', '{}')$$);
SELECT count(*) FROM pynomaly_data_quality.rule WHERE source IN ('t', 'u');
\pset tuples_only off
\pset format aligned

-- The answers, beside SQL's.  A rule takes the place of history's bound and has its own severity, error unless it says otherwise.
CREATE TABLE sale (id int, amount float8, code text, shop text, at timestamptz);
INSERT INTO sale SELECT i, CASE WHEN i % 4 > 0 THEN i - 10 END, 'c' || i % 900, CASE WHEN i % 10 > 0 THEN 's' || i % 7 END, now() - i * interval '1 hour'
    FROM generate_series(1, 1000) AS i;
SELECT add_rule('sale', 'completeness', 'amount', 0.75), add_rule('sale', 'completeness', 'shop', 0.9001, severity => 'warn'),
    add_rule('sale', 'unique', 'id'), add_rule('sale', 'unique', 'code', severity => 'info'), add_rule('sale', 'range', 'amount', 0, 989),
    add_rule('sale', 'row_count', low => 1000, high => 1000), add_rule('sale', 'freshness', 'at', high => 3000, severity => 'warn'),
    add_rule('sale', 'distinct_count', 'shop', 7, 7), add_rule('sale', 'distinct_count', 'code', 901);
SELECT r.dimension, r.name, r.column_name, CASE WHEN r.name <> 'freshness' THEN r.value END AS value, c.counted, r.low, r.high, r.passed, r.severity
FROM run(930001, 'sale') AS r LEFT JOIN (SELECT 'completeness' AS name, 'amount' AS column_name, count(amount)::float8 / count(*) AS counted FROM sale UNION ALL
    SELECT 'completeness', 'shop', count(shop)::float8 / count(*) FROM sale UNION ALL
    SELECT 'unique', 'id', count(DISTINCT id)::float8 / count(id) FROM sale UNION ALL
    SELECT 'unique', 'code', count(DISTINCT code)::float8 / count(code) FROM sale UNION ALL
    SELECT 'minimum', 'amount', min(amount) FROM sale UNION ALL SELECT 'maximum', 'amount', max(amount) FROM sale UNION ALL
    SELECT 'distinct_count', 'shop', count(DISTINCT shop) FROM sale UNION ALL SELECT 'distinct_count', 'code', count(DISTINCT code) FROM sale UNION ALL
    SELECT 'row_count', NULL, count(*) FROM sale) AS c ON c.name = r.name AND c.column_name IS NOT DISTINCT FROM r.column_name
WHERE c.counted IS NOT NULL OR r.name = 'freshness' ORDER BY place;
SELECT verdict, failed FROM pynomaly_data_quality.latest_run WHERE source = 'sale';
-- A rule of one bound leaves the other to history, and where there are rules history says nothing.
SELECT add_rule('part', 'range', 'a', 0), add_rule('part', 'completeness', 'a', 0);
CREATE TABLE part (a float8);
INSERT INTO part SELECT i FROM generate_series(1, 100) AS i;
SELECT count(*) FROM generate_series(1, 3) AS i, LATERAL run(930002 + i - i, 'part') WHERE NOT passed;
UPDATE part SET a = CASE WHEN a > 50 THEN 1000 END;
SELECT name, value, low, high, passed, severity FROM run(930002, 'part') WHERE column_name = 'a';

-- Infinities are outside any range; times have theirs in seconds since 1970; what is missing is not outside.
CREATE TABLE ends (f float8, n float8, d date, b boolean);
INSERT INTO ends SELECT v, NULL, DATE '2024-01-01' + i::int, true FROM unnest('{1,Infinity,-Infinity,NaN}'::float8[]) WITH ORDINALITY AS u (v, i);
SELECT add_rule('ends', 'range', 'f', -1e308, 1e308), add_rule('ends', 'range', 'n', 0, 1), add_rule('ends', 'range', 'b', 0, 1),
    add_rule('ends', 'range', 'd', extract(epoch FROM DATE '2024-01-02'), extract(epoch FROM DATE '2024-01-04'));
SELECT name, column_name, value, low, high, passed, message ~ '^the (smallest|largest) value of column ".*" is (in|outside) the range of rule' AS told
FROM run(930003, 'ends') WHERE severity = 'error' AND name <> 'key' ORDER BY column_name, name;

-- What the data give no answer to, fails; an empty table answers what can be answered.
CREATE TABLE odd (a int, t text, at timestamptz);
INSERT INTO odd VALUES (1, 'x', NULL);
SELECT add_rule('odd', 'completeness', 'gone', 0.5, severity => 'warn'), add_rule('odd', 'range', 't', 0), add_rule('odd', 'freshness', 'a', high => 1),
    add_rule('odd', 'freshness', 'at', high => 1), add_rule('odd', 'unique', 'at'), add_rule('odd', 'unique', 't'), add_rule('odd', 'row_count', high => 5);
SELECT dimension, name, column_name, value, high, passed, severity, regexp_replace(message, 'rule [0-9]+', 'rule N') AS message FROM run(930004, 'odd')
WHERE severity = 'error' OR column_name = 'gone' OR name = 'row_count';
TRUNCATE odd;
SELECT dimension, name, column_name, value, high, passed, severity, regexp_replace(message, 'rule [0-9]+', 'rule N') AS message FROM run(930004, 'odd')
WHERE severity = 'error' OR column_name = 'gone' OR name = 'row_count';

-- Uniqueness past what is known exactly: 1,024 values, and then 65,536 rows.
CREATE TABLE many (id int PRIMARY KEY, all_different int, once_repeated int, often_repeated int, tenth int);
INSERT INTO many SELECT i, i, CASE WHEN i = 2 THEN 1 ELSE i END, i / 2, i / 10 FROM generate_series(1, 5000) AS i;
SELECT add_rule('many', 'unique', c), add_rule('many', 'distinct_count', c, 4999, 5000) FROM unnest('{all_different,once_repeated,often_repeated}'::text[]) AS c;
SELECT name, column_name, value, passed, message FROM run(930005, 'many') WHERE name IN ('unique', 'distinct_count') ORDER BY column_name, name;
INSERT INTO many SELECT i, i, i, i / 2, i / 10 FROM generate_series(5001, 200000) AS i;
UPDATE pynomaly_data_quality.rule SET low = 199999, high = 200000 WHERE source = 'many' AND kind = 'distinct_count';
SELECT add_rule('many', 'unique', 'tenth'), add_rule('many', 'distinct_count', 'tenth', high => 19000), add_rule('many', 'completeness', 'tenth', 1);
-- One repeated value in 200,000 rows escapes, and the message says how much can.
SELECT name, column_name, passed, abs(value - CASE WHEN name = 'unique' THEN counted / 200000.0 ELSE counted END) / value < 0.0244 AS close,
    regexp_replace(message, 'about [0-9]+', 'about N') AS message
FROM run(930006, 'many') AS r JOIN (VALUES ('all_different', 200000), ('once_repeated', 199999), ('often_repeated', 100001), ('tenth', 20001)) AS c (column_name, counted) USING (column_name)
WHERE name IN ('unique', 'distinct_count') ORDER BY column_name, name;

-- Rules of a role bind its members and nobody else, the superuser neither.
CREATE ROLE pyn_test_team;
CREATE ROLE pyn_test_member IN ROLE pyn_test_team;
CREATE ROLE pyn_test_stranger;
GRANT USAGE ON SCHEMA rules, pynomaly_kernel TO pyn_test_team, pyn_test_stranger;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pynomaly_kernel TO pyn_test_team, pyn_test_stranger;
GRANT SELECT ON odd TO pyn_test_team, pyn_test_stranger;
SET ROLE pyn_test_team;
SELECT add_rule('odd', 'row_count', low => 100);
SET ROLE pyn_test_member;
SELECT add_rule('odd', 'row_count', low => 10, severity => 'warn');
SELECT name, low, passed, severity FROM run(930007, 'rules.odd') WHERE name = 'row_count';
RESET ROLE;
SELECT name, low, passed, severity FROM run(930008, 'odd') WHERE name = 'row_count';
SELECT id AS rule FROM pynomaly_data_quality.rule WHERE owner = 'pyn_test_team'::regrole \gset
SET ROLE pyn_test_stranger;
SELECT name, low, passed, severity FROM run(930009, 'rules.odd') WHERE name = 'row_count';
-- Nor can anybody drop what is not his.
SELECT regexp_replace(outcome(format('SELECT pynomaly_kernel.call(''data_quality'', ''drop_rule'', ''{"rule": %s}'')', :rule)), 'rule [0-9]+', 'rule N');
SET ROLE pyn_test_member;
SELECT outcome(format('SELECT pynomaly_kernel.call(''data_quality'', ''drop_rule'', ''{"rule": %s}'')', :rule));
RESET ROLE;
DELETE FROM pynomaly_data_quality.rule WHERE source IN ('sale', 'part', 'ends', 'odd', 'many');
DELETE FROM pynomaly_data_quality.check_run WHERE dataset BETWEEN 930000 AND 930099;
DROP SCHEMA rules CASCADE;
DROP OWNED BY pyn_test_team, pyn_test_stranger;
DROP ROLE pyn_test_team, pyn_test_member, pyn_test_stranger;

-- Stored runs: reports, events, the step of a journey, and who may see what.
-- needs: data_science
\set SHOW_CONTEXT never
\pset null '-'
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA runs;
SET search_path = runs;
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
CREATE FUNCTION digest(source regclass, key name[] DEFAULT NULL) RETURNS text LANGUAGE sql AS
    $$SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of(source, NULL, key))), 'hex')$$;
CREATE FUNCTION run(dataset bigint, source regclass, key name[] DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
$$
    SELECT jsonb_array_length(pynomaly_kernel.call('data_quality', 'check', jsonb_build_object('dataset', dataset, 'source', source::text,
        'sketch', runs.digest(source, key))))
$$;
CREATE FUNCTION report(arguments jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT pynomaly_kernel.call('data_quality', 'report', arguments)$$;

-- A run with failures of each severity.
CREATE TABLE sale (id int, amount float8, note text);
INSERT INTO sale SELECT i % 90, 'NaN', i FROM generate_series(1, 100) AS i;
SELECT pynomaly_kernel.call('data_quality', 'add_rule', '{"source": "sale", "kind": "range", "column": "id", "high": 50, "severity": "info"}') > '0' AS added,
    pynomaly_kernel.call('data_quality', 'add_rule', '{"source": "sale", "kind": "completeness", "column": "note", "low": 1}') > '0' AS added;
SELECT run(940001, 'sale', '{id}');
SELECT max(id) AS check FROM pynomaly_data_quality.check_run \gset
SELECT regexp_replace(jsonb_pretty(report(jsonb_build_object('check', :check)) - '{check,checked_at}'::text[]), 'rule [0-9]+', 'rule N') AS report;
SELECT (r ->> 'check')::bigint = :check AS same, (r ->> 'checked_at')::timestamptz = c.checked_at AS checked_at, r -> 'dimensions' = c.dimensions AS dimensions,
    (r ->> 'score')::float8 = c.score AS score, c.sketch = decode(digest('sale', '{id}'), 'hex') AS sketch, c.seconds >= 0 AS seconds
FROM pynomaly_data_quality.check_run AS c, report(jsonb_build_object('check', :check)) AS r WHERE c.id = :check;
-- The events: one of the run, one of each failed check of severity error.
SELECT type, publisher = current_user::regrole AS own, regexp_replace((data - '{check,seconds}'::text[])::text, 'rule [0-9]+', 'rule N') AS data,
    (data ->> 'check')::bigint = :check AS of_this_check
FROM pynomaly_kernel.event WHERE type LIKE 'data_quality.%' AND subject = 'sale' AND (data ->> 'check')::bigint >= :check ORDER BY id;
-- Many reasons are cut short in the event; the report has all.
DO $$BEGIN EXECUTE (SELECT format('CREATE TABLE runs.wide AS SELECT %s', string_agg(format('NULL::int AS c%s', i), ', ' ORDER BY i)) FROM generate_series(1, 30) AS i); END$$;
SELECT run(940002, 'wide');
SELECT data -> 'failed' AS failed, jsonb_array_length(data -> 'reasons') AS reasons, data -> 'reasons' -> -1 AS last
FROM pynomaly_kernel.event WHERE type LIKE 'data_quality.%' AND subject = 'wide';
SELECT jsonb_array_length(report(jsonb_build_object('check', max(id))) -> 'failed') AS failed FROM pynomaly_data_quality.check_run;

-- What no check or report can be made of.
SELECT outcome($$SELECT runs.report('{}')$$);
SELECT outcome($$SELECT runs.report('{"check": 1, "request": "00000000-0000-4000-8000-000000000000"}')$$);
SELECT outcome($$SELECT runs.report('{"check": 99999999}')$$);
SELECT outcome($$SELECT runs.report('{"request": "00000000-0000-4000-8000-000000000000"}')$$);
SELECT outcome($$SELECT runs.report('{"request": "no uuid"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"sketch": "00"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940001, "source": "a", "sketch": "00"}')$$);
SELECT outcome(format($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940001, "source": "a", "sketch": "%s"}')$$, repeat('00', 32)));
SELECT outcome(format($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940001, "source": "a", "sketch": "%s"}')$$,
    encode(pynomaly_kernel.put_artifact('note', 'no sketch'), 'hex')));
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940001, "source": "a"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"table": "a"}')$$);
-- A report can be had in a read-only transaction, a check cannot be made there.
BEGIN READ ONLY;
SELECT report(jsonb_build_object('check', :check)) ->> 'grade' AS grade;
SELECT outcome(format($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940001, "source": "a", "sketch": "%s"}')$$, repeat('00', 32)));
ROLLBACK;
-- What is rolled back was not.
BEGIN;
SELECT run(940003, 'sale');
ROLLBACK;
SELECT count(*) FROM pynomaly_data_quality.check_run WHERE dataset = 940003;

-- The step of a journey: on behalf of the publisher, with his time zone, once for each request.
CREATE ROLE pyn_test_owner;
CREATE ROLE pyn_test_deputy IN ROLE pyn_test_owner;
CREATE ROLE pyn_test_stranger;
GRANT USAGE ON SCHEMA runs, pynomaly_kernel TO pyn_test_owner, pyn_test_stranger;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea) TO pyn_test_owner, pyn_test_stranger;
CREATE TABLE clock (at timestamp, day date, moment timestamptz);
INSERT INTO clock VALUES (now() AT TIME ZONE 'Asia/Tokyo', NULL, now());
GRANT SELECT ON clock, sale TO pyn_test_owner, pyn_test_stranger;
SET ROLE pyn_test_owner;
SELECT digest('clock') AS digest \gset
RESET ROLE;
INSERT INTO pynomaly_kernel.saga (id, definition, owner, state, step, deadline, origin, event_type, event_data, created_at)
SELECT request, 'detection', owner, 'running', 2, now() + interval '1 hour', gen_random_uuid(), 'data_science.dataset_processed.v1', '{}', now()
FROM (VALUES ('11111111-1111-4111-8111-111111111111'::uuid, 'pyn_test_owner'::regrole), ('22222222-2222-4222-8222-222222222222', 'pyn_test_owner'),
    ('33333333-3333-4333-8333-333333333333', 'pyn_test_stranger')) AS r (request, owner);
CREATE FUNCTION processed(request text, source text, sketch text, publisher regrole, time_zone text DEFAULT 'UTC') RETURNS pynomaly_kernel.event LANGUAGE sql AS
$$
    SELECT ROW(id, origin, 'data_science.dataset_processed.v1', 'data_science', request, "time", jsonb_build_object('request', request, 'dataset', 940004, 'version', 1,
        'sketch', sketch, 'rows', 1, 'seconds', 0.5, 'journey', jsonb_strip_nulls(jsonb_build_object('source', processed.source, 'time_zone', time_zone, 'gate', 'stop'))),
        correlation_id, causation_id, traceparent, priority, processed.publisher, xid, NULL)::pynomaly_kernel.event FROM pynomaly_kernel.event LIMIT 1
$$;
SELECT pynomaly_data_quality.on_dataset_processed(processed('11111111-1111-4111-8111-111111111111', 'runs.clock', :'digest', 'pyn_test_owner', 'Asia/Tokyo'));
SELECT type, subject, publisher, data - '{check,seconds}'::text[] AS data FROM pynomaly_kernel.event WHERE subject LIKE '11111111-%' ORDER BY id;
SELECT owner, dataset, source, request, verdict FROM pynomaly_data_quality.check_run WHERE request = '11111111-1111-4111-8111-111111111111';
SELECT x.column_name, abs(x.value) < 60 AS "is of now" FROM pynomaly_data_quality.result x JOIN pynomaly_data_quality.check_run r ON r.id = x.check_run
WHERE r.request = '11111111-1111-4111-8111-111111111111' AND x.name = 'freshness' ORDER BY 1;
SELECT report('{"request": "11111111-1111-4111-8111-111111111111"}') ->> 'source' AS source;
SELECT pynomaly_data_quality.on_dataset_processed(processed('11111111-1111-4111-8111-111111111111', 'runs.clock', :'digest', 'pyn_test_owner'));
SELECT count(*) AS runs, (SELECT count(*) FROM pynomaly_kernel.event WHERE subject LIKE '11111111-%') AS events
FROM pynomaly_data_quality.check_run WHERE request = '11111111-1111-4111-8111-111111111111';
-- What cannot be analysed is told as the failure of the request.
SELECT pynomaly_data_quality.on_dataset_processed(processed('22222222-2222-4222-8222-222222222222', 'runs.clock', repeat('00', 32), 'pyn_test_owner'));
SELECT pynomaly_data_quality.on_dataset_processed(processed('22222222-2222-4222-8222-222222222222', NULL, :'digest', 'pyn_test_owner'));
SELECT pynomaly_data_quality.on_dataset_processed(processed('22222222-2222-4222-8222-222222222222', 'runs.clock', :'digest', 'pyn_test_owner', 'Nowhere'));
SELECT pynomaly_data_quality.on_dataset_processed(processed('33333333-3333-4333-8333-333333333333', 'runs.clock', :'digest', 'pyn_test_stranger'));
SELECT type, publisher, data - 'request' AS data FROM pynomaly_kernel.event WHERE subject LIKE '22222222-%' OR subject LIKE '33333333-%' ORDER BY id;
SELECT count(*) FROM pynomaly_data_quality.check_run WHERE request::text LIKE '22222222-%' OR request::text LIKE '33333333-%';

-- Whose is what: a role has its own runs and those of the roles that it is a member of; others' do not exist.
SELECT id AS "check" FROM pynomaly_data_quality.check_run WHERE request = '11111111-1111-4111-8111-111111111111' \gset
GRANT USAGE ON SCHEMA pynomaly_data_quality TO pyn_test_owner, pyn_test_stranger;
GRANT SELECT ON ALL TABLES IN SCHEMA pynomaly_data_quality TO pyn_test_owner, pyn_test_stranger;
SET ROLE pyn_test_deputy;
SELECT run(940004, 'clock');
SELECT report(jsonb_build_object('check', :check)) ->> 'verdict' AS verdict, report('{"request": "11111111-1111-4111-8111-111111111111"}') ->> 'verdict' AS verdict;
SELECT owner, count(*) FROM pynomaly_data_quality.latest_run GROUP BY owner ORDER BY owner::text;
-- Nobody's history is another's, not even of one dataset and for a member.
SELECT column_name, message FROM pynomaly_data_quality.latest_result WHERE name = 'schema' ORDER BY owner::text;
SET ROLE pyn_test_owner;
SELECT count(*) AS runs, count(DISTINCT owner) AS owners FROM pynomaly_data_quality.check_run;
SET ROLE pyn_test_stranger;
SELECT regexp_replace(outcome(format('SELECT runs.report(''{"check": %s}'')', :check)), 'check [0-9]+', 'check N');
SELECT outcome($$SELECT runs.report('{"request": "11111111-1111-4111-8111-111111111111"}')$$);
SELECT outcome(format($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"dataset": 940004, "source": "runs.clock", "sketch": "%s"}')$$, :'digest'));
SELECT (SELECT count(*) FROM pynomaly_data_quality.check_run) AS runs, (SELECT count(*) FROM pynomaly_data_quality.result) AS results,
    (SELECT count(*) FROM pynomaly_data_quality.rule) AS rules, (SELECT count(*) FROM pynomaly_data_quality.latest_result) AS latest;
SELECT outcome($$INSERT INTO pynomaly_data_quality.rule (owner, source, kind, severity, created_at) VALUES (current_user::regrole, 'a', 'unique', 'error', now())$$);
SELECT outcome($$SELECT pynomaly_data_quality.report('{"check": 1}')$$);
SELECT outcome($$SELECT * FROM pynomaly_data_quality.check('{}')$$);
RESET ROLE;

-- A relation is read by data_science, as the caller: its rights, its columns, its errors.
SELECT outcome(format($$SELECT jsonb_array_length(pynomaly_kernel.call('data_quality', 'check', '{"relation": %s, "key": ["id"]}'))$$, 'runs.sale'::regclass::oid));
SELECT outcome($$SELECT jsonb_array_length(pynomaly_kernel.call('data_quality', 'check', '{"source": "runs.sale", "columns": ["note"]}'))$$);
SELECT source, array_length(array_agg(DISTINCT dataset), 1) AS datasets, array_agg(verdict ORDER BY check_run) AS verdicts
FROM pynomaly_data_quality.latest_run WHERE source = 'runs.sale' GROUP BY source;
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"source": "runs.nothing"}')$$);
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"source": "runs.sale", "columns": ["nothing"]}')$$);
REVOKE SELECT ON sale FROM pyn_test_stranger;
SET ROLE pyn_test_stranger;
SELECT outcome($$SELECT pynomaly_kernel.call('data_quality', 'check', '{"source": "runs.sale"}')$$);
RESET ROLE;
DELETE FROM pynomaly_data_quality.check_run WHERE source = 'runs.sale';

-- Everything that is owned by the domain is in the dump, and every table has row-level security.
SELECT c.relname, c.relkind, c.relrowsecurity, e.oid IS NOT NULL AS dumped FROM pg_class c LEFT JOIN pg_extension e ON e.extname = 'pynomaly' AND c.oid = ANY (e.extconfig)
WHERE c.relnamespace = 'pynomaly_data_quality'::regnamespace AND c.relkind IN ('r', 'S', 'v') ORDER BY c.relname;
DELETE FROM pynomaly_kernel.saga WHERE id IN ('11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222', '33333333-3333-4333-8333-333333333333');
DELETE FROM pynomaly_data_quality.check_run WHERE dataset IN (940001, 940002, 940004);
DELETE FROM pynomaly_data_quality.rule WHERE source = 'sale';
DROP SCHEMA runs CASCADE;
DROP OWNED BY pyn_test_owner, pyn_test_stranger;
DROP ROLE pyn_test_owner, pyn_test_deputy, pyn_test_stranger;

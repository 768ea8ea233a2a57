-- The step "profile" of a request: the handler is given the event that the step before publishes.
CREATE SCHEMA data_profiling_step;
SET search_path = data_profiling_step;
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE ROLE pyn_profile_carl;
CREATE TABLE reading AS SELECT i AS id, i % 10 AS level FROM generate_series(1, 100) AS i;
GRANT USAGE ON SCHEMA data_profiling_step TO pyn_profile_carl;
GRANT SELECT ON reading TO pyn_profile_carl;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.put_artifact(text, bytea), pynomaly_kernel.call(name, text, jsonb, interval) TO pyn_profile_carl;
SET ROLE pyn_profile_carl;
SELECT encode(pynomaly_kernel.put_artifact('sketch', decode(split_part(pynomaly.sketch_of('reading')::text, ':', 2), 'base64')), 'hex') AS sketch \gset
RESET ROLE;

-- begin_request: a request at its third step.
CREATE FUNCTION begin_request(request uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pynomaly_kernel.saga (id, definition, owner, state, step, deadline, origin, event_type, event_data, created_at)
    SELECT request, 'detection', 'pyn_profile_carl'::regrole, 'running', 3, now() + '1 hour', origin, 'data_quality.quality_analyzed.v1', '{}', now()
    FROM pynomaly_kernel.event_log
$$;
CREATE FUNCTION quality_analyzed(request uuid, verdict text, gate text, sketch text) RETURNS void LANGUAGE sql AS $$
    SELECT pynomaly_data_profiling.on_quality_analyzed(ROW(1, gen_random_uuid(), 'data_quality.quality_analyzed.v1', 'data_quality', request::text, now(),
        jsonb_build_object('request', request, 'verdict', verdict, 'check', 1, 'score', 1, 'grade', 'A', 'failed', 0, 'reasons', '[]'::jsonb, 'seconds', 0,
            'journey', jsonb_build_object('source', 'step.reading', 'dataset', 41, 'version', 1, 'sketch', sketch, 'gate', gate, 'algorithm', 'auto')),
        gen_random_uuid(), NULL, NULL, 0, 'pyn_profile_carl'::regrole, '3'::xid8, NULL)::pynomaly_kernel.event)
$$;
CREATE VIEW told AS
    SELECT type, subject, publisher, data - 'profile' - 'seconds' AS data FROM pynomaly_kernel.event
    WHERE type LIKE 'data\_profiling.%' AND (subject LIKE 'aaaaaaaa-%' OR data ->> 'source' = 'step.reading') ORDER BY id;

-- It profiles the journey's sketch for the publisher, and hands the journey on.
BEGIN;
SELECT begin_request('aaaaaaaa-0000-4000-8000-000000000001');
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000001', 'pass', 'stop', :'sketch');
SELECT owner, dataset, source, request, rows, encode(sketch, 'hex') = :'sketch' AS sketch FROM pynomaly_data_profiling.profile WHERE dataset = 41;
SELECT column_name, maximum, c.owner FROM pynomaly_data_profiling.latest_column_profile c WHERE dataset = 41 ORDER BY "position";
SELECT type, subject, publisher, data #- '{journey,sketch}' AS data, data #>> '{journey,sketch}' = :'sketch' AS sketch FROM told;
SELECT actor, action, subject, details - 'profile' AS details FROM pynomaly_kernel.audit_pending WHERE subject = 'step.reading';

-- The same event again changes nothing; a profile is found by its request.
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000001', 'pass', 'stop', :'sketch');
SELECT count(*) AS profiles, (SELECT count(*) FROM told) AS events FROM pynomaly_data_profiling.profile WHERE dataset = 41;
SELECT p ->> 'source' AS source, p ->> 'request' AS request, jsonb_array_length(p -> 'columns') AS columns
FROM pynomaly_kernel.call('data_profiling', 'get_profile', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}') AS p;

-- Its compensation removes the profile for its owner alone, and may come twice.
SELECT pynomaly_kernel.call('data_profiling', 'discard_profile', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}');
SELECT count(*) AS profiles FROM pynomaly_data_profiling.profile WHERE dataset = 41;
SET LOCAL ROLE pyn_profile_carl;
SELECT pynomaly_kernel.call('data_profiling', 'discard_profile', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}');
SELECT pynomaly_kernel.call('data_profiling', 'discard_profile', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}');
RESET ROLE;
SELECT count(*) AS profiles FROM pynomaly_data_profiling.profile WHERE dataset = 41;
ROLLBACK;

-- A warning of the gate stops nothing, nor does a verdict without a gate; only both end it here.
BEGIN;
SELECT begin_request(r) FROM unnest('{aaaaaaaa-0000-4000-8000-000000000002,aaaaaaaa-0000-4000-8000-000000000003,aaaaaaaa-0000-4000-8000-000000000004}'::uuid[]) AS r;
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000002', 'stop', 'warn', :'sketch');
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000003', 'warn', 'stop', :'sketch');
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000004', 'stop', 'stop', :'sketch');
SELECT request, previous IS NULL AS first FROM pynomaly_data_profiling.profile WHERE dataset = 41 ORDER BY id;
SELECT type, subject FROM told;
ROLLBACK;

-- Another structure is told, too, under the same request.
CREATE TABLE other AS SELECT i AS id, 'x' AS level, i AS fresh FROM generate_series(1, 100) AS i;
GRANT SELECT ON other TO pyn_profile_carl;
BEGIN;
SET ROLE pyn_profile_carl;
SELECT encode(pynomaly_kernel.put_artifact('sketch', decode(split_part(pynomaly.sketch_of('other')::text, ':', 2), 'base64')), 'hex') AS other \gset
RESET ROLE;
SELECT begin_request(r) FROM unnest('{aaaaaaaa-0000-4000-8000-000000000005,aaaaaaaa-0000-4000-8000-000000000006}'::uuid[]) AS r;
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000005', 'pass', 'warn', :'sketch');
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000006', 'pass', 'warn', :'other');
SELECT type, subject, publisher, data - 'journey' - 'previous' AS data FROM told;
ROLLBACK;

-- A sketch that the publisher does not have, or that is gone, fails the step and leaves nothing.
BEGIN;
SELECT begin_request(r) FROM unnest('{aaaaaaaa-0000-4000-8000-000000000007,aaaaaaaa-0000-4000-8000-000000000008}'::uuid[]) AS r;
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000007', 'pass', 'warn', repeat('0', 64));
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000008', 'pass', 'warn', NULL);
SELECT type, subject, publisher, data FROM told;
SELECT count(*) AS profiles FROM pynomaly_data_profiling.profile WHERE dataset = 41;
ROLLBACK;

-- A request that is unknown or has ended gets nothing.
BEGIN;
SELECT begin_request('aaaaaaaa-0000-4000-8000-000000000009');
UPDATE pynomaly_kernel.saga SET state = 'cancelling' WHERE id = 'aaaaaaaa-0000-4000-8000-000000000009';
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000009', 'pass', 'warn', :'sketch');
SELECT quality_analyzed('aaaaaaaa-0000-4000-8000-000000000010', 'pass', 'warn', :'sketch');
SELECT count(*) AS profiles, (SELECT count(*) FROM told) AS events FROM pynomaly_data_profiling.profile WHERE dataset = 41;
ROLLBACK;

-- Such checks outside a request are nobody's step.
SELECT pynomaly_data_profiling.on_quality_analyzed(ROW(1, gen_random_uuid(), 'data_quality.quality_analyzed.v1', 'data_quality', 'step.reading', now(),
    '{"verdict": "pass", "check": 1}', gen_random_uuid(), NULL, NULL, 0, 'pyn_profile_carl', '3', NULL)::pynomaly_kernel.event);
SELECT count(*) AS profiles FROM pynomaly_data_profiling.profile WHERE dataset = 41;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA data_profiling_step CASCADE;
DELETE FROM pynomaly_kernel.artifact WHERE owner::text = 'pyn_profile_carl';
DROP OWNED BY pyn_profile_carl;
DROP ROLE pyn_profile_carl;

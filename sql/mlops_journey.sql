-- The journey's step "train": trains a model named like the source, or takes the one that is asked for; and its undoing.
\set SHOW_CONTEXT never
CREATE ROLE regress_mlops_a;
CREATE ROLE regress_mlops_b;
CREATE SCHEMA mlops_journey;
SET search_path = mlops_journey;
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command INTO result;
    RETURN coalesce(result, 'no error');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', SQLSTATE || ': ' || message, 'detail: ' || nullif(detail, ''), 'hint: ' || nullif(hint, ''));
END $$;
CREATE FUNCTION mlops(operation text, arguments jsonb) RETURNS text LANGUAGE sql AS
    $$SELECT outcome(format('SELECT pynomaly_kernel.call(''mlops'', %L, %L) - ''seconds'' - ''digest'' - ''owner'' - ''code_version''', operation, arguments))$$;
CREATE TABLE point AS SELECT i AS id, i % 97 AS a, i % 7 AS b, 'c' || i % 3 AS c FROM generate_series(1, 300) AS i;
GRANT USAGE ON SCHEMA mlops_journey TO PUBLIC;
GRANT SELECT ON point TO PUBLIC;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea) TO regress_mlops_a, regress_mlops_b;
SET ROLE regress_mlops_b;
SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of('point', key => ARRAY['id']::name[]))), 'hex') AS sketch \gset
SET ROLE regress_mlops_a;
SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of('point', key => ARRAY['id']::name[]))), 'hex') AS sketch \gset
RESET ROLE;
CREATE FUNCTION request(number integer) RETURNS uuid LANGUAGE sql AS $$SELECT format('00000000-0000-4000-8000-%s', lpad(number::text, 12, '0'))::uuid$$;
-- Hands the step a request's event, and shows what it published.
CREATE FUNCTION step(number integer, publisher regrole, journey jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    event pynomaly_kernel.event;
    began bigint := coalesce((SELECT max(id) FROM pynomaly_kernel.event), 0);
BEGIN
    event.id := 0;
    event.origin := (SELECT origin FROM pynomaly_kernel.event_log);
    event.type := 'data_profiling.profile_generated.v1';
    event.source := 'data_profiling';
    event.subject := request(number);
    event."time" := now();
    event.data := jsonb_build_object('request', request(number), 'profile', 1, 'changes', 0, 'seconds', 0.1, 'journey', journey);
    event.correlation_id := request(number);
    event.priority := 0;
    event.publisher := publisher;
    event.xid := pg_current_xact_id();
    INSERT INTO pynomaly_kernel.saga (id, definition, owner, state, step, deadline, origin, event_type, event_data, created_at)
        VALUES (request(number), 'regress_mlops', publisher, 'running', 4, 'infinity', event.origin, event.type, event.data, now()) ON CONFLICT (id) DO NOTHING;
    PERFORM pynomaly_mlops.on_profile_generated(event);
    RETURN QUERY SELECT concat_ws(' ', e.type, e.publisher, e.subject = event.subject, e.data - 'seconds' - 'digest' - 'request' - 'journey') ||
            coalesce(E'\n  journey: ' || ((e.data -> 'journey') - 'sketch' - 'model_digest')::text, '')
        FROM pynomaly_kernel.event e WHERE e.id > began AND e.type LIKE 'mlops.%' ORDER BY e.id;
END $$;
CREATE FUNCTION journey(sketch text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
    $$SELECT jsonb_build_object('source', 'mlops_journey.point', 'dataset', 3, 'version', 1, 'sketch', sketch, 'gate', 'warn', 'time_zone', 'UTC', 'algorithm', 'auto', 'options', '{}'::jsonb) || more$$;
\pset tuples_only on
\pset format unaligned

-- Without a model each request trains a version of the source's, which becomes champion.
SELECT step(1, 'regress_mlops_a', journey(:'sketch'));
SELECT step(2, 'regress_mlops_a', journey(:'sketch', '{"algorithm": "ecod", "contamination": 0.05, "options": {"seed": 7, "explain": "all", "sample_text": false}}'));
SELECT name, version, aliases, algorithm, status, source, columns, contamination, seed, dataset, request, owner, created_by FROM pynomaly_mlops.version
WHERE owner = 'regress_mlops_a'::regrole ORDER BY version;
-- The digest that the event tells is the model's: the one that fit gives.
SELECT data ->> 'digest' = encode(sha256(pynomaly.model_send(pynomaly.fit(pynomaly.sketch_of('point', key => ARRAY['id']::name[])))), 'hex') AS same_model,
    data -> 'journey' ->> 'model_digest' = data ->> 'digest' AS same_in_journey, (data ->> 'seconds')::float8 >= 0 AS took
FROM pynomaly_kernel.event WHERE type = 'mlops.model_ready.v1' AND subject = request(1)::text;
-- The same event again does nothing but tell again.
SELECT step(1, 'regress_mlops_a', journey(:'sketch'));
SELECT count(*) FROM pynomaly_mlops.version WHERE owner = 'regress_mlops_a'::regrole;
-- Another owner's model of the same source is another one.
SELECT step(3, 'regress_mlops_b', journey(:'sketch'));
-- Named columns mean that all text plays a part.
UPDATE point SET c = 'c' || id % 2000;
SELECT step(4, 'regress_mlops_b', journey(:'sketch', '{"columns": ["a", "c"]}'));

-- A model by its name: trained once, reused from then on; by alias or number only reused.
SELECT step(5, 'regress_mlops_a', journey(:'sketch', '{"model": "mine", "options": {"seed": 5}}'));
SELECT step(6, 'regress_mlops_a', journey(:'sketch', '{"model": "mine"}'));
SELECT step(7, 'regress_mlops_a', journey(:'sketch', '{"model": "mlops_journey.point/1"}'));
SELECT step(8, 'regress_mlops_a', journey(:'sketch', '{"model": "mine@champion"}'));
-- Failures are told and leave nothing.
SELECT step(9, 'regress_mlops_a', journey(:'sketch', '{"model": "mine@challenger"}'));
SELECT step(10, 'regress_mlops_a', journey(:'sketch', '{"model": "mine/2"}'));
SELECT step(11, 'regress_mlops_a', journey(:'sketch', '{"model": "none/1"}'));
SELECT step(12, 'regress_mlops_b', journey(:'sketch', '{"model": "mine@champion"}'));
SELECT step(13, 'regress_mlops_a', journey(:'sketch', '{"model": "a@b@c"}'));
SELECT step(14, 'regress_mlops_a', journey(repeat('0', 64)));
SELECT step(15, 'regress_mlops_a', journey(:'sketch', '{"options": {"threes": 3}}'));
SELECT count(*) FROM pynomaly_mlops.request_model WHERE request IN (SELECT request(i) FROM generate_series(9, 15) AS i);
-- Of a saga that does not go on nothing is done.
UPDATE pynomaly_kernel.saga SET state = 'cancelling' WHERE id = request(15);
SELECT step(15, 'regress_mlops_a', journey(:'sketch'));
SELECT step(16, 'regress_mlops_a', journey(:'sketch', '{"source": "public.\"a@b/c\""}'));

-- The report of a request tells what it was served with, trained or reused; only to whom it may.
SET ROLE regress_mlops_a;
SELECT mlops('report', jsonb_build_object('request', request(2)));
SELECT mlops('report', jsonb_build_object('request', request(6)));
SELECT mlops('report', jsonb_build_object('request', request(3)));
SELECT mlops('report', jsonb_build_object('request', request(9)));
SELECT mlops('report', '{"request": "9"}');
BEGIN READ ONLY;
SELECT mlops('report', jsonb_build_object('request', request(5)));
COMMIT;

-- What a request trained is withdrawn with it, and aliases go back to what they stood for before.
SELECT mlops('promote', '{"model": "mlops_journey.point/2", "alias": "challenger"}');
SET ROLE regress_mlops_b;
SELECT mlops('withdraw', jsonb_build_object('request', request(2)));
SET ROLE regress_mlops_a;
SELECT mlops('withdraw', jsonb_build_object('request', request(2)));
SELECT mlops('withdraw', jsonb_build_object('request', request(2)));
SELECT mlops('get_model', '{"name": "mlops_journey.point"}');
SELECT mlops('get_model', '{"name": "mlops_journey.point@challenger"}');
SELECT mlops('get_model', '{"name": "mlops_journey.point/2"}');
SELECT mlops('promote', '{"model": "mlops_journey.point/2"}');
SELECT mlops('rollback', '{"model": "mlops_journey.point"}');
SELECT mlops('report', jsonb_build_object('request', request(2)));
-- A reused one stays, and so does what was never trained.
SELECT mlops('withdraw', jsonb_build_object('request', request(6)));
SELECT mlops('get_model', '{"name": "mine"}');
SELECT mlops('withdraw', jsonb_build_object('request', request(999)));
-- The last one leaves its model without a champion; the next request gives it one.
SELECT mlops('withdraw', jsonb_build_object('request', request(5)));
SELECT mlops('get_model', '{"name": "mine"}');
RESET ROLE;
-- Requests that are under way still have its bytes.
CREATE VIEW of_mine AS SELECT version, status, EXISTS (SELECT FROM pynomaly_kernel.artifact a WHERE a.digest = decode(v.digest, 'hex') AND a.owner = v.owner) AS has_bytes
    FROM pynomaly_mlops.version v WHERE name = 'mine' AND owner::text = 'regress_mlops_a';
SELECT * FROM of_mine;
SELECT step(17, 'regress_mlops_a', journey(:'sketch', '{"model": "mine", "options": {"seed": 6}}'));
SELECT step(18, 'regress_mlops_a', journey(:'sketch', '{"model": "mine@champion"}'));
SELECT a.name, v.version, upper_inf(h.valid) AS now, h.changed_by, h.reason, h.request FROM pynomaly_mlops.alias_history h JOIN pynomaly_mlops.alias a ON a.id = h.alias
    JOIN pynomaly_mlops.model_version v ON v.id = h.version JOIN pynomaly_mlops.model m ON m.id = v.model
WHERE m.name IN ('mine', 'mlops_journey.point') AND h.owner = 'regress_mlops_a'::regrole ORDER BY m.name, a.name, h.id;

UPDATE pynomaly_kernel.saga SET state = 'completed', ended_at = now() WHERE id IN (request(17), request(18));
SET ROLE regress_mlops_a;
SELECT mlops('promote', '{"model": "mine/2", "alias": "also"}');
SELECT mlops('withdraw', jsonb_build_object('request', request(17)));
RESET ROLE;
SELECT * FROM of_mine ORDER BY version;

-- Of versions that nobody named the newest ten without an alias are kept, and all of requests that are under way.
SELECT count(*) FROM generate_series(101, 115) AS i, step(i, 'regress_mlops_a', journey(:'sketch', jsonb_build_object('options', jsonb_build_object('seed', i))));
SELECT status, count(*), min(version), max(version) FROM pynomaly_mlops.version WHERE name = 'mlops_journey.point' AND owner = 'regress_mlops_a'::regrole GROUP BY status ORDER BY status;
UPDATE pynomaly_kernel.saga SET state = 'completed', ended_at = now() WHERE id <> request(102) AND owner = 'regress_mlops_a'::regrole;
SELECT count(*) FROM step(116, 'regress_mlops_a', journey(:'sketch'));
SELECT status, count(*), min(version), max(version) FROM pynomaly_mlops.version WHERE name = 'mlops_journey.point' AND owner = 'regress_mlops_a'::regrole GROUP BY status ORDER BY status;
-- One with an alias stays, also of those; its bytes stay as long as any version needs them.
SELECT version, status, aliases, EXISTS (SELECT FROM pynomaly_kernel.artifact a WHERE a.digest = decode(v.digest, 'hex') AND a.owner = v.owner) AS has_bytes
FROM pynomaly_mlops.version v WHERE name = 'mlops_journey.point' AND owner = 'regress_mlops_a'::regrole AND version NOT BETWEEN 9 AND 17 ORDER BY version;
SET ROLE regress_mlops_a;
SELECT mlops('get_model', '{"name": "mlops_journey.point/3"}');
RESET ROLE;

-- Each change by a step is in the audit trail, in the name of the request's owner.
SELECT action, subject, count(*) FROM pynomaly.audit WHERE action = 'mlops.train' AND subject IN ('mlops_journey.point/1', 'mine/1', 'mine/2') GROUP BY action, subject ORDER BY subject;

SET ROLE regress_mlops_a;
SELECT mlops('drop_model', jsonb_build_object('model', name)) FROM unnest(ARRAY['mine', 'mlops_journey.point', 'public."a@b/c"']) AS name;
SET ROLE regress_mlops_b;
SELECT mlops('drop_model', '{"model": "mlops_journey.point"}');
RESET ROLE;
SELECT kind, count(*) FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_mlops%' GROUP BY kind;
DELETE FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_mlops%';
DELETE FROM pynomaly_kernel.saga WHERE definition = 'regress_mlops';
REVOKE EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea) FROM regress_mlops_a, regress_mlops_b;
\set VERBOSITY terse
DROP SCHEMA mlops_journey CASCADE;
DROP ROLE regress_mlops_a, regress_mlops_b;

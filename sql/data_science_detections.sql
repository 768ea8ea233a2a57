-- Detections and anomalies: the step detect, what is stored of it, and its life.
\set VERBOSITY terse
\pset null '(null)'
SET client_min_messages = warning;
CREATE TABLE reading (id int PRIMARY KEY, value float8, weight float8);
INSERT INTO reading SELECT i, i % 50, (i * 37) % 101 FROM generate_series(1, 2000) AS i;
UPDATE reading SET value = 500 + id, weight = -1000 WHERE id IN (7, 77, 777);
SET client_min_messages = notice;
CREATE FUNCTION science(operation text, arguments jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pynomaly_kernel.call('data_science', operation, arguments) $$;

-- A model as the registry would hand it on: an artifact of the owner.
SELECT encode(pynomaly_kernel.put_artifact('model', pynomaly.model_send(pynomaly.fit(pynomaly.sketch_of('reading'), 'ecod'))), 'hex') AS digest \gset
SELECT science('register_dataset', '{"source": "reading"}') ->> 'dataset' AS dataset \gset
CREATE FUNCTION ready(request uuid, digest text, dataset bigint, more jsonb DEFAULT '{}') RETURNS pynomaly_kernel.event LANGUAGE sql AS $$
    SELECT ROW(42, gen_random_uuid(), 'mlops.model_ready.v1', 'mlops', request, now(), jsonb_build_object('request', request, 'model', 'odd', 'version', 3,
        'digest', digest, 'reused', false, 'seconds', 0, 'journey', jsonb_build_object('dataset', dataset) || more), request, NULL, NULL, 0, current_user::regrole,
        pg_current_xact_id(), NULL)::pynomaly_kernel.event $$;
INSERT INTO pynomaly_kernel.saga (id, definition, owner, state, step, deadline, origin, event_type, event_data, created_at)
SELECT request, 'detection', current_user::regrole, state, 5, now() + interval '1 hour', origin, 'mlops.model_ready.v1', '{}', now()
FROM pynomaly_kernel.event_log, (VALUES ('aaaaaaaa-0000-4000-8000-000000000001'::uuid, 'running'), ('aaaaaaaa-0000-4000-8000-000000000002', 'running'),
    ('aaaaaaaa-0000-4000-8000-000000000003', 'cancelling')) AS r (request, state);

-- The step process.
CREATE FUNCTION requested(request uuid, dataset bigint) RETURNS pynomaly_kernel.event LANGUAGE sql AS $$
    SELECT ROW(41, gen_random_uuid(), 'gateway.detection_requested.v1', 'gateway', request, now(), jsonb_build_object('request', request,
        'journey', jsonb_build_object('dataset', dataset, 'options', '{"seed": 9}'::jsonb, 'time_zone', 'Europe/Berlin')), request, NULL, NULL, 0,
        current_user::regrole, pg_current_xact_id(), NULL)::pynomaly_kernel.event $$;
SELECT pynomaly_data_science.on_detection_requested(requested('aaaaaaaa-0000-4000-8000-000000000001', :dataset));
SELECT type, subject, data - 'seconds' - 'sketch' - 'dataset' #- '{journey,sketch}' #- '{journey,dataset}' AS data FROM pynomaly_kernel.event WHERE subject = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT version, rows, seed FROM pynomaly_data_science.dataset_version WHERE request = 'aaaaaaaa-0000-4000-8000-000000000001';

-- The step detect.
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000001', :'digest', :dataset));
SELECT model_name, model_version, encode(model_digest, 'hex') = :'digest' AS digest, contamination, rows, anomalies, stored, seconds > 0 AS seconds
FROM pynomaly_data_science.detection WHERE request = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT type, subject, data - 'seconds' - 'detection' - 'journey' AS data FROM pynomaly_kernel.event WHERE subject = 'aaaaaaaa-0000-4000-8000-000000000001' AND type LIKE '%completed%';
-- The rows that detect flags with the same model, and no others.
SELECT count(*) AS rows, bool_and(d.score = a.score AND d.p_value = a.p_value AND d.severity = a.severity AND d.reasons = a.reasons) AS alike
FROM pynomaly.detect('reading', algorithm => 'ecod') d FULL JOIN (
    SELECT a.* FROM pynomaly_data_science.anomaly a JOIN pynomaly_data_science.detection d ON d.id = a.detection WHERE d.request = 'aaaaaaaa-0000-4000-8000-000000000001') AS a ON a.key = d.key
WHERE d.is_anomaly OR a.id IS NOT NULL;
SELECT a ->> 'key' AS key, a ->> 'severity' AS severity, a ->> 'status' AS status
FROM jsonb_array_elements(science('anomalies', '{"request": "aaaaaaaa-0000-4000-8000-000000000001", "limit": 3}')) AS a ORDER BY a #>> '{key,id}';
-- High and critical ones are told of, without values.
SELECT count(*) AS told, bool_and(e.data ?& '{anomaly,detection,dataset,severity,score}' AND e.data - '{anomaly,detection,dataset,severity,score}'::text[] = '{}') AS "and no more",
    count(*) = (SELECT count(*) FROM pynomaly_data_science.anomaly WHERE detection = max((e.data ->> 'detection')::bigint) AND severity IN ('high', 'critical')) AS "high and critical"
FROM pynomaly_kernel.event e WHERE type = 'data_science.anomaly_detected.v1' AND subject = 'dataset ' || :dataset;

-- The request's contamination and threshold over the model's; at most so many are stored.
SET pynomaly.data_science_max_anomalies = 2;
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000002', :'digest', :dataset, '{"contamination": 0.0005, "options": {"explain": "none"}}'));
SELECT contamination, rows, anomalies, stored FROM pynomaly_data_science.detection WHERE request = 'aaaaaaaa-0000-4000-8000-000000000002';
SELECT a.reasons FROM pynomaly_data_science.anomaly a JOIN pynomaly_data_science.detection d ON d.id = a.detection WHERE d.request = 'aaaaaaaa-0000-4000-8000-000000000002';
RESET pynomaly.data_science_max_anomalies;

-- A saga that was cancelled is left, and says so.
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000003', :'digest', :dataset));
SELECT type, data FROM pynomaly_kernel.event WHERE subject = 'aaaaaaaa-0000-4000-8000-000000000003';
SELECT count(*) FROM pynomaly_data_science.detection WHERE request = 'aaaaaaaa-0000-4000-8000-000000000003';
-- Failures are told with their reason: a table that lacks a column of the model, a model that is not there, another one's dataset.
ALTER TABLE reading RENAME COLUMN weight TO mass;
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000002', :'digest', :dataset));
ALTER TABLE reading RENAME COLUMN mass TO weight;
ALTER TABLE reading ALTER weight TYPE text;
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000002', :'digest', :dataset));
ALTER TABLE reading ALTER weight TYPE float8 USING weight::float8;
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000002', repeat('0', 64), :dataset));
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-000000000002', :'digest', -1));
SELECT type, data - 'request' AS data FROM pynomaly_kernel.event WHERE subject = 'aaaaaaaa-0000-4000-8000-000000000002' AND type LIKE '%failed%' ORDER BY id;
-- An event of no saga is nobody's; and what is no event is refused.
SELECT pynomaly_data_science.on_model_ready(ready('aaaaaaaa-0000-4000-8000-00000000000f', :'digest', :dataset));
SELECT pynomaly_data_science.on_model_ready(ready(NULL, :'digest', :dataset));
SELECT pynomaly_data_science.on_model_ready(NULL::pynomaly_kernel.event);
SELECT pynomaly_kernel.advance_saga(ROW(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)::pynomaly_kernel.event);

-- What a request has found is told, and can be undone.
SELECT report #> '{detection,by_severity}' IS NOT NULL AS by_severity, jsonb_array_length(report #> '{detection,worst}') AS worst
FROM science('report', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}') AS report;
SELECT science('report', '{"request": "aaaaaaaa-0000-4000-8000-00000000000f"}');
SELECT science('discard_dataset_version', '{"request": "aaaaaaaa-0000-4000-8000-000000000001"}');
SELECT count(*) AS versions FROM pynomaly_data_science.dataset_version WHERE request = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT science('discard_detection', '{"request": "aaaaaaaa-0000-4000-8000-000000000002"}'), science('discard_detection', '{"request": "aaaaaaaa-0000-4000-8000-000000000002"}') AS again;
SELECT count(*) FROM pynomaly_data_science.detection WHERE request = 'aaaaaaaa-0000-4000-8000-000000000002';

-- Old anomalies are forgotten.
SELECT count(*) > 3 AS before FROM pynomaly_data_science.anomaly WHERE owner = current_user::regrole;
UPDATE pynomaly_data_science.anomaly SET detected_at = now() - interval '91 days' WHERE key -> 'id' NOT IN ('7', '77', '777');
SELECT pynomaly_data_science.apply_retention();
SELECT key FROM pynomaly_data_science.anomaly a JOIN pynomaly_data_science.detection d ON d.id = a.detection WHERE d.request = 'aaaaaaaa-0000-4000-8000-000000000001' ORDER BY key;

DELETE FROM pynomaly_kernel.saga WHERE id::text LIKE 'aaaaaaaa-0000%';
DROP TABLE reading;
DROP FUNCTION science, ready, requested;

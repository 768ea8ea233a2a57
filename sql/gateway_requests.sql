-- Requests: detections in the background, done here by CALL process_events().
\set VERBOSITY terse
\pset null '(null)'
SET client_min_messages = warning;
CREATE TABLE payment (id int PRIMARY KEY, amount float8, country text, at timestamptz);
INSERT INTO payment SELECT i, 20 + (i * 7919 % 1000) / 50.0, (ARRAY['DE', 'FR', 'IT'])[1 + i % 3], '2026-01-01 00:00 UTC'::timestamptz + i * interval '10 minutes'
FROM generate_series(1, 3000) AS i;
UPDATE payment SET amount = 9000 WHERE id = 777;
SET client_min_messages = notice;
-- Other tests' requests are nothing to this one.
SELECT clock_timestamp() AS begin \gset
CREATE VIEW asked AS SELECT * FROM pynomaly.requests WHERE submitted_at > :'begin';

-- Without workers a request waits, and nobody waits for it.
SELECT pynomaly.submit('payment', algorithm => 'ecod') AS request \gset
SELECT pynomaly.wait(:'request');
SELECT source, owner = current_user::regrole AS owner, status, step, arguments - 'relation' - 'dataset' AS arguments FROM asked;
SELECT pynomaly.report(:'request') - 'submitted_at' - 'request' AS "before its end";
CALL pynomaly.process_events();
SELECT status, step, sqlstate, message, ended_at >= submitted_at AS ended FROM pynomaly.requests WHERE id = :'request';
SELECT pynomaly.wait(:'request');

-- The timeline is one query; each step is caused by the one before.
SELECT step, name, domain, state, took >= '0' AS took, worked_seconds >= 0 AS worked FROM pynomaly.timeline WHERE request = :'request' ORDER BY step;
SELECT bool_and(t.caused_at = coalesce(before.ended_at, t.caused_at)) AS "without gaps"
FROM pynomaly.timeline t LEFT JOIN pynomaly.timeline before ON before.request = t.request AND before.step = t.step - 1 WHERE t.request = :'request';
SELECT e.type, e.subject = :'request' AS "about the request", cause.type AS cause, e.publisher = current_user::regrole AS publisher
FROM pynomaly.events e LEFT JOIN pynomaly.events cause ON cause.id = e.causation_id
WHERE e.correlation_id = :'request' AND e.type <> 'data_science.anomaly_detected.v1' ORDER BY e.id;
-- One trace.
SELECT count(DISTINCT split_part(traceparent, '-', 2)) AS traces, count(*) FILTER (WHERE traceparent IS NULL) AS without
FROM pynomaly.events WHERE correlation_id = :'request' AND causation_id IS NOT NULL;

-- The report has a part of each domain, and the planted anomaly first.
SELECT report ->> 'status' AS status, report #>> '{data,rows}' AS rows, report #>> '{quality,grade}' AS grade, report #>> '{profile,rows}' AS profiled,
    report #>> '{model,address}' AS model, report #> '{data,detection,worst,0,key}' AS worst, report #>> '{data,detection,worst,0,reasons,0,feature}' AS reason
FROM pynomaly.report(:'request') AS report;
SELECT report = pynomaly.report(:'request') AS "is stored" FROM pynomaly_gateway.report WHERE request = :'request';

-- What detect finds in the foreground was found.
SELECT count(*) AS found, bool_and(d.score = a.score AND d.severity = a.severity AND d.reasons = a.reasons) AS alike
FROM pynomaly.detect('payment', algorithm => 'ecod') d FULL JOIN pynomaly.request_anomalies(:'request') a ON a.key = d.key WHERE d.is_anomaly OR a.id IS NOT NULL;
SELECT key, status FROM pynomaly.request_anomalies(:'request', 1);
SELECT count(*) FROM pynomaly.request_anomalies(:'request', 0);

-- What somebody says of an anomaly teaches the models of later requests whose algorithm learns from labels.
SELECT feedback ->> 'label' AS label FROM pynomaly.feedback((SELECT id FROM pynomaly.request_anomalies(:'request', 1)), 'anomaly') AS feedback;

-- One request for one idempotency key.
SELECT pynomaly.submit('payment', contamination => 0.002, idempotency_key => 'nightly') AS nightly \gset
SELECT pynomaly.submit('payment', contamination => 0.002, idempotency_key => 'nightly') = :'nightly' AS "the same";
BEGIN;
SELECT pynomaly.submit('payment', contamination => 0.002, idempotency_key => 'nightly') = :'nightly' AS "the same";
COMMIT;
SELECT pynomaly.submit('payment', contamination => 0.003, idempotency_key => 'nightly');
SELECT pynomaly.submit('payment', idempotency_key => '');
CALL pynomaly.process_events();
SELECT pynomaly.submit('payment', contamination => 0.002, idempotency_key => 'nightly') = :'nightly' AS "the same after its end";
SELECT count(*) AS requests, count(DISTINCT id) FILTER (WHERE status = 'completed') AS completed FROM asked;
SELECT model, version FROM (SELECT report #>> '{model,model}' AS model, report #>> '{model,version}' AS version FROM pynomaly.report(:'nightly') AS report) AS r;
SELECT (report #> '{model,labels}') - 'digest' AS labels, pynomaly.feedback((SELECT id FROM pynomaly.request_anomalies(:'request', 1)), NULL) -> 'label' AS "taken away"
FROM pynomaly.report(:'nightly') AS report;

-- What is rolled back was never asked for; nobody waits for his own.
BEGIN;
SELECT pynomaly.submit('payment') AS own \gset
SELECT pynomaly.wait(:'own');
ROLLBACK;
BEGIN;
SAVEPOINT inner_one;
SELECT pynomaly.submit('payment') AS own \gset
RELEASE inner_one;
SELECT pynomaly.wait(:'own');
ROLLBACK;
\set VERBOSITY sqlstate
SELECT pynomaly.wait(:'own');
SELECT pynomaly.report(:'own');
SELECT pynomaly.cancel(:'own');
\set VERBOSITY terse

-- All that can be checked is checked at once.
SELECT pynomaly.submit(NULL);
SELECT pynomaly.submit('payment', '{amount,colour}');
SELECT pynomaly.submit('payment', key => '{colour}');
SELECT pynomaly.submit('payment', algorithm => 'magic');
SELECT pynomaly.submit('payment', contamination => 0.7);
SELECT pynomaly.submit('payment', contamination => 'NaN');
SELECT pynomaly.submit('payment', options => '{"tree": 3}');
SELECT pynomaly.submit('payment', gate => 'shut');
SELECT pynomaly.submit('payment', model => 'fraud@champion');
SELECT pynomaly.submit('payment', model => 'fraud/7');
CREATE TEMPORARY TABLE passing (a int);
SELECT pynomaly.submit('passing');
DROP TABLE passing;
CREATE SEQUENCE counter;
SELECT pynomaly.submit('counter');
SELECT count(*) AS "no more requests" FROM asked;

-- Models by name: the first request makes it, the next takes it, and so do versions and aliases.
SELECT pynomaly.submit('payment', model => 'fraud') AS first \gset
CALL pynomaly.process_events();
SELECT pynomaly.submit('payment', model => 'fraud') AS second \gset
SELECT pynomaly.submit('payment', model => 'fraud@champion', contamination => 0.001) AS third \gset
SELECT pynomaly.submit('payment', model => 'fraud/1') AS fourth \gset
CALL pynomaly.process_events();
SELECT report #>> '{model,address}' AS model, report #>> '{model,reused}' AS reused, report #>> '{data,detection,anomalies}' AS anomalies
FROM unnest(ARRAY[:'first', :'second', :'third', :'fourth']::uuid[]) WITH ORDINALITY AS r (id, n), pynomaly.report(r.id) AS report ORDER BY n;

-- A quality gate stops the journey with a reason; without it the request goes on with a warning.
SELECT pynomaly.add_rule('payment', 'range', 'amount', low => 0, high => 1000) > 0 AS rule;
SELECT pynomaly.submit('payment', gate => 'stop') AS stopped \gset
SELECT pynomaly.submit('payment', gate => 'warn') AS warned \gset
CALL pynomaly.process_events();
SELECT id = :'stopped' AS gate, status, step, regexp_replace(message, '\d+', 'N') AS message FROM pynomaly.requests WHERE id IN (:'stopped', :'warned') ORDER BY 1;
SELECT name, state FROM pynomaly.timeline WHERE request = :'stopped' ORDER BY step;
SELECT report ->> 'status' AS status, report #>> '{quality,verdict}' AS verdict, regexp_replace(report #>> '{quality,failed,0,message}', '\d+', 'N') AS why, report ? 'model' AS model
FROM pynomaly.report(:'stopped') AS report;
SELECT report ->> 'status' AS status, report #>> '{quality,verdict}' AS verdict FROM pynomaly.report(:'warned') AS report;

-- Failures with their reason, and nothing left of what was done.
CREATE TABLE doomed AS SELECT * FROM payment;
SELECT pynomaly.submit('doomed') AS doomed \gset
DROP TABLE doomed;
CREATE TABLE hollow (a int, b int);
SELECT pynomaly.submit('hollow') AS hollow \gset
CALL pynomaly.process_events();
SELECT status, step, sqlstate, regexp_replace(message, '\d{4,}', 'N') AS message, hint FROM pynomaly.requests WHERE id IN (:'doomed', :'hollow') ORDER BY submitted_at;
SELECT request = :'hollow' AS hollow, name, state FROM pynomaly.timeline WHERE request IN (:'doomed', :'hollow') ORDER BY 1, step;
SELECT count(*) FROM pynomaly_data_science.dataset_version WHERE request IN (:'doomed', :'hollow');
SELECT subscription FROM pynomaly.retries;

-- Cancelled before it began.
SELECT pynomaly.submit('payment') AS unwanted \gset
SELECT pynomaly.cancel(:'unwanted'), pynomaly.cancel(:'unwanted') AS again;
CALL pynomaly.process_events();
SELECT status, sqlstate, message FROM pynomaly.requests WHERE id = :'unwanted';
SELECT name, state FROM pynomaly.timeline WHERE request = :'unwanted';
SELECT pynomaly.cancel(:'unwanted') AS "cancelled after its end", pynomaly.wait(:'unwanted');

-- Limits.
SELECT pynomaly.limit_role(current_user::regrole, max_active => 1);
SELECT pynomaly.submit('payment') AS only_one \gset
SELECT pynomaly.submit('payment');
SELECT pynomaly.cancel(:'only_one');
CALL pynomaly.process_events();
SELECT pynomaly.limit_role(current_user::regrole, max_per_hour => 3);
SELECT pynomaly.submit('payment');
SELECT pynomaly.limit_role(current_user::regrole);

-- An event of ours cannot be forged.
CREATE ROLE pyn_test_service;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text) TO pyn_test_service;
SET ROLE pyn_test_service;
SELECT pynomaly_kernel.publish('gateway.report_ready.v1', :'request', jsonb_build_object('request', :'request', 'status', 'failed'));
RESET ROLE;
REVOKE ALL ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text) FROM pyn_test_service;
DROP ROLE pyn_test_service;

-- What was done is in the audit trail.
SELECT action, count(*) FROM pynomaly.audit WHERE at > :'begin' AND (action LIKE 'gateway.%' OR action LIKE '%.discard%' OR action LIKE '%.withdraw') GROUP BY action ORDER BY action COLLATE "C";
SELECT intact, unsealed FROM pynomaly.verify_audit();

-- Old requests are forgotten.
UPDATE pynomaly_kernel.saga SET ended_at = ended_at - interval '91 days' WHERE id = :'request';
SELECT pynomaly_gateway.forget_requests();
SELECT count(*) AS forgotten FROM pynomaly.requests WHERE id = :'request';
\set VERBOSITY sqlstate
SELECT pynomaly.report(:'request');
\set VERBOSITY terse

-- The options of an algorithm hold in all steps.
SELECT pynomaly.submit('payment', algorithm => 'knn', options => '{"k": 7}', model => 'seven neighbours') AS request \gset
CALL pynomaly.process_events();
SELECT status, sqlstate, message FROM pynomaly.requests WHERE id = :'request';
SELECT pynomaly.submit('payment', algorithm => 'ecod', options => '{"k": 7}');
DROP VIEW asked;
DROP TABLE payment, hollow;
DROP SEQUENCE counter;

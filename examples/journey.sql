-- journey.sql
--	The same detection in the background: submitted, done step by step by the workers of four domains, told to a client that
--	listens, and kept as a report.  scripts/demo runs it after demo.sql, in the same database.
\set QUIET on
\pset footer off
\pset pager off
\set ON_ERROR_STOP on

\echo
\echo 'In the background: workers for this database, a client that listens, and a request.'
\echo '    SELECT pynomaly.start();'
\echo '    LISTEN pynomaly_gateway;'
\echo '    SELECT pynomaly.submit(''payments'', contamination => 0.005, idempotency_key => ''nightly'');'
\echo
SELECT pynomaly.start() AS started \gset
LISTEN pynomaly_gateway;
SELECT pynomaly.submit('payments', contamination => 0.005, idempotency_key => 'nightly') AS request \gset
\echo 'The request is' :request
\echo 'What this client is told by NOTIFY stands where it arrives: a hint without values.'
\echo
SELECT pynomaly.wait(:'request') AS status \gset
\echo '    SELECT pynomaly.wait(…);  gives:' :status

\echo
\echo 'Its timeline: each step is done by the worker of a domain, when the event of the step before has reached it.'
\echo '    SELECT * FROM pynomaly.timeline WHERE request = …;'
\echo
SELECT step, name, domain, state, round(extract(epoch FROM took) * 1000) AS "took (ms)", round(worked_seconds * 1000) AS "of which it worked (ms)"
FROM pynomaly.timeline WHERE request = :'request' ORDER BY step;

-- psql shows what has arrived after each statement; the last notification follows the report closely.
SELECT pg_sleep(0.5) AS slept \gset
\echo
\echo 'Event by event:'
\echo '    SELECT * FROM pynomaly.events WHERE correlation_id = …;'
\echo
SELECT e.id, to_char(e."time" - first_value(e."time") OVER (ORDER BY e.id), 'SS.MS') AS "s", e.type AS event, e.causation_id AS "caused by"
FROM pynomaly.events AS e
WHERE e.correlation_id = :'request' AND e.type <> 'data_science.anomaly_detected.v1'
ORDER BY e.id;
SELECT format('and %s events of type data_science.anomaly_detected.v1, for the worst anomalies.', count(*)) AS more
FROM pynomaly.events WHERE correlation_id = :'request' AND type = 'data_science.anomaly_detected.v1' \gset
\echo :more

\echo
\echo 'The report that is kept:'
\echo '    SELECT pynomaly.report(…);'
\echo
SELECT report ->> 'status' AS status, report #>> '{data,rows}' AS rows, report #>> '{quality,grade}' AS "quality",
    jsonb_array_length(report #> '{profile,columns}') AS "columns profiled", report #>> '{model,address}' AS model,
    report #>> '{data,detection,anomalies}' AS anomalies, report #>> '{data,detection,by_severity}' AS "by severity"
FROM pynomaly.report(:'request') AS report;
SELECT worst #>> '{key,id}' AS "worst: id", worst ->> 'severity' AS severity, worst #>> '{reasons,0,feature}' AS feature,
    worst #>> '{reasons,0,value}' AS value, worst #>> '{reasons,0,expected}' AS expected
FROM pynomaly.report(:'request') AS report, jsonb_array_elements(report #> '{data,detection,worst}') WITH ORDINALITY AS w (worst, place)
WHERE place <= 3;

\echo
\echo 'The model is there by name, for any query:'
\echo '    SELECT pynomaly.score(''public.payments@champion'', payments) FROM payments;'
\echo
SELECT id, round(pynomaly.score('public.payments@champion', payments)::numeric, 5) AS score FROM payments ORDER BY id LIMIT 3;

\echo
\echo 'Asked again with the same idempotency key it is the same request; and who did what is in a chain of hashes:'
\echo '    SELECT intact, sealed FROM pynomaly.verify_audit();'
\echo
SELECT pynomaly.submit('payments', contamination => 0.005, idempotency_key => 'nightly') = :'request' AS "the same request";
SELECT intact, sealed + unsealed AS rows FROM pynomaly.verify_audit();

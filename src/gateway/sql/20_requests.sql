-- Requests: detections that run in the background, as a saga through all domains.  See src/gateway/request.c and report.c.

SELECT pynomaly_kernel.register_event_type('gateway.detection_requested.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "journey"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"}}}');
SELECT pynomaly_kernel.register_event_type('gateway.report_ready.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "status"],
    "properties": {"request": {"type": "string", "format": "uuid"},
                   "status": {"type": "string", "enum": ["completed", "stopped", "cancelled", "failed"]}}}');

SELECT pynomaly_kernel.register_saga('detection', '[
    {"step": "process", "domain": "data_science", "completed_by": "data_science.dataset_processed.v1",
     "failed_by": "data_science.detection_failed.v1", "timeout": "2 days", "compensation": "discard_dataset_version"},
    {"step": "analyze", "domain": "data_quality", "completed_by": "data_quality.quality_analyzed.v1",
     "failed_by": "data_quality.analysis_failed.v1", "timeout": "2 days", "compensation": "discard_check",
     "ends": {"verdict": "stop", "journey": {"gate": "stop"}}},
    {"step": "profile", "domain": "data_profiling", "completed_by": "data_profiling.profile_generated.v1",
     "failed_by": "data_profiling.profiling_failed.v1", "timeout": "2 days", "compensation": "discard_profile"},
    {"step": "train", "domain": "mlops", "completed_by": "mlops.model_ready.v1",
     "failed_by": "mlops.training_failed.v1", "timeout": "2 days", "compensation": "withdraw"},
    {"step": "detect", "domain": "data_science", "completed_by": "data_science.detection_completed.v1",
     "failed_by": "data_science.detection_failed.v1", "timeout": "2 days", "compensation": "discard_detection"}]');

CREATE FUNCTION pynomaly.submit(source regclass, columns name[] DEFAULT NULL, algorithm text DEFAULT 'auto', contamination float8 DEFAULT NULL,
                                key name[] DEFAULT NULL, model text DEFAULT NULL, gate text DEFAULT 'warn', options jsonb DEFAULT '{}',
                                idempotency_key text DEFAULT NULL) RETURNS uuid
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_submit';
REVOKE ALL ON FUNCTION pynomaly.submit(regclass, name[], text, float8, name[], text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.submit(regclass, name[], text, float8, name[], text, text, jsonb, text) IS
    'asks for a detection in the background and gives the request''s id; model: a name (its champion, or a new model), name@alias or name/version, NULL: a new version of the model named like the source; gate: warn, or stop when a check of severity error fails; the same idempotency_key gives the same request';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.submit(regclass, name[], text, float8, name[], text, text, jsonb, text)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.wait(request uuid, timeout interval DEFAULT '5 min') RETURNS text
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_wait';
REVOKE ALL ON FUNCTION pynomaly.wait(uuid, interval) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.wait(uuid, interval) IS
    'waits until a request has ended and gives its status: completed, stopped, cancelled or failed; after the timeout the status that it has';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.wait(uuid, interval)', 'pynomaly_viewer');

CREATE FUNCTION pynomaly.report(request uuid) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_report';
REVOKE ALL ON FUNCTION pynomaly.report(uuid) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.report(uuid) IS
    'what came of a request: dataset, quality, profile, model and the worst anomalies; before its end the status only';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.report(uuid)', 'pynomaly_viewer');

CREATE FUNCTION pynomaly.cancel(request uuid) RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_cancel';
REVOKE ALL ON FUNCTION pynomaly.cancel(uuid) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.cancel(uuid) IS
    'ends a request: the step in progress is interrupted and what was done is undone; false if it has ended already';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.cancel(uuid)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly_gateway.on_saga_ended(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_gateway_on_saga_ended';
REVOKE ALL ON FUNCTION pynomaly_gateway.on_saga_ended(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_gateway.on_saga_ended(pynomaly_kernel.event) IS 'makes the report of a request that has ended';
SELECT pynomaly_kernel.add_subscription('gateway', 'gateway: report', 'kernel.saga_ended.v1', 'pynomaly_gateway.on_saga_ended', NULL, 100);

CREATE FUNCTION pynomaly_gateway.forget_requests() RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_gateway_forget_requests';
REVOKE ALL ON FUNCTION pynomaly_gateway.forget_requests() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_gateway.forget_requests() IS 'removes requests that ended longer ago than pynomaly.gateway_retention, with their reports';
SELECT pynomaly.schedule('gateway: forget requests', '47 3 * * *', 'pynomaly_gateway.forget_requests', timeout => '1 hour');

CREATE FUNCTION pynomaly.limit_role(role regrole, max_active integer DEFAULT NULL, max_per_hour integer DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_limit_role';
REVOKE ALL ON FUNCTION pynomaly.limit_role(regrole, integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.limit_role(regrole, integer, integer) IS
    'limits the requests of each member of a role: how many may be active, and how many begin in an hour; without numbers there is no limit';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.limit_role(regrole, integer, integer)', 'pynomaly_admin');

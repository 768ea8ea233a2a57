-- What others may use of data_science: its operations, the events that it publishes and those that it handles.

SELECT pynomaly_kernel.register_event_type('data_science.dataset_processed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["dataset", "version", "sketch", "rows", "seconds"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"},
                   "dataset": {"type": "integer"}, "version": {"type": "integer"}, "sketch": {"type": "string"},
                   "rows": {"type": "integer"}, "seconds": {"type": "number"}}}');
SELECT pynomaly_kernel.register_event_type('data_science.detection_completed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["detection", "rows", "anomalies", "seconds"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"},
                   "detection": {"type": "integer"}, "rows": {"type": "integer"}, "anomalies": {"type": "integer"},
                   "seconds": {"type": "number"}}}');
SELECT pynomaly_kernel.register_event_type('data_science.detection_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "step", "sqlstate", "message"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "step": {"type": "string"}, "sqlstate": {"type": "string"},
                   "message": {"type": "string"}, "detail": {"type": "string"}, "hint": {"type": "string"}}}');
SELECT pynomaly_kernel.register_event_type('data_science.anomaly_detected.v1', '{
    "type": "object", "additionalProperties": false, "required": ["anomaly", "detection", "dataset", "severity", "score"],
    "properties": {"anomaly": {"type": "integer"}, "detection": {"type": "integer"}, "dataset": {"type": "integer"},
                   "severity": {"type": "string"}, "score": {"type": "number"}}}');

CREATE FUNCTION pynomaly_data_science.register_dataset(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_register_dataset';
REVOKE ALL ON FUNCTION pynomaly_data_science.register_dataset(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.register_dataset(jsonb) IS
    'makes a relation known, after checking that the caller may read it and that what is to be done with it can be done';

CREATE FUNCTION pynomaly_data_science.process_dataset(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_process_dataset';
REVOKE ALL ON FUNCTION pynomaly_data_science.process_dataset(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.process_dataset(jsonb) IS
    'reads a relation once, as the caller, and stores its sketch; with "labels" also what people have said of its anomalies';

CREATE FUNCTION pynomaly_data_science.get_sketch(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_data_science_get_sketch';
REVOKE ALL ON FUNCTION pynomaly_data_science.get_sketch(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.get_sketch(jsonb) IS 'a version of a dataset, the latest unless told otherwise, with its sketch''s digest';

CREATE FUNCTION pynomaly_data_science.detect(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_detect';
REVOKE ALL ON FUNCTION pynomaly_data_science.detect(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.detect(jsonb) IS 'judges a relation''s rows by a model of the registry and stores the anomalies';

CREATE FUNCTION pynomaly_data_science.anomalies(arguments jsonb)
    RETURNS TABLE (id bigint, key jsonb, score float8, p_value float8, severity text, reasons jsonb, status text)
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_data_science_anomalies';
REVOKE ALL ON FUNCTION pynomaly_data_science.anomalies(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.anomalies(jsonb) IS 'stored anomalies of a request or a detection, worst first';

CREATE FUNCTION pynomaly_data_science.report(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_data_science_report';
REVOKE ALL ON FUNCTION pynomaly_data_science.report(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.report(jsonb) IS 'what a request has read and found, with the worst anomalies';

CREATE FUNCTION pynomaly_data_science.set_anomaly_status(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_set_anomaly_status';
REVOKE ALL ON FUNCTION pynomaly_data_science.set_anomaly_status(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.set_anomaly_status(jsonb) IS 'gives an anomaly another status and keeps who did and why';

CREATE FUNCTION pynomaly_data_science.feedback(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_feedback';
REVOKE ALL ON FUNCTION pynomaly_data_science.feedback(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.feedback(jsonb) IS 'labels an anomaly and has the model that found it learn from that';

CREATE FUNCTION pynomaly_data_science.discard_dataset_version(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_discard_dataset_version';
REVOKE ALL ON FUNCTION pynomaly_data_science.discard_dataset_version(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.discard_dataset_version(jsonb) IS 'removes what a request has processed, with its sketch';

CREATE FUNCTION pynomaly_data_science.discard_detection(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_discard_detection';
REVOKE ALL ON FUNCTION pynomaly_data_science.discard_detection(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.discard_detection(jsonb) IS 'removes what a request has detected, with its anomalies';

CREATE FUNCTION pynomaly_data_science.on_detection_requested(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_on_detection_requested';
REVOKE ALL ON FUNCTION pynomaly_data_science.on_detection_requested(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.on_detection_requested(pynomaly_kernel.event) IS 'step process of the journey';

CREATE FUNCTION pynomaly_data_science.on_model_ready(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_on_model_ready';
REVOKE ALL ON FUNCTION pynomaly_data_science.on_model_ready(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.on_model_ready(pynomaly_kernel.event) IS 'step detect of the journey';

CREATE FUNCTION pynomaly_data_science.apply_retention() RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_science_apply_retention';
REVOKE ALL ON FUNCTION pynomaly_data_science.apply_retention() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_science.apply_retention() IS 'removes anomalies older than pynomaly.data_science_retention, and what they have left empty';

SELECT pynomaly_kernel.add_subscription('data_science', 'data_science: process', 'gateway.detection_requested.v1',
    'pynomaly_data_science.on_detection_requested', '1 day', 8);
SELECT pynomaly_kernel.add_subscription('data_science', 'data_science: detect', 'mlops.model_ready.v1',
    'pynomaly_data_science.on_model_ready', '1 day', 8);
SELECT pynomaly.schedule('data_science: apply retention', '17 3 * * *', 'pynomaly_data_science.apply_retention', timeout => '1 hour');

SELECT pynomaly_kernel.register_service('data_science', '1.0', '{
    "operations": {
        "register_dataset": {"kind": "unary", "changes_state": true, "idempotent": true,
            "arguments": {"type": "object", "additionalProperties": false, "properties": {
                "source": {"type": "string"}, "relation": {"type": "integer"}, "columns": {"type": "array", "items": {"type": "string"}},
                "key": {"type": "array", "items": {"type": "string"}}, "algorithm": {"type": "string"},
                "contamination": {"type": "number"}, "options": {"type": "object"}}},
            "result": {"type": "object", "required": ["dataset", "source"], "properties": {
                "dataset": {"type": "integer"}, "source": {"type": "string"}}}},
        "process_dataset": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 day",
            "arguments": {"type": "object", "additionalProperties": false, "properties": {
                "source": {"type": "string"}, "relation": {"type": "integer"}, "columns": {"type": "array", "items": {"type": "string"}},
                "key": {"type": "array", "items": {"type": "string"}}, "options": {"type": "object"}, "labels": {"type": "boolean"}}},
            "result": {"type": "object", "required": ["dataset", "version", "source", "sketch", "rows", "columns", "seconds"],
                "properties": {"dataset": {"type": "integer"}, "version": {"type": "integer"}, "source": {"type": "string"},
                    "sketch": {"type": ["string", "null"]}, "labels": {"type": "string"}, "rows": {"type": "integer"}, "columns": {"type": "array"}, "seconds": {"type": "number"}}}},
        "get_sketch": {"kind": "unary", "changes_state": false,
            "arguments": {"type": "object", "additionalProperties": false, "required": ["dataset"], "properties": {
                "dataset": {"type": "integer"}, "version": {"type": "integer"}}},
            "result": {"type": "object", "required": ["dataset", "version", "source", "sketch", "rows", "columns", "seconds"],
                "properties": {"dataset": {"type": "integer"}, "version": {"type": "integer"}, "source": {"type": "string"},
                    "sketch": {"type": ["string", "null"]}, "labels": {"type": "string"}, "rows": {"type": "integer"}, "columns": {"type": "array"}, "seconds": {"type": "number"}}}},
        "detect": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 day",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["model"], "properties": {
                "source": {"type": "string"}, "relation": {"type": "integer"}, "key": {"type": "array", "items": {"type": "string"}},
                "model": {"type": "string"}, "contamination": {"type": "number"}, "options": {"type": "object"}}},
            "result": {"type": "object", "required": ["detection", "rows", "anomalies", "seconds"], "properties": {
                "detection": {"type": "integer"}, "rows": {"type": "integer"}, "anomalies": {"type": "integer"},
                "seconds": {"type": "number"}}}},
        "anomalies": {"kind": "stream", "changes_state": false,
            "arguments": {"type": "object", "additionalProperties": false, "properties": {
                "request": {"type": "string", "format": "uuid"}, "detection": {"type": "integer"}, "limit": {"type": "integer", "minimum": 0}}}},
        "report": {"kind": "unary", "changes_state": false,
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"], "properties": {
                "request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "object"}},
        "set_anomaly_status": {"kind": "unary", "changes_state": true, "idempotent": true,
            "arguments": {"type": "object", "additionalProperties": false, "required": ["anomaly", "status"], "properties": {
                "anomaly": {"type": "integer"}, "status": {"type": "string"}, "note": {"type": "string"}}},
            "result": {"type": "null"}},
        "feedback": {"kind": "unary", "changes_state": true, "idempotent": true, "deadline": "10 minutes",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["anomaly"], "properties": {
                "anomaly": {"type": "integer"}, "label": {"type": "string"}, "note": {"type": "string"}}},
            "result": {"type": "object", "required": ["anomaly", "label", "status", "learned"], "properties": {
                "anomaly": {"type": "integer"}, "label": {"type": ["string", "null"]}, "status": {"type": "string"},
                "learned": {"type": ["object", "null"]}}}},
        "discard_dataset_version": {"kind": "unary", "changes_state": true, "idempotent": true,
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"], "properties": {
                "request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "null"}},
        "discard_detection": {"kind": "unary", "changes_state": true, "idempotent": true,
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"], "properties": {
                "request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "null"}}},
    "publishes": ["data_science.dataset_processed.v1", "data_science.detection_completed.v1", "data_science.detection_failed.v1",
                  "data_science.anomaly_detected.v1"],
    "consumes": ["gateway.detection_requested.v1", "mlops.model_ready.v1"],
    "calls": ["mlops.get_model", "mlops.learn"]}');

-- What data_quality offers to others: its operations and its events.  See README.md of this folder.

CREATE FUNCTION pynomaly_data_quality."check"(arguments jsonb)
    RETURNS TABLE (dimension text, name text, column_name text, value float8, low float8, high float8, passed boolean,
                   severity text, message text)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_quality_check';
REVOKE ALL ON FUNCTION pynomaly_data_quality."check"(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality."check"(jsonb) IS
    'checks a relation, or the sketch of a dataset, and stores the run; a row for each check, those that failed first';

CREATE FUNCTION pynomaly_data_quality.report(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_quality_report';
REVOKE ALL ON FUNCTION pynomaly_data_quality.report(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality.report(jsonb) IS 'a stored run, by its id or by its request';

CREATE FUNCTION pynomaly_data_quality.add_rule(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_quality_add_rule';
REVOKE ALL ON FUNCTION pynomaly_data_quality.add_rule(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality.add_rule(jsonb) IS 'adds a rule that runs of the source must obey from now on; gives its id';

CREATE FUNCTION pynomaly_data_quality.drop_rule(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_quality_drop_rule';
REVOKE ALL ON FUNCTION pynomaly_data_quality.drop_rule(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality.drop_rule(jsonb) IS 'removes a rule; gives true';

CREATE FUNCTION pynomaly_data_quality.discard_check(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_quality_discard_check';
REVOKE ALL ON FUNCTION pynomaly_data_quality.discard_check(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality.discard_check(jsonb) IS 'removes what a request has had analysed: the compensation of the step "analyze"';

CREATE FUNCTION pynomaly_data_quality.on_dataset_processed(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_quality_on_dataset_processed';
REVOKE ALL ON FUNCTION pynomaly_data_quality.on_dataset_processed(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_quality.on_dataset_processed(pynomaly_kernel.event) IS 'the step "analyze" of a journey';

SELECT pynomaly_kernel.register_event_type('data_quality.quality_analyzed.v1', '{
    "type": "object", "additionalProperties": false,
    "required": ["check", "score", "grade", "verdict", "failed", "reasons", "seconds"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"},
        "check": {"type": "integer"}, "score": {"type": "number", "minimum": 0, "maximum": 100},
        "grade": {"type": "string", "enum": ["A", "B", "C", "D", "F"]},
        "verdict": {"type": "string", "enum": ["pass", "warn", "stop"]}, "failed": {"type": "integer", "minimum": 0},
        "reasons": {"type": "array", "items": {"type": "string"}}, "seconds": {"type": "number"}}}');
SELECT pynomaly_kernel.register_event_type('data_quality.quality_issue_found.v1', '{
    "type": "object", "additionalProperties": false,
    "required": ["dataset", "check", "source", "name", "column", "dimension"],
    "properties": {"dataset": {"type": "integer"}, "check": {"type": "integer"}, "source": {"type": "string"},
        "name": {"type": "string"}, "column": {"type": ["string", "null"]}, "dimension": {"type": "string"}}}');
SELECT pynomaly_kernel.register_event_type('data_quality.analysis_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "sqlstate", "message"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "step": {"type": "string"}, "sqlstate": {"type": "string"},
        "message": {"type": "string"}, "detail": {"type": ["string", "null"]}, "hint": {"type": ["string", "null"]}}}');

SELECT pynomaly_kernel.register_service('data_quality', '1.0', '{
    "operations": {
        "check": {"kind": "stream", "changes_state": true, "idempotent": false, "deadline": "1 hour",
            "arguments": {"type": "object", "additionalProperties": false,
                "properties": {
                    "source": {"type": ["string", "null"]}, "relation": {"type": ["integer", "null"], "minimum": 0},
                    "columns": {"type": ["array", "null"], "items": {"type": "string"}},
                    "key": {"type": ["array", "null"], "items": {"type": "string"}},
                    "options": {"type": ["object", "null"]},
                    "dataset": {"type": ["integer", "null"]}, "sketch": {"type": ["string", "null"]}}}},
        "report": {"kind": "unary", "changes_state": false, "idempotent": true, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false,
                "properties": {"check": {"type": ["integer", "null"]}, "request": {"type": ["string", "null"], "format": "uuid"}}},
            "result": {"type": "object",
                "required": ["check", "request", "source", "dataset", "score", "grade", "verdict", "dimensions", "failed",
                             "rows", "checked_at"],
                "properties": {"check": {"type": "integer"}, "request": {"type": ["string", "null"]},
                    "source": {"type": "string"}, "dataset": {"type": "integer"}, "score": {"type": "number"},
                    "grade": {"type": "string"}, "verdict": {"type": "string", "enum": ["pass", "warn", "stop"]},
                    "dimensions": {"type": "object"}, "failed": {"type": "array", "items": {"type": "object"}},
                    "rows": {"type": "integer"}, "checked_at": {"type": "string"}}}},
        "add_rule": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["source", "kind"],
                "properties": {"source": {"type": "string"}, "relation": {"type": ["integer", "null"], "minimum": 0},
                    "kind": {"type": "string"}, "column": {"type": ["string", "null"]}, "low": {"type": ["number", "null"]},
                    "high": {"type": ["number", "null"]}, "severity": {"type": ["string", "null"]}}},
            "result": {"type": "integer"}},
        "discard_check": {"kind": "unary", "changes_state": true, "idempotent": true, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"],
                "properties": {"request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "null"}},
        "drop_rule": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["rule"],
                "properties": {"rule": {"type": "integer"}}},
            "result": {"type": "boolean"}}},
    "publishes": ["data_quality.quality_analyzed.v1", "data_quality.quality_issue_found.v1", "data_quality.analysis_failed.v1"],
    "consumes": ["data_science.dataset_processed.v1"],
    "calls": ["data_science.process_dataset"]}');

SELECT pynomaly_kernel.add_subscription('data_quality', 'data_quality: analyze', 'data_science.dataset_processed.v1',
                                        'pynomaly_data_quality.on_dataset_processed', '10 minutes', 8);

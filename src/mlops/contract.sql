-- What others may ask of this domain and hear from it.  See service.c.

CREATE VIEW pynomaly_mlops.version WITH (security_invoker = true, security_barrier = true) AS
    SELECT m.name, v.version,
        ARRAY(SELECT a.name FROM pynomaly_mlops.alias_history h JOIN pynomaly_mlops.alias a ON a.id = h.alias
              WHERE h.version = v.id AND upper_inf(h.valid) ORDER BY a.name) AS aliases,
        v.algorithm, v.status, v.source, v.columns, v.rows, v.training_rows, v.contamination, v.seed, v.options,
        v.dataset, encode(v.sketch_digest, 'hex') AS sketch_digest, encode(v.digest, 'hex') AS digest, v.code_version,
        v.request, v.owner, v.created_by, v.created_at, v.seconds, m.name || '/' || v.version AS address, m.description,
        v.parent, v.learned, v.labels
    FROM pynomaly_mlops.model_version v JOIN pynomaly_mlops.model m ON m.id = v.model;
COMMENT ON VIEW pynomaly_mlops.version IS 'versions of models with their aliases and lineage: what each was fitted from, how, by whom and by which code';
COMMENT ON COLUMN pynomaly_mlops.version.aliases IS 'names that stand for this version now; "name" alone means the version with the alias champion';
COMMENT ON COLUMN pynomaly_mlops.version.labels IS 'labels of pynomaly.feedback that it has learnt from: how many of which kind, how many were left out; NULL: there were none for it';
COMMENT ON COLUMN pynomaly_mlops.version.address IS 'names this version wherever a model is asked for by name';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.version', 'pynomaly_viewer');

CREATE FUNCTION pynomaly_mlops.train(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_train';
REVOKE ALL ON FUNCTION pynomaly_mlops.train(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.train(jsonb) IS
    'fits a version of the caller''s model "name" from a stored sketch, or else from one that is made of the relation first; the version becomes champion if the model has none';

CREATE FUNCTION pynomaly_mlops.get_model(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_mlops_get_model';
REVOKE ALL ON FUNCTION pynomaly_mlops.get_model(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.get_model(jsonb) IS
    'the version that an address names: "name" its champion, "name@alias" or "name/3"; its bytes are the artifact with the digest';

CREATE FUNCTION pynomaly_mlops.promote(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_promote';
REVOKE ALL ON FUNCTION pynomaly_mlops.promote(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.promote(jsonb) IS 'gives an alias, if nothing else is said champion, to the version that the address names';

CREATE FUNCTION pynomaly_mlops.rollback(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_rollback';
REVOKE ALL ON FUNCTION pynomaly_mlops.rollback(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.rollback(jsonb) IS
    'gives an alias back to the version that it stood for before it was given to the present one; each further rollback leads one promotion further back';

CREATE FUNCTION pynomaly_mlops.drop_model(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_drop_model';
REVOKE ALL ON FUNCTION pynomaly_mlops.drop_model(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.drop_model(jsonb) IS 'removes a model with all its versions and aliases';

CREATE FUNCTION pynomaly_mlops.withdraw(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_withdraw';
REVOKE ALL ON FUNCTION pynomaly_mlops.withdraw(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.withdraw(jsonb) IS
    'undoes a request''s training: its versions are withdrawn, and aliases that stand for them go back to an earlier one, or to none';

CREATE FUNCTION pynomaly_mlops.learn(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_learn_verdict';
REVOKE ALL ON FUNCTION pynomaly_mlops.learn(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.learn(jsonb) IS
    'keeps somebody''s verdict on a row that a version has found, or takes it back, and gives the alias champion to the version that all verdicts suggest';

CREATE FUNCTION pynomaly_mlops.report(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_mlops_report';
REVOKE ALL ON FUNCTION pynomaly_mlops.report(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.report(jsonb) IS 'the version that a request was served with, trained for it or reused';

CREATE FUNCTION pynomaly_mlops.on_profile_generated(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_mlops_on_profile_generated';
REVOKE ALL ON FUNCTION pynomaly_mlops.on_profile_generated(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_mlops.on_profile_generated(pynomaly_kernel.event) IS
    'the journey''s step "train": fits a model from the request''s sketch, or takes the one that the request names';

SELECT pynomaly_kernel.register_event_type('mlops.model_ready.v1', '{
    "type": "object", "additionalProperties": false, "required": ["model", "version", "digest", "reused", "seconds"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"},
                   "model": {"type": "string"}, "version": {"type": "integer", "minimum": 1}, "digest": {"type": "string"},
                   "reused": {"type": "boolean"}, "seconds": {"type": "number", "minimum": 0}}}');
SELECT pynomaly_kernel.register_event_type('mlops.model_promoted.v1', '{
    "type": "object", "additionalProperties": false, "required": ["model", "alias", "version", "previous"],
    "properties": {"model": {"type": "string"}, "alias": {"type": "string"}, "version": {"type": "integer", "minimum": 1},
                   "previous": {"type": ["integer", "null"], "minimum": 1}}}');
SELECT pynomaly_kernel.register_event_type('mlops.training_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "step", "sqlstate", "message"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "step": {"type": "string"},
                   "sqlstate": {"type": "string"}, "message": {"type": "string"}, "detail": {"type": ["string", "null"]},
                   "hint": {"type": ["string", "null"]}}}');

SELECT pynomaly_kernel.register_service('mlops', '1.0', '{
    "operations": {
        "train": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 day",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {"name": {"type": "string"}, "description": {"type": ["string", "null"]},
                    "source": {"type": ["string", "null"]}, "relation": {"type": ["integer", "null"]},
                    "columns": {"type": ["array", "null"], "items": {"type": "string"}},
                    "key": {"type": ["array", "null"], "items": {"type": "string"}},
                    "algorithm": {"type": ["string", "null"]}, "contamination": {"type": ["number", "null"]},
                    "options": {"type": ["object", "null"]}, "sketch": {"type": ["string", "null"]}, "labels": {"type": ["string", "null"]},
                    "dataset": {"type": ["integer", "null"]}, "rows": {"type": ["integer", "null"]}}},
            "result": {"type": "object", "additionalProperties": false,
                "required": ["model", "version", "address", "digest", "algorithm", "owner", "seconds"],
                "properties": {"model": {"type": "string"}, "version": {"type": "integer"}, "address": {"type": "string"},
                    "digest": {"type": "string"}, "algorithm": {"type": "string"}, "owner": {"type": "string"},
                    "seconds": {"type": "number"}}}},
        "get_model": {"kind": "unary", "changes_state": false, "idempotent": true, "deadline": "10 seconds",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {"name": {"type": "string"}}},
            "result": {"type": "object", "additionalProperties": false,
                "required": ["model", "version", "address", "digest", "algorithm", "owner"],
                "properties": {"model": {"type": "string"}, "version": {"type": "integer"}, "address": {"type": "string"},
                    "digest": {"type": "string"}, "algorithm": {"type": "string"}, "owner": {"type": "string"}}}},
        "promote": {"kind": "unary", "changes_state": true, "idempotent": true, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["model"],
                "properties": {"model": {"type": "string"}, "alias": {"type": ["string", "null"]},
                    "reason": {"type": ["string", "null"]}}},
            "result": {"type": "object", "additionalProperties": false, "required": ["model", "alias", "version", "previous"],
                "properties": {"model": {"type": "string"}, "alias": {"type": "string"}, "version": {"type": "integer"},
                    "previous": {"type": ["integer", "null"]}}}},
        "rollback": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["model"],
                "properties": {"model": {"type": "string"}, "alias": {"type": ["string", "null"]},
                    "reason": {"type": ["string", "null"]}}},
            "result": {"type": "object", "additionalProperties": false, "required": ["model", "alias", "version", "previous"],
                "properties": {"model": {"type": "string"}, "alias": {"type": "string"}, "version": {"type": "integer"},
                    "previous": {"type": "integer"}}}},
        "drop_model": {"kind": "unary", "changes_state": true, "idempotent": false, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["model"],
                "properties": {"model": {"type": "string"}}},
            "result": {"type": "object", "additionalProperties": false, "required": ["model", "versions", "artifacts"],
                "properties": {"model": {"type": "string"}, "versions": {"type": "integer"}, "artifacts": {"type": "integer"}}}},
        "withdraw": {"kind": "unary", "changes_state": true, "idempotent": true, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"],
                "properties": {"request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "object", "additionalProperties": false, "required": ["request", "versions"],
                "properties": {"request": {"type": "string", "format": "uuid"}, "versions": {"type": "integer"}}}},
        "learn": {"kind": "unary", "changes_state": true, "idempotent": true, "deadline": "10 minutes",
            "arguments": {"type": "object", "additionalProperties": false,
                "required": ["model", "version", "digest", "reference", "evidence"],
                "properties": {"model": {"type": "string"}, "version": {"type": "integer"}, "digest": {"type": "string"},
                    "reference": {"type": "integer"}, "label": {"type": "string", "enum": ["anomaly", "false_alarm"]},
                    "evidence": {"type": "object"}}},
            "result": {"type": "object", "additionalProperties": false, "required": ["model", "version", "previous", "outcome"],
                "properties": {"model": {"type": "string"}, "version": {"type": ["integer", "null"]},
                    "previous": {"type": ["integer", "null"]}, "outcome": {"type": "string"}, "changes": {"type": "object"}}}},
        "report": {"kind": "unary", "changes_state": false, "idempotent": true, "deadline": "10 seconds",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["request"],
                "properties": {"request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "object", "additionalProperties": false,
                "required": ["model", "version", "address", "digest", "algorithm", "owner", "status", "reused", "columns", "rows",
                    "training_rows", "contamination", "seed", "code_version"],
                "properties": {"model": {"type": "string"}, "version": {"type": "integer"}, "address": {"type": "string"},
                    "digest": {"type": "string"}, "algorithm": {"type": "string"}, "owner": {"type": "string"},
                    "status": {"type": "string", "enum": ["ready", "expired", "withdrawn"]}, "reused": {"type": "boolean"},
                    "columns": {"type": "array", "items": {"type": "string"}}, "rows": {"type": "integer"},
                    "training_rows": {"type": "integer"}, "contamination": {"type": "number"}, "seed": {"type": "integer"},
                    "code_version": {"type": "string"}, "labels": {"type": "object"}}}}},
    "publishes": ["mlops.model_ready.v1", "mlops.model_promoted.v1", "mlops.training_failed.v1"],
    "consumes": ["data_profiling.profile_generated.v1"],
    "calls": ["data_science.process_dataset"]}');
SELECT pynomaly_kernel.add_subscription('mlops', 'mlops: train', 'data_profiling.profile_generated.v1',
    'pynomaly_mlops.on_profile_generated', '1 hour', 8);

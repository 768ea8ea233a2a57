-- What others may use of data_profiling: its operations and its events.  See src/data_profiling/service.c.

CREATE FUNCTION pynomaly_data_profiling.profile(arguments jsonb)
    RETURNS TABLE (column_name text, kind text, is_key boolean, "rows" bigint, nulls bigint, null_share float8,
                   distinct_values bigint, distinct_is_exact boolean, zeros bigint, negatives bigint, nans bigint,
                   infinities bigint, empty_texts bigint, minimum float8, maximum float8, minimum_text text,
                   maximum_text text, mean float8, standard_deviation float8, skewness float8, kurtosis float8,
                   q01 float8, q05 float8, q25 float8, median float8, q75 float8, q95 float8, q99 float8,
                   median_absolute_deviation float8, length_minimum integer, length_maximum integer, length_mean float8,
                   top_values jsonb, histogram jsonb, alerts text[])
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_profiling_profile';
REVOKE ALL ON FUNCTION pynomaly_data_profiling.profile(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_profiling.profile(jsonb) IS
    'profiles a relation, or a sketch that was made of one, compares it with the profile before, stores both and gives the columns; see the table column_profile';

CREATE FUNCTION pynomaly_data_profiling.compare(arguments jsonb)
    RETURNS TABLE (column_name text, property text, before text, after text, difference float8)
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_data_profiling_compare';
REVOKE ALL ON FUNCTION pynomaly_data_profiling.compare(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_profiling.compare(jsonb) IS
    'how a stored profile differs from another one, by default the one before; see the table change; 42704 where there is no such profile';

CREATE FUNCTION pynomaly_data_profiling.get_profile(arguments jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_data_profiling_get_profile';
REVOKE ALL ON FUNCTION pynomaly_data_profiling.get_profile(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_profiling.get_profile(jsonb) IS
    'a stored profile, by its number or by the request that it is a step of, with its columns and changes; 42704 where there is none';

CREATE FUNCTION pynomaly_data_profiling.discard_profile(arguments jsonb) RETURNS jsonb
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_profiling_discard_profile';
REVOKE ALL ON FUNCTION pynomaly_data_profiling.discard_profile(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_profiling.discard_profile(jsonb) IS
    'removes the caller''s profile of a request, which undoes the step "profile"';

CREATE FUNCTION pynomaly_data_profiling.on_quality_analyzed(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_data_profiling_on_quality_analyzed';
REVOKE ALL ON FUNCTION pynomaly_data_profiling.on_quality_analyzed(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_data_profiling.on_quality_analyzed(pynomaly_kernel.event) IS
    'the step "profile" of a detection: profiles the sketch of the journey, unless the quality gate has stopped it';

SELECT pynomaly_kernel.register_event_type('data_profiling.profile_generated.v1', '{
    "type": "object", "additionalProperties": false, "required": ["profile", "previous", "changes", "seconds"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "journey": {"type": "object"},
                   "profile": {"type": "integer"}, "previous": {"type": ["integer", "null"]},
                   "changes": {"type": "integer", "minimum": 0}, "seconds": {"type": "number", "minimum": 0}}}');
SELECT pynomaly_kernel.register_event_type('data_profiling.schema_changed.v1', '{
    "type": "object", "additionalProperties": false,
    "required": ["dataset", "profile", "source", "added", "removed", "changed", "complete"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "dataset": {"type": "integer"},
                   "profile": {"type": "integer"}, "source": {"type": "string"},
                   "added": {"type": "array", "items": {"type": "string"}},
                   "removed": {"type": "array", "items": {"type": "string"}},
                   "changed": {"type": "array", "items": {"type": "string"}},
                   "complete": {"type": "boolean", "description": "false: more names than an event can hold; see the changes of the profile"}}}');
SELECT pynomaly_kernel.register_event_type('data_profiling.profiling_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "step", "sqlstate", "message"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "step": {"type": "string"},
                   "sqlstate": {"type": "string"}, "message": {"type": "string"},
                   "detail": {"type": ["string", "null"]}, "hint": {"type": ["string", "null"]}}}');

SELECT pynomaly_kernel.register_service('data_profiling', '1.0', '{
    "operations": {
        "profile": {
            "kind": "stream", "changes_state": true, "idempotent": false, "deadline": "1 hour",
            "arguments": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "relation": {"type": ["integer", "null"], "description": "the OID of a relation to read"},
                    "source": {"type": ["string", "null"], "description": "its name; with a sketch, the name of what was read"},
                    "columns": {"type": ["array", "null"], "items": {"type": "string"}},
                    "key": {"type": ["array", "null"], "items": {"type": "string"}},
                    "options": {"type": ["object", "null"]},
                    "dataset": {"type": ["integer", "null"], "description": "of the sketch"},
                    "sketch": {"type": ["string", "null"], "description": "the digest of a sketch of the caller''s, which is profiled in place of a relation"}}}},
        "compare": {
            "kind": "stream", "changes_state": false, "idempotent": true, "deadline": "1 minute",
            "arguments": {
                "type": "object", "additionalProperties": false, "required": ["profile"],
                "properties": {"profile": {"type": "integer"}, "previous": {"type": ["integer", "null"]}}}},
        "get_profile": {
            "kind": "unary", "changes_state": false, "idempotent": true, "deadline": "1 minute",
            "arguments": {
                "type": "object", "additionalProperties": false,
                "properties": {"profile": {"type": ["integer", "null"]},
                               "request": {"type": ["string", "null"], "format": "uuid"}}},
            "result": {
                "type": "object",
                "required": ["profile", "dataset", "source", "request", "rows", "sampled_rows", "previous", "profiled_at",
                             "seconds", "columns", "changes"],
                "properties": {
                    "profile": {"type": "integer"}, "dataset": {"type": "integer"}, "source": {"type": "string"},
                    "request": {"type": ["string", "null"]}, "rows": {"type": "integer"}, "sampled_rows": {"type": "integer"},
                    "previous": {"type": ["integer", "null"]}, "profiled_at": {"type": "string"},
                    "seconds": {"type": "number"},
                    "columns": {"type": "array", "items": {
                        "type": "object", "required": ["column_name", "kind", "nulls", "distinct_values", "alerts"]}},
                    "changes": {"type": "array", "items": {
                        "type": "object", "required": ["column_name", "property", "before", "after", "difference"]}}}}},
        "discard_profile": {
            "kind": "unary", "changes_state": true, "idempotent": true, "deadline": "1 minute",
            "arguments": {
                "type": "object", "additionalProperties": false, "required": ["request"],
                "properties": {"request": {"type": "string", "format": "uuid"}}},
            "result": {"type": "null"}}},
    "publishes": ["data_profiling.profile_generated.v1", "data_profiling.schema_changed.v1",
                  "data_profiling.profiling_failed.v1"],
    "consumes": ["data_quality.quality_analyzed.v1"],
    "calls": ["data_science.process_dataset"]}');

SELECT pynomaly_kernel.add_subscription('data_profiling', 'data_profiling: profile', 'data_quality.quality_analyzed.v1',
                                        'pynomaly_data_profiling.on_quality_analyzed', '10 minutes', 8);

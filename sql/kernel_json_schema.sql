-- The schema subset of event types, against python-jsonschema (test/fixtures/json_schema.py), and what is no schema.
\getenv directory PG_ABS_SRCDIR
\set cases :directory '/test/fixtures/json_schema.csv'
\set VERBOSITY terse
\set SHOW_CONTEXT never

CREATE TABLE schema_case (number int, schema jsonb, document jsonb, matches boolean);
COPY schema_case FROM :'cases' WITH (FORMAT csv, HEADER);
SELECT count(*) >= 500 AS many, count(*) FILTER (WHERE matches) > 300 AS matching, count(*) FILTER (WHERE NOT matches) > 150 AS others
FROM schema_case;

SELECT count(pynomaly_kernel.register_event_type('schema.case' || number || '.v1', schema))
FROM (SELECT DISTINCT number, schema FROM schema_case) AS s;

CREATE FUNCTION matches(type text, document jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pynomaly_kernel.publish(type, NULL, document);
    RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN
    IF sqlerrm !~ 'does not match its schema' THEN RAISE; END IF;
    RETURN false;
END$$;

-- None is judged otherwise.
SELECT number, schema, document, matches FROM schema_case WHERE matches('schema.case' || number || '.v1', document) <> matches;

-- The error says where, and never a value.
\set VERBOSITY default
SELECT pynomaly_kernel.register_event_type('schema.rows.v1', '{"type": "object", "properties": {"rows": {"type": "array",
    "items": {"type": "object", "additionalProperties": false, "required": ["name"], "properties": {"name": {"type": ["string", "null"]},
    "size": {"type": "integer", "minimum": 0, "maximum": 9}, "kind": {"enum": ["a", 1]}, "id": {"format": "uuid"}}}}}}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": "secret"}, {"name": 4711}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"size": 4711}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": null, "size": 4711}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": null, "size": 1.5}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": null, "kind": "4711"}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": null, "id": "4711"}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '{"rows": [{"name": null, "other name": 4711}]}');
SELECT pynomaly_kernel.publish('schema.rows.v1', NULL, '"4711"');

-- What is no schema is refused when the type is registered, with the place.
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', schema::jsonb)
FROM (VALUES ('{"properties": {"a": {"pattern": "x"}}}')) AS s (schema);
\set VERBOSITY terse
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', 'true');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '[]');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"type": "float"}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"type": []}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"required": "a"}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"required": ["a", "a"]}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"enum": []}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"minimum": "1"}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"format": "email"}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', '{"$ref": "#"}');
SELECT pynomaly_kernel.register_event_type('schema.bad.v1', (repeat('{"items": ', 40) || '{}' || repeat('}', 40))::jsonb);
SELECT count(*) FROM pynomaly_kernel.event_type WHERE type = 'schema.bad.v1';

-- Types of events, publishing, idempotency keys and artifacts: what is written, and the SQLSTATE of every bad input.
\set SHOW_CONTEXT never
\pset null '(null)'
CREATE SCHEMA kernel_events;
SET search_path = kernel_events;
GRANT USAGE ON SCHEMA kernel_events TO PUBLIC;
CREATE FUNCTION outcome(command text, with_hint boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', SQLSTATE || ': ' || message, 'detail: ' || nullif(detail, ''),
        CASE WHEN with_hint THEN 'hint: ' || nullif(hint, '') END);
END $$;
\pset tuples_only on
\pset format unaligned

-- Types.
SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{
    "type": "object", "additionalProperties": false, "required": ["order", "amount"],
    "properties": {"order": {"type": "integer", "minimum": 1}, "amount": {"type": "number", "minimum": 0, "maximum": 1e6},
        "currency": {"type": "string", "enum": ["EUR", "USD"]}, "buyer": {"type": "string", "format": "uuid"},
        "paid_at": {"type": "string", "format": "date-time"}, "gift": {"type": "boolean"}, "note": {"type": "null"},
        "items": {"type": "array", "items": {"type": "object", "required": ["sku"]}}}}');
SELECT pynomaly_kernel.register_event_type('shop.order_shipped.v1', '{}', 10::smallint);
SELECT type, priority, builtin, schema = '{}' AS takes_anything FROM pynomaly_kernel.event_type WHERE type LIKE 'shop.%' ORDER BY type;
-- The same again changes nothing; anything else under a known name is an error.
SELECT outcome($$SELECT pynomaly_kernel.register_event_type('shop.order_shipped.v1', '{}', 10::smallint)$$);
SELECT outcome($$SELECT pynomaly_kernel.register_event_type('shop.order_shipped.v1', '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.register_event_type('shop.order_shipped.v1', '{"type": "object"}', 10::smallint)$$);
-- Names.
SELECT coalesce(name, 'NULL') || E'\n  ' || outcome(format('SELECT pynomaly_kernel.register_event_type(%L, ''{}'')', name), false)
FROM unnest(ARRAY['', 'shop', 'shop.order', 'shop.order.1', 'shop.order.v0', 'shop.order.v01', 'shop.order.v', 'shop.order.v1.x', 'Shop.order.v1',
    '.order.v1', 'shop..v1', '1shop.order.v1', 'shop.order paid.v1', 'shop.größe.v1', 'shop.order.v1 ', 'shop.*',
    'shop.' || repeat('o', 64) || '.v1', 'shop.o.v' || repeat('1', 130), NULL]) WITH ORDINALITY AS t (name, place) ORDER BY place;
SELECT count(*) FROM pynomaly_kernel.event_type WHERE type LIKE 'shop.%';
-- Schemas.
SELECT outcome($$SELECT pynomaly_kernel.register_event_type('shop.bad.v1', '{"pattern": "a"}')$$);
SELECT schema || E'\n  ' || outcome(format('SELECT pynomaly_kernel.register_event_type(''shop.s%s.v1'', %L)', place, schema), false)
FROM unnest(ARRAY['[]', '1', 'null', '{"type": "decimal"}', '{"type": ["string", "null"]}', '{"$ref": "#"}', '{"pattern": "a"}', '{"properties": []}',
    '{"properties": {"a": 1}}', '{"properties": {"a": {"oneOf": []}}}', '{"required": "a"}', '{"required": [1]}', '{"enum": []}', '{"enum": 1}',
    '{"items": []}', '{"additionalProperties": 1}', '{"minimum": "1"}', '{"maximum": null}', '{"format": "email"}', '{"type": "object", "title": "a"}'])
    WITH ORDINALITY AS s (schema, place) ORDER BY place;

-- Publishing.  An id is no place in the log, so only what it names is shown.
CREATE FUNCTION shown(id bigint) RETURNS text LANGUAGE sql AS
    $$SELECT concat_ws(' | ', type, source, coalesce(subject, '(none)'), data, priority, publisher) FROM pynomaly.events e WHERE e.id = shown.id$$;
SELECT shown(pynomaly_kernel.publish('shop.order_paid.v1', 'order 1', '{"order": 1, "amount": 9.5}'));
SELECT shown(pynomaly_kernel.publish('shop.order_shipped.v1', NULL, '[1, null, {"any": "thing"}]'));
SELECT shown(pynomaly_kernel.publish('shop.order_paid.v1', 'order 2', '{"order": 2, "amount": 1e6, "currency": "EUR", "gift": true, "note": null,
    "buyer": "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f", "paid_at": "2026-02-28T10:00:00Z", "items": [{"sku": "a"}, {"sku": 1, "more": []}]}'));
-- Nothing causes these events, each begins a story of its own, and all are of this log and of their transactions.
SELECT count(*), count(causation_id) AS caused, count(DISTINCT correlation_id) AS stories, bool_and(e.origin = log.origin) AS of_this_log,
    bool_and(xid < pg_snapshot_xmax(pg_current_snapshot())) AS committed, bool_and("time" <= clock_timestamp()) AS published
FROM pynomaly_kernel.event e, pynomaly_kernel.event_log log WHERE type LIKE 'shop.%';
SET pynomaly.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
SELECT shown(pynomaly_kernel.publish('shop.order_shipped.v1', 'traced', '{}'));
SELECT traceparent FROM pynomaly.events WHERE subject = 'traced';
RESET pynomaly.traceparent;
SELECT outcome($$SET pynomaly.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7'$$);
SELECT outcome($$SET pynomaly.traceparent = '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01'$$);
-- What is rolled back was never published, be it a transaction or a savepoint.
BEGIN;
SELECT shown(pynomaly_kernel.publish('shop.order_shipped.v1', 'rolled back', '{}'));
ROLLBACK;
BEGIN;
SAVEPOINT one;
SELECT shown(pynomaly_kernel.publish('shop.order_shipped.v1', 'rolled back to', '{}'));
ROLLBACK TO one;
SELECT shown(pynomaly_kernel.publish('shop.order_shipped.v1', 'kept', '{}'));
COMMIT;
SELECT subject FROM pynomaly.events WHERE subject IN ('rolled back', 'rolled back to', 'kept');

-- Data that does not match the type's schema.
SELECT data || E'\n  ' || outcome(format('SELECT pynomaly_kernel.publish(''shop.order_paid.v1'', ''bad'', %L)', data), false)
FROM unnest(ARRAY['[]', '"text"', 'null', '{}', '{"order": 1}', '{"order": 1.5, "amount": 1}', '{"order": "1", "amount": 1}', '{"order": 0, "amount": 1}',
    '{"order": 1, "amount": -0.01}', '{"order": 1, "amount": 1000000.01}', '{"order": 1, "amount": 1, "currency": "GBP"}', '{"order": 1, "amount": 1, "x": 1}',
    '{"order": 1, "amount": 1, "buyer": "me"}', '{"order": 1, "amount": 1, "paid_at": "2026-02-30T10:00:00Z"}', '{"order": 1, "amount": 1, "paid_at": "today"}',
    '{"order": 1, "amount": 1, "gift": 1}', '{"order": 1, "amount": 1, "note": ""}', '{"order": 1, "amount": 1, "items": {}}',
    '{"order": 1, "amount": 1, "items": [{"sku": "a"}, {}]}', '{"order": 1, "amount": null}']) WITH ORDINALITY AS d (data, place) ORDER BY place;
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_paid.v1', 'bad', '{}')$$);
-- Other arguments of publish().
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.unknown.v1', NULL, '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_paid', NULL, '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('', NULL, '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish(NULL, NULL, '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', NULL, NULL)$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', '', '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', repeat('s', 1024), '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', repeat('s', 1025), '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', NULL, '{}', '')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', NULL, '{}', repeat('k', 1025))$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'large', to_jsonb(repeat('x', 65000)))$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'large', to_jsonb(repeat('x', 70000)))$$);
BEGIN READ ONLY;
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', NULL, '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.register_event_type('shop.new.v1', '{}')$$);
SELECT outcome($$SELECT pynomaly_kernel.put_artifact('sketch', '\x00')$$);
SELECT outcome($$SELECT pynomaly_kernel.drop_artifact('\x00')$$);
COMMIT;
SELECT count(*) FROM pynomaly.events WHERE subject = 'bad';
-- A type that was registered in a transaction that is rolled back is forgotten.
BEGIN;
SELECT pynomaly_kernel.register_event_type('shop.passing.v1', '{}');
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.passing.v1', NULL, '{}')$$);
ROLLBACK;
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.passing.v1', NULL, '{}')$$);

-- Idempotency keys: the same id, and nothing more is written.
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'keyed', '{"try": 1}', 'key 1') AS id \gset
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'keyed', '{"try": 2}', 'key 1') = :id AS the_same;
BEGIN;
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'keyed', '{"try": 3}', 'key 2') AS second \gset
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'keyed', '{"try": 4}', 'key 2') = :second AS the_same_in_one_transaction;
COMMIT;
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'keyed', '{"try": 5}') IN (:id, :second) AS without_key_the_same;
SELECT data FROM pynomaly.events WHERE subject = 'keyed' ORDER BY id;
-- A key that was used in a transaction that was rolled back is free.
BEGIN;
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'free', '{"try": 1}', 'key 3') AS id \gset
ROLLBACK;
SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'free', '{"try": 2}', 'key 3') = :id AS the_same;
SELECT data FROM pynomaly.events WHERE subject = 'free';
-- For another event it is refused; but each role has keys of its own.
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'other', '{}', 'key 1')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', NULL, '{}', 'key 1')$$);
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_paid.v1', 'keyed', '{"order": 1, "amount": 1}', 'key 1')$$);
CREATE ROLE regress_publisher;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text), pynomaly_kernel.put_artifact(text, bytea), pynomaly_kernel.get_artifact(bytea),
    pynomaly_kernel.drop_artifact(bytea) TO regress_publisher;
SET ROLE regress_publisher;
SELECT outcome($$SELECT pynomaly_kernel.publish('shop.order_shipped.v1', 'another publisher''s', '{}', 'key 1')$$);
RESET ROLE;
SELECT shown(id) FROM pynomaly.events WHERE subject = 'another publisher''s';

-- Artifacts.
SELECT pynomaly_kernel.put_artifact('sketch', 'abc') = sha256('abc') AS digest_is_sha256;
SELECT outcome($$SELECT pynomaly_kernel.put_artifact('sketch', 'abc')$$);
SELECT outcome($$SELECT pynomaly_kernel.put_artifact('model', 'abc')$$);
SELECT outcome($$SELECT pynomaly_kernel.put_artifact('', 'abc')$$);
SELECT outcome($$SELECT pynomaly_kernel.put_artifact(repeat('k', 64), 'abc')$$);
SELECT pynomaly_kernel.put_artifact(NULL, 'abc') IS NULL, pynomaly_kernel.get_artifact(NULL) IS NULL;
SELECT encode(pynomaly_kernel.get_artifact(sha256('abc')), 'escape');
SELECT pynomaly_kernel.get_artifact(pynomaly_kernel.put_artifact('nothing', '')) = '' AS empty_bytes;
SELECT md5(pynomaly_kernel.get_artifact(pynomaly_kernel.put_artifact('large', decode(repeat('ab', 3000000), 'hex')))) = md5(decode(repeat('ab', 3000000), 'hex')) AS large_bytes;
SELECT outcome($$SELECT pynomaly_kernel.get_artifact(sha256('abd'))$$);
SELECT outcome($$SELECT pynomaly_kernel.get_artifact('\x00')$$);
-- Each role has its own, under a kind of its own.
SET ROLE regress_publisher;
SELECT outcome($$SELECT pynomaly_kernel.get_artifact(sha256('abc'))$$);
SELECT pynomaly_kernel.drop_artifact(sha256('abc')) AS dropped_what_is_not_hers;
SELECT outcome($$SELECT pynomaly_kernel.put_artifact('model', 'abc')$$);
SELECT encode(pynomaly_kernel.get_artifact(sha256('abc')), 'escape');
RESET ROLE;
SELECT kind, owner FROM pynomaly_kernel.artifact WHERE digest = sha256('abc') ORDER BY kind;
SELECT pynomaly_kernel.drop_artifact(sha256('abc')), pynomaly_kernel.drop_artifact(sha256('abc')) AS again;
-- A superuser belongs to every role.
SELECT encode(pynomaly_kernel.get_artifact(sha256('abc')), 'escape');
SET ROLE regress_publisher;
SELECT pynomaly_kernel.drop_artifact(sha256('abc'));
RESET ROLE;
SELECT outcome($$SELECT pynomaly_kernel.get_artifact(sha256('abc'))$$);
DROP OWNED BY regress_publisher;
DROP ROLE regress_publisher;

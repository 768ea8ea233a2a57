-- The event log.  Written by src/kernel/event_log.c, rotated by rotation.c.

CREATE TABLE pynomaly_kernel.event_log (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    origin uuid NOT NULL,
    database oid NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.event_log IS 'the identity of this database''s log';
COMMENT ON COLUMN pynomaly_kernel.event_log.origin IS 'with id the name of an event in the world; another one in a restored or copied database';
COMMENT ON COLUMN pynomaly_kernel.event_log.database IS 'the database that the origin was made for: a copy by CREATE DATABASE ... TEMPLATE finds another one and takes a new origin';
INSERT INTO pynomaly_kernel.event_log (origin, database)
    SELECT gen_random_uuid(), oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database();

CREATE TABLE pynomaly_kernel.event_type (
    type text COLLATE "C" PRIMARY KEY,
    schema jsonb NOT NULL,
    priority smallint NOT NULL,
    builtin boolean NOT NULL,
    registered_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.event_type IS 'types of events; a registered type never changes, a new version is a new type';
COMMENT ON COLUMN pynomaly_kernel.event_type.type IS '<domain>.<name>.v<version>';
COMMENT ON COLUMN pynomaly_kernel.event_type.schema IS 'what data must look like, in a subset of JSON Schema';
COMMENT ON COLUMN pynomaly_kernel.event_type.priority IS 'of the subscriptions with waiting events, a worker turns first to the one whose next event has the highest';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.event_type', 'WHERE NOT builtin');

CREATE SEQUENCE pynomaly_kernel.event_id;
COMMENT ON SEQUENCE pynomaly_kernel.event_id IS 'ids of events; the order of ids is not the order of commits';

-- The parent has no rows: its row type is what a handler takes, its members hold the events.
CREATE TABLE pynomaly_kernel.event (
    id bigint PRIMARY KEY,
    origin uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    subject text COLLATE "C",
    "time" timestamptz NOT NULL,
    data jsonb NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id bigint,
    traceparent text,
    priority smallint NOT NULL,
    publisher regrole NOT NULL,
    xid xid8 NOT NULL,
    idempotency_key text COLLATE "C"
);
COMMENT ON TABLE pynomaly_kernel.event IS 'events, append-only, with the attributes of CloudEvents 1.0; kept for pynomaly.kernel_retention';
COMMENT ON COLUMN pynomaly_kernel.event.id IS 'unique in this database; (origin, id) is unique in the world';
COMMENT ON COLUMN pynomaly_kernel.event.source IS 'the domain that the type belongs to';
COMMENT ON COLUMN pynomaly_kernel.event.subject IS 'what the event is about; events of one subject are handled in order';
COMMENT ON COLUMN pynomaly_kernel.event.correlation_id IS 'the same for all events that one event led to';
COMMENT ON COLUMN pynomaly_kernel.event.causation_id IS 'the event whose handler published this one';
COMMENT ON COLUMN pynomaly_kernel.event.traceparent IS 'W3C trace context';
COMMENT ON COLUMN pynomaly_kernel.event.publisher IS 'the role on whose behalf it was published, which with its members may see it';
COMMENT ON COLUMN pynomaly_kernel.event.xid IS 'the publishing top-level transaction, by which batches are cut';
COMMENT ON COLUMN pynomaly_kernel.event.idempotency_key IS 'publishing again with the same key gives this event';
CREATE INDEX event_xid_idx ON pynomaly_kernel.event (xid);
CREATE INDEX event_correlation_id_idx ON pynomaly_kernel.event (correlation_id);
CREATE INDEX event_subject_idx ON pynomaly_kernel.event (subject) WHERE subject IS NOT NULL;
CREATE INDEX event_idempotency_key_idx ON pynomaly_kernel.event (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE pynomaly_kernel.event_0 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_1 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_2 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_3 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_4 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_5 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_6 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
CREATE TABLE pynomaly_kernel.event_7 (LIKE pynomaly_kernel.event INCLUDING ALL) INHERITS (pynomaly_kernel.event);
COMMENT ON TABLE pynomaly_kernel.event_0 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_1 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_2 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_3 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_4 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_5 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_6 IS 'a member of the log';
COMMENT ON TABLE pynomaly_kernel.event_7 IS 'a member of the log';
ALTER TABLE pynomaly_kernel.event ADD CONSTRAINT event_has_no_rows CHECK (false) NO INHERIT;

CREATE TABLE pynomaly_kernel.event_member (
    member smallint PRIMARY KEY,
    opened_at timestamptz,
    closed_at timestamptz
);
COMMENT ON TABLE pynomaly_kernel.event_member IS 'rotation: one member is open and takes new events, closed ones are kept, the others are empty';
INSERT INTO pynomaly_kernel.event_member (member, opened_at)
    SELECT member, CASE WHEN member = 0 THEN now() END FROM pg_catalog.generate_series(0, 7) AS member;

CREATE FUNCTION pynomaly_kernel.register_event_type(type text, schema jsonb, priority smallint DEFAULT 0) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_register_event_type';
REVOKE ALL ON FUNCTION pynomaly_kernel.register_event_type(text, jsonb, smallint) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.register_event_type(text, jsonb, smallint) IS
    'registers the type <domain>.<name>.v<version>; nothing happens when it is there already and the same, another schema under a known name is an error (42710)';

CREATE FUNCTION pynomaly_kernel.publish(type text, subject text, data jsonb, idempotency_key text DEFAULT NULL) RETURNS bigint
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_publish_sql';
REVOKE ALL ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text) IS
    'writes an event into the log with the current transaction and gives its id; with a key that was used within the retention time it writes nothing and gives that event''s id';

-- Sagas: work that spans domains, step by step.  See src/kernel/saga.c and saga_step.c.

CREATE TABLE pynomaly_kernel.saga_definition (
    name text COLLATE "C" PRIMARY KEY,
    steps jsonb NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.saga_definition IS 'kinds of sagas';
COMMENT ON COLUMN pynomaly_kernel.saga_definition.steps IS
    'array of {step, domain, completed_by, failed_by, timeout, compensation, ends}: event types that tell of its end, the operation of the domain that undoes it, and with which data its event ends the saga';

CREATE TABLE pynomaly_kernel.saga (
    id uuid PRIMARY KEY,
    definition text COLLATE "C" NOT NULL,
    owner regrole NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'completed', 'stopped', 'cancelling', 'failing', 'cancelled', 'failed')),
    step integer NOT NULL,
    deadline timestamptz NOT NULL,
    origin uuid NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    event_data jsonb NOT NULL,
    sqlstate text,
    message text,
    detail text,
    hint text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz
);
COMMENT ON TABLE pynomaly_kernel.saga IS 'sagas, running and ended';
COMMENT ON COLUMN pynomaly_kernel.saga.state IS 'cancelling and failing: the step in progress ends, then what was done is undone';
COMMENT ON COLUMN pynomaly_kernel.saga.step IS 'in progress, from 1';
COMMENT ON COLUMN pynomaly_kernel.saga.origin IS 'of the log that the event was published in; in a restored database it is published again';
COMMENT ON COLUMN pynomaly_kernel.saga.event_type IS 'the event that the step in progress handles';
CREATE INDEX saga_open_idx ON pynomaly_kernel.saga (deadline) WHERE ended_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.saga', '');

CREATE TABLE pynomaly_kernel.saga_step (
    saga uuid REFERENCES pynomaly_kernel.saga ON DELETE CASCADE,
    step integer,
    name text NOT NULL,
    domain name NOT NULL,
    state text NOT NULL CHECK (state IN ('completed', 'failed', 'left', 'compensated')),
    event_id bigint,
    ended_at timestamptz NOT NULL,
    seconds float8,
    PRIMARY KEY (saga, step)
);
COMMENT ON TABLE pynomaly_kernel.saga_step IS 'what a saga''s steps have done';
COMMENT ON COLUMN pynomaly_kernel.saga_step.state IS 'left: not done, since the saga had been cancelled; compensated: done and undone';
COMMENT ON COLUMN pynomaly_kernel.saga_step.seconds IS 'that the step''s work took; the rest of the time since the step before it waited';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.saga_step', '');

CREATE FUNCTION pynomaly_kernel.register_saga(name text, steps jsonb) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_register_saga';
REVOKE ALL ON FUNCTION pynomaly_kernel.register_saga(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.register_saga(text, jsonb) IS
    'registers a kind of saga and subscribes the engine to the events of its steps';

CREATE FUNCTION pynomaly_kernel.advance_saga(event pynomaly_kernel.event) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_advance_saga';
REVOKE ALL ON FUNCTION pynomaly_kernel.advance_saga(pynomaly_kernel.event) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.advance_saga(pynomaly_kernel.event) IS 'the engine: handles the events that tell of steps';

SELECT pynomaly_kernel.register_event_type('kernel.saga_step_left.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "step"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "step": {"type": "string"}}}');
SELECT pynomaly_kernel.register_event_type('kernel.saga_ended.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request", "definition", "state"],
    "properties": {"request": {"type": "string", "format": "uuid"}, "definition": {"type": "string"},
                   "state": {"type": "string", "enum": ["completed", "stopped", "cancelled", "failed"]}}}');
SELECT pynomaly_kernel.register_event_type('kernel.saga_resumed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["request"],
    "properties": {"request": {"type": "string", "format": "uuid"}}}');
-- The engine must not give up: what it knows of a saga is nowhere else.
SELECT pynomaly_kernel.add_subscription('gateway', 'saga: kernel.saga_step_left.v1', 'kernel.saga_step_left.v1', 'pynomaly_kernel.advance_saga', NULL, 100);
SELECT pynomaly_kernel.add_subscription('gateway', 'saga: kernel.event_failed.v1', 'kernel.event_failed.v1', 'pynomaly_kernel.advance_saga', NULL, 100);
SELECT pynomaly_kernel.add_subscription('gateway', 'saga: kernel.saga_resumed.v1', 'kernel.saga_resumed.v1', 'pynomaly_kernel.advance_saga', NULL, 100);

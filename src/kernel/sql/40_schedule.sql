-- Work by the clock, in the gateway's worker.  See src/kernel/schedule.c.

CREATE TABLE pynomaly_kernel.schedule (
    name text COLLATE "C" PRIMARY KEY,
    timing text NOT NULL,
    time_zone text NOT NULL,
    handler text NOT NULL,
    owner regrole NOT NULL,
    timeout interval,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    reason text,
    builtin boolean NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.schedule IS 'functions that are called by the clock, as their owner';
COMMENT ON COLUMN pynomaly_kernel.schedule.timing IS 'a cron expression of five fields, or an interval from created_at on';
COMMENT ON COLUMN pynomaly_kernel.schedule.handler IS 'schema-qualified name of a function without arguments';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.schedule', 'WHERE NOT builtin');

CREATE TABLE pynomaly_kernel.schedule_state (
    schedule text COLLATE "C" PRIMARY KEY,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    runs bigint NOT NULL,
    failures bigint NOT NULL,
    missed bigint NOT NULL,
    last_run timestamptz,
    last_success timestamptz,
    sqlstate text,
    message text,
    detail text,
    context text
);
COMMENT ON TABLE pynomaly_kernel.schedule_state IS 'when a schedule is next due and how its last run went; written in the transaction of the run''s effects';
COMMENT ON COLUMN pynomaly_kernel.schedule_state.attempts IS 'begun at the present due time; counted before the run';
COMMENT ON COLUMN pynomaly_kernel.schedule_state.missed IS 'due times that passed while nothing ran and for which one run was made up';

CREATE FUNCTION pynomaly.schedule(name text, timing text, handler text, time_zone text DEFAULT 'UTC', timeout interval DEFAULT NULL) RETURNS timestamptz
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_schedule';
REVOKE ALL ON FUNCTION pynomaly.schedule(text, text, text, text, interval) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.schedule(text, text, text, text, interval) IS
    'calls the function handler() as the calling role: timing is a cron expression of five fields in the time zone, or an interval; due times that were missed are made up for by one run; gives the first due time';

CREATE FUNCTION pynomaly.next_due(timing text, time_zone text DEFAULT 'UTC', after timestamptz DEFAULT now(), anchor timestamptz DEFAULT now()) RETURNS timestamptz
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_next_due';
REVOKE ALL ON FUNCTION pynomaly.next_due(text, text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.next_due(text, text, timestamptz, timestamptz) IS
    'the first moment after one at which a schedule with this timing is due; an interval is due at anchor, anchor + interval, anchor + 2 * interval, ...';

CREATE FUNCTION pynomaly.unschedule(name text) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_unschedule';
REVOKE ALL ON FUNCTION pynomaly.unschedule(text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.unschedule(text) IS 'removes a schedule';

SELECT pynomaly_kernel.register_event_type('kernel.schedule_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["schedule", "due_at", "sqlstate"],
    "properties": {"schedule": {"type": "string"}, "due_at": {"type": "string", "format": "date-time"},
                   "sqlstate": {"type": "string"}}}');

-- Who handles which events, and how far each has come.  See src/kernel/subscription.c and consumer.c.

CREATE TABLE pynomaly_kernel.subscription (
    name text COLLATE "C" PRIMARY KEY,
    domain name NOT NULL,
    type text COLLATE "C" NOT NULL,
    handler text,
    owner regrole NOT NULL,
    max_attempts integer CHECK (max_attempts BETWEEN 1 AND 100),
    timeout interval,
    status text NOT NULL CHECK (status IN ('active', 'suspended', 'disabled')),
    reason text,
    builtin boolean NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.subscription IS 'handlers of events';
COMMENT ON COLUMN pynomaly_kernel.subscription.domain IS 'whose worker runs the handler; users'' handlers run in the gateway''s';
COMMENT ON COLUMN pynomaly_kernel.subscription.type IS 'an event type, or the beginning of some and an asterisk';
COMMENT ON COLUMN pynomaly_kernel.subscription.handler IS 'schema-qualified name of a function of one pynomaly_kernel.event; NULL: tells listeners by NOTIFY';
COMMENT ON COLUMN pynomaly_kernel.subscription.owner IS 'the role that the handler runs as';
COMMENT ON COLUMN pynomaly_kernel.subscription.status IS 'suspended: was too far behind; disabled: the owner or the handler cannot run it; neither holds events back from being removed';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.subscription', 'WHERE NOT builtin');

-- No index, not even for a primary key: see position.c.  There is one row for each subscription.
CREATE TABLE pynomaly_kernel.subscription_position (
    subscription text COLLATE "C" NOT NULL,
    origin uuid NOT NULL,
    began pg_snapshot NOT NULL,
    done pg_snapshot NOT NULL,
    target pg_snapshot,
    after_id bigint NOT NULL,
    since timestamptz,
    replay_since timestamptz,
    handled bigint NOT NULL,
    note text,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE pynomaly_kernel.subscription_position IS 'how far a subscription has come; written in the transaction of the handlers'' effects';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.began IS 'events of transactions visible in it were never handed over; a replay begins here';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.done IS 'events of transactions visible in it have been handled';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.target IS 'the open batch: events visible in it and not in done, of which those up to after_id have been handled';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.since IS 'the open batch is a replay: it leaves out older events';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.replay_since IS 'a replay is asked for, which begins after the open batch';
COMMENT ON COLUMN pynomaly_kernel.subscription_position.note IS 'why the position was set otherwise than by handling events';

CREATE TABLE pynomaly_kernel.retry (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'parked', 'dead')),
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    failed_at timestamptz,
    sqlstate text,
    message text,
    detail text,
    context text,
    LIKE pynomaly_kernel.event
);
COMMENT ON TABLE pynomaly_kernel.retry IS 'events that a handler failed on, and those of their subjects that wait behind them; a whole copy, since the log forgets';
COMMENT ON COLUMN pynomaly_kernel.retry.place IS 'the order of the events of one subject';
COMMENT ON COLUMN pynomaly_kernel.retry.state IS 'waiting for its next attempt, parked behind an earlier event of its subject, or dead: no attempt is left';
COMMENT ON COLUMN pynomaly_kernel.retry.attempts IS 'begun so far; counted before the attempt, so that a handler which takes the server down is not tried for ever';
CREATE UNIQUE INDEX retry_event_idx ON pynomaly_kernel.retry (subscription, id, origin);
CREATE INDEX retry_due_idx ON pynomaly_kernel.retry (subscription, due_at, place) WHERE state = 'waiting';
CREATE INDEX retry_subject_idx ON pynomaly_kernel.retry (subscription, subject, place) WHERE state <> 'dead';

CREATE TABLE pynomaly_kernel.throughput (
    minute timestamptz,
    subscription text COLLATE "C",
    handled bigint NOT NULL,
    failed bigint NOT NULL,
    busy_seconds float8 NOT NULL,
    lag_seconds float8 NOT NULL,
    PRIMARY KEY (minute, subscription)
);
COMMENT ON TABLE pynomaly_kernel.throughput IS 'what each subscription did, minute by minute, for one day';
COMMENT ON COLUMN pynomaly_kernel.throughput.busy_seconds IS 'time spent in the handler';
COMMENT ON COLUMN pynomaly_kernel.throughput.lag_seconds IS 'longest time from publishing to handling';

CREATE FUNCTION pynomaly.subscribe(type text, handler text, name text DEFAULT NULL, max_attempts integer DEFAULT NULL, timeout interval DEFAULT NULL) RETURNS text
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_subscribe';
REVOKE ALL ON FUNCTION pynomaly.subscribe(text, text, text, integer, interval) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.subscribe(text, text, text, integer, interval) IS
    'runs the function handler(pynomaly_kernel.event), as the calling role, for each event of the type that is committed from now on and that this role may see; an asterisk at the end of type stands for any ending; gives the subscription''s name';

CREATE FUNCTION pynomaly.unsubscribe(name text) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_unsubscribe';
REVOKE ALL ON FUNCTION pynomaly.unsubscribe(text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.unsubscribe(text) IS 'removes a subscription with its waiting, parked and dead events';

CREATE FUNCTION pynomaly.resume(name text) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_resume';
REVOKE ALL ON FUNCTION pynomaly.resume(text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.resume(text) IS
    'makes a suspended or disabled subscription active again where it stopped; a WARNING says so if events in between have been removed';

CREATE FUNCTION pynomaly.replay(subscription text, since timestamptz) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_replay';
REVOKE ALL ON FUNCTION pynomaly.replay(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.replay(text, timestamptz) IS
    'hands a subscription again all events that were published since then, are still kept and were handled; newer events wait behind them';

CREATE FUNCTION pynomaly.redrive(subscription text, event_id bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_redrive';
REVOKE ALL ON FUNCTION pynomaly.redrive(text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.redrive(text, bigint) IS
    'gives a subscription''s dead event, or all of them, a new set of attempts, behind what waits already; gives their number';

CREATE FUNCTION pynomaly_kernel.add_subscription(domain name, name text, type text, handler text, timeout interval DEFAULT NULL, max_attempts integer DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_add_subscription';
REVOKE ALL ON FUNCTION pynomaly_kernel.add_subscription(name, text, text, text, interval, integer) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.add_subscription(name, text, text, text, interval, integer) IS
    'subscribes a domain: its worker runs the handler as the extension''s owner';

SELECT pynomaly_kernel.register_event_type('kernel.event_failed.v1', '{
    "type": "object", "additionalProperties": false, "required": ["subscription", "event_id", "attempts", "sqlstate"],
    "properties": {"subscription": {"type": "string"}, "event_id": {"type": "integer"}, "event_type": {"type": "string"},
                   "subject": {"type": "string"}, "attempts": {"type": "integer"}, "sqlstate": {"type": "string"},
                   "message": {"type": "string"}}}');
SELECT pynomaly_kernel.register_event_type('kernel.subscription_stopped.v1', '{
    "type": "object", "additionalProperties": false, "required": ["subscription", "status", "reason"],
    "properties": {"subscription": {"type": "string"}, "status": {"type": "string", "enum": ["suspended", "disabled"]},
                   "reason": {"type": "string"}}}');
SELECT pynomaly_kernel.add_subscription('gateway', 'listeners', '*', NULL);

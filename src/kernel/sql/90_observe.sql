-- What happens: for whom it concerns.  Views show what belongs to the current user and to roles that he is a member of.

CREATE VIEW pynomaly.events WITH (security_barrier) AS
    SELECT id, origin, type, source, subject, "time", data, correlation_id, causation_id, traceparent, priority, publisher
    FROM pynomaly_kernel.event
    WHERE pg_catalog.pg_has_role(publisher, 'USAGE');
COMMENT ON VIEW pynomaly.events IS
    'what happened: ask by subject, or by correlation_id for all that one event led to; kept for pynomaly.kernel_retention';

CREATE VIEW pynomaly.subscriptions WITH (security_barrier) AS
    SELECT s.name, s.type, s.handler, s.domain, s.owner, s.status, s.reason, p.note, s.max_attempts, s.timeout,
        p.handled, p.updated_at, oldest."time" AS oldest_waiting, clock_timestamp() - oldest."time" AS lag,
        coalesce(rate.handled_per_minute, 0) AS handled_per_minute, coalesce(rate.failed_per_minute, 0) AS failed_per_minute,
        r.waiting, r.parked, r.dead
    FROM pynomaly_kernel.subscription s
        LEFT JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name
        LEFT JOIN LATERAL (
            SELECT e."time" FROM pynomaly_kernel.event e
            WHERE e.xid >= pg_catalog.pg_snapshot_xmin(p.done)
                AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, p.done)
                AND NOT (p.target IS NOT NULL AND pg_catalog.pg_visible_in_snapshot(e.xid, p.target) AND e.id <= p.after_id)
                AND (e."time" >= p.since OR p.since IS NULL)
                AND (e.type = s.type
                    OR pg_catalog.right(s.type, 1) = '*' AND pg_catalog.starts_with(e.type, pg_catalog.rtrim(s.type, '*')))
            ORDER BY e.xid LIMIT 1) AS oldest ON true
        LEFT JOIN LATERAL (
            SELECT pg_catalog.sum(t.handled) / 5.0 AS handled_per_minute, pg_catalog.sum(t.failed) / 5.0 AS failed_per_minute
            FROM pynomaly_kernel.throughput t
            WHERE t.subscription = s.name AND t.minute >= pg_catalog.date_trunc('minute', now()) - interval '5 minutes'
                AND t.minute < pg_catalog.date_trunc('minute', now())) AS rate ON true
        CROSS JOIN LATERAL (
            SELECT pg_catalog.count(*) FILTER (WHERE state = 'waiting') AS waiting,
                pg_catalog.count(*) FILTER (WHERE state = 'parked') AS parked,
                pg_catalog.count(*) FILTER (WHERE state = 'dead') AS dead
            FROM pynomaly_kernel.retry WHERE subscription = s.name) AS r
    WHERE pg_catalog.pg_has_role(s.owner, 'USAGE');
COMMENT ON VIEW pynomaly.subscriptions IS
    'subscriptions with their lag (age of the oldest event that waits), rates over the last five full minutes, and retries';

CREATE VIEW pynomaly.retries WITH (security_barrier) AS
    SELECT r.subscription, r.state, r.attempts, r.due_at, r.failed_at, r.sqlstate, r.message, r.detail, r.context,
        r.id AS event_id, r.type, r.subject, r."time", r.data, r.correlation_id
    FROM pynomaly_kernel.retry r JOIN pynomaly_kernel.subscription s ON s.name = r.subscription
    WHERE pg_catalog.pg_has_role(s.owner, 'USAGE');
COMMENT ON VIEW pynomaly.retries IS
    'events whose handler failed and that wait for another attempt, those of their subjects that are parked behind them, and dead ones';

CREATE VIEW pynomaly.schedules WITH (security_barrier) AS
    SELECT s.name, s.timing, s.time_zone, s.handler, s.owner, s.status, s.reason, s.timeout, t.due_at, t.runs, t.failures,
        t.missed, t.last_run, t.last_success, t.sqlstate, t.message, t.detail, t.context
    FROM pynomaly_kernel.schedule s LEFT JOIN pynomaly_kernel.schedule_state t ON t.schedule = s.name
    WHERE pg_catalog.pg_has_role(s.owner, 'USAGE');
COMMENT ON VIEW pynomaly.schedules IS 'schedules, when they are next due and how the last run went';

CREATE VIEW pynomaly.throughput WITH (security_barrier) AS
    SELECT t.minute, t.subscription, t.handled, t.failed, t.busy_seconds, t.lag_seconds
    FROM pynomaly_kernel.throughput t JOIN pynomaly_kernel.subscription s ON s.name = t.subscription
    WHERE pg_catalog.pg_has_role(s.owner, 'USAGE');
COMMENT ON VIEW pynomaly.throughput IS
    'events handled and failed minute by minute, the time that handlers took, and the longest time from publishing to handling; for one day';

CREATE FUNCTION pynomaly.health()
    RETURNS TABLE (component text, name text, status text, message text, hint text)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT 'workers', 'launcher',
        CASE WHEN started AND launcher IS NULL THEN 'error' WHEN NOT started THEN 'warning' ELSE 'ok' END,
        CASE WHEN NOT started THEN 'no background worker serves this database'
            WHEN launcher IS NULL THEN 'the launcher does not run'
            ELSE 'the launcher runs as process ' || launcher END,
        CASE WHEN NOT started THEN 'SELECT pynomaly.start(), or CALL pynomaly.process_events() now and then.'
            WHEN launcher IS NULL THEN 'SELECT pynomaly.start(); with pynomaly in shared_preload_libraries it comes with the server.'
            WHEN NOT preloaded THEN 'It does not come back when the server is restarted: add pynomaly to shared_preload_libraries.'
        END
    FROM (SELECT pynomaly_kernel.launcher_pid() AS launcher,
            EXISTS (SELECT FROM pg_db_role_setting
                WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setrole = 0
                    AND setconfig && ARRAY['pynomaly.autostart=on', 'pynomaly.autostart=true', 'pynomaly.autostart=1']) AS started,
            current_setting('shared_preload_libraries') ~ '\mpynomaly\M' AS preloaded) AS state
    UNION ALL
    SELECT 'worker', w.domain::text,
        CASE WHEN w.failures > 0 OR w.state = 'without place' THEN 'warning' ELSE 'ok' END,
        w.state || CASE WHEN w.failures > 0 THEN ', ended badly ' || w.failures || ' times in a row' ELSE '' END,
        CASE WHEN w.state = 'without place' THEN 'The server has no free background worker: increase max_worker_processes.'
            WHEN w.failures > 0 THEN 'The server''s log says why.' END
    FROM pynomaly_kernel.workers() w
    UNION ALL
    SELECT 'subscription', s.name,
        CASE WHEN s.status <> 'active' THEN 'error'
            WHEN s.note IS NOT NULL OR s.lag > interval '1 minute' THEN 'warning' ELSE 'ok' END,
        concat_ws('; ', s.status || coalesce(': ' || s.reason, ''), s.note,
            'oldest waiting event is ' || date_trunc('second', s.lag) || ' old'),
        CASE WHEN s.status <> 'active' THEN 'Call pynomaly.resume when the cause is removed.' END
    FROM pynomaly.subscriptions s
    UNION ALL
    SELECT 'dead events', r.subscription, 'warning', count(*) || ' events were given up',
        'See pynomaly.retries; call pynomaly.redrive, or pynomaly.unsubscribe.'
    FROM pynomaly_kernel.retry r WHERE r.state = 'dead' GROUP BY r.subscription
    UNION ALL
    SELECT 'schedule', s.name,
        CASE WHEN s.status <> 'active' THEN 'error'
            WHEN s.sqlstate IS NOT NULL OR s.due_at < now() - interval '1 minute' THEN 'warning' ELSE 'ok' END,
        concat_ws('; ', s.status || coalesce(': ' || s.reason, ''), 'due at ' || s.due_at,
            'the last run failed (SQLSTATE ' || s.sqlstate || ')'),
        CASE WHEN s.due_at < now() - interval '1 minute' THEN 'No worker of the gateway has run since it was due.' END
    FROM pynomaly.schedules s
    UNION ALL
    SELECT 'saga', g.id::text, 'warning',
        g.definition || ' is ' || g.state || ' in step ' || g.step || ' since ' || g.since,
        'See pynomaly.retries for what its events met with.'
    FROM (SELECT s.id, s.definition, s.state, s.step,
            coalesce((SELECT max(p.ended_at) FROM pynomaly_kernel.saga_step p WHERE p.saga = s.id), s.created_at) AS since
        FROM pynomaly_kernel.saga s WHERE s.ended_at IS NULL) AS g
    WHERE g.since < now() - interval '1 hour'
    UNION ALL
    SELECT 'roles', 'grants', 'warning', 'the roles exist in this server, but have no grants in this database',
        'SELECT pynomaly.create_roles().'
    FROM pg_roles r
    WHERE r.rolname = 'pynomaly_viewer' AND NOT has_table_privilege(r.oid, 'pynomaly.events', 'SELECT')
    UNION ALL
    SELECT 'service', p.domain::text, 'error', string_agg(p.problem, '; '), 'Contracts do not fit: see pynomaly.services().'
    FROM pynomaly_kernel.contract_problem p GROUP BY p.domain
    UNION ALL
    SELECT 'audit', 'chain', CASE WHEN a.oldest < now() - interval '1 minute' THEN 'warning' ELSE 'ok' END,
        a.unsealed || ' rows wait to be sealed',
        CASE WHEN a.oldest < now() - interval '1 minute' THEN 'No worker of the gateway has run since: SELECT pynomaly.start(), or CALL pynomaly.process_events().' END
    FROM (SELECT count(*) AS unsealed, min(at) AS oldest FROM pynomaly_kernel.audit_pending) AS a
    UNION ALL
    SELECT 'event log', 'event_' || m.member,
        CASE WHEN next.opened_at IS NOT NULL THEN 'warning' ELSE 'ok' END,
        'open since ' || m.opened_at || ', ' || pg_size_pretty(size.log) || ' in the log',
        CASE WHEN next.opened_at IS NOT NULL
            THEN 'All members are in use, so the open one grows: a subscription is behind, or a session reads an old member.' END
    FROM pynomaly_kernel.event_member m
        JOIN pynomaly_kernel.event_member next ON next.member = (m.member + 1) % 8,
        (SELECT sum(pg_total_relation_size(inhrelid)) AS log FROM pg_inherits
            WHERE inhparent = 'pynomaly_kernel.event'::regclass) AS size
    WHERE m.opened_at IS NOT NULL AND m.closed_at IS NULL
    UNION ALL
    SELECT 'listeners', 'NOTIFY queue', CASE WHEN used > 0.5 THEN 'warning' ELSE 'ok' END,
        round(used * 100) || ' % of the queue is used',
        CASE WHEN used > 0.5 THEN 'A session that listens stays in a transaction for long; listeners are not told meanwhile.' END
    FROM (SELECT pg_notification_queue_usage()::numeric AS used) AS queue;
END;
REVOKE ALL ON FUNCTION pynomaly.health() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.health() IS
    'state of workers, subscriptions, schedules and log: ok, warning or error, with what to do';

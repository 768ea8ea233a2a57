-- kernel.sql
--	The kernel's interface: names, arguments, results, what the planner is told, comments; and that nobody but the owner may
--	touch any of it until he grants it.
BEGIN;
SELECT no_plan();

SELECT has_schema('pynomaly_kernel');
CREATE TEMPORARY TABLE contract (signature text, kind text, arguments text, result text, attributes text);
INSERT INTO contract VALUES
    ('pynomaly_kernel.register_event_type(text,jsonb,smallint)', 'f', 'type text, schema jsonb, priority smallint DEFAULT 0', 'void', 'v u strict'),
    ('pynomaly_kernel.publish(text,text,jsonb,text)', 'f', 'type text, subject text, data jsonb, idempotency_key text DEFAULT NULL::text', 'bigint', 'v u'),
    ('pynomaly_kernel.put_artifact(text,bytea)', 'f', 'kind text, bytes bytea', 'bytea', 'v u strict'),
    ('pynomaly_kernel.get_artifact(bytea)', 'f', 'digest bytea', 'bytea', 's r strict'),
    ('pynomaly_kernel.drop_artifact(bytea)', 'f', 'digest bytea', 'boolean', 'v u strict'),
    ('pynomaly_kernel.add_grant(text,text,text,name)', 'f', 'privilege text, kind text, object text, role name', 'void', 'v u strict'),
    ('pynomaly_kernel.add_subscription(name,text,text,text,interval,integer)', 'f', 'domain name, name text, type text, handler text, timeout interval DEFAULT NULL::interval, max_attempts integer DEFAULT NULL::integer', 'void', 'v u'),
    ('pynomaly_kernel.advance_saga(pynomaly_kernel.event)', 'f', 'event pynomaly_kernel.event', 'void', 'v u strict'),
    ('pynomaly_kernel.call(name,text,jsonb,interval)', 'f', 'domain name, operation text, arguments jsonb DEFAULT ''{}''::jsonb, deadline interval DEFAULT NULL::interval', 'jsonb', 'v u'),
    ('pynomaly_kernel.check_contracts()', 'f', '', 'void', 'v u strict'),
    ('pynomaly_kernel.register_saga(text,jsonb)', 'f', 'name text, steps jsonb', 'void', 'v u strict'),
    ('pynomaly_kernel.register_service(name,text,jsonb)', 'f', 'domain name, version text, contract jsonb', 'void', 'v u strict'),
    ('pynomaly_kernel.unregister_service(name)', 'f', 'domain name', 'void', 'v u strict'),
    ('pynomaly_kernel.forget_dropped_roles()', 'f', '', 'void', 'v u strict'),
    ('pynomaly_kernel.workers()', 'f', '', 'TABLE(domain name, pid integer, state text, started_at timestamp with time zone, next_start timestamp with time zone, failures integer)', 'v u strict'),
    ('pynomaly_kernel.launcher_pid()', 'f', '', 'integer', 'v u strict'),
    ('pynomaly.subscribe(text,text,text,integer,interval)', 'f', 'type text, handler text, name text DEFAULT NULL::text, max_attempts integer DEFAULT NULL::integer, timeout interval DEFAULT NULL::interval', 'text', 'v u'),
    ('pynomaly.unsubscribe(text)', 'f', 'name text', 'void', 'v u strict'),
    ('pynomaly.resume(text)', 'f', 'name text', 'void', 'v u strict'),
    ('pynomaly.replay(text,timestamptz)', 'f', 'subscription text, since timestamp with time zone', 'void', 'v u strict'),
    ('pynomaly.redrive(text,bigint)', 'f', 'subscription text, event_id bigint DEFAULT NULL::bigint', 'bigint', 'v u'),
    ('pynomaly.schedule(text,text,text,text,interval)', 'f', 'name text, timing text, handler text, time_zone text DEFAULT ''UTC''::text, timeout interval DEFAULT NULL::interval', 'timestamp with time zone', 'v u'),
    ('pynomaly.next_due(text,text,timestamptz,timestamptz)', 'f', 'timing text, time_zone text DEFAULT ''UTC''::text, after timestamp with time zone DEFAULT now(), anchor timestamp with time zone DEFAULT now()', 'timestamp with time zone', 's s strict'),
    ('pynomaly.unschedule(text)', 'f', 'name text', 'void', 'v u strict'),
    ('pynomaly.start()', 'f', '', 'void', 'v u strict'),
    ('pynomaly.stop()', 'f', '', 'void', 'v u strict'),
    ('pynomaly.health()', 'f', '', 'TABLE(component text, name text, status text, message text, hint text)', 'v u strict'),
    ('pynomaly.process_events(integer)', 'p', 'IN max_events integer DEFAULT NULL::integer', NULL, 'v u');
SELECT is((SELECT prokind::text FROM pg_proc WHERE oid = signature::regprocedure), kind, signature || ' is a function or a procedure as it should be') FROM contract;
SELECT is(pg_get_function_arguments(signature::regprocedure), arguments, signature || ' has the arguments of its contract') FROM contract;
SELECT is(pg_get_function_result(signature::regprocedure), result, signature || ' gives its contract''s result') FROM contract;
SELECT is((SELECT concat_ws(' ', provolatile, proparallel, CASE WHEN proisstrict THEN 'strict' END) FROM pg_proc WHERE oid = signature::regprocedure), attributes,
          signature || ' is told to the planner as it is') FROM contract;
SELECT is((SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE pronamespace = 'pynomaly_kernel'::regnamespace
           AND oid NOT IN (SELECT signature::regprocedure FROM contract)), NULL, 'the schema has no other functions');

-- What handlers and views show is a contract, too.
CREATE FUNCTION pg_temp.columns(relation regclass) RETURNS text LANGUAGE sql
    AS $$SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped$$;
SELECT is(pg_temp.columns(relation::regclass), columns, relation || ' has the columns of its contract')
FROM (VALUES
    ('pynomaly_kernel.event', 'id bigint, origin uuid, type text, source text, subject text, time timestamp with time zone, data jsonb, correlation_id uuid, causation_id bigint, traceparent text, priority smallint, publisher regrole, xid xid8, idempotency_key text'),
    ('pynomaly.events', 'id bigint, origin uuid, type text, source text, subject text, time timestamp with time zone, data jsonb, correlation_id uuid, causation_id bigint, traceparent text, priority smallint, publisher regrole'),
    ('pynomaly.subscriptions', 'name text, type text, handler text, domain name, owner regrole, status text, reason text, note text, max_attempts integer, timeout interval, handled bigint, updated_at timestamp with time zone, oldest_waiting timestamp with time zone, lag interval, handled_per_minute numeric, failed_per_minute numeric, waiting bigint, parked bigint, dead bigint'),
    ('pynomaly.retries', 'subscription text, state text, attempts integer, due_at timestamp with time zone, failed_at timestamp with time zone, sqlstate text, message text, detail text, context text, event_id bigint, type text, subject text, time timestamp with time zone, data jsonb, correlation_id uuid'),
    ('pynomaly.schedules', 'name text, timing text, time_zone text, handler text, owner regrole, status text, reason text, timeout interval, due_at timestamp with time zone, runs bigint, failures bigint, missed bigint, last_run timestamp with time zone, last_success timestamp with time zone, sqlstate text, message text, detail text, context text'),
    ('pynomaly.throughput', 'minute timestamp with time zone, subscription text, handled bigint, failed bigint, busy_seconds double precision, lag_seconds double precision')) AS r (relation, columns);
-- A member that differs would break the log when it is its turn.
SELECT is(pg_temp.columns(inhrelid::regclass), pg_temp.columns('pynomaly_kernel.event'), inhrelid::regclass || ' has the columns of an event')
FROM pg_inherits WHERE inhparent = 'pynomaly_kernel.event'::regclass ORDER BY inhrelid;
SELECT is((SELECT count(*) FROM pg_inherits WHERE inhparent = 'pynomaly_kernel.event'::regclass), 8::bigint, 'the log has eight members');
SELECT is((SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'pynomaly'::regnamespace AND relkind = 'v'),
          'audit events requests retries schedules subscriptions throughput timeline', 'these are the views');
SELECT is((SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'pynomaly'::regnamespace AND relkind = 'v'
           AND NOT coalesce(reloptions && '{security_barrier=true,security_barrier=on}', false)), NULL, 'all of them are security barriers');
SELECT is((SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'pynomaly'::regnamespace AND relkind = 'v'
           AND pg_get_viewdef(oid) !~ 'WHERE.*pg_has_role\(\(?[a-z."]*(owner|publisher)'), 'audit', 'and show what belongs to the user''s roles, but for the audit trail');

-- Everything says what it is.
SELECT is((SELECT string_agg(signature, ' ') FROM contract WHERE obj_description(signature::regprocedure, 'pg_proc') IS NULL), NULL, 'every function has a comment');
SELECT is((SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE relnamespace::regnamespace::text IN ('pynomaly', 'pynomaly_kernel')
           AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL), NULL, 'every table and view has a comment');
SELECT is((SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE relnamespace = 'pynomaly_kernel'::regnamespace
           AND relkind = 'S' AND obj_description(oid, 'pg_class') IS NULL AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i')),
          NULL, 'and every sequence that is not part of a table');

-- Dumped with the database: what users have set up, what they wait for, and the audit trail; nothing else of the past.
SELECT is((SELECT string_agg(c::regclass::text || coalesce(' ' || nullif(condition, ''), ''), ', ' ORDER BY c::regclass::text)
           FROM pg_extension, unnest(extconfig, extcondition) AS config (c, condition) WHERE extname = 'pynomaly' AND c::regclass::text LIKE 'pynomaly_kernel.%'),
          'pynomaly_kernel.artifact, pynomaly_kernel.audit, pynomaly_kernel.audit_pending, pynomaly_kernel.audit_pending_id_seq, '
          'pynomaly_kernel.event_type WHERE NOT builtin, pynomaly_kernel.operation WHERE domain IN (SELECT s.domain FROM pynomaly_kernel.service s WHERE NOT s.builtin), '
          'pynomaly_kernel.saga, pynomaly_kernel.saga_step, pynomaly_kernel.schedule WHERE NOT builtin, pynomaly_kernel.service WHERE NOT builtin, '
          'pynomaly_kernel.subscription WHERE NOT builtin',
          'these tables are dumped');

-- The matrix of privileges of a role that has been granted nothing.
CREATE ROLE nobody_special;
CREATE TEMPORARY VIEW kernel_relation AS
    SELECT oid, oid::regclass::text AS name, relkind, relacl, relowner FROM pg_class
    WHERE relkind IN ('r', 'v', 'S') AND (relnamespace = 'pynomaly_kernel'::regnamespace OR relnamespace = 'pynomaly'::regnamespace AND relkind = 'v');
SELECT cmp_ok((SELECT count(*) FROM kernel_relation), '>=', 25::bigint, 'there are relations to look at');
SELECT is((SELECT string_agg(privilege, ', ') FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
           WHERE has_table_privilege('nobody_special', oid, privilege)), NULL, 'a role has no privilege on ' || name)
FROM kernel_relation WHERE relkind <> 'S' ORDER BY name;
SELECT is((SELECT string_agg(privilege, ', ') FROM unnest('{USAGE,SELECT,UPDATE}'::text[]) AS privilege
           WHERE has_sequence_privilege('nobody_special', oid, privilege)), NULL, 'a role has no privilege on the sequence ' || name)
FROM kernel_relation WHERE relkind = 'S' ORDER BY name;
SELECT is((SELECT string_agg(r.name || '.' || attname, ', ') FROM kernel_relation r JOIN pg_attribute ON attrelid = r.oid WHERE attacl IS NOT NULL), NULL,
          'nor on a column');
SELECT is(has_function_privilege('nobody_special', signature::regprocedure, 'EXECUTE'), false, 'nor may it call ' || signature) FROM contract;
SELECT is((SELECT string_agg(DISTINCT coalesce(grantee::regrole::text, '-'), ', ') FROM kernel_relation,
           aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) AS acl WHERE acl.grantee <> relowner), NULL,
          'no role but the owner is granted anything on a relation');
SELECT is((SELECT string_agg(DISTINCT coalesce(grantee::regrole::text, '-'), ', ') FROM contract JOIN pg_proc p ON p.oid = signature::regprocedure,
           aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl WHERE acl.grantee <> proowner), NULL,
          'no role but the owner is granted a function');
SELECT is((SELECT string_agg(DISTINCT acl.privilege_type, ' ') FROM pg_namespace, aclexplode(nspacl) AS acl
           WHERE nspname IN ('pynomaly', 'pynomaly_kernel') AND acl.grantee <> nspowner), 'USAGE', 'others may use the schemas, but not create in them');
SELECT is((SELECT string_agg(DISTINCT o.owner::regrole::text, ' ') FROM (SELECT relowner FROM kernel_relation
           UNION SELECT proowner FROM pg_proc JOIN contract ON pg_proc.oid = signature::regprocedure
           UNION SELECT nspowner FROM pg_namespace WHERE nspname IN ('pynomaly', 'pynomaly_kernel')) AS o (owner)),
          (SELECT extowner::regrole::text FROM pg_extension WHERE extname = 'pynomaly'), 'all of it belongs to the extension''s owner');
SELECT is((SELECT count(*) FROM pg_trigger JOIN kernel_relation r ON r.oid = tgrelid WHERE NOT tgisinternal), 0::bigint, 'no table has a trigger, which others'' rows could reach');

-- Settings: who may make them.
LOAD 'pynomaly';
SELECT is((SELECT string_agg(name || ' ' || context, ', ' ORDER BY name) FROM pg_settings
           WHERE name ~ '^pynomaly\.(kernel_|autostart|max_workers|traceparent)'),
          'pynomaly.autostart superuser, pynomaly.kernel_handler_timeout sighup, pynomaly.kernel_idle_exit sighup, pynomaly.kernel_lock_timeout sighup, pynomaly.kernel_max_attempts sighup, '
          'pynomaly.kernel_max_lag sighup, pynomaly.kernel_poll_interval sighup, pynomaly.kernel_retention sighup, pynomaly.kernel_retry_delay sighup, '
          'pynomaly.kernel_trace superuser, pynomaly.max_workers sighup, pynomaly.traceparent user', 'the settings are the administrator''s, but for the trace context');

SELECT * FROM finish();
ROLLBACK;

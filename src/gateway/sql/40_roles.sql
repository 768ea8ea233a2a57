-- Roles, and what they may do of the kernel's calls.  Each domain notes the grants of its own.

SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', object, 'pynomaly_viewer')
FROM pg_catalog.unnest(ARRAY['pynomaly.events', 'pynomaly.requests', 'pynomaly.timeline']) AS object;
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.services()', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.next_due(text, text, timestamptz, timestamptz)', 'pynomaly_viewer');

SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', object, 'pynomaly_data_scientist')
FROM pg_catalog.unnest(ARRAY['pynomaly.subscriptions', 'pynomaly.retries', 'pynomaly.schedules', 'pynomaly.throughput']) AS object;
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', object, 'pynomaly_data_scientist')
FROM pg_catalog.unnest(ARRAY['pynomaly.subscribe(text, text, text, integer, interval)', 'pynomaly.unsubscribe(text)',
    'pynomaly.resume(text)', 'pynomaly.replay(text, timestamptz)', 'pynomaly.redrive(text, bigint)',
    'pynomaly.schedule(text, text, text, text, interval)', 'pynomaly.unschedule(text)']) AS object;

SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly.audit', 'pynomaly_admin');
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', object, 'pynomaly_admin')
FROM pg_catalog.unnest(ARRAY['pynomaly.health()', 'pynomaly.start()', 'pynomaly.stop()', 'pynomaly.verify_audit(bigint, text)']) AS object;
SELECT pynomaly_kernel.add_grant('EXECUTE', 'PROCEDURE', 'pynomaly.process_events(integer)', 'pynomaly_admin');

-- Other systems that publish into the log and take part as services.
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', object, 'pynomaly_service')
FROM pg_catalog.unnest(ARRAY['pynomaly_kernel.publish(text, text, jsonb, text)', 'pynomaly_kernel.put_artifact(text, bytea)',
    'pynomaly_kernel.get_artifact(bytea)', 'pynomaly_kernel.drop_artifact(bytea)', 'pynomaly.services()',
    'pynomaly.subscribe(text, text, text, integer, interval)', 'pynomaly.unsubscribe(text)', 'pynomaly.resume(text)',
    'pynomaly.redrive(text, bigint)']) AS object;
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', object, 'pynomaly_service')
FROM pg_catalog.unnest(ARRAY['pynomaly.events', 'pynomaly.subscriptions', 'pynomaly.retries']) AS object;

CREATE FUNCTION pynomaly.create_roles() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    purposes CONSTANT text[] := ARRAY[
        'pynomaly_viewer', 'pynomaly: may see reports and anomalies of its own roles',
        'pynomaly_analyst', 'pynomaly: may submit, profile and check',
        'pynomaly_data_scientist', 'pynomaly: may train and promote models, subscribe and schedule',
        'pynomaly_admin', 'pynomaly: may run workers, see health and audit, and limit roles',
        'pynomaly_service', 'pynomaly: another system, which may publish events'];
    name text;
    previous text;
    mark text;
    item record;
BEGIN
    FOR i IN 1 .. array_length(purposes, 1) BY 2 LOOP
        name := purposes[i];
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXECUTE format('COMMENT ON ROLE %I IS %L', name, purposes[i + 1]);
        END IF;
        SELECT shobj_description(oid, 'pg_authid') INTO mark FROM pg_roles WHERE rolname = name;
        IF mark IS NULL OR mark NOT LIKE 'pynomaly: %' THEN
            RAISE EXCEPTION 'role "%" exists and is not pynomaly''s', name
                USING ERRCODE = 'duplicate_object',
                    HINT = format('Rename it; or, if it is meant to be pynomaly''s: COMMENT ON ROLE %I IS %L.', name, purposes[i + 1]);
        END IF;
        -- Each may what the one before it may; a service is none of them.
        IF name <> 'pynomaly_service' THEN
            IF previous IS NOT NULL AND NOT pg_has_role(name::regrole, previous::regrole, 'MEMBER') THEN
                EXECUTE format('GRANT %I TO %I', previous, name);
            END IF;
            previous := name;
        END IF;
    END LOOP;
    FOR item IN SELECT g.kind, g.object, g.privilege, g.role FROM pynomaly_kernel.role_grant g LOOP
        EXECUTE format('GRANT %s ON %s %s TO %I', item.privilege, item.kind,
            CASE item.kind WHEN 'SCHEMA' THEN item.object::regnamespace::text WHEN 'TABLE' THEN item.object::regclass::text
                ELSE item.object::regprocedure::text END, item.role);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION pynomaly.create_roles() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.create_roles() IS
    'creates the roles pynomaly_viewer, _analyst, _data_scientist, _admin and _service where they are missing, and grants them what they need in this database; an error (42710) where such a role is somebody else''s; to be called again after ALTER EXTENSION UPDATE';

SELECT pynomaly_kernel.register_service('gateway', '1.0', '{
    "operations": {},
    "publishes": ["gateway.detection_requested.v1", "gateway.report_ready.v1"],
    "consumes": ["kernel.saga_ended.v1"],
    "calls": ["data_science.register_dataset", "data_science.report", "data_science.anomalies", "data_science.set_anomaly_status", "data_science.feedback",
              "data_quality.check", "data_quality.report", "data_quality.add_rule", "data_quality.drop_rule",
              "data_profiling.profile", "data_profiling.compare", "data_profiling.get_profile",
              "mlops.train", "mlops.get_model", "mlops.promote", "mlops.rollback", "mlops.drop_model", "mlops.report"]}');
SELECT pynomaly_kernel.check_contracts();

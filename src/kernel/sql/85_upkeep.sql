-- Rows of roles that are no more.

CREATE FUNCTION pynomaly_kernel.forget_dropped_roles() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ours record;
BEGIN
    PERFORM pynomaly.unsubscribe(s.name) FROM pynomaly_kernel.subscription s WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.owner::oid);
    PERFORM pynomaly.unschedule(s.name) FROM pynomaly_kernel.schedule s WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.owner::oid);
    -- In tables of all modules; those that refer to others were made after them.
    FOR ours IN
        SELECT a.attrelid::regclass AS relation, a.attname AS owner
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
            AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'pynomaly')
            AND c.relkind = 'r' AND a.atttypid = 'regrole'::regtype AND a.attname IN ('owner', 'role') AND NOT a.attisdropped
        ORDER BY c.oid DESC
    LOOP
        EXECUTE format('DELETE FROM %s AS t WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = t.%I::oid)', ours.relation, ours.owner);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION pynomaly_kernel.forget_dropped_roles() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.forget_dropped_roles() IS
    'removes what belongs to roles that were dropped: in a dump their names are numbers, which may be another role''s where it is restored';
SELECT pynomaly.schedule('kernel: forget dropped roles', '7 3 * * *', 'pynomaly_kernel.forget_dropped_roles', timeout => '1 hour');

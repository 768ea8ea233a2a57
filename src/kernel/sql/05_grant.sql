-- What roles may do, as data: pynomaly.create_roles() grants it.

CREATE TABLE pynomaly_kernel.role_grant (
    kind text NOT NULL CHECK (kind IN ('SCHEMA', 'TABLE', 'FUNCTION', 'PROCEDURE')),
    object text NOT NULL,
    privilege text NOT NULL CHECK (privilege IN ('USAGE', 'SELECT', 'EXECUTE')),
    role name NOT NULL CHECK (role IN ('pynomaly_viewer', 'pynomaly_analyst', 'pynomaly_data_scientist', 'pynomaly_admin',
                                       'pynomaly_service')),
    PRIMARY KEY (kind, object, privilege, role)
);
COMMENT ON TABLE pynomaly_kernel.role_grant IS 'privileges of pynomaly''s roles, as create_roles() grants them; each role has those of the roles before it: viewer, analyst, data_scientist, admin';
COMMENT ON COLUMN pynomaly_kernel.role_grant.object IS 'schema-qualified, a function with the types of its arguments';

CREATE FUNCTION pynomaly_kernel.add_grant(privilege text, kind text, object text, role name) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A name that is misspelt is an error here and now.
    PERFORM CASE kind WHEN 'SCHEMA' THEN object::regnamespace::oid WHEN 'TABLE' THEN object::regclass::oid
        ELSE object::regprocedure::oid END;
    INSERT INTO pynomaly_kernel.role_grant (kind, object, privilege, role) VALUES (kind, object, privilege, role);
END $$;
REVOKE ALL ON FUNCTION pynomaly_kernel.add_grant(text, text, text, name) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.add_grant(text, text, text, name) IS
    'notes a privilege for create_roles(): kind is SCHEMA, TABLE (or view), FUNCTION or PROCEDURE';

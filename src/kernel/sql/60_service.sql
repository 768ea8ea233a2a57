-- Services: domains with their contracts, and the one door between them.  See src/kernel/contract.c and service.c.

CREATE TABLE pynomaly_kernel.service (
    domain name PRIMARY KEY,
    version text NOT NULL,
    contract jsonb NOT NULL,
    location text NOT NULL DEFAULT 'local' CHECK (location = 'local'),
    builtin boolean NOT NULL,
    registered_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.service IS 'domains and their contracts';
COMMENT ON COLUMN pynomaly_kernel.service.version IS '<major>.<minor>: a minor one breaks no caller';
COMMENT ON COLUMN pynomaly_kernel.service.contract IS 'operations, event types that it publishes and consumes, operations of others that it calls';
COMMENT ON COLUMN pynomaly_kernel.service.location IS 'where the domain lives: local, in this database';

SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.service', 'WHERE NOT builtin');

CREATE TABLE pynomaly_kernel.operation (
    domain name REFERENCES pynomaly_kernel.service ON DELETE CASCADE,
    name name,
    kind text NOT NULL CHECK (kind IN ('unary', 'stream')),
    changes_state boolean NOT NULL,
    idempotent boolean NOT NULL,
    deadline interval,
    arguments jsonb NOT NULL,
    result jsonb NOT NULL,
    PRIMARY KEY (domain, name)
);
COMMENT ON TABLE pynomaly_kernel.operation IS 'what services offer: each is the function pynomaly_<domain>.<name>(arguments jsonb)';
COMMENT ON COLUMN pynomaly_kernel.operation.kind IS 'unary: jsonb in and out; stream: rows out';
COMMENT ON COLUMN pynomaly_kernel.operation.idempotent IS 'a second call with the same arguments does no more than the first';
COMMENT ON COLUMN pynomaly_kernel.operation.deadline IS 'how long it may take unless the caller says otherwise';

SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.operation',
    'WHERE domain IN (SELECT s.domain FROM pynomaly_kernel.service s WHERE NOT s.builtin)');

CREATE VIEW pynomaly_kernel.contract_problem AS
    WITH named AS (
        SELECT s.domain, call, pg_catalog.split_part(call, '.', 1) AS other, pg_catalog.split_part(call, '.', 2) AS operation
        FROM pynomaly_kernel.service s, pg_catalog.jsonb_array_elements_text(s.contract -> 'calls') AS named (call)),
    consumed AS (
        SELECT s.domain, type, pg_catalog.split_part(type, '.', 1) AS other
        FROM pynomaly_kernel.service s, pg_catalog.jsonb_array_elements_text(s.contract -> 'consumes') AS named (type))
    SELECT n.domain, 'calls ' || n.call || ', which is not offered' AS problem,
        NOT EXISTS (SELECT FROM pynomaly_kernel.service o WHERE o.domain = n.other) AS pending
    FROM named n
    WHERE NOT EXISTS (SELECT FROM pynomaly_kernel.operation o WHERE o.domain = n.other AND o.name = n.operation)
    UNION ALL
    SELECT c.domain, 'consumes ' || c.type || ', which is not published',
        NOT EXISTS (SELECT FROM pynomaly_kernel.service o WHERE o.domain = c.other)
    FROM consumed c
    WHERE c.other <> 'kernel'
        AND NOT EXISTS (SELECT FROM pynomaly_kernel.service o WHERE o.domain = c.other AND o.contract -> 'publishes' ? c.type)
    UNION ALL
    SELECT s.domain, 'publishes ' || type || ', which is no registered type of its own', false
    FROM pynomaly_kernel.service s, pg_catalog.jsonb_array_elements_text(s.contract -> 'publishes') AS named (type)
    WHERE pg_catalog.split_part(type, '.', 1) <> s.domain
        OR NOT EXISTS (SELECT FROM pynomaly_kernel.event_type t WHERE t.type = named.type)
    UNION ALL
    SELECT s.domain, 'subscribes to ' || b.type || ', which its contract does not say', true
    FROM pynomaly_kernel.service s JOIN pynomaly_kernel.subscription b ON b.domain = s.domain AND b.builtin
    WHERE b.handler IS NOT NULL AND NOT s.contract -> 'consumes' ? b.type AND NOT pg_catalog.starts_with(b.handler, 'pynomaly_kernel.');
COMMENT ON VIEW pynomaly_kernel.contract_problem IS 'what does not fit between the registered contracts; pending: another domain may still come and mend it';

CREATE FUNCTION pynomaly_kernel.register_service(domain name, version text, contract jsonb) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_register_service';
REVOKE ALL ON FUNCTION pynomaly_kernel.register_service(name, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.register_service(name, text, jsonb) IS
    'registers a domain''s contract, version <major>.<minor>; a new minor version must break no caller, and no version what other registered contracts use (42710, 55000)';

CREATE FUNCTION pynomaly_kernel.unregister_service(domain name) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_unregister_service';
REVOKE ALL ON FUNCTION pynomaly_kernel.unregister_service(name) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.unregister_service(name) IS
    'forgets a domain''s contract; an error for pynomaly''s own domains (42501) and while other contracts use it (55000)';

CREATE FUNCTION pynomaly_kernel.check_contracts() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    problems text;
BEGIN
    SELECT string_agg(p.domain || ' ' || p.problem, '; ' ORDER BY p.domain, p.problem) INTO problems
    FROM pynomaly_kernel.contract_problem p;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'contracts do not fit: %', problems USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
REVOKE ALL ON FUNCTION pynomaly_kernel.check_contracts() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.check_contracts() IS 'an error (55000) where registered contracts do not fit each other';

CREATE FUNCTION pynomaly_kernel.call(domain name, operation text, arguments jsonb DEFAULT '{}', deadline interval DEFAULT NULL) RETURNS jsonb
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_call_sql';
REVOKE ALL ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) IS
    'calls an operation of a domain for the current user; the rows of a stream come as an array; 57014 past the deadline';

CREATE FUNCTION pynomaly.services()
    RETURNS TABLE (domain name, version text, location text, status text, operations text[], publishes text[], consumes text[], calls text[])
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT s.domain, s.version, s.location,
        coalesce((SELECT string_agg(p.problem, '; ' ORDER BY p.problem) FROM pynomaly_kernel.contract_problem p
                  WHERE p.domain = s.domain), 'ok'),
        ARRAY(SELECT o.name::text FROM pynomaly_kernel.operation o WHERE o.domain = s.domain ORDER BY o.name),
        ARRAY(SELECT jsonb_array_elements_text(s.contract -> 'publishes')),
        ARRAY(SELECT jsonb_array_elements_text(s.contract -> 'consumes')),
        ARRAY(SELECT jsonb_array_elements_text(s.contract -> 'calls'))
    FROM pynomaly_kernel.service s
    ORDER BY s.domain;
END;
REVOKE ALL ON FUNCTION pynomaly.services() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.services() IS 'the domains, where they live, and their contracts: what they offer, publish, consume and call';

-- Spans: what calls and steps took, by trace.  Written by src/kernel/span.c.
CREATE TABLE pynomaly_kernel.span (
    trace_id text COLLATE "C" NOT NULL,
    span_id text COLLATE "C" NOT NULL,
    parent_id text COLLATE "C",
    name text NOT NULL,
    owner regrole NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.span IS 'what calls that change something and steps of sagas took; kept for pynomaly.kernel_retention';
COMMENT ON COLUMN pynomaly_kernel.span.trace_id IS 'of the W3C trace context: 32 hexadecimal digits';
CREATE INDEX span_trace_idx ON pynomaly_kernel.span (trace_id);
CREATE INDEX span_ended_at_idx ON pynomaly_kernel.span (ended_at);

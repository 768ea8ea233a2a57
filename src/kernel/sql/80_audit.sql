-- The audit trail.  Callers append to audit_pending, the gateway's worker seals into audit.  See src/kernel/audit.c.

CREATE TABLE pynomaly_kernel.audit_pending (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    session_actor text NOT NULL,
    action text NOT NULL,
    subject text,
    details jsonb
);
COMMENT ON TABLE pynomaly_kernel.audit_pending IS 'what was done and is not sealed yet';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.audit_pending', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.audit_pending_id_seq', '');

CREATE TABLE pynomaly_kernel.audit (
    sequence bigint PRIMARY KEY,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    session_actor text NOT NULL,
    action text NOT NULL,
    subject text,
    details jsonb,
    hash bytea NOT NULL
);
COMMENT ON TABLE pynomaly_kernel.audit IS 'who did what, as a chain: each row''s hash covers the row and the hash before it';
COMMENT ON COLUMN pynomaly_kernel.audit.sequence IS 'from 1 without gaps, in the order of sealing';
COMMENT ON COLUMN pynomaly_kernel.audit.actor IS 'the role as which it was done; names, not OIDs, so that a dump keeps its hashes';
COMMENT ON COLUMN pynomaly_kernel.audit.session_actor IS 'the role that had logged in';
COMMENT ON COLUMN pynomaly_kernel.audit.hash IS 'SHA-256 of the hash before and of the row, see audit.c';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.audit', '');

CREATE FUNCTION pynomaly.verify_audit(sequence bigint DEFAULT NULL, hash text DEFAULT NULL)
    RETURNS TABLE (intact boolean, sealed bigint, unsealed bigint, first_broken bigint, reason text, head text)
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_verify_audit';
REVOKE ALL ON FUNCTION pynomaly.verify_audit(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.verify_audit(bigint, text) IS
    'computes the chain of audit rows again and names the first row that does not fit; sequence and hash: a head that was noted before, which must still be there, so that a chain that was cut or made anew is found, too';

CREATE VIEW pynomaly.audit WITH (security_barrier) AS
    SELECT sequence, at, actor, session_actor, action, subject, details, pg_catalog.encode(hash, 'hex') AS hash
    FROM pynomaly_kernel.audit
    UNION ALL
    SELECT NULL, at, actor, session_actor, action, subject, details, NULL
    FROM pynomaly_kernel.audit_pending;
COMMENT ON VIEW pynomaly.audit IS 'who did what; rows without sequence are not sealed yet';

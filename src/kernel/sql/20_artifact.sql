-- Sketches, models and other large values, which events name by digest.  See src/kernel/artifact.c.

CREATE TABLE pynomaly_kernel.artifact (
    digest bytea,
    owner regrole,
    kind text COLLATE "C" NOT NULL,
    bytes bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (digest, owner)
);
COMMENT ON TABLE pynomaly_kernel.artifact IS 'large values by SHA-256; each owner has a row of its own, so that nobody learns what others have';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_kernel.artifact', '');
-- Sketches and models are compressed as far as they can be.
ALTER TABLE pynomaly_kernel.artifact ALTER bytes SET STORAGE EXTERNAL;

CREATE FUNCTION pynomaly_kernel.put_artifact(kind text, bytes bytea) RETURNS bytea
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_put_artifact_sql';
REVOKE ALL ON FUNCTION pynomaly_kernel.put_artifact(text, bytea) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.put_artifact(text, bytea) IS
    'stores bytes for the calling role and gives their SHA-256; storing the same again changes nothing, but under another kind is an error (23505)';

CREATE FUNCTION pynomaly_kernel.get_artifact(digest bytea) RETURNS bytea
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_get_artifact_sql';
REVOKE ALL ON FUNCTION pynomaly_kernel.get_artifact(bytea) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.get_artifact(bytea) IS
    'the bytes that the calling role, or a role that it belongs to, has stored under this SHA-256; 02000 if there are none';

CREATE FUNCTION pynomaly_kernel.drop_artifact(digest bytea) RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_drop_artifact_sql';
REVOKE ALL ON FUNCTION pynomaly_kernel.drop_artifact(bytea) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.drop_artifact(bytea) IS 'removes the calling role''s artifact; false if there is none';

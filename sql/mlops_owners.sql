-- Each role has models of its own; what belongs to others does not exist for it, but for those of roles that it has.
-- needs: data_science
\set SHOW_CONTEXT never
CREATE ROLE regress_mlops_a;
CREATE ROLE regress_mlops_b;
CREATE ROLE regress_mlops_team ROLE regress_mlops_a;
CREATE ROLE regress_mlops_chief IN ROLE regress_mlops_a, regress_mlops_b;
CREATE ROLE regress_mlops_stranger;
CREATE ROLE regress_mlops_heir NOINHERIT IN ROLE regress_mlops_a;
CREATE SCHEMA mlops_owners;
SET search_path = mlops_owners;
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command INTO result;
    RETURN coalesce(result, 'no error');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', SQLSTATE || ': ' || message, 'detail: ' || nullif(detail, ''), 'hint: ' || nullif(hint, ''));
END $$;
CREATE FUNCTION mlops(operation text, arguments jsonb) RETURNS text LANGUAGE sql AS
    $$SELECT outcome(format('SELECT pynomaly_kernel.call(''mlops'', %L, %L) - ''seconds'' - ''digest'' - ''algorithm'' - ''model''', operation, arguments))$$;
CREATE TABLE point AS SELECT i AS a, i % 7 AS b FROM generate_series(1, 100) AS i;
CREATE FUNCTION train(name text) RETURNS text LANGUAGE sql AS
    $$SELECT mlops_owners.mlops('train', jsonb_build_object('name', name, 'sketch', encode(pynomaly_kernel.put_artifact('sketch',
        pynomaly.sketch_send(pynomaly.sketch_of('mlops_owners.point'))), 'hex')))$$;
CREATE TABLE secret AS SELECT * FROM point;
-- As the gateway will do for these roles.
GRANT USAGE ON SCHEMA mlops_owners, pynomaly_mlops TO PUBLIC;
GRANT SELECT ON point, pynomaly_mlops.version, pynomaly_mlops.model, pynomaly_mlops.model_version, pynomaly_mlops.alias, pynomaly_mlops.alias_history,
    pynomaly_mlops.request_model TO PUBLIC;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea), pynomaly_kernel.get_artifact(bytea) TO PUBLIC;
\pset tuples_only on
\pset format unaligned

SET ROLE regress_mlops_a;
SELECT train('points');
SELECT train('points');
SELECT train('of a');
SET ROLE regress_mlops_b;
SELECT train('points');
SELECT mlops('promote', '{"model": "points/1", "alias": "of b"}');
SELECT mlops('get_model', '{"name": "points"}');
SELECT mlops('get_model', '{"name": "points/2"}');
-- A model of somebody else does not exist, whatever is asked of it.
SELECT operation || E'\n  ' || mlops(operation, arguments::jsonb) FROM (VALUES ('get_model', '{"name": "of a"}'), ('get_model', '{"name": "of a/1"}'),
    ('promote', '{"model": "of a/1"}'), ('rollback', '{"model": "of a"}'), ('drop_model', '{"model": "of a"}')) AS t (operation, arguments);
-- Equal models of two owners are two artifacts.
SELECT pynomaly_kernel.get_artifact(digest) IS NOT NULL AS own FROM pynomaly_mlops.model_version;
SELECT address, owner FROM pynomaly_mlops.version ORDER BY address, owner::text;
SELECT (SELECT count(*) FROM pynomaly_mlops.model), (SELECT count(*) FROM pynomaly_mlops.model_version), (SELECT count(*) FROM pynomaly_mlops.alias),
    (SELECT count(*) FROM pynomaly_mlops.alias_history);

SET ROLE regress_mlops_stranger;
SELECT (SELECT count(*) FROM pynomaly_mlops.model), (SELECT count(*) FROM pynomaly_mlops.model_version), (SELECT count(*) FROM pynomaly_mlops.alias),
    (SELECT count(*) FROM pynomaly_mlops.alias_history), (SELECT count(*) FROM pynomaly_mlops.version);
SELECT mlops('get_model', '{"name": "points"}');
RESET ROLE;
SELECT encode(sketch_digest, 'hex') AS sketch FROM pynomaly_mlops.model_version WHERE owner = 'regress_mlops_a'::regrole LIMIT 1 \gset
SET ROLE regress_mlops_stranger;
SELECT mlops('train', jsonb_build_object('name', 'stolen', 'sketch', :'sketch'));
SELECT outcome('INSERT INTO pynomaly_mlops.model (owner, name, last_version, created_at, changed_at) VALUES (current_user::regrole, ''x'', 1, now(), now())');
SELECT outcome('SELECT pynomaly_mlops.get_model(''{"name": "points"}'')');
-- The relation is read as the caller.
SELECT mlops('train', '{"name": "stolen", "source": "mlops_owners.secret"}');
SELECT mlops('train', '{"name": "stolen", "source": "mlops_owners.point", "columns": ["a"]}');
SELECT mlops('drop_model', '{"model": "stolen"}');
-- A member that would have to SET ROLE first has nothing yet.
SET ROLE regress_mlops_heir;
SELECT mlops('get_model', '{"name": "of a"}');
SELECT count(*) FROM pynomaly_mlops.version;

-- A role's models are its members', too; what one trains is one's own.
SET ROLE regress_mlops_team;
SELECT train('shared');
SELECT train('shared');
SET ROLE regress_mlops_a;
SELECT mlops('get_model', '{"name": "shared"}');
SELECT mlops('promote', '{"model": "shared/2", "reason": "by a member"}');
SELECT pynomaly_kernel.get_artifact(decode(digest, 'hex')) IS NOT NULL AS readable FROM pynomaly_mlops.version WHERE address = 'shared/2';
SELECT h.owner, h.changed_by, h.reason FROM pynomaly_mlops.alias_history h JOIN pynomaly_mlops.alias a ON a.id = h.alias
WHERE a.owner = 'regress_mlops_team'::regrole AND upper_inf(h.valid);
SELECT train('shared');
SELECT mlops('get_model', '{"name": "shared"}');
SELECT mlops('get_model', '{"name": "shared/2"}');
SELECT address, owner, aliases FROM pynomaly_mlops.version WHERE name = 'shared' ORDER BY owner::text, version;

-- Which of two is meant must be told, unless one has one of the name oneself.
SET ROLE regress_mlops_chief;
SELECT mlops('get_model', '{"name": "of a"}');
SELECT mlops('get_model', '{"name": "points"}');
SELECT mlops('promote', '{"model": "points/1", "alias": "best"}');
SELECT mlops('drop_model', '{"model": "points"}');
SELECT train('points');
SELECT mlops('get_model', '{"name": "points"}');
SELECT mlops('drop_model', '{"model": "points"}');
SELECT mlops('drop_model', '{"model": "of a"}');
SET ROLE regress_mlops_b;
SELECT mlops('get_model', '{"name": "points"}');

-- What was promoted is told to those who may see the model.
RESET ROLE;
SELECT data, publisher FROM pynomaly_kernel.event WHERE type = 'mlops.model_promoted.v1' AND publisher IN ('regress_mlops_b'::regrole, 'regress_mlops_team'::regrole) ORDER BY id;

SET ROLE regress_mlops_a;
SELECT mlops('drop_model', jsonb_build_object('model', name)) FROM unnest(ARRAY['points', 'shared', 'shared']) AS name;
SET ROLE regress_mlops_b;
SELECT mlops('drop_model', '{"model": "points"}');
RESET ROLE;
SELECT count(*) FROM pynomaly_mlops.model WHERE owner::text LIKE 'regress_mlops%';
SELECT kind, count(*) FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_mlops%' GROUP BY kind;
DELETE FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_mlops%';
REVOKE USAGE ON SCHEMA pynomaly_mlops FROM PUBLIC;
REVOKE SELECT ON pynomaly_mlops.version, pynomaly_mlops.model, pynomaly_mlops.model_version, pynomaly_mlops.alias, pynomaly_mlops.alias_history,
    pynomaly_mlops.request_model FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea), pynomaly_kernel.get_artifact(bytea) FROM PUBLIC;
\set VERBOSITY terse
DROP SCHEMA mlops_owners CASCADE;
DROP ROLE regress_mlops_a, regress_mlops_b, regress_mlops_team, regress_mlops_chief, regress_mlops_stranger, regress_mlops_heir;

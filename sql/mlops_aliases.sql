-- Aliases stand for one version at a time, remember all others, and are rolled back one promotion after the other.
\set SHOW_CONTEXT never
CREATE ROLE regress_mlops SUPERUSER;
SET ROLE regress_mlops;
CREATE SCHEMA mlops_aliases;
SET search_path = mlops_aliases;
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
    $$SELECT outcome(format('SELECT pynomaly_kernel.call(''mlops'', %L, %L) - ''seconds'' - ''digest'' - ''owner'' - ''algorithm''', operation, arguments))$$;
CREATE TABLE point AS SELECT i AS a, i % 7 AS b FROM generate_series(1, 100) AS i;
SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of('point'))), 'hex') AS sketch \gset
\pset tuples_only on
\pset format unaligned
SELECT mlops('train', jsonb_build_object('name', 'points', 'sketch', :'sketch', 'options', jsonb_build_object('seed', i))) FROM generate_series(1, 4) AS i;
-- What an alias has stood for, oldest first, and to which row a rollback leads.
CREATE VIEW history AS
    SELECT a.name, row_number() OVER w AS row, v.version,
        (SELECT count(*) FROM pynomaly_mlops.alias_history b WHERE b.alias = h.alias AND b.id <= h.before) AS before, upper_inf(valid) AS now,
        lower(valid) = lag(upper(valid)) OVER w AS meets_the_one_before, reason
    FROM pynomaly_mlops.alias_history h JOIN pynomaly_mlops.alias a ON a.id = h.alias JOIN pynomaly_mlops.model_version v ON v.id = h.version
    WHERE h.owner = current_user::regrole
    WINDOW w AS (PARTITION BY a.id ORDER BY h.id);

-- The first version is champion, which is nothing to roll back.
SELECT mlops('rollback', '{"model": "points"}');
-- Three promotions, three rollbacks.
SELECT mlops('promote', '{"model": "points/2", "reason": "better"}');
SELECT mlops('promote', '{"model": "points/3"}');
SELECT mlops('promote', '{"model": "points/4"}');
SELECT mlops('get_model', '{"name": "points"}');
SELECT mlops('rollback', '{"model": "points", "reason": "too many alarms"}');
SELECT mlops('rollback', '{"model": "points"}');
SELECT mlops('rollback', '{"model": "points"}');
SELECT mlops('rollback', '{"model": "points"}');
SELECT mlops('get_model', '{"name": "points"}');
-- A promotion after a rollback begins from where that one stands.
SELECT mlops('promote', '{"model": "points/4"}');
SELECT mlops('promote', '{"model": "points/1"}');
SELECT mlops('rollback', '{"model": "points"}');
SELECT mlops('rollback', '{"model": "points"}');
-- To promote what is there already changes nothing.
SELECT mlops('promote', '{"model": "points"}');
SELECT mlops('promote', '{"model": "points/1"}');
SELECT * FROM history ORDER BY name, row;
SELECT data FROM pynomaly_kernel.event WHERE type = 'mlops.model_promoted.v1' AND publisher = current_user::regrole ORDER BY id;

-- Other aliases.
SELECT mlops('promote', '{"model": "points/2", "alias": "challenger"}');
SELECT mlops('promote', '{"model": "points@challenger", "alias": "Größe 2"}');
SELECT mlops('get_model', '{"name": "points@Größe 2"}');
SELECT mlops('promote', '{"model": "points@challenger"}');
SELECT version, aliases FROM pynomaly_mlops.version WHERE owner = current_user::regrole ORDER BY version;
SELECT alias || E'\n  ' || mlops('promote', jsonb_build_object('model', 'points/1', 'alias', alias))
FROM unnest(ARRAY['', 'a@b', 'a/b', '"a"', repeat('a', 64), '1', ' ']) AS alias;
SELECT mlops('rollback', '{"model": "points", "alias": "nobody"}');
SELECT mlops('rollback', '{"model": "points@champion"}');
SELECT mlops('promote', '{"model": "points/9"}');
SELECT mlops('promote', '{"model": "nobody/9"}');

-- Any number of changes in one transaction, and what is rolled back never was.
BEGIN;
SELECT mlops('promote', jsonb_build_object('model', 'points/' || 1 + i % 4, 'alias', 'busy')) FROM generate_series(1, 6) AS i;
SELECT mlops('rollback', '{"model": "points", "alias": "busy"}');
SAVEPOINT one;
SELECT mlops('promote', '{"model": "points/4", "alias": "busy"}');
ROLLBACK TO one;
COMMIT;
SELECT * FROM history WHERE name = 'busy' ORDER BY row;
-- Also where the clock has been put back: the last change seems to be one of tomorrow.
UPDATE pynomaly_mlops.alias_history SET valid = tstzrange(clock_timestamp() + interval '1 day', NULL)
WHERE upper_inf(valid) AND alias = (SELECT id FROM pynomaly_mlops.alias WHERE name = 'busy' AND owner = current_user::regrole);
SELECT mlops('promote', '{"model": "points/4", "alias": "busy"}');
SELECT mlops('promote', '{"model": "points/3", "alias": "busy"}');
SELECT row, version, now, meets_the_one_before FROM history WHERE name = 'busy' AND row > 6 ORDER BY row;
SELECT bool_and(upper_inf(valid) OR lower(valid) < upper(valid)) AS none_empty FROM pynomaly_mlops.alias_history;

-- An alias cannot stand for two versions at one time, whoever writes it.
SELECT outcome(format($$INSERT INTO pynomaly_mlops.alias_history (alias, owner, version, valid, changed_by)
    SELECT alias, owner, version, %s, owner FROM pynomaly_mlops.alias_history WHERE upper_inf(valid) LIMIT 1$$, valid))
    ~ '^23P01: conflicting key value violates exclusion constraint "alias_history_one_at_a_time"' AS refused
FROM unnest(ARRAY['valid', 'tstzrange(NULL, NULL)', $$tstzrange(lower(valid), lower(valid) + interval '1 microsecond')$$]) AS valid;
SELECT outcome($$INSERT INTO pynomaly_mlops.alias_history (alias, owner, version, valid, changed_by)
    SELECT alias, owner, version, tstzrange('infinity', NULL), owner FROM pynomaly_mlops.alias_history WHERE upper_inf(valid) LIMIT 1$$)
    ~ '^23505: .*alias_history_now_idx|^23P01: ' AS refused;
SELECT outcome($$INSERT INTO pynomaly_mlops.alias_history (alias, owner, version, valid, changed_by)
    SELECT alias, owner, version, 'empty', owner FROM pynomaly_mlops.alias_history WHERE upper_inf(valid) LIMIT 1$$) ~ '^23514: ' AS refused;

SELECT mlops('drop_model', '{"model": "points"}');
SELECT count(*) FROM history;
SELECT count(pynomaly_kernel.drop_artifact(digest)) FROM pynomaly_kernel.artifact WHERE owner = current_user::regrole;
\set VERBOSITY terse
DROP SCHEMA mlops_aliases CASCADE;
RESET ROLE;
DROP ROLE regress_mlops;

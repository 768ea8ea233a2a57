-- Models are trained from stored sketches, have numbered versions with their lineage, and are found by address.
-- needs: data_science
\set SHOW_CONTEXT never
CREATE ROLE regress_mlops SUPERUSER;
SET ROLE regress_mlops;
CREATE SCHEMA mlops_registry;
SET search_path = mlops_registry;
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
CREATE FUNCTION mlops(operation text, arguments jsonb) RETURNS jsonb LANGUAGE sql AS
    $$SELECT pynomaly_kernel.call('mlops', operation, arguments) - 'seconds' - 'digest' - 'owner'$$;
CREATE FUNCTION try(operation text, arguments jsonb) RETURNS text LANGUAGE sql AS
    $$SELECT outcome(format('SELECT mlops_registry.mlops(%L, %L)', operation, arguments))$$;
CREATE FUNCTION stored_sketch(source regclass, columns name[] DEFAULT NULL) RETURNS text LANGUAGE sql AS
    $$SELECT encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of(source, columns, options => '{}'))), 'hex')$$;
CREATE TABLE payment (id integer PRIMARY KEY, amount numeric, hour integer, shop text, currency text);
INSERT INTO payment SELECT i, (i * 7919 % 1000) / 10.0, i % 24, 'shop ' || i % 5, 'EUR' FROM generate_series(1, 2000) AS i;
SELECT stored_sketch('payment') AS sketch \gset
\pset tuples_only on
\pset format unaligned

-- The same sketch gives the same bytes as pynomaly.fit, whatever else is asked for.
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch', 'source', 'mlops_registry.payment', 'dataset', 7,
    'description', 'payments by card'));
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch'));
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch', 'algorithm', 'ecod', 'contamination', 0.05));
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch', 'algorithm', 'isolation_forest', 'options',
    '{"seed": 7, "trees": 10, "contamination": 0.2, "sample_text": true, "label_column": "hour"}'::jsonb, 'contamination', 0.1));
SELECT version, v.digest = d.digest AS same_digest, pynomaly_kernel.get_artifact(decode(v.digest, 'hex')) = pynomaly.model_send(f.model) AS same_bytes
FROM pynomaly_mlops.version v JOIN (VALUES
    (1, pynomaly.fit(pynomaly.sketch_of('payment'))), (2, pynomaly.fit(pynomaly.sketch_of('payment'))),
    (3, pynomaly.fit(pynomaly.sketch_of('payment'), 'ecod', '{"contamination": 0.05}')),
    (4, pynomaly.fit(pynomaly.sketch_of('payment'), 'isolation_forest', '{"seed": 7, "trees": 10, "contamination": 0.1, "label_column": "hour"}'))) AS f (version, model)
    USING (version), LATERAL (SELECT encode(sha256(pynomaly.model_send(f.model)), 'hex') AS digest) AS d
WHERE name = 'payments' ORDER BY version;
-- Equal models are stored once.
SELECT count(*), count(DISTINCT digest) FROM pynomaly_mlops.version WHERE name = 'payments';
SELECT count(*) FROM pynomaly_kernel.artifact WHERE kind = 'model' AND owner = current_user::regrole;

-- Each version has its lineage; constant columns and keys play no part.
\pset expanded on
SELECT name, version, aliases, algorithm, status, source, columns, rows, training_rows, contamination, seed, options, dataset,
    sketch_digest = :'sketch' AS sketch, code_version = (SELECT extversion FROM pg_extension WHERE extname = 'pynomaly') AS code,
    request, owner = current_user::regrole AS own, created_by = owner AS by_owner, seconds >= 0 AS took, address, description
FROM pynomaly_mlops.version WHERE name = 'payments' AND version IN (1, 4) ORDER BY version;
\pset expanded off

-- Addresses: the first version is champion, later ones only by promotion.
SELECT mlops('get_model', '{"name": "payments"}');
SELECT mlops('get_model', '{"name": "payments@champion"}');
SELECT mlops('get_model', '{"name": "payments/3"}');
SELECT mlops('get_model', '{"name": "payments/003"}');
SELECT pynomaly_kernel.call('mlops', 'get_model', '{"name": "payments/1"}') ->> 'digest' =
    (SELECT digest FROM pynomaly_mlops.version WHERE address = 'payments/1') AS same_digest;
SELECT address || E'\n  ' || try('get_model', jsonb_build_object('name', address))
FROM unnest(ARRAY['', 'nobody', 'nobody/1', 'nobody@champion', 'payments@none', 'payments/5', 'payments/0', 'payments/999999999999999999',
    'payments/9999999999999999999', 'payments/', 'payments/-1', 'payments/1a', 'payments/1/2', 'payments@', 'payments@a@b', 'payments@a/1', '@champion', '/1',
    'PAYMENTS', 'payments ', '"payments"', 'pay"ments', repeat('n', 258)]) WITH ORDINALITY AS t (address, place) ORDER BY place;

-- Hostile names are names like others; one has "@" and "/" only between double quotes.
SELECT name || E'\n  ' || try('train', jsonb_build_object('name', name, 'sketch', :'sketch'))
    || E'\n  ' || try('get_model', jsonb_build_object('name', name || '/1'))
FROM unnest(ARRAY['Größe', 'two words', ' ', 'a''b', 'a.b', '%s%n', $$'; DROP TABLE model; --$$, '$1', E'line\nline', '\', '🙂',
    'public."a@b/c"', '"x""@""y"', repeat('"a@', 1) || '"', 'a@b', 'a/b', 'a"b', '', repeat('ü', 129)]) WITH ORDINALITY AS t (name, place) ORDER BY place;
-- The longest name of a relation is one.
SELECT length(name), mlops('train', jsonb_build_object('name', name, 'sketch', :'sketch')) ->> 'version'
FROM (SELECT format('%I.%I', repeat('"', 63), repeat('"', 63))) AS t (name);

-- Bad input leaves nothing behind.
SELECT count(*) FROM pynomaly_mlops.model WHERE owner = current_user::regrole \gset
SELECT try('train', '{"name": "bad"}');
SELECT try('train', '{"sketch": "00"}');
SELECT try('train', '{"name": "bad", "sketch": "00"}');
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', repeat('0', 64)));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'algorithm', 'magic'));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'contamination', 0.6));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'options', '{"contamination": 0}'::jsonb));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'options', '{"threes": 10}'::jsonb));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'options', '{"explain": "all"}'::jsonb));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'options', '[]'::jsonb));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', :'sketch', 'shoe', 1));
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', (SELECT digest FROM pynomaly_mlops.version WHERE address = 'payments/1')));
CREATE TABLE empty (a integer);
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', stored_sketch('empty'), 'source', 'mlops_registry.empty'));
CREATE TABLE constant AS SELECT 1 AS a FROM generate_series(1, 10);
SELECT try('train', jsonb_build_object('name', 'bad', 'sketch', stored_sketch('constant')));
SELECT count(*) - :count AS new FROM pynomaly_mlops.model WHERE owner = current_user::regrole;

-- To look a model up changes nothing; everything else needs a transaction that may write.
BEGIN READ ONLY;
SELECT mlops('get_model', '{"name": "payments"}');
SELECT try('promote', '{"model": "payments/2"}');
SELECT try('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch'));
COMMIT;

-- Numbers have no gaps: what is rolled back was never given out.
BEGIN;
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch')) ->> 'version';
ROLLBACK;
SELECT mlops('train', jsonb_build_object('name', 'payments', 'sketch', :'sketch')) ->> 'version';

-- A dropped model takes its bytes along, but for those that another model has, too.
SELECT mlops('train', jsonb_build_object('name', 'copy', 'sketch', :'sketch', 'algorithm', 'ecod')) ->> 'version';
SELECT mlops('train', jsonb_build_object('name', 'copy', 'sketch', :'sketch', 'algorithm', 'ecod', 'options', '{"seed": 8}'::jsonb)) ->> 'version';
SELECT try('drop_model', '{"model": "copy/1"}');
SELECT try('drop_model', '{"model": "nobody"}');
SELECT mlops('train', jsonb_build_object('name', 'copy of copy', 'sketch', :'sketch', 'algorithm', 'ecod')) ->> 'version';
SELECT mlops('drop_model', '{"model": "copy"}');
SELECT try('get_model', '{"name": "copy"}');
SELECT mlops('get_model', '{"name": "copy of copy"}');
SELECT octet_length(pynomaly_kernel.get_artifact(decode(digest, 'hex'))) > 0 AS is_there FROM pynomaly_mlops.version WHERE name = 'copy of copy';
SELECT mlops('drop_model', '{"model": "copy of copy"}');
-- A model of the name begins anew.
SELECT mlops('train', jsonb_build_object('name', 'copy', 'sketch', :'sketch')) ->> 'version';

-- Each training was told.
SELECT data - 'seconds' - 'digest' FROM pynomaly_kernel.event WHERE type = 'mlops.model_ready.v1' AND subject = 'payments' AND publisher = current_user::regrole ORDER BY id;
-- Without a sketch the relation is read first.
CREATE TABLE "@ odd/table" AS SELECT * FROM payment;
ALTER TABLE "@ odd/table" ADD PRIMARY KEY (id);
SELECT mlops('train', jsonb_build_object('name', 'direct', 'relation', '"@ odd/table"'::regclass::oid::bigint));
SELECT mlops('train', jsonb_build_object('name', 'direct', 'source', 'mlops_registry."@ odd/table"', 'contamination', 0.1, 'algorithm', 'isolation_forest',
    'options', '{"seed": 7, "trees": 10, "label_column": "hour", "sample_text": false}'::jsonb));
SELECT mlops('train', jsonb_build_object('name', 'direct', 'source', 'mlops_registry."@ odd/table"', 'columns', '["amount", "shop"]'::jsonb, 'key', '["id"]'::jsonb));
SELECT version, source, dataset IS NOT NULL AS dataset, columns, rows, seed, contamination, options FROM pynomaly_mlops.version
WHERE name = 'direct' AND owner = current_user::regrole ORDER BY version;
SELECT digest = encode(sha256(pynomaly.model_send(pynomaly.fit(pynomaly.sketch_of('"@ odd/table"')))), 'hex') AS as_fit FROM pynomaly_mlops.version
WHERE address = 'direct/1' AND owner = current_user::regrole;
SELECT try('train', '{"name": "direct", "source": "mlops_registry.none"}');
SELECT try('train', '{"name": "direct", "source": "mlops_registry.payment", "columns": ["none"]}');
SELECT try('train', '{"name": "direct", "source": "mlops_registry.payment", "options": {"label_column": "none"}}');
SELECT try('train', '{"name": "direct", "source": "mlops_registry.payment", "options": {"sample_text": 1}}');
SELECT try('train', '{"name": "direct", "source": "mlops_registry.payment", "algorithm": "magic"}');

-- With the models all bytes go.
SELECT count(mlops('drop_model', jsonb_build_object('model', name))) FROM (SELECT name FROM pynomaly_mlops.model WHERE owner = current_user::regrole) AS own;
SELECT count(*) FROM pynomaly_kernel.artifact WHERE kind = 'model' AND owner = current_user::regrole;
SELECT count(pynomaly_kernel.drop_artifact(digest)) FROM pynomaly_kernel.artifact WHERE owner = current_user::regrole;
\set VERBOSITY terse
DROP SCHEMA mlops_registry CASCADE;
RESET ROLE;
DROP ROLE regress_mlops;

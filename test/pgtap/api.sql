-- api.sql
--	The shape of the public interface: names, arguments with their defaults, results, and what the planner is told.
BEGIN;
SELECT plan(47);

SELECT has_extension('pynomaly');
SELECT has_schema('pynomaly');
SELECT has_type('pynomaly', 'sketch', 'the type sketch');
SELECT has_type('pynomaly', 'model', 'the type model');
SELECT has_cast('pynomaly.sketch', 'jsonb', 'pynomaly', 'sketch_to_jsonb', 'a sketch can be cast to jsonb');
SELECT has_cast('pynomaly.model', 'jsonb', 'pynomaly', 'model_to_jsonb', 'a model can be cast to jsonb');

-- Arguments as CREATE FUNCTION would have them.
CREATE FUNCTION pg_temp.arguments(name text) RETURNS text LANGUAGE sql
    AS $$SELECT string_agg(pg_get_function_arguments(oid), ' | ' ORDER BY pg_get_function_arguments(oid))
         FROM pg_proc WHERE pronamespace = 'pynomaly'::regnamespace AND proname = name$$;
SELECT is(pg_temp.arguments(name), arguments, name || ' has the arguments of its contract')
FROM (VALUES
    ('detect', 'source regclass, columns name[] DEFAULT NULL::name[], algorithm text DEFAULT ''auto''::text, contamination double precision DEFAULT NULL::double precision, key name[] DEFAULT NULL::name[], model text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb'),
    ('anomalies', 'source regclass, columns name[] DEFAULT NULL::name[], algorithm text DEFAULT ''auto''::text, contamination double precision DEFAULT NULL::double precision, key name[] DEFAULT NULL::name[], model text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb, "limit" integer DEFAULT NULL::integer'),
    ('detect_query', 'query text, columns name[] DEFAULT NULL::name[], algorithm text DEFAULT ''auto''::text, contamination double precision DEFAULT NULL::double precision, key name[] DEFAULT NULL::name[], model text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb'),
    ('fit', 'sketch pynomaly.sketch, algorithm text DEFAULT ''auto''::text, options jsonb DEFAULT ''{}''::jsonb'),
    ('score', 'model pynomaly.model, VARIADIC "any" | model text, VARIADIC "any"'),
    ('is_anomaly', 'model pynomaly.model, VARIADIC "any" | model text, VARIADIC "any"'),
    ('explain', 'model pynomaly.model, VARIADIC "any" | model text, VARIADIC "any"'),
    ('algorithms', ''),
    ('sketch_of', 'source regclass, columns name[] DEFAULT NULL::name[], key name[] DEFAULT NULL::name[], options jsonb DEFAULT ''{}''::jsonb'),
    ('sketch_agg', 'columns name[], key bigint, VARIADIC "any"'),
    ('merge', 'pynomaly.sketch'),
    ('row_key', 'VARIADIC "any"')) AS f (name, arguments);

-- Results.
SELECT is(pg_get_function_result(('pynomaly.' || signature)::regprocedure), result, signature || ' gives its contract''s result')
FROM (VALUES
    ('detect(regclass,name[],text,float8,name[],text,jsonb)', 'TABLE(key jsonb, score double precision, p_value double precision, is_anomaly boolean, severity text, reasons jsonb, state text)'),
    ('detect_query(text,name[],text,float8,name[],text,jsonb)', 'TABLE(key jsonb, score double precision, p_value double precision, is_anomaly boolean, severity text, reasons jsonb, state text)'),
    ('anomalies(regclass,name[],text,float8,name[],text,jsonb,int)', 'TABLE(key jsonb, score double precision, p_value double precision, is_anomaly boolean, severity text, reasons jsonb, state text, "row" jsonb)'),
    ('fit(pynomaly.sketch,text,jsonb)', 'pynomaly.model'),
    ('score(pynomaly.model,"any")', 'double precision'),
    ('is_anomaly(pynomaly.model,"any")', 'boolean'),
    ('explain(pynomaly.model,"any")', 'jsonb'),
    ('sketch_of(regclass,name[],name[],jsonb)', 'pynomaly.sketch'),
    ('sketch_agg(name[],bigint,"any")', 'pynomaly.sketch'),
    ('merge(pynomaly.sketch)', 'pynomaly.sketch'),
    ('row_key("any")', 'bigint'),
    ('algorithms()', 'TABLE(algorithm text, description text, options jsonb, source text)')) AS f (signature, result);

-- By value: immutable; by name: stable, since the name may get another model.  Whoever reads relations: stable, and in the leader.
SELECT is((SELECT concat(provolatile, ' ', proparallel) FROM pg_proc WHERE oid = ('pynomaly.' || signature)::regprocedure), attributes,
          signature || ' is told to the planner as it is')
FROM (VALUES
    ('score(pynomaly.model,"any")', 'i s'), ('score(text,"any")', 's s'), ('is_anomaly(pynomaly.model,"any")', 'i s'),
    ('is_anomaly(text,"any")', 's s'), ('explain(pynomaly.model,"any")', 'i s'), ('explain(text,"any")', 's s'),
    ('fit(pynomaly.sketch,text,jsonb)', 'i s'), ('row_key("any")', 'i s'), ('sketch_of(regclass,name[],name[],jsonb)', 's r'),
    ('detect(regclass,name[],text,float8,name[],text,jsonb)', 's r'), ('detect_query(text,name[],text,float8,name[],text,jsonb)', 's r'),
    ('anomalies(regclass,name[],text,float8,name[],text,jsonb,int)', 's r')) AS f (signature, attributes);
SELECT is((SELECT count(*) FROM pg_aggregate WHERE aggfnoid IN ('pynomaly.sketch_agg'::regproc, 'pynomaly.merge'::regproc)
           AND aggtranstype = 'pynomaly.sketch'::regtype AND aggcombinefn <> 0), 2::bigint, 'aggregates have a concrete state and a combine function');

-- Rights.
SELECT is((SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'pynomaly%' AND prosecdef),
          'pynomaly.health()', 'only health() runs with another''s rights');
SELECT is((SELECT string_agg(DISTINCT relkind, '') FROM pg_class WHERE relnamespace = 'pynomaly'::regnamespace), 'v',
          'the public schema has views, but no tables');
SELECT is((SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'pynomaly%'), 'pynomaly pynomaly_kernel',
          'there are no other schemas yet');
LOAD 'pynomaly';
SELECT is((SELECT setting FROM pg_settings WHERE name = 'pynomaly.work_mem'), '262144', 'pynomaly.work_mem is 256 MB unless set');

SELECT * FROM finish();
ROLLBACK;

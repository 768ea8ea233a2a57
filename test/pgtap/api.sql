-- api.sql
--	The shape of the public interface: names, arguments with their defaults, results, and what the planner is told.
BEGIN;
SELECT plan(101);

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
    ('counterfactual', 'model pynomaly.model, VARIADIC "any" | model text, VARIADIC "any"'),
    ('evaluate', 'model pynomaly.model, source regclass, label_column name, options jsonb DEFAULT ''{}''::jsonb | model text, source regclass, label_column name, options jsonb DEFAULT ''{}''::jsonb'),
    ('compare', 'source regclass, label_column name, VARIADIC models pynomaly.model[] | source regclass, label_column name, VARIADIC models text[]'),
    ('algorithms', ''),
    ('sketch_of', 'source regclass, columns name[] DEFAULT NULL::name[], key name[] DEFAULT NULL::name[], options jsonb DEFAULT ''{}''::jsonb'),
    ('sketch_agg', 'columns name[], key bigint, VARIADIC "any"'),
    ('merge', 'pynomaly.sketch'),
    ('row_key', 'VARIADIC "any"'),
    ('add_rule', 'source regclass, kind text, "column" name DEFAULT NULL::name, low double precision DEFAULT NULL::double precision, high double precision DEFAULT NULL::double precision, severity text DEFAULT ''error''::text'),
    ('cancel', 'request uuid'),
    ('check', 'source regclass, columns name[] DEFAULT NULL::name[], key name[] DEFAULT NULL::name[], options jsonb DEFAULT ''{}''::jsonb'),
    ('compare_profiles', 'profile bigint, previous bigint DEFAULT NULL::bigint'),
    ('create_roles', ''),
    ('drop_model', 'model text'),
    ('drop_rule', 'rule bigint'),
    ('limit_role', 'role regrole, max_active integer DEFAULT NULL::integer, max_per_hour integer DEFAULT NULL::integer'),
    ('profile', 'source regclass, columns name[] DEFAULT NULL::name[], key name[] DEFAULT NULL::name[], options jsonb DEFAULT ''{}''::jsonb'),
    ('promote', 'model text, alias text DEFAULT ''champion''::text, reason text DEFAULT NULL::text'),
    ('report', 'request uuid'),
    ('request_anomalies', 'request uuid, "limit" bigint DEFAULT NULL::bigint'),
    ('rollback', 'model text, alias text DEFAULT ''champion''::text, reason text DEFAULT NULL::text'),
    ('services', ''),
    ('set_anomaly_status', 'anomaly bigint, status text, note text DEFAULT NULL::text'),
    ('feedback', 'anomaly bigint, label text, note text DEFAULT NULL::text'),
    ('submit', 'source regclass, columns name[] DEFAULT NULL::name[], algorithm text DEFAULT ''auto''::text, contamination double precision DEFAULT NULL::double precision, key name[] DEFAULT NULL::name[], model text DEFAULT NULL::text, gate text DEFAULT ''warn''::text, options jsonb DEFAULT ''{}''::jsonb, idempotency_key text DEFAULT NULL::text'),
    ('train', 'name text, source regclass, columns name[] DEFAULT NULL::name[], algorithm text DEFAULT ''auto''::text, contamination double precision DEFAULT NULL::double precision, key name[] DEFAULT NULL::name[], options jsonb DEFAULT ''{}''::jsonb'),
    ('verify_audit', 'sequence bigint DEFAULT NULL::bigint, hash text DEFAULT NULL::text'),
    ('wait', 'request uuid, timeout interval DEFAULT ''00:05:00''::interval')) AS f (name, arguments);

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
    ('counterfactual(pynomaly.model,"any")', 'jsonb'),
    ('evaluate(pynomaly.model,regclass,name,jsonb)', 'TABLE(metric text, value double precision, low double precision, high double precision)'),
    ('evaluate(text,regclass,name,jsonb)', 'TABLE(metric text, value double precision, low double precision, high double precision)'),
    ('compare(regclass,name,pynomaly.model[])', 'TABLE(metric text, model text, baseline text, value double precision, baseline_value double precision, difference double precision, low double precision, high double precision, p_value double precision)'),
    ('compare(regclass,name,text[])', 'TABLE(metric text, model text, baseline text, value double precision, baseline_value double precision, difference double precision, low double precision, high double precision, p_value double precision)'),
    ('sketch_of(regclass,name[],name[],jsonb)', 'pynomaly.sketch'),
    ('sketch_agg(name[],bigint,"any")', 'pynomaly.sketch'),
    ('merge(pynomaly.sketch)', 'pynomaly.sketch'),
    ('row_key("any")', 'bigint'),
    ('algorithms()', 'TABLE(algorithm text, description text, options jsonb, source text)'),
    ('add_rule(regclass,text,name,double precision,double precision,text)', 'bigint'),
    ('cancel(uuid)', 'boolean'),
    ('"check"(regclass,name[],name[],jsonb)', 'TABLE(dimension text, name text, column_name text, value double precision, low double precision, high double precision, passed boolean, severity text, message text)'),
    ('compare_profiles(bigint,bigint)', 'TABLE(column_name text, property text, before text, after text, difference double precision)'),
    ('create_roles()', 'void'),
    ('drop_model(text)', 'void'),
    ('drop_rule(bigint)', 'void'),
    ('limit_role(regrole,integer,integer)', 'void'),
    ('profile(regclass,name[],name[],jsonb)', 'TABLE(column_name text, kind text, is_key boolean, rows bigint, nulls bigint, null_share double precision, distinct_values bigint, distinct_is_exact boolean, zeros bigint, negatives bigint, nans bigint, infinities bigint, empty_texts bigint, minimum double precision, maximum double precision, minimum_text text, maximum_text text, mean double precision, standard_deviation double precision, skewness double precision, kurtosis double precision, q01 double precision, q05 double precision, q25 double precision, median double precision, q75 double precision, q95 double precision, q99 double precision, median_absolute_deviation double precision, length_minimum integer, length_maximum integer, length_mean double precision, top_values jsonb, histogram jsonb, alerts text[])'),
    ('promote(text,text,text)', 'jsonb'),
    ('report(uuid)', 'jsonb'),
    ('request_anomalies(uuid,bigint)', 'TABLE(id bigint, key jsonb, score double precision, p_value double precision, severity text, reasons jsonb, status text)'),
    ('rollback(text,text,text)', 'jsonb'),
    ('services()', 'TABLE(domain name, version text, location text, status text, operations text[], publishes text[], consumes text[], calls text[])'),
    ('set_anomaly_status(bigint,text,text)', 'void'),
    ('feedback(bigint,text,text)', 'jsonb'),
    ('submit(regclass,name[],text,double precision,name[],text,text,jsonb,text)', 'uuid'),
    ('train(text,regclass,name[],text,double precision,name[],jsonb)', 'text'),
    ('verify_audit(bigint,text)', 'TABLE(intact boolean, sealed bigint, unsealed bigint, first_broken bigint, reason text, head text)'),
    ('wait(uuid,interval)', 'text')) AS f (signature, result);

-- By value: immutable; by name: stable, since the name may get another model.  Whoever reads relations: stable, and in the leader.
SELECT is((SELECT concat(provolatile, ' ', proparallel) FROM pg_proc WHERE oid = ('pynomaly.' || signature)::regprocedure), attributes,
          signature || ' is told to the planner as it is')
FROM (VALUES
    ('score(pynomaly.model,"any")', 'i s'), ('score(text,"any")', 's s'), ('is_anomaly(pynomaly.model,"any")', 'i s'),
    ('is_anomaly(text,"any")', 's s'), ('explain(pynomaly.model,"any")', 'i s'), ('explain(text,"any")', 's s'),
    ('fit(pynomaly.sketch,text,jsonb)', 'i s'), ('row_key("any")', 'i s'), ('sketch_of(regclass,name[],name[],jsonb)', 's r'),
    ('detect(regclass,name[],text,float8,name[],text,jsonb)', 's r'), ('detect_query(text,name[],text,float8,name[],text,jsonb)', 's r'),
    ('counterfactual(pynomaly.model,"any")', 'i s'), ('counterfactual(text,"any")', 's s'),
    ('evaluate(pynomaly.model,regclass,name,jsonb)', 's r'), ('evaluate(text,regclass,name,jsonb)', 's r'),
    ('compare(regclass,name,pynomaly.model[])', 's r'), ('compare(regclass,name,text[])', 's r'),
    ('anomalies(regclass,name[],text,float8,name[],text,jsonb,int)', 's r')) AS f (signature, attributes);
SELECT is((SELECT count(*) FROM pg_aggregate WHERE aggfnoid IN ('pynomaly.sketch_agg'::regproc, 'pynomaly.merge'::regproc)
           AND aggtranstype = 'pynomaly.sketch'::regtype AND aggcombinefn <> 0), 2::bigint, 'aggregates have a concrete state and a combine function');

-- Rights.
SELECT is((SELECT string_agg(oid::regprocedure::text, ' ' ORDER BY proname DESC) FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'pynomaly%' AND prosecdef),
          'pynomaly.services() pynomaly.health()', 'only health() and services() run with another''s rights');
SELECT is((SELECT string_agg(DISTINCT relkind, '') FROM pg_class WHERE relnamespace = 'pynomaly'::regnamespace), 'v',
          'the public schema has views, but no tables');
SELECT is((SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'pynomaly%'),
          'pynomaly pynomaly_data_profiling pynomaly_data_quality pynomaly_data_science pynomaly_gateway pynomaly_kernel pynomaly_mlops',
          'each domain has a schema');
LOAD 'pynomaly';
SELECT is((SELECT setting FROM pg_settings WHERE name = 'pynomaly.work_mem'), '262144', 'pynomaly.work_mem is 256 MB unless set');

SELECT * FROM finish();
ROLLBACK;

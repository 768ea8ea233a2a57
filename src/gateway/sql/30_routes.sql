-- Public calls that lead to one operation of a domain.  See src/gateway/route.c.

CREATE FUNCTION pynomaly.train(name text, source regclass, columns name[] DEFAULT NULL, algorithm text DEFAULT 'auto',
                               contamination float8 DEFAULT NULL, key name[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS text
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.train(text, regclass, name[], text, float8, name[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.train(text, regclass, name[], text, float8, name[], jsonb) IS
    'trains a new version of the caller''s model and gives its address, name/version; the first one becomes champion';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.train(text, regclass, name[], text, float8, name[], jsonb)', 'pynomaly_data_scientist');

CREATE FUNCTION pynomaly.promote(model text, alias text DEFAULT 'champion', reason text DEFAULT NULL) RETURNS jsonb
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.promote(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.promote(text, text, text) IS 'gives an alias to a version, name/version: from now on name@alias is that version';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.promote(text, text, text)', 'pynomaly_data_scientist');

CREATE FUNCTION pynomaly.rollback(model text, alias text DEFAULT 'champion', reason text DEFAULT NULL) RETURNS jsonb
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.rollback(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.rollback(text, text, text) IS 'gives an alias back to the version that had it before, step by step back through its promotions';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.rollback(text, text, text)', 'pynomaly_data_scientist');

CREATE FUNCTION pynomaly.drop_model(model text) RETURNS void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.drop_model(text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.drop_model(text) IS 'removes a model with all its versions and aliases';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.drop_model(text)', 'pynomaly_data_scientist');

CREATE FUNCTION pynomaly.profile(source regclass, columns name[] DEFAULT NULL, key name[] DEFAULT NULL, options jsonb DEFAULT '{}')
    RETURNS TABLE (column_name text, kind text, is_key boolean, "rows" bigint, nulls bigint, null_share float8,
                   distinct_values bigint, distinct_is_exact boolean, zeros bigint, negatives bigint, nans bigint,
                   infinities bigint, empty_texts bigint, minimum float8, maximum float8, minimum_text text,
                   maximum_text text, mean float8, standard_deviation float8, skewness float8, kurtosis float8,
                   q01 float8, q05 float8, q25 float8, median float8, q75 float8, q95 float8, q99 float8,
                   median_absolute_deviation float8, length_minimum integer, length_maximum integer, length_mean float8,
                   top_values jsonb, histogram jsonb, alerts text[])
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.profile(regclass, name[], name[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.profile(regclass, name[], name[], jsonb) IS
    'profiles a relation, read once, and stores the profile: a row for each column';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.profile(regclass, name[], name[], jsonb)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.compare_profiles(profile bigint, previous bigint DEFAULT NULL)
    RETURNS TABLE (column_name text, property text, before text, after text, difference float8)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.compare_profiles(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.compare_profiles(bigint, bigint) IS
    'what has changed between two stored profiles, of which the second is by default the one before';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.compare_profiles(bigint, bigint)', 'pynomaly_viewer');

CREATE FUNCTION pynomaly."check"(source regclass, columns name[] DEFAULT NULL, key name[] DEFAULT NULL, options jsonb DEFAULT '{}')
    RETURNS TABLE (dimension text, name text, column_name text, value float8, low float8, high float8, passed boolean,
                   severity text, message text)
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly."check"(regclass, name[], name[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly."check"(regclass, name[], name[], jsonb) IS
    'checks the quality of a relation, read once, against its rules and its history, and stores the result: a row for each check, failed ones first';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly."check"(regclass, name[], name[], jsonb)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.add_rule(source regclass, kind text, "column" name DEFAULT NULL, low float8 DEFAULT NULL,
                                  high float8 DEFAULT NULL, severity text DEFAULT 'error') RETURNS bigint
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.add_rule(regclass, text, name, float8, float8, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.add_rule(regclass, text, name, float8, float8, text) IS
    'adds a rule for the quality of a relation and gives its number; kinds: completeness, unique, range, row_count, freshness (seconds), distinct_count; severity: info, warn or error';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.add_rule(regclass, text, name, float8, float8, text)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.drop_rule(rule bigint) RETURNS void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.drop_rule(bigint) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.drop_rule(bigint) IS 'removes a rule';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.drop_rule(bigint)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.request_anomalies(request uuid, "limit" bigint DEFAULT NULL)
    RETURNS TABLE (id bigint, key jsonb, score float8, p_value float8, severity text, reasons jsonb, status text)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.request_anomalies(uuid, bigint) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.request_anomalies(uuid, bigint) IS 'the anomalies that a request has found, worst first';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.request_anomalies(uuid, bigint)', 'pynomaly_viewer');

CREATE FUNCTION pynomaly.set_anomaly_status(anomaly bigint, status text, note text DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.set_anomaly_status(bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.set_anomaly_status(bigint, text, text) IS
    'gives an anomaly a status: open, acknowledged, resolved, ignored or false_alarm; who did and why is kept';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.set_anomaly_status(bigint, text, text)', 'pynomaly_analyst');

CREATE FUNCTION pynomaly.feedback(anomaly bigint, label text, note text DEFAULT NULL) RETURNS jsonb
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_route';
REVOKE ALL ON FUNCTION pynomaly.feedback(bigint, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.feedback(bigint, text, text) IS
    'labels an anomaly as anomaly or false_alarm, NULL takes the label away; the model that found it learns from all its labels at once';
SELECT pynomaly_kernel.add_grant('EXECUTE', 'FUNCTION', 'pynomaly.feedback(bigint, text, text)', 'pynomaly_analyst');

INSERT INTO pynomaly_gateway.route (call, domain, operation, member) VALUES
    ('train', 'mlops', 'train', 'address'),
    ('promote', 'mlops', 'promote', NULL),
    ('rollback', 'mlops', 'rollback', NULL),
    ('drop_model', 'mlops', 'drop_model', NULL),
    ('profile', 'data_profiling', 'profile', NULL),
    ('compare_profiles', 'data_profiling', 'compare', NULL),
    ('check', 'data_quality', 'check', NULL),
    ('add_rule', 'data_quality', 'add_rule', NULL),
    ('drop_rule', 'data_quality', 'drop_rule', NULL),
    ('request_anomalies', 'data_science', 'anomalies', NULL),
    ('set_anomaly_status', 'data_science', 'set_anomaly_status', NULL),
    ('feedback', 'data_science', 'feedback', NULL);

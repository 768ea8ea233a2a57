CREATE FUNCTION pynomaly.algorithms()
    RETURNS TABLE (algorithm text, description text, options jsonb, source text)
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_algorithms';
COMMENT ON FUNCTION pynomaly.algorithms() IS
    'the algorithms, their options with defaults and ranges, and the papers they are from';

CREATE FUNCTION pynomaly.fit(sketch pynomaly.sketch, algorithm text DEFAULT 'auto', options jsonb DEFAULT '{}')
    RETURNS pynomaly.model
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_fit';
COMMENT ON FUNCTION pynomaly.fit(pynomaly.sketch, text, jsonb) IS
    'model fitted from a sketch''s row sample, the same bytes for the same data and seed; options: seed (42), contamination (0.01), threshold, time_zone (UTC), label_column, suppress, and the algorithm''s own';

CREATE FUNCTION pynomaly.score(model pynomaly.model, VARIADIC "any") RETURNS float8
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'pyn_score_value';
COMMENT ON FUNCTION pynomaly.score(pynomaly.model, VARIADIC "any") IS
    'the share of ordinary rows that look less odd, in [0, 1]; values in the model''s order of columns, or one row value; NULL when nothing can be scored';

CREATE FUNCTION pynomaly.score(model text, VARIADIC "any") RETURNS float8
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'pyn_score_name';
COMMENT ON FUNCTION pynomaly.score(text, VARIADIC "any") IS
    'score by a registered model''s name, which is resolved once per query';

CREATE FUNCTION pynomaly.is_anomaly(model pynomaly.model, VARIADIC "any") RETURNS boolean
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'pyn_is_anomaly_value';
COMMENT ON FUNCTION pynomaly.is_anomaly(pynomaly.model, VARIADIC "any") IS
    'whether the row''s p-value is at most the model''s contamination, or its score at least the model''s threshold, unless the model''s rules suppress it';

CREATE FUNCTION pynomaly.is_anomaly(model text, VARIADIC "any") RETURNS boolean
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'pyn_is_anomaly_name';
COMMENT ON FUNCTION pynomaly.is_anomaly(text, VARIADIC "any") IS
    'is_anomaly by a registered model''s name';

CREATE FUNCTION pynomaly.explain(model pynomaly.model, VARIADIC "any") RETURNS jsonb
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'pyn_explain_value';
COMMENT ON FUNCTION pynomaly.explain(pynomaly.model, VARIADIC "any") IS
    '{score, p_value, is_anomaly, severity, reasons}, of a flagged row normal_if, too; each reason has feature, value, expected, low, high and contribution; contributions sum to 1';

CREATE FUNCTION pynomaly.explain(model text, VARIADIC "any") RETURNS jsonb
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'pyn_explain_name';
COMMENT ON FUNCTION pynomaly.explain(text, VARIADIC "any") IS
    'explain by a registered model''s name';

CREATE FUNCTION pynomaly.counterfactual(model pynomaly.model, VARIADIC "any") RETURNS jsonb
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'pyn_counterfactual_value';
COMMENT ON FUNCTION pynomaly.counterfactual(pynomaly.model, VARIADIC "any") IS
    'the smallest changes of single features, else of two, that would make a flagged row normal, or a normal row flagged: {score, p_value, is_anomaly, severity, threshold, distance, changes, pulls, evaluations}; each change was scored';

CREATE FUNCTION pynomaly.counterfactual(model text, VARIADIC "any") RETURNS jsonb
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'pyn_counterfactual_name';
COMMENT ON FUNCTION pynomaly.counterfactual(text, VARIADIC "any") IS
    'counterfactual by a registered model''s name';

CREATE FUNCTION pynomaly.detect(source regclass, columns name[] DEFAULT NULL, algorithm text DEFAULT 'auto',
                                contamination float8 DEFAULT NULL, key name[] DEFAULT NULL, model text DEFAULT NULL,
                                options jsonb DEFAULT '{}')
    RETURNS TABLE (key jsonb, score float8, p_value float8, is_anomaly boolean, severity text, reasons jsonb, state text)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_detect';
COMMENT ON FUNCTION pynomaly.detect(regclass, name[], text, float8, name[], text, jsonb) IS
    'scores each row of a relation, by a model fitted to it on the way or by a named one; stores nothing';

CREATE FUNCTION pynomaly.detect_query(query text, columns name[] DEFAULT NULL, algorithm text DEFAULT 'auto',
                                      contamination float8 DEFAULT NULL, key name[] DEFAULT NULL,
                                      model text DEFAULT NULL, options jsonb DEFAULT '{}')
    RETURNS TABLE (key jsonb, score float8, p_value float8, is_anomaly boolean, severity text, reasons jsonb, state text)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_detect_query';
COMMENT ON FUNCTION pynomaly.detect_query(text, name[], text, float8, name[], text, jsonb) IS
    'scores each row of a single SELECT, which runs once, as the caller; without a key, rows are numbered as they come';

CREATE FUNCTION pynomaly.anomalies(source regclass, columns name[] DEFAULT NULL, algorithm text DEFAULT 'auto',
                                   contamination float8 DEFAULT NULL, key name[] DEFAULT NULL, model text DEFAULT NULL,
                                   options jsonb DEFAULT '{}', "limit" int DEFAULT NULL)
    RETURNS TABLE (key jsonb, score float8, p_value float8, is_anomaly boolean, severity text, reasons jsonb, state text,
                   "row" jsonb)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_anomalies';
COMMENT ON FUNCTION pynomaly.anomalies(regclass, name[], text, float8, name[], text, jsonb, int) IS
    'the flagged rows only, worst first, each with the whole row';

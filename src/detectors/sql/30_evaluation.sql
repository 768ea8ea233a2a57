CREATE FUNCTION pynomaly.evaluate(model pynomaly.model, source regclass, label_column name, options jsonb DEFAULT '{}')
    RETURNS TABLE (metric text, value float8, low float8, high float8)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_evaluate_value';
COMMENT ON FUNCTION pynomaly.evaluate(pynomaly.model, regclass, name, jsonb) IS
    'what a model is worth on rows with labels (boolean, or 0 and 1; NULL: none): ROC-AUC, average precision, precision at k, precision, recall and F1 with bootstrap intervals, and counts; options: k (the number of anomalies), replicates (1000), confidence (0.95), seed (42), contamination, threshold';

CREATE FUNCTION pynomaly.evaluate(model text, source regclass, label_column name, options jsonb DEFAULT '{}')
    RETURNS TABLE (metric text, value float8, low float8, high float8)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_evaluate_name';
COMMENT ON FUNCTION pynomaly.evaluate(text, regclass, name, jsonb) IS
    'evaluate by a registered model''s name';

CREATE FUNCTION pynomaly.compare(source regclass, label_column name, VARIADIC models pynomaly.model[])
    RETURNS TABLE (metric text, model text, baseline text, value float8, baseline_value float8, difference float8,
                   low float8, high float8, p_value float8)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_compare_value';
COMMENT ON FUNCTION pynomaly.compare(regclass, name, VARIADIC pynomaly.model[]) IS
    'whether each model is better than each before it on the same labelled rows: ROC-AUC by DeLong, average precision by a paired bootstrap, accuracy of the flags by McNemar, with 95 % intervals; models are numbered';

CREATE FUNCTION pynomaly.compare(source regclass, label_column name, VARIADIC models text[])
    RETURNS TABLE (metric text, model text, baseline text, value float8, baseline_value float8, difference float8,
                   low float8, high float8, p_value float8)
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_compare_name';
COMMENT ON FUNCTION pynomaly.compare(regclass, name, VARIADIC text[]) IS
    'compare by registered models'' names';

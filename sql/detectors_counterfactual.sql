-- counterfactual: what would turn a verdict.  Each answer is scored again here, by other calls.
SET extra_float_digits = 0;
CREATE TABLE sale (id int PRIMARY KEY, amount float8, items int, country text, paid timestamp, gift boolean, weight float8);
INSERT INTO sale
    SELECT i, 40 + 12 * sin(i * 1.7) + 8 * cos(i * 0.37), 1 + i * 7 % 6, (ARRAY['DE','DE','DE','FR','FR','PL'])[1 + i * 5 % 6],
        timestamp '2026-01-05 09:00' + i / 30 * interval '1 day' + (i * 37 % 480) * interval '1 minute', i % 9 = 0,
        CASE WHEN i % 40 > 0 THEN 2 + sin(i * 0.9) END
    FROM generate_series(1, 3000) AS i;
CREATE TABLE looked_at (LIKE sale);
INSERT INTO looked_at SELECT * FROM sale WHERE id <= 40;
INSERT INTO looked_at SELECT 10000 + i, amount + 30 * (i % 4) ^ 2, items + i % 3 * 5, CASE i % 7 WHEN 0 THEN 'XX' ELSE country END, paid, gift, weight + i % 2 * 3
    FROM sale AS s, LATERAL (SELECT id / 10 AS i) AS j WHERE id % 10 = 0 AND id <= 600;
-- One model of each algorithm; contamination 2 %.
CREATE TABLE fitted AS
    SELECT algorithm, pynomaly.fit(pynomaly.sketch_of('sale', '{amount,items,country,paid,gift,weight}'), algorithm, '{"contamination": 0.02}') AS model
    FROM pynomaly.algorithms() WHERE algorithm <> 'auto';
CREATE TABLE answer AS
    SELECT algorithm, model, o AS row, pynomaly.counterfactual(model, o) AS answer FROM fitted, looked_at AS o;

-- The verdict is that of is_anomaly; no answer takes more than its bound of rows to score.
SELECT bool_and((answer ->> 'is_anomaly')::boolean = pynomaly.is_anomaly(model, row)) AS verdict, bool_and((answer ->> 'score')::float8 = pynomaly.score(model, row)) AS score,
    bool_and(((answer ->> 'distance')::float8 >= 0) = pynomaly.is_anomaly(model, row)) AS distance, max((answer ->> 'evaluations')::int) <= 2600 AS bounded,
    bool_or(pynomaly.is_anomaly(model, row)) AND bool_or(NOT pynomaly.is_anomaly(model, row)) AS both
FROM answer;

-- Every single change, made, turns the verdict: numbers to the bound, flags, missing values, days and categories that are named.
CREATE VIEW change AS
    SELECT algorithm, model, row, answer -> 'is_anomaly' = 'true' AS flagged, c ->> 'feature' AS feature, c -> 'value' AS value,
        coalesce(c -> 'normal_if', c -> 'flagged_if') AS condition, c ->> 'text' AS text
    FROM answer, jsonb_array_elements(answer -> 'changes') AS c WHERE NOT c ? 'features';
CREATE VIEW changed AS
    SELECT *, coalesce(CASE WHEN value <> 'null' AND condition -> '>=' > value THEN condition -> '>=' ELSE condition -> '<=' END,
                       condition -> '>=', condition -> '=', condition #> '{in,0}', CASE WHEN condition @> '{"missing": true}' THEN jsonb 'null' END) AS new_value
    FROM change WHERE feature IN ('amount', 'items', 'gift', 'weight', 'country');
SELECT feature, flagged, count(*) > 0 AS some, bool_and(pynomaly.is_anomaly(model, jsonb_populate_record(row, jsonb_build_object(feature, new_value))) <> flagged) AS turned
FROM changed WHERE new_value IS NOT NULL GROUP BY feature, flagged ORDER BY feature, flagged;
SELECT bool_and(pynomaly.is_anomaly(model, jsonb_populate_record(row, jsonb_build_object('paid', coalesce(condition -> '>=', condition -> '<=', condition -> '=')))) <> flagged) AS "times turn it"
FROM change WHERE feature = 'paid';
SELECT bool_and(pynomaly.is_anomaly(model, jsonb_populate_record(row, jsonb_build_object('paid', date_trunc('day', (row).paid) + hour * interval '1 hour'))) <> flagged) AS "hours turn it"
FROM change, LATERAL (SELECT coalesce(condition ->> '>=', condition ->> '<=')::float8 AS hour) AS h WHERE feature = 'paid.hour' AND hour < 24;
SELECT bool_and(pynomaly.is_anomaly(model, jsonb_populate_record(row, '{"country": "never seen"}')) = CASE WHEN condition @> '{"unseen": true}' THEN NOT flagged ELSE flagged END) AS "unseen ones as told"
FROM change WHERE feature = 'country';

-- The change is the smallest, to two thousandths of the normal range: a little nearer to the row's value the verdict stays.
SELECT feature, bool_and(stays) AS smallest
FROM (SELECT feature, bool_or(abs(value::float8 - new_value::float8) <= tolerance OR pynomaly.is_anomaly(model, jsonb_populate_record(row, jsonb_build_object(feature, CASE feature WHEN 'items' THEN round(nearer) ELSE nearer END))) = flagged) AS stays
      FROM changed, (VALUES ('amount', 0.04), ('items', 1), ('weight', 0.002)) AS t (of, tolerance), generate_series(1, 4) AS i,
          LATERAL (SELECT (new_value::float8 + sign(value::float8 - new_value::float8) * CASE feature WHEN 'items' THEN 1 ELSE tolerance * i / 2.0 END)::numeric AS nearer) AS n
      WHERE feature = of AND value <> 'null' AND new_value IS NOT NULL AND new_value <> 'null' GROUP BY feature, algorithm, row, condition, flagged) AS s
GROUP BY feature ORDER BY feature;

-- Two features together, where no single one will do; never both at once.
SELECT count(*) > 0 AS pairs, bool_and(jsonb_array_length(answer -> 'changes') = 1) AS alone
FROM answer WHERE answer -> 'changes' @> '[{"features": []}]' AND answer #> '{changes,0,features}' IS NOT NULL;
SELECT bool_and(NOT pynomaly.is_anomaly(model, jsonb_populate_record(row, jsonb_object_agg))) AS "pairs turn it"
FROM (SELECT algorithm, row, jsonb_object_agg(c ->> 'feature',
             CASE WHEN c -> 'normal_if' ? 'example' THEN c #> '{normal_if,example}' WHEN c -> 'normal_if' ? 'in' THEN c #> '{normal_if,in,0}' WHEN c -> 'normal_if' ? '=' THEN c #> '{normal_if,=}'
                  WHEN c -> 'value' <> 'null' AND c #> '{normal_if,>=}' > c -> 'value' THEN c #> '{normal_if,>=}' ELSE coalesce(c #> '{normal_if,<=}', c #> '{normal_if,>=}') END)
      FROM answer, jsonb_array_elements(answer #> '{changes,0,changes}') AS c
      WHERE answer -> 'is_anomaly' = 'true' AND NOT answer #>> '{changes,0,features}' ~ 'paid' AND NOT answer #> '{changes,0,changes}' @@ '$[*].normal_if.least_share >= 0 && !exists($[*].normal_if.in)' GROUP BY 1, 2) AS p JOIN fitted USING (algorithm);

-- Of ordinary rows: what pulls to normal sums to 1.
SELECT count(*) > 0 AS "some pull", bool_and(abs(total - 1) < 0.001) AS "pulls sum to 1"
FROM (SELECT algorithm, row, sum((p ->> 'share')::float8) AS total FROM answer, jsonb_array_elements(answer -> 'pulls') AS p GROUP BY 1, 2) AS s;

-- As people read it.
CREATE TABLE plain AS SELECT i AS id, (i * 7919 % 997)::float8 AS amount, i % 5 AS items, CASE WHEN i % 3 > 0 THEN 'DE' ELSE 'FR' END AS country FROM generate_series(1, 3000) AS i;
CREATE TABLE plain_model AS SELECT pynomaly.fit(pynomaly.sketch_of('plain', '{amount,items,country}'), 'ecod', '{"contamination": 0.001}') AS model;
SELECT jsonb_pretty(pynomaly.counterfactual(model, 1e6, 2, 'DE')) FROM plain_model;
SELECT v.amount, v.items, v.country, pynomaly.is_anomaly(model, v.amount, v.items, v.country) AS anomaly,
    jsonb_path_query_array(pynomaly.counterfactual(model, v.amount, v.items, v.country), '$.changes[*].text') AS texts
FROM plain_model, (VALUES (1e6::float8, 2, 'DE'), (-5, 40, 'DE'), (1e308, 40, 'never'), ('NaN', 2, 'DE'), ('-Infinity', 3, NULL), (500, 2, 'DE'), (500, NULL, NULL)) AS v (amount, items, country);
SELECT pynomaly.explain(model, 1e6, 40, 'DE') -> 'normal_if' AS normal_if, pynomaly.explain(model, 500.0, 2, 'DE') ? 'normal_if' AS "of flagged rows only" FROM plain_model;

-- Rules of suppression and thresholds count; nothing to score gives NULL; by name; in parallel; bad input.
SELECT options, jsonb_path_query_array(pynomaly.counterfactual(pynomaly.fit(pynomaly.sketch_of('plain', '{amount,items,country}'), 'ecod', options::jsonb), 1e6, 2, 'DE'), '$.changes[*].text') AS texts
FROM unnest('{"{\"threshold_method\": \"mad\"}","{\"threshold\": 0.5}","{\"percentile\": 60}","{\"suppress\": [{\"column\": \"amount\", \"direction\": \"down\"}]}"}'::text[]) AS options;
SELECT pynomaly.counterfactual(model, NULL, NULL, NULL) IS NULL AS "no value", pynomaly.counterfactual(model, NULL::plain) IS NULL AS "no row",
    pynomaly.counterfactual(NULL::pynomaly.model, 1) IS NULL AS "no model" FROM plain_model;
SELECT pynomaly.train('counterfactual_test', 'plain', '{amount,items,country}', 'ecod', 0.001);
SELECT pynomaly.counterfactual('counterfactual_test', 1e6, 2, 'DE') = pynomaly.counterfactual(model, 1e6, 2, 'DE') AS "by name" FROM plain_model;
SELECT pynomaly.drop_model('counterfactual_test');
SELECT proname, provolatile, proparallel FROM pg_proc WHERE pronamespace = 'pynomaly'::regnamespace AND proname = 'counterfactual' ORDER BY provolatile;
\set VERBOSITY terse
SELECT pynomaly.counterfactual(model, 1e6, 2) FROM plain_model;
SELECT pynomaly.counterfactual(model, 'x'::text, 2, 'DE') FROM plain_model;
SELECT pynomaly.counterfactual(model, VARIADIC '{1,2,3}'::int[]) FROM plain_model;
SELECT pynomaly.counterfactual('no such model', 1, 2, 'DE');
CREATE TABLE "odd ""names" AS SELECT i AS "Ämount ""€""", (i % 3)::text AS "select" FROM generate_series(1, 500) AS i;
SELECT jsonb_path_query_array(pynomaly.counterfactual(pynomaly.fit(pynomaly.sketch_of('"odd ""names"', '{"Ämount \"€\""}'), 'ecod'), 600), '$.changes[*].text');
SELECT jsonb_path_query_array(pynomaly.counterfactual(pynomaly.fit(pynomaly.sketch_of('"odd ""names"', '{"Ämount \"€\"",select}'), 'ecod'), 90000, 'it''s'), '$.changes[*].text');
DROP TABLE sale, looked_at, fitted, answer, plain, plain_model, "odd ""names" CASCADE;

-- score, is_anomaly and explain: in queries, views, constraints, generated columns, indexes, triggers and functions.
SET extra_float_digits = 0;
CREATE TABLE payment (id int PRIMARY KEY, amount numeric(12, 2), shop text, paid timestamp, refunded boolean);
INSERT INTO payment SELECT i, 20 + i % 37, 'shop ' || i % 5, timestamp '2026-01-01' + i * interval '13 minutes', i % 50 = 0
FROM generate_series(1, 3000) AS i;
UPDATE payment SET amount = 9000 WHERE id = 1500;
CREATE TABLE model (name text PRIMARY KEY, model pynomaly.model);
INSERT INTO model VALUES
    ('forest', pynomaly.fit(pynomaly.sketch_of('payment'), 'isolation_forest')),
    ('ecod', pynomaly.fit(pynomaly.sketch_of('payment', '{amount,shop}'), 'ecod')),
    ('small', pynomaly.fit(pynomaly.sketch_of('payment', '{amount}'), 'ecod'));
SELECT name, c ->> 'name' AS column, c ->> 'kind' AS kind FROM model, jsonb_array_elements(model::jsonb -> 'columns') AS c ORDER BY name, c ->> 'name';

-- Row by row and in blocks: the same bits.
SELECT name, count(*) AS rows, bool_and(float8send(d.score) = float8send(pynomaly.score(model, p))) AS "same scores",
    bool_and(d.is_anomaly = pynomaly.is_anomaly(model, p)) AS "same verdicts"
FROM (VALUES ('forest', 'isolation_forest', NULL::name[]), ('ecod', 'ecod', '{amount,shop}')) AS v (name, algorithm, columns)
    JOIN model USING (name), LATERAL pynomaly.detect('payment', columns, algorithm) AS d
    JOIN payment AS p ON p.id = (d.key ->> 'id')::int
GROUP BY name ORDER BY name;

-- Values in the model's order, a row by names: of a table, a view, a subquery, whatever else it has.
SELECT bool_and(pynomaly.score(model, payment.amount, payment.shop, payment.paid, payment.refunded) = pynomaly.score(model, payment)) AS values,
    bool_and(pynomaly.score(model, q) = pynomaly.score(model, payment)) AS subquery
FROM payment JOIN (SELECT refunded, 1 AS other, shop, id, paid, amount::float8 AS amount FROM payment) AS q USING (id), model WHERE name = 'forest';
SELECT pynomaly.score(model, 20::int, 'shop 1') = pynomaly.score(model, 20.0::float4, 'shop 1'::varchar) AS "number types"
FROM model WHERE name = 'ecod';
SELECT pynomaly.explain(model, 9000, 'nowhere') AS explained FROM model WHERE name = 'ecod';
SELECT pynomaly.explain(model, p) #>> '{reasons,0,feature}' AS feature, pynomaly.explain(model, p) -> 'severity' AS severity
FROM payment AS p, model WHERE id = 1500 AND name = 'ecod';

-- NULL: a missing value counts as such; no value at all, no row or no model gives NULL.
SELECT pynomaly.score(model, NULL, 'shop 1') IS NOT NULL AS "one missing", pynomaly.score(model, NULL, NULL) AS "all missing",
    pynomaly.score(model, NULL::payment) AS "no row", pynomaly.score(NULL::pynomaly.model, 1, 'x') AS "no model", pynomaly.is_anomaly(model, NULL, NULL) AS "no verdict",
    pynomaly.explain(model, 'NaN'::float8, NULL) AS "not explained"
FROM model WHERE name = 'ecod';

-- Where an immutable function may stand; models given as constants.
SELECT quote_literal(model) AS constant FROM model WHERE name = 'small' \gset
CREATE TABLE guarded (amount float8, score float8 GENERATED ALWAYS AS (pynomaly.score(:constant::pynomaly.model, amount)) STORED,
    CONSTRAINT usual CHECK (pynomaly.score(:constant::pynomaly.model, amount) < 0.999));
INSERT INTO guarded VALUES (30), (NULL);
INSERT INTO guarded VALUES (1e6);
SELECT amount, score < 0.9 AS usual FROM guarded;
SELECT length(:constant) < 4000 * 4 / 3 AS "small enough for an index";
CREATE INDEX payment_score ON payment ((pynomaly.score(:constant::pynomaly.model, amount)));
SET enable_seqscan = off;
SELECT id FROM payment ORDER BY pynomaly.score(:constant::pynomaly.model, amount) DESC LIMIT 1;
RESET enable_seqscan;
CREATE VIEW odd_payment AS SELECT p.* FROM payment AS p, model WHERE name = 'ecod' AND pynomaly.is_anomaly(model, amount, shop);
SELECT count(*) BETWEEN 1 AND 60 AS few, bool_or(id = 1500) AS found FROM odd_payment;
CREATE FUNCTION flag() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.refunded := (SELECT pynomaly.is_anomaly(model, NEW.amount, NEW.shop) FROM model WHERE name = 'ecod');
    RETURN NEW;
END $$;
CREATE TRIGGER flag BEFORE INSERT ON payment FOR EACH ROW EXECUTE FUNCTION flag();
INSERT INTO payment VALUES (9001, 8000, 'shop 1'), (9002, 30, 'shop 1'), (9003, 8000, 'nowhere') RETURNING id, refunded;

-- One call site with another model for each row; a site that outlives an error; prepared statements.
SELECT i % 2 AS which, count(DISTINCT pynomaly.score(m.model, 33.0)) AS scores, min(pynomaly.score(m.model, 33.0)) IS NOT NULL AS scored
FROM generate_series(1, 100) AS i,
    LATERAL (SELECT pynomaly.fit(pynomaly.sketch_of('payment', '{amount}'), CASE WHEN i % 2 = 0 THEN 'ecod' ELSE 'isolation_forest' END, '{"seed": 1}') AS model) AS m
WHERE i <= 6 GROUP BY 1 ORDER BY 1;
PREPARE scored (numeric) AS SELECT pynomaly.score(model, $1) > 0.99 AS odd FROM model WHERE name = 'small';
EXECUTE scored (30);
EXECUTE scored (9000);
DO $$
DECLARE
    scored int := 0;
    refused int := 0;
BEGIN
    FOR i IN 1..6 LOOP
        BEGIN
            PERFORM pynomaly.score(model, r) FROM model, (SELECT i AS amount, CASE WHEN i % 2 = 0 THEN 'shop 1' END AS shop) AS r WHERE name = 'ecod';
            PERFORM pynomaly.score(model, i) FROM model WHERE name = 'ecod' AND i % 3 = 0;
            scored := scored + 1;
        EXCEPTION WHEN invalid_parameter_value THEN
            refused := refused + 1;
        END;
    END LOOP;
    RAISE NOTICE '% scored, % refused', scored, refused;
END $$;

-- Numbers at the ends of what there is: never NaN, never an error.
SELECT x, pynomaly.score(m, x) BETWEEN 0 AND 1 AS scored
FROM (SELECT pynomaly.fit(pynomaly.sketch_agg('{v}', NULL, v), a) AS m, a
      FROM unnest('{-1.7976931348623157e308,-1.7e308,0,1.7e308,1.7976931348623157e308}'::float8[]) AS v, unnest('{ecod,isolation_forest}'::text[]) AS a GROUP BY a) AS f,
    unnest('{9e307,-1e308,5e-324,-0.0,1.7976931348623157e308}'::float8[]) AS x
ORDER BY a, x;

-- In parallel workers: the same.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
ALTER TABLE payment SET (parallel_workers = 2);
SELECT sum(pynomaly.score(model, amount, shop)) AS total FROM payment, model WHERE name = 'ecod' \gset parallel_
SET max_parallel_workers_per_gather = 0;
SELECT abs(sum(pynomaly.score(model, amount, shop)) - :parallel_total) < 1e-6 AS "same total" FROM payment, model WHERE name = 'ecod';

-- A row type that changes between two calls of one session.
CREATE FUNCTION total() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT count(pynomaly.score(model, p)) FROM payment AS p, model WHERE name = 'ecod');
END $$;
SELECT total();
ALTER TABLE payment ADD COLUMN note text;
SELECT total();
ALTER TABLE payment RENAME COLUMN shop TO store;
SELECT total();

-- Text and binary forms; a model is known again whatever it went through.
SELECT model::text::pynomaly.model::text = model::text AS text FROM model WHERE name = 'forest';
CREATE TABLE copy (LIKE model);
\copy model TO 'model.bin' (FORMAT binary)
\copy copy FROM 'model.bin' (FORMAT binary)
\! rm -f model.bin
SELECT count(*) AS "the same models" FROM model JOIN copy USING (name) WHERE model.model::text = copy.model::text;
SELECT model::jsonb ->> 'algorithm' AS algorithm, model::jsonb -> 'rows' AS rows, model::jsonb -> 'contamination' AS contamination,
    model::jsonb -> 'training_rows' AS training_rows, length(model::jsonb ->> 'digest') AS digest FROM model ORDER BY name;

-- A name is looked up in the registry of models, which has none here.
SELECT pynomaly.score('fraud@champion', 1);
SELECT pynomaly.is_anomaly('fraud', 1);
SELECT pynomaly.explain('fraud/3', 1);
SELECT * FROM pynomaly.detect('payment', model => 'fraud');
DROP VIEW odd_payment;
DROP TABLE payment, model, guarded, copy;
DROP FUNCTION flag, total;

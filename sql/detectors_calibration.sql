-- A contamination is kept on new rows: of clean rows that a model has not seen it flags the share that it says, each algorithm
-- within 20 %, on average over four distributions (test/bench/thresholds.py has more rows, distributions and repetitions).
CREATE FUNCTION uniform(i bigint, seed int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
    RETURN ((hashint8extended(i, seed) >> 11 & 9007199254740991) + 0.5) / 9007199254740992.0;
CREATE FUNCTION normal(i bigint, seed int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
    RETURN sqrt(-2 * ln(uniform(i, seed))) * cos(2 * pi() * uniform(i, seed + 1000));
CREATE FUNCTION draw(kind int, first bigint, count int) RETURNS TABLE (id bigint, a float8, b float8, c float8, d float8) STABLE LANGUAGE sql AS $$
    SELECT i, CASE kind WHEN 0 THEN normal(i, 1) WHEN 1 THEN exp(normal(i, 1)) WHEN 2 THEN normal(i, 1) + 8 * floor(3 * uniform(i, 9)) ELSE uniform(i, 1) END,
        CASE kind WHEN 0 THEN 0.8 * normal(i, 1) + normal(i, 2) WHEN 1 THEN -ln(uniform(i, 2)) WHEN 2 THEN normal(i, 2) - 5 * floor(3 * uniform(i, 9)) ELSE normal(i, 2) END,
        CASE kind WHEN 1 THEN normal(i, 3) / sqrt(uniform(i, 6)) ELSE normal(i, 3) END, CASE kind WHEN 3 THEN uniform(i, 4) ELSE normal(i, 4) END
    FROM generate_series(first, first + count - 1) AS i $$;
CREATE TABLE drawn AS SELECT kind, part, d.* FROM generate_series(0, 3) AS kind, generate_series(0, 3) AS part, draw(kind, part * 1000000, 4000) AS d;
CREATE TABLE fitted AS
    SELECT algorithm, kind, part, pynomaly.fit(sketch, algorithm) AS model
    FROM (SELECT kind, part, pynomaly.sketch_agg('{a,b,c,d}', pynomaly.row_key(id), a, b, c, d) AS sketch FROM drawn WHERE id % 2 = 0 GROUP BY kind, part) AS s,
        pynomaly.algorithms();
CREATE TABLE flagged AS
    SELECT algorithm, kind, avg((score >= 0.99)::int) / 0.01 AS one, avg((score >= 0.95)::int) / 0.05 AS five
    FROM (SELECT algorithm, kind, pynomaly.score(model, a, b, c, d) AS score FROM fitted JOIN drawn USING (kind, part) WHERE id % 2 = 1) AS s GROUP BY algorithm, kind;
SELECT count(*) > 5 AS "all algorithms", string_agg(format('%s: %s at 1 %%, %s at 5 %%', algorithm, round(one, 2), round(five, 2)), ', ') FILTER (WHERE NOT one BETWEEN 0.8 AND 1.2 OR NOT five BETWEEN 0.8 AND 1.2) AS "flag too few or too many"
FROM (SELECT algorithm, avg(one) AS one, avg(five) AS five FROM flagged GROUP BY algorithm) AS f;
-- hbos, which counts rows in bins, does so at 1 % within 12 %, since it leaves each training row out of its own bin.
SELECT round(avg(one), 2) BETWEEN 0.88 AND 1.12 AS "at 1 %", round(avg(five), 2) BETWEEN 0.88 AND 1.12 AS "at 5 %" FROM flagged WHERE algorithm = 'hbos';
-- A value's p-value is the share of rows whose value is not more frequent without themselves: of values that are there 1, 2, … 12
-- times, with one that is there c times, the rows of those that are there up to c + 1 times, and half a row less.
CREATE TABLE frequency AS SELECT 10 * c AS x, c, row_number() OVER () AS id FROM generate_series(1, 12) AS c, generate_series(1, c) AS i;
SELECT count(DISTINCT c) AS values, max(abs(p_value - ((c + 1) * (c + 2) / 2 - 0.5) / 78)) < 1e-9 AS "so it is"
FROM pynomaly.detect('frequency', '{x}', 'hbos', key => '{id}') AS d JOIN frequency ON id = (key ->> 'id')::int WHERE c <= 10;
DROP TABLE drawn, fitted, flagged, frequency;
DROP FUNCTION draw, normal, uniform;

-- What earlier checks of a dataset lead to expect: robust bounds, the same as SQL computes from what was stored.
\set SHOW_CONTEXT never
\pset null '-'
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA history;
SET search_path = history;
CREATE FUNCTION run(dataset bigint, source regclass)
    RETURNS TABLE (place bigint, dimension text, name text, column_name text, value float8, low float8, high float8, passed boolean,
                   severity text, message text) LANGUAGE sql AS
$$
    SELECT row_number() OVER (), r.* FROM jsonb_to_recordset(pynomaly_kernel.call('data_quality', 'check', jsonb_build_object(
        'dataset', dataset, 'source', source::text, 'sketch',
        encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of(source))), 'hex')))) AS r(dimension text,
        name text, column_name text, value float8, low float8, high float8, passed boolean, severity text, message text)
$$;
CREATE TABLE load (id int PRIMARY KEY, x float8, n int, note text, at timestamptz);
-- Fills the table anew: rows, share of x that is missing, scale of x, age of the newest time.
CREATE FUNCTION fill(rows int, missing float8 DEFAULT 0.1, scale float8 DEFAULT 1, age interval DEFAULT '5 min') RETURNS void LANGUAGE sql AS
$$
    TRUNCATE history.load;
    INSERT INTO history.load SELECT i, CASE WHEN i > missing * rows THEN scale * ((i * 37) % 1009) END, i % 7,
        CASE WHEN i % 2 = 0 THEN '' ELSE 'x' END, clock_timestamp() - age - (i - 1) * interval '1 s' FROM generate_series(1, rows) AS i;
$$;
-- Makes all checks of a dataset a day older.
CREATE FUNCTION a_day_later(of bigint) RETURNS void LANGUAGE sql AS
    $$UPDATE pynomaly_data_quality.check_run SET checked_at = checked_at - interval '1 day' WHERE dataset = of$$;
-- Median and spread of what the checks before the last one measured: 5 * 1.4826 * MAD, and twice the range where they are fewer than 10.
CREATE FUNCTION expected(of bigint, check_name text, check_column text, OUT centre float8, OUT tolerance float8, OUT checks bigint) LANGUAGE sql AS
$$
    WITH earlier AS (
        SELECT x.value FROM pynomaly_data_quality.check_run r JOIN pynomaly_data_quality.result x ON x.check_run = r.id
        WHERE r.dataset = of AND x.name = check_name AND x.column_name IS NOT DISTINCT FROM check_column
        AND r.id < (SELECT max(id) FROM pynomaly_data_quality.check_run WHERE dataset = of) ORDER BY r.id DESC LIMIT 30),
    middle AS (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median FROM earlier)
    SELECT max(median), greatest(5 * 1.4826 * percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(value - median)),
        CASE WHEN count(*) < 10 THEN 2 * (max(value) - min(value)) END), count(*) FROM earlier, middle
$$;

-- Nothing is judged by history before the fourth check.
SELECT fill(1000);
SELECT count(*) FILTER (WHERE passed IS NULL) AS recorded, count(*) FILTER (WHERE NOT passed) AS failed FROM run(920001, 'load');
SELECT fill(1), fill(5000, 0.3, 1000);
SELECT count(*) FILTER (WHERE passed IS NULL) AS recorded, count(*) FILTER (WHERE NOT passed) AS failed FROM run(920001, 'load');
SELECT fill(10);
SELECT count(*) FILTER (WHERE passed IS NULL) AS recorded, count(*) FILTER (WHERE NOT passed) AS failed FROM run(920001, 'load');

-- Eight good loads, each a day after the last; then one that has lost rows, values, and its unit.
CREATE FUNCTION eight_loads() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    failed bigint := 0;
BEGIN
    FOR i IN 1 .. 8 LOOP
        PERFORM history.fill(1000 + 13 * ((i * 5) % 8 - 4), 0.1 + 0.001 * (i % 3), 1 + 0.01 * (i % 2)), history.a_day_later(920002);
        failed := failed + (SELECT count(*) FROM history.run(920002, 'history.load') WHERE NOT passed);
    END LOOP;
    RETURN failed;
END $$;
SELECT eight_loads() AS failed;
SELECT fill(1010), a_day_later(920002);
CREATE TABLE good AS SELECT * FROM run(920002, 'load');
SELECT dimension, name, column_name, passed FROM good WHERE passed IS NOT TRUE OR name = 'freshness' ORDER BY place;
-- The bounds, beside those that SQL computes.
SELECT g.name, g.column_name, round(g.low::numeric, 6) AS low, round(g.high::numeric, 6) AS high,
    abs(g.low - b.low) < 1e-6 AS low_as_computed, abs(g.high - b.high) < 1e-6 AS high_as_computed, e.checks
FROM good g, LATERAL expected(920002, g.name, g.column_name) AS e,
LATERAL (SELECT CASE g.name WHEN 'row_count' THEN greatest(0.1 * e.centre, 3 * sqrt(e.centre), 1)
    WHEN 'completeness' THEN greatest(0.01, 3.0 / 1010) WHEN 'finite' THEN greatest(0.01, 3.0 / 909) WHEN 'not_empty' THEN greatest(0.01, 3.0 / 1010)
    WHEN 'minimum' THEN abs(e.centre - (expected(920002, 'median', g.column_name)).centre)
    WHEN 'maximum' THEN abs(e.centre - (expected(920002, 'median', g.column_name)).centre)
    WHEN 'median' THEN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY (c ->> 'spread')::float8) FROM pynomaly_data_quality.check_run r,
        jsonb_array_elements(columns) AS c WHERE r.dataset = 920002 AND c ->> 'name' = g.column_name AND r.id < (SELECT max(id) FROM pynomaly_data_quality.check_run WHERE dataset = 920002))
    END AS least) AS t,
LATERAL (SELECT CASE WHEN g.name = 'row_count' THEN ceil(e.centre - greatest(e.tolerance, t.least)) ELSE e.centre - greatest(e.tolerance, t.least) END AS low,
    CASE WHEN g.name = 'row_count' THEN floor(e.centre + greatest(e.tolerance, t.least)) ELSE e.centre + greatest(e.tolerance, t.least) END AS high) AS b
WHERE g.name NOT IN ('schema', 'key', 'freshness') AND g.column_name IS DISTINCT FROM 'at' AND g.column_name IS DISTINCT FROM 'id' ORDER BY g.place;
SELECT fill(800, 0.15, 1000), a_day_later(920002);
SELECT dimension, name, column_name, round(value::numeric, 3) AS value, round(low::numeric, 3) AS low, round(high::numeric, 3) AS high, severity, message
FROM run(920002, 'load') WHERE NOT passed;
SELECT score, grade, verdict, dimensions FROM pynomaly_data_quality.latest_run WHERE dataset = 920002;
-- What failed is in the history, too, but one bad load moves no median far: the next good one passes.
SELECT fill(1000), a_day_later(920002);
SELECT count(*) FILTER (WHERE NOT passed) AS failed FROM run(920002, 'load');
-- No rows where there always were some is an error.
TRUNCATE load;
SELECT name, column_name, value, low, high, severity, message FROM run(920002, 'load') WHERE NOT passed;
SELECT verdict FROM pynomaly_data_quality.latest_run WHERE dataset = 920002;

-- A table that grows by the same number of rows each time is expected to go on so, from the seventh check on; to be checked again is no surprise either, to shrink is.
CREATE FUNCTION growing(step int) RETURNS TABLE (value float8, low float8, high float8, passed boolean, message text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 12 LOOP
        PERFORM history.fill(step * i);
        RETURN QUERY SELECT r.value, r.low, r.high, r.passed, r.message FROM history.run(920003, 'history.load') AS r WHERE r.name = 'row_count';
    END LOOP;
END $$;
SELECT * FROM growing(1000);
SELECT value, low, high, passed FROM run(920003, 'load') WHERE name = 'row_count';
SELECT fill(6000);
SELECT value, low, high, passed, message FROM run(920003, 'load') WHERE name = 'row_count';

-- The same with noise and one bad load, beside Theil's line, its deviations and Mann's test as SQL computes them.
CREATE FUNCTION noisy() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 14 LOOP
        PERFORM history.fill(CASE WHEN i = 9 THEN 10 ELSE 500 + 40 * i + (i * 7919) % 31 END);
        PERFORM history.run(920010, 'history.load');
    END LOOP;
END $$;
SELECT noisy();
SELECT array_agg(value) AS failed FROM pynomaly_data_quality.check_run r JOIN pynomaly_data_quality.result x ON x.check_run = r.id
WHERE r.dataset = 920010 AND x.name = 'row_count' AND NOT x.passed;
WITH v AS (SELECT row_number() OVER (ORDER BY id) - 1 AS i, rows::float8 AS y FROM pynomaly_data_quality.check_run WHERE dataset = 920010),
    known AS (SELECT * FROM v WHERE i < 13),
    pair AS (SELECT (b.y - a.y) / (b.i - a.i) AS slope, sign(b.y - a.y) AS sign FROM known a JOIN known b ON b.i > a.i),
    line AS (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY slope) AS slope, (abs(sum(sign)) - 1) / sqrt(13 * 12 * 31 / 18.0) AS z FROM pair),
    level AS (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY y - slope * i) AS level FROM known, line),
    expected AS (SELECT level + slope * 13 AS next, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY y) FROM known WHERE i >= 10) AS late, z,
        5 * 1.4826 * (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(y - slope * i - level)) FROM known) AS tolerance FROM line, level),
    bounds AS (SELECT z, greatest(tolerance, 0.1 * greatest(next, late), 3 * sqrt(greatest(next, late))) AS tolerance, least(next, late) AS low,
        greatest(next, late) AS high FROM expected)
SELECT z > 2.5758 AS has_trend, r.value, r.low, r.high, r.low = ceil(b.low - tolerance) AS low_as_computed, r.high = floor(b.high + tolerance) AS high_as_computed,
    r.passed, r.message
FROM pynomaly_data_quality.latest_result r, bounds b WHERE r.dataset = 920010 AND r.name = 'row_count';

-- Freshness: five loads at night, each checked when its newest row is five minutes old; then none comes.
CREATE FUNCTION five_nights() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    failed bigint := 0;
BEGIN
    FOR i IN 1 .. 5 LOOP
        PERFORM history.fill(100), history.a_day_later(920004);
        failed := failed + (SELECT count(*) FROM history.run(920004, 'history.load') WHERE NOT passed);
    END LOOP;
    PERFORM history.a_day_later(920004);
    RETURN failed;
END $$;
SELECT five_nights() AS failed;
SELECT fill(100, age => '11 hours');
SELECT round(value / 3600) AS hours, round(low / 3600) AS low, round(high / 3600) AS high, passed, message FROM run(920004, 'load') WHERE name = 'freshness';
SELECT fill(100, age => '24 hours 5 minutes');
SELECT round(value / 3600) AS hours, round(low / 3600) AS low, passed, message FROM run(920004, 'load') WHERE name = 'freshness';
-- A newest time in the year 2999 is no freshness.
UPDATE load SET at = '2999-01-01' WHERE id = 50;
SELECT passed, message FROM run(920004, 'load') WHERE name = 'freshness';
-- Of times that never move, such as dates of birth, no age is expected.
CREATE TABLE person (born date);
INSERT INTO person SELECT DATE '1950-01-01' + i FROM generate_series(1, 1000) AS i;
SELECT count(*) FILTER (WHERE NOT passed) AS failed FROM generate_series(1, 4) AS i, LATERAL run(920005 + i - i, 'person');
SELECT passed, high, message FROM run(920005, 'person') WHERE name = 'freshness';

-- Schema: a column that is gone, a new one, one of another kind; and its values begin a new history.
CREATE TABLE shape (a int, b text, "C d" float8);
INSERT INTO shape SELECT i, i, i FROM generate_series(1, 100) AS i;
SELECT count(*) FROM generate_series(6, 9) AS i, LATERAL run(920006 + i - i, 'shape') WHERE name = 'schema';
ALTER TABLE shape ADD e int DEFAULT 1;
SELECT value, high, passed, severity, message FROM run(920006, 'shape') WHERE name = 'schema';
ALTER TABLE shape DROP b, ALTER a TYPE text, ALTER "C d" TYPE int USING 1000 * "C d";
SELECT name, column_name, value, high, passed, severity, message FROM run(920006, 'shape')
WHERE name IN ('schema', 'maximum') OR column_name = 'a' ORDER BY place;
SELECT passed, message FROM run(920006, 'shape') WHERE name = 'schema';
SELECT verdict, dimensions -> 'consistency' AS consistency FROM pynomaly_data_quality.check_run WHERE dataset = 920006 ORDER BY id;
ALTER TABLE shape DROP a, DROP "C d", DROP e;
DO $$BEGIN FOR i IN 1 .. 15 LOOP EXECUTE format('ALTER TABLE history.shape ADD c%s int', i); END LOOP; END$$;
SELECT value, message FROM run(920006, 'shape') WHERE name = 'schema';

-- One value for ever: anything else is a surprise, but for whole numbers not the next one.
CREATE TABLE constant (f float8, i int, t text, b boolean);
INSERT INTO constant SELECT 3, 3, '', true FROM generate_series(1, 50);
SELECT count(*) FILTER (WHERE NOT passed) AS failed FROM generate_series(7, 10) AS i, LATERAL run(920007 + i - i, 'constant') WHERE name <> 'not_empty';
UPDATE constant SET f = 4, i = 4, b = false WHERE ctid = '(0,1)';
SELECT name, column_name, value, low, high FROM run(920007, 'constant') WHERE NOT passed AND name <> 'not_empty';
-- A column that was always empty or missing may stay so.
SELECT name, column_name, value, low, passed, message FROM run(920007, 'constant') WHERE column_name = 't';

-- Histories are of one dataset; the last 400 runs of each are kept, with their results.
CREATE TABLE one (a int);
INSERT INTO one VALUES (1);
DO $$
DECLARE
    digest text := encode(pynomaly_kernel.put_artifact('sketch', pynomaly.sketch_send(pynomaly.sketch_of('history.one'))), 'hex');
BEGIN
    FOR i IN 1 .. 405 LOOP
        PERFORM pynomaly_kernel.call('data_quality', 'check', jsonb_build_object('dataset', 920008, 'source', 'one', 'sketch', digest));
    END LOOP;
END $$;
SELECT count(*) AS runs, max(id) - min(id) AS span FROM pynomaly_data_quality.check_run WHERE dataset = 920008;
SELECT count(*) AS results, count(*) FILTER (WHERE r.id IS NULL) AS of_no_run FROM pynomaly_data_quality.result x
LEFT JOIN pynomaly_data_quality.check_run r ON r.id = x.check_run WHERE r.dataset = 920008 OR r.id IS NULL;
SELECT count(*) AS runs_of_others FROM pynomaly_data_quality.check_run WHERE dataset = 920006;
DELETE FROM pynomaly_data_quality.check_run WHERE dataset BETWEEN 920000 AND 920099;
DROP SCHEMA history CASCADE;

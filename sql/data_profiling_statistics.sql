-- A profile's statistics against exact SQL over the table and against scipy and numpy, and the bounds of what is estimated.
CREATE SCHEMA data_profiling_statistics;
SET search_path = data_profiling_statistics;
SET extra_float_digits = 0;
SET timezone = 'Asia/Kolkata';
\pset null '(null)'
CREATE FUNCTION profile(source regclass, dataset bigint) RETURNS SETOF pynomaly_data_profiling.column_profile LANGUAGE sql AS $$
    SELECT * FROM jsonb_populate_recordset(NULL::pynomaly_data_profiling.column_profile,
        pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('dataset', dataset, 'source', source::text,
            'sketch', encode(pynomaly_kernel.put_artifact('sketch',
                decode(split_part(pynomaly.sketch_of(source)::text, ':', 2), 'base64')), 'hex'))))
$$;

CREATE TABLE points AS
    SELECT i AS id, (i * i * 37 + 11 * i) % 1000 / 8.0::float8 AS x, ((i * i * 37 + 11 * i) % 1000) ^ 4 / 1e9::float8 AS y,
        CASE WHEN i % 7 <> 0 THEN i * i % 501 - 250 END AS z
    FROM generate_series(1, 400) AS i;
ALTER TABLE points ADD PRIMARY KEY (id);
CREATE TABLE profiled AS SELECT * FROM profile('points', 1);

-- Counts, extremes, moments of SQL's own aggregates; quantiles by Hazen's rule written out.
CREATE VIEW "values" AS
    SELECT column_name, value::float8 FROM points, LATERAL (VALUES ('id', id), ('x', x), ('y', y), ('z', z)) AS v (column_name, value);
CREATE VIEW truth AS
    SELECT column_name, count(*) AS rows, count(*) - count(value) AS nulls, 1 - count(value) / count(*)::float8 AS null_share,
        count(DISTINCT value) AS distinct_values, count(*) FILTER (WHERE value = 0) AS zeros,
        count(*) FILTER (WHERE value < 0) AS negatives, min(value) AS minimum, max(value) AS maximum, avg(value) AS mean,
        stddev_samp(value) AS standard_deviation, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median,
        array_agg(value ORDER BY value) FILTER (WHERE value IS NOT NULL) AS sorted
    FROM "values" GROUP BY column_name;
CREATE FUNCTION hazen(sorted float8[], share float8) RETURNS float8 LANGUAGE sql AS $$
    SELECT sorted[place] + (sorted[least(place + 1, n)] - sorted[place]) * (at - place)
    FROM (SELECT at, greatest(floor(at), 1)::int AS place, n
          FROM (SELECT greatest(cardinality(sorted) * share + 0.5, 1) AS at, cardinality(sorted) AS n) AS a) AS b
$$;
CREATE FUNCTION alike(a float8, b float8) RETURNS boolean LANGUAGE sql AS $$SELECT abs(a - b) <= 1e-9 * greatest(1, abs(b))$$;
SELECT p.column_name, p.kind, p.is_key AS key,
    (p.rows, p.nulls, p.distinct_values, p.zeros, p.negatives) = (t.rows, t.nulls, t.distinct_values, t.zeros, t.negatives) AS counts,
    (p.minimum, p.maximum) = (t.minimum, t.maximum) AS range, alike(p.null_share, t.null_share) AS null_share,
    alike(p.mean, t.mean) AS mean, alike(p.standard_deviation, t.standard_deviation) AS sd, alike(p.median, t.median) AS median,
    alike(q01, hazen(sorted, 0.01)) AND alike(q05, hazen(sorted, 0.05)) AND alike(q25, hazen(sorted, 0.25)) AND
        alike(q75, hazen(sorted, 0.75)) AND alike(q95, hazen(sorted, 0.95)) AND alike(q99, hazen(sorted, 0.99)) AS quantiles,
    alike(p.median_absolute_deviation, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(v.value - t.median))
                                        FROM "values" v WHERE v.column_name = p.column_name)) AS mad
FROM profiled p JOIN truth t USING (column_name) ORDER BY p.column_name;

-- Computed with scipy 1.10.1 and numpy 1.24.2, x, y and z being arrays of the columns' values:
-- scipy.stats.skew(x), scipy.stats.kurtosis(x), scipy.stats.mstats.mquantiles(x, [.01, .25, .99], alphap=.5, betap=.5),
-- numpy.histogram(x, len(numpy.histogram_bin_edges(x, 'fd')) - 1)[0]
SELECT column_name, alike(p.skewness, s.skewness) AS skewness, alike(p.kurtosis, s.kurtosis) AS kurtosis,
    alike(q01, low) AND alike(q25, quarter) AND alike(q99, high) AS quantiles,
    (histogram -> 'counts')::text = s.counts AS histogram, histogram -> 'rule' AS rule, histogram -> 'exact' AS exact
FROM profiled p JOIN (VALUES
    ('x', -0.030737119420031322, -1.296234624187713, 1.25, 28.75, 122.5, '[64, 55, 59, 47, 56, 64, 55]'),
    ('y', 1.2888525910009114, 0.5378949674924138, 1e-05, 2.83016, 922.36816, '[223, 41, 27, 16, 27, 16, 21, 7, 14, 8]'),
    ('z', -0.03684573011769508, -1.2795357819711002, -247.14, -135.75, 236.0, '[54, 53, 45, 40, 47, 60, 44]'))
    AS s (column_name, skewness, kurtosis, low, quarter, high, counts) USING (column_name) ORDER BY column_name;

-- A histogram's counts are those of SQL between the same edges, and its edges are of equal width.
SELECT column_name, bool_and(count = (SELECT count(*) FROM "values" v WHERE v.column_name = b.column_name AND value >= low
                                      AND (value < high OR value = high AND bin = bins))) AS counts,
    max(abs((high - low) * bins / (maximum - minimum) - 1)) < 1e-12 AS widths, min(low) = min(minimum) AND max(high) = max(maximum) AS range
FROM (SELECT column_name, minimum, maximum, bin, jsonb_array_length(histogram -> 'counts') AS bins, (histogram -> 'counts' -> bin - 1)::int AS count,
          (histogram -> 'edges' -> bin - 1)::float8 AS low, (histogram -> 'edges' -> bin)::float8 AS high
      FROM profiled, generate_series(1, jsonb_array_length(histogram -> 'counts')) AS bin) AS b
GROUP BY column_name ORDER BY column_name;

-- Also where values lie on edges, and rounding would put them beside.
CREATE TABLE steps AS SELECT i / 10.0::float8 - 7 AS step FROM generate_series(0, 90) AS i;
SELECT bin, count, count = (SELECT count(*) FROM steps WHERE step >= low AND (step < high OR step = high AND bin = 5)) AS holds
FROM (SELECT bin, (histogram -> 'counts' -> bin - 1)::int AS count, (histogram -> 'edges' -> bin - 1)::float8 AS low, (histogram -> 'edges' -> bin)::float8 AS high
      FROM profile('steps', 2), generate_series(1, jsonb_array_length(histogram -> 'counts')) AS bin) AS b;

-- Where the quartiles do not differ, the bins are as many as Sturges says, 1 + log2 n; never more than 50.
CREATE TABLE peaked AS SELECT CASE WHEN i % 10 = 0 THEN i ELSE 5 END AS x, 10.0 ^ (i % 60) AS wide FROM generate_series(1, 1000) AS i;
SELECT column_name, histogram -> 'rule' AS rule, jsonb_array_length(histogram -> 'counts') AS bins FROM profile('peaked', 2) ORDER BY column_name;

-- Times: numbers in seconds, and texts in ISO 8601; those with a zone in UTC, whatever the session's.
CREATE TABLE times AS
    SELECT date '2026-02-27' + i AS d, time '10:00' + i * interval '1 minute' AS t, timestamp '2026-02-27 23:59:59.5' + i * interval '1 day' AS ts,
        timestamptz '2026-02-27 23:59:59+02' + i * interval '1 day' AS tz, i % 2 = 0 AS b
    FROM generate_series(0, 4) AS i;
INSERT INTO times (d, ts, tz) VALUES ('infinity', '-infinity', 'infinity');
SELECT column_name, kind, minimum, minimum_text, maximum_text, median, infinities, zeros, mean FROM profile('times', 3) ORDER BY column_name;
SELECT extract(epoch FROM min(d)) AS d, extract(epoch FROM min(t)) AS t, extract(epoch FROM min(ts)) AS ts, extract(epoch FROM min(tz)) AS tz
FROM times WHERE isfinite(d) AND isfinite(ts) AND isfinite(tz);
SELECT column_name, top_values FROM profile('times', 3) WHERE column_name = 'b';

-- Text: lengths in characters, frequent values in any script; what was seen once is not shown.
CREATE TABLE texts (t text, u uuid);
INSERT INTO texts SELECT 'Ελλάδα', '00000000-0000-0000-0000-000000000001' FROM generate_series(1, 6);
INSERT INTO texts SELECT '日本語', NULL FROM generate_series(1, 3);
INSERT INTO texts VALUES (repeat('ж', 20), NULL), (repeat('ж', 20), NULL), ('', NULL), ('secret', NULL), (NULL, NULL);
SELECT column_name, kind, nulls, distinct_values, empty_texts, length_minimum, length_maximum, length_mean,
    top_values, mean, histogram
FROM profile('texts', 4) ORDER BY column_name;
SELECT avg(length(t)) AS "mean length", avg(length(u::text)) AS "of u" FROM texts;

-- Alerts.
CREATE TABLE alerting AS
    SELECT i AS id, 7 AS constant, NULL::int AS all_missing, CASE WHEN i % 10 > 0 THEN i % 3 END AS missing, CASE WHEN i % 20 > 0 THEN i % 3 END AS nearly,
        CASE WHEN i = 3 THEN float8 'NaN' ELSE i % 5 END AS not_a_number, CASE WHEN i = 3 THEN float8 '-Infinity' ELSE i % 5 END AS infinite,
        'n' || i % 150 AS high_cardinality, 'n' || i AS uniq, CASE WHEN i % 5 < 3 THEN 0 ELSE i % 5 END AS zeros,
        ((i % 100) / 10) ^ 8 AS skewed, i * 7 % 101 AS uniform, i % 3 AS plain, (i % 20 = 0) AS flag
    FROM generate_series(1, 200) AS i;
ALTER TABLE alerting ADD PRIMARY KEY (id);
SELECT column_name, alerts FROM profile('alerting', 5) ORDER BY column_name;

-- More rows than the sample has: each estimate keeps to its bound, 1 % of the ranks and three standard errors of 0.81 %.
CREATE TABLE large AS
    SELECT i AS id, hashint8extended(i, 1) % 20000 AS many, 'k' || hashint8extended(i, 3) % 50000 AS text,
        ln(1 + (hashint8extended(i, 5) >> 11 & 9007199254740991) / 9007199254740992.0::float8) AS level
    FROM generate_series(1, 100000) AS i;
ALTER TABLE large ADD PRIMARY KEY (id);
CREATE TABLE large_profile AS SELECT * FROM profile('large', 6);
SELECT sampled_rows, rows FROM pynomaly_data_profiling.profile WHERE dataset = 6;
SELECT column_name, distinct_is_exact AS exact, abs(distinct_values / truth::float8 - 1) <= 3 * 0.0081 AS "near", alerts,
    (SELECT sum(count::bigint) FROM jsonb_array_elements_text(histogram -> 'counts') AS count) AS counted, histogram -> 'exact' AS exact
FROM large_profile JOIN (SELECT column_name, count(DISTINCT value) AS truth
    FROM large, LATERAL (VALUES ('id', id::text), ('many', many::text), ('text', text), ('level', level::text)) AS v (column_name, value) GROUP BY 1) AS t USING (column_name)
ORDER BY column_name;
SELECT bool_and(abs(rank - share) <= 0.01) AS "ranks hold"
FROM large_profile, LATERAL (VALUES (0.01, q01), (0.05, q05), (0.25, q25), (0.5, median), (0.75, q75), (0.95, q95), (0.99, q99)) AS q (share, value),
    LATERAL (SELECT count(*) FILTER (WHERE level < value) / count(*)::float8 AS rank FROM large) AS r
WHERE column_name = 'level';
SELECT abs(rank - 0.5) <= 0.01 AS "half of the distances are below the median absolute deviation"
FROM large_profile, LATERAL (SELECT count(*) FILTER (WHERE abs(level - median) < median_absolute_deviation) / count(*)::float8 AS rank FROM large) AS r
WHERE column_name = 'level';
SELECT max(abs(count - truth)) <= 100000 * 0.01 AS "bins hold"
FROM (SELECT bin, (histogram -> 'counts' -> bin - 1)::int AS count
      FROM large_profile, generate_series(1, jsonb_array_length(histogram -> 'counts')) AS bin WHERE column_name = 'level') AS b
    JOIN (SELECT width_bucket(level, ARRAY(SELECT edge::float8 FROM jsonb_array_elements_text(histogram #- '{edges,-1}' -> 'edges') AS edge)) AS bin,
              count(*) AS truth
          FROM large, large_profile WHERE column_name = 'level' GROUP BY 1) AS t USING (bin);

-- What the operation gave is what was stored.
SELECT (SELECT count(*) FROM large_profile) AS given,
    (SELECT count(*) FROM large_profile g JOIN pynomaly_data_profiling.latest_column_profile s USING (column_name)
     WHERE s.dataset = 6 AND to_jsonb(g) - '{profile,owner,position}'::text[] <@ to_jsonb(s)) AS stored;
DELETE FROM pynomaly_data_profiling.profile WHERE source LIKE 'data\_profiling\_statistics.%' OR dataset BETWEEN 1 AND 6;
SELECT count(*) AS columns_left FROM pynomaly_data_profiling.column_profile;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA data_profiling_statistics CASCADE;

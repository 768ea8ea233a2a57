-- Profiles, their columns, and what has changed since the profile before.  Written by src/data_profiling/profile_store.c.

CREATE SCHEMA pynomaly_data_profiling;
COMMENT ON SCHEMA pynomaly_data_profiling IS 'pynomaly: profiles of datasets, one row for each column, and their changes';
SELECT pynomaly_kernel.add_grant('USAGE', 'SCHEMA', 'pynomaly_data_profiling', 'pynomaly_viewer');

CREATE TABLE pynomaly_data_profiling.profile (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner regrole NOT NULL,
    dataset bigint NOT NULL,
    source text NOT NULL,
    sketch bytea NOT NULL,
    request uuid,
    "rows" bigint NOT NULL,
    sampled_rows bigint NOT NULL,
    columns integer NOT NULL,
    previous bigint,
    profiled_at timestamptz NOT NULL,
    seconds float8 NOT NULL
);
COMMENT ON TABLE pynomaly_data_profiling.profile IS 'what a dataset looked like at one time; the newest 100 of each owner and dataset are kept';
COMMENT ON COLUMN pynomaly_data_profiling.profile.dataset IS 'as data_science numbers it';
COMMENT ON COLUMN pynomaly_data_profiling.profile.source IS 'the relation''s name when it was read';
COMMENT ON COLUMN pynomaly_data_profiling.profile.sketch IS 'SHA-256 of the sketch that all of it was computed from';
COMMENT ON COLUMN pynomaly_data_profiling.profile.request IS 'the request that it is a step of; NULL: a call of its own';
COMMENT ON COLUMN pynomaly_data_profiling.profile.sampled_rows IS 'rows in the sketch''s sample: where it has all rows, what is estimated from it is exact';
COMMENT ON COLUMN pynomaly_data_profiling.profile.previous IS 'the profile of the same owner and dataset that it was compared with, which may have been removed since';
COMMENT ON COLUMN pynomaly_data_profiling.profile.seconds IS 'that it took, without the scan';
CREATE INDEX profile_dataset_idx ON pynomaly_data_profiling.profile (dataset, owner, id);
CREATE UNIQUE INDEX profile_request_idx ON pynomaly_data_profiling.profile (request, owner) WHERE request IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_profiling.profile', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_profiling.profile_id_seq', '');

CREATE TABLE pynomaly_data_profiling.column_profile (
    profile bigint REFERENCES pynomaly_data_profiling.profile ON DELETE CASCADE,
    owner regrole NOT NULL,
    "position" integer,
    column_name text NOT NULL,
    kind text NOT NULL,
    is_key boolean NOT NULL,
    "rows" bigint NOT NULL,
    nulls bigint NOT NULL,
    null_share float8,
    distinct_values bigint NOT NULL,
    distinct_is_exact boolean NOT NULL,
    zeros bigint,
    negatives bigint,
    nans bigint,
    infinities bigint,
    empty_texts bigint,
    minimum float8,
    maximum float8,
    minimum_text text,
    maximum_text text,
    mean float8,
    standard_deviation float8,
    skewness float8,
    kurtosis float8,
    q01 float8,
    q05 float8,
    q25 float8,
    median float8,
    q75 float8,
    q95 float8,
    q99 float8,
    median_absolute_deviation float8,
    length_minimum integer,
    length_maximum integer,
    length_mean float8,
    top_values jsonb NOT NULL,
    histogram jsonb,
    alerts text[] NOT NULL,
    PRIMARY KEY (profile, "position")
);
COMMENT ON TABLE pynomaly_data_profiling.column_profile IS
    'the statistics of one column; numbers are of finite values, those of times in seconds since 1970-01-01 UTC (of time: since midnight), those of booleans with true as 1';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile."position" IS 'among the profiled columns, from 1';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.kind IS 'integer, number, boolean, date, time, timestamp, timestamptz, text or uuid';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.null_share IS 'nulls / rows; NULL where there are no rows';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.distinct_values IS 'different values, NULL not among them; past 1,024 an estimate with a standard error of 0.81 %';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.zeros IS 'of integers and numbers, as are negatives and nans';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.infinities IS 'infinite numbers and times, of both signs';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.minimum_text IS 'the minimum of a date, time, timestamp or timestamptz in ISO 8601, with a zone in UTC; NULL for other kinds';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.maximum_text IS 'the maximum, as in minimum_text';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.standard_deviation IS 'of the sample: with n - 1';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.skewness IS 'g1 of Joanes and Gill (1998)';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.kurtosis IS 'excess kurtosis, g2 of Joanes and Gill (1998): 0 for a normal distribution';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.median IS
    'like q01 to q99 by Hazen''s rule (type 5 of Hyndman and Fan 1996); past the sample''s size estimated, save for the 128 values at either end';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.median_absolute_deviation IS 'median of |value - median|, not scaled, from the sample';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.length_minimum IS 'characters of the shortest text';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.top_values IS
    'up to 10 values that are surely the most frequent and stand twice or more: [{value, count, at_most}], whose true count is from count to at_most; of text the first 32 bytes, null where no sampled row has it';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.histogram IS
    '{rule, edges, counts, exact} of numbers and times: bins of equal width, each without its upper edge except the last one; counts are scaled up from the sample';
COMMENT ON COLUMN pynomaly_data_profiling.column_profile.alerts IS 'what deserves a look; src/data_profiling/README.md says when each is raised';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_profiling.column_profile', '');

CREATE TABLE pynomaly_data_profiling.change (
    profile bigint REFERENCES pynomaly_data_profiling.profile ON DELETE CASCADE,
    owner regrole NOT NULL,
    "position" integer,
    column_name text,
    property text NOT NULL,
    before text,
    after text,
    difference float8,
    PRIMARY KEY (profile, "position")
);
COMMENT ON TABLE pynomaly_data_profiling.change IS 'how a profile differs from the one before, past the thresholds of src/data_profiling/comparison.c';
COMMENT ON COLUMN pynomaly_data_profiling.change."position" IS 'from 1: the table first, then the columns in their order, then those that were removed';
COMMENT ON COLUMN pynomaly_data_profiling.change.column_name IS 'NULL: of the whole table';
COMMENT ON COLUMN pynomaly_data_profiling.change.property IS
    'rows, column_added, column_removed, kind, null_share, distinct_values, mean, standard_deviation, minimum, maximum, median or top_values';
COMMENT ON COLUMN pynomaly_data_profiling.change.before IS 'the property as it was; for top_values how many frequent values have vanished';
COMMENT ON COLUMN pynomaly_data_profiling.change.after IS 'the property as it is; for top_values how many values are newly frequent';
COMMENT ON COLUMN pynomaly_data_profiling.change.difference IS
    'the size of the effect; rows, distinct_values: after / before - 1; null_share: after - before; mean: in pooled standard deviations; standard_deviation: after / before; minimum, maximum: widening as a share of the former range; median: in interquartile ranges / 1.349; NULL where it is not defined';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_profiling.change', '');

ALTER TABLE pynomaly_data_profiling.profile ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_profiling.column_profile ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_profiling.change ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_data_profiling.profile FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_profiling.column_profile FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_profiling.change FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_data_profiling.profile IS 'the owner''s and its members''';
COMMENT ON POLICY own ON pynomaly_data_profiling.column_profile IS 'the owner''s and its members''';
COMMENT ON POLICY own ON pynomaly_data_profiling.change IS 'the owner''s and its members''';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_profiling.profile', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_profiling.column_profile', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_profiling.change', 'pynomaly_viewer');

CREATE VIEW pynomaly_data_profiling.latest_column_profile WITH (security_invoker = true, security_barrier = true) AS
    SELECT p.dataset, p.source, c.column_name, c.kind, c.is_key, c.alerts, c."rows", c.nulls, c.null_share,
        c.distinct_values, c.distinct_is_exact, c.zeros, c.negatives, c.nans, c.infinities, c.empty_texts,
        c.minimum, c.maximum, c.minimum_text, c.maximum_text, c.mean, c.standard_deviation, c.skewness, c.kurtosis,
        c.q01, c.q05, c.q25, c.median, c.q75, c.q95, c.q99, c.median_absolute_deviation,
        c.length_minimum, c.length_maximum, c.length_mean, c.top_values, c.histogram,
        c."position", p.id AS profile, p.owner, p.profiled_at
    FROM pynomaly_data_profiling.profile p
        JOIN pynomaly_data_profiling.column_profile c ON c.profile = p.id
    WHERE p.id = (SELECT pg_catalog.max(n.id) FROM pynomaly_data_profiling.profile n
                  WHERE n.dataset = p.dataset AND n.owner = p.owner);
COMMENT ON VIEW pynomaly_data_profiling.latest_column_profile IS 'the columns of each dataset as its newest profile has them';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_profiling.latest_column_profile', 'pynomaly_viewer');

CREATE VIEW pynomaly_data_profiling.latest_change WITH (security_invoker = true, security_barrier = true) AS
    SELECT p.dataset, p.source, c.column_name, c.property, c.before, c.after, c.difference,
        c."position", p.id AS profile, p.previous, p.owner, p.profiled_at
    FROM pynomaly_data_profiling.profile p
        JOIN pynomaly_data_profiling.change c ON c.profile = p.id
    WHERE p.id = (SELECT pg_catalog.max(n.id) FROM pynomaly_data_profiling.profile n
                  WHERE n.dataset = p.dataset AND n.owner = p.owner);
COMMENT ON VIEW pynomaly_data_profiling.latest_change IS 'how each dataset''s newest profile differs from the one before';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_profiling.latest_change', 'pynomaly_viewer');

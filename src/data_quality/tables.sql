-- Runs of checks, their results and the rules of users.  See README.md of this folder.

CREATE SCHEMA pynomaly_data_quality;
COMMENT ON SCHEMA pynomaly_data_quality IS 'pynomaly: rules, checks and their results';
SELECT pynomaly_kernel.add_grant('USAGE', 'SCHEMA', 'pynomaly_data_quality', 'pynomaly_viewer');

CREATE TABLE pynomaly_data_quality.check_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner regrole NOT NULL,
    dataset bigint NOT NULL,
    source text NOT NULL,
    sketch bytea NOT NULL,
    request uuid,
    rows bigint NOT NULL,
    score float8 NOT NULL CHECK (score BETWEEN 0 AND 100),
    grade text NOT NULL CHECK (grade IN ('A', 'B', 'C', 'D', 'F')),
    verdict text NOT NULL CHECK (verdict IN ('pass', 'warn', 'stop')),
    dimensions jsonb NOT NULL,
    columns jsonb NOT NULL,
    checked_at timestamptz NOT NULL,
    seconds float8 NOT NULL
);
COMMENT ON TABLE pynomaly_data_quality.check_run IS 'runs of all checks of a dataset; the last 400 of each owner and dataset';
COMMENT ON COLUMN pynomaly_data_quality.check_run.dataset IS 'as data_science numbers it';
COMMENT ON COLUMN pynomaly_data_quality.check_run.sketch IS 'SHA-256 of the sketch that was checked, an artifact of the owner';
COMMENT ON COLUMN pynomaly_data_quality.check_run.request IS 'whose journey the run belongs to; NULL for a check by itself';
COMMENT ON COLUMN pynomaly_data_quality.check_run.score IS '0 to 100: the weighted mean of the dimensions that were judged';
COMMENT ON COLUMN pynomaly_data_quality.check_run.grade IS 'A from 90, B from 80, C from 70, D from 60, else F; no better than D where a check of severity error failed';
COMMENT ON COLUMN pynomaly_data_quality.check_run.verdict IS 'stop: a check of severity error failed; warn: one of severity warn did; else pass';
COMMENT ON COLUMN pynomaly_data_quality.check_run.dimensions IS 'score of each dimension, 0 to 1; null where nothing was judged, as accuracy never is: whether values are true is not in the data';
COMMENT ON COLUMN pynomaly_data_quality.check_run.columns IS '[{name, kind, spread}]: the columns, with the interquartile range of numbers and times (of times in seconds)';
COMMENT ON COLUMN pynomaly_data_quality.check_run.seconds IS 'how long the analysis took, without reading the data';
CREATE INDEX check_run_history_idx ON pynomaly_data_quality.check_run (owner, dataset, id DESC);
CREATE INDEX check_run_request_idx ON pynomaly_data_quality.check_run (request) WHERE request IS NOT NULL;
ALTER TABLE pynomaly_data_quality.check_run ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_data_quality.check_run FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_data_quality.check_run IS 'a role sees its own runs, and those of the roles that it is a member of';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_quality.check_run', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_quality.check_run_id_seq', '');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_quality.check_run', 'pynomaly_viewer');

CREATE TABLE pynomaly_data_quality.result (
    check_run bigint NOT NULL REFERENCES pynomaly_data_quality.check_run ON DELETE CASCADE,
    position integer NOT NULL,
    owner regrole NOT NULL,
    dimension text NOT NULL,
    name text NOT NULL,
    column_name text,
    value float8,
    low float8,
    high float8,
    passed boolean,
    severity text NOT NULL CHECK (severity IN ('info', 'warn', 'error')),
    message text NOT NULL,
    PRIMARY KEY (check_run, position)
);
COMMENT ON TABLE pynomaly_data_quality.result IS 'what each check of a run measured; the history that later runs are judged by';
COMMENT ON COLUMN pynomaly_data_quality.result.column_name IS 'NULL: of the whole dataset';
COMMENT ON COLUMN pynomaly_data_quality.result.value IS 'a share from 0 to 1, a count, a statistic of the column, or for freshness seconds; times are seconds since 1970-01-01';
COMMENT ON COLUMN pynomaly_data_quality.result.low IS 'bounds of the value, from a rule or from history; NULL where there is none';
COMMENT ON COLUMN pynomaly_data_quality.result.passed IS 'NULL: not judged, since nothing tells yet what the value should be';
COMMENT ON COLUMN pynomaly_data_quality.result.severity IS 'what it means if the check fails';
COMMENT ON COLUMN pynomaly_data_quality.result.message IS 'names columns, shares and counts, never values of the data';
ALTER TABLE pynomaly_data_quality.result ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_data_quality.result FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_data_quality.result IS 'a role sees its own results, and those of the roles that it is a member of';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_quality.result', '');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_quality.result', 'pynomaly_viewer');

CREATE TABLE pynomaly_data_quality.rule (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner regrole NOT NULL,
    source text NOT NULL,
    column_name text,
    kind text NOT NULL CHECK (kind IN ('completeness', 'unique', 'range', 'row_count', 'freshness', 'distinct_count')),
    low float8,
    high float8,
    severity text NOT NULL CHECK (severity IN ('info', 'warn', 'error')),
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_data_quality.rule IS 'what must hold of a source, for the runs of the owner and of the members of this role';
COMMENT ON COLUMN pynomaly_data_quality.rule.source IS 'qualified name of the relation, quoted as SQL needs it';
COMMENT ON COLUMN pynomaly_data_quality.rule.low IS 'smallest value allowed: a share for completeness, a count for row_count and distinct_count; for range in the column''s unit, of times seconds since 1970-01-01';
COMMENT ON COLUMN pynomaly_data_quality.rule.high IS 'largest value allowed; for freshness the age of the newest value in seconds';
CREATE UNIQUE INDEX rule_subject_idx ON pynomaly_data_quality.rule (owner, source, kind, coalesce(column_name, ''));
CREATE INDEX rule_source_idx ON pynomaly_data_quality.rule (source);
ALTER TABLE pynomaly_data_quality.rule ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_data_quality.rule FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_data_quality.rule IS 'a role sees its own rules, and those of the roles that it is a member of';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_quality.rule', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_quality.rule_id_seq', '');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_quality.rule', 'pynomaly_viewer');

CREATE VIEW pynomaly_data_quality.latest_run WITH (security_invoker = true, security_barrier = true) AS
    SELECT r.owner, r.dataset, r.source, r.id AS check_run, r.checked_at, r.rows, r.score, r.grade, r.verdict, r.dimensions,
        (SELECT count(*) FROM pynomaly_data_quality.result x WHERE x.check_run = r.id AND NOT x.passed) AS failed
    FROM pynomaly_data_quality.check_run r
    WHERE NOT EXISTS (SELECT FROM pynomaly_data_quality.check_run later
                      WHERE later.owner = r.owner AND later.dataset = r.dataset AND later.id > r.id);
COMMENT ON VIEW pynomaly_data_quality.latest_run IS 'the last run of each dataset, with the number of its checks that failed';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_quality.latest_run', 'pynomaly_viewer');

CREATE VIEW pynomaly_data_quality.latest_result WITH (security_invoker = true, security_barrier = true) AS
    SELECT r.owner, r.dataset, r.source, r.check_run, r.checked_at, x.position, x.dimension, x.name, x.column_name, x.value,
        x.low, x.high, x.passed, x.severity, x.message
    FROM pynomaly_data_quality.latest_run r JOIN pynomaly_data_quality.result x ON x.check_run = r.check_run;
COMMENT ON VIEW pynomaly_data_quality.latest_result IS 'each check of the last run of each dataset';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_quality.latest_result', 'pynomaly_viewer');

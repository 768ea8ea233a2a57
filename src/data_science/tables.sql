-- What data_science owns.  Written by C alone; who may see a row is its owner and who belongs to that role.

CREATE SCHEMA pynomaly_data_science;
COMMENT ON SCHEMA pynomaly_data_science IS 'pynomaly: datasets, detections and anomalies';
SELECT pynomaly_kernel.add_grant('USAGE', 'SCHEMA', 'pynomaly_data_science', 'pynomaly_viewer');

CREATE TABLE pynomaly_data_science.dataset (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner regrole NOT NULL,
    source regclass NOT NULL,
    columns name[],
    key name[],
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_data_science.dataset IS 'what of a relation is looked at, for whom';
COMMENT ON COLUMN pynomaly_data_science.dataset.columns IS 'NULL: every usable one';
COMMENT ON COLUMN pynomaly_data_science.dataset.key IS 'NULL: the primary key, else the row''s place';
CREATE UNIQUE INDEX dataset_identity_idx ON pynomaly_data_science.dataset
    (source, owner, (coalesce(columns, '{}')), (coalesce(key, '{}')));
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.dataset', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.dataset_id_seq', '');

CREATE TABLE pynomaly_data_science.dataset_version (
    dataset bigint REFERENCES pynomaly_data_science.dataset ON DELETE CASCADE,
    version integer,
    owner regrole NOT NULL,
    sketch bytea,
    rows bigint NOT NULL,
    columns jsonb NOT NULL,
    seed bigint NOT NULL,
    request uuid,
    seconds float8 NOT NULL,
    processed_at timestamptz NOT NULL,
    labels bytea,
    PRIMARY KEY (dataset, version)
);
COMMENT ON TABLE pynomaly_data_science.dataset_version IS 'a dataset as it was read at one time';
COMMENT ON COLUMN pynomaly_data_science.dataset_version.sketch IS 'SHA-256 of the artifact; NULL when it is no longer kept';
COMMENT ON COLUMN pynomaly_data_science.dataset_version.labels IS 'SHA-256 of the artifact with what people had said of the relation''s anomalies; NULL: nothing, not asked for, or no longer kept with the sketch';
COMMENT ON COLUMN pynomaly_data_science.dataset_version.columns IS 'array of {name, kind}';
COMMENT ON COLUMN pynomaly_data_science.dataset_version.seconds IS 'that reading it took';
CREATE INDEX dataset_version_sketch_idx ON pynomaly_data_science.dataset_version (sketch) WHERE sketch IS NOT NULL;
CREATE INDEX dataset_version_labels_idx ON pynomaly_data_science.dataset_version (labels) WHERE labels IS NOT NULL;
CREATE INDEX dataset_version_request_idx ON pynomaly_data_science.dataset_version (request) WHERE request IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.dataset_version', '');

CREATE TABLE pynomaly_data_science.detection (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset bigint NOT NULL REFERENCES pynomaly_data_science.dataset ON DELETE CASCADE,
    owner regrole NOT NULL,
    request uuid,
    model_name text,
    model_version integer,
    model_digest bytea NOT NULL,
    contamination float8 NOT NULL,
    rows bigint NOT NULL,
    anomalies bigint NOT NULL,
    stored bigint NOT NULL,
    seconds float8 NOT NULL,
    detected_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_data_science.detection IS 'a dataset''s rows judged by a model at one time';
COMMENT ON COLUMN pynomaly_data_science.detection.anomalies IS 'rows flagged, of which the worst (stored) are kept in anomaly';
CREATE INDEX detection_dataset_idx ON pynomaly_data_science.detection (dataset, id);
CREATE INDEX detection_request_idx ON pynomaly_data_science.detection (request) WHERE request IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.detection', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.detection_id_seq', '');

CREATE TABLE pynomaly_data_science.anomaly (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    detection bigint NOT NULL REFERENCES pynomaly_data_science.detection ON DELETE CASCADE,
    owner regrole NOT NULL,
    key jsonb NOT NULL,
    score float8 NOT NULL,
    p_value float8 NOT NULL,
    severity text NOT NULL,
    reasons jsonb,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'acknowledged', 'resolved', 'ignored', 'false_alarm')),
    detected_at timestamptz NOT NULL,
    evidence jsonb,
    label text CHECK (label IN ('anomaly', 'false_alarm'))
);
COMMENT ON TABLE pynomaly_data_science.anomaly IS 'flagged rows of detections, kept for pynomaly.data_science_retention';
COMMENT ON COLUMN pynomaly_data_science.anomaly.key IS 'of the row, as detect gives it';
COMMENT ON COLUMN pynomaly_data_science.anomaly.evidence IS 'what can be learnt from a label: the row''s raw score, its members'' where the model weighs them, and as "row" its values as the model saw them (a text as its hash)';
COMMENT ON COLUMN pynomaly_data_science.anomaly.label IS 'the last one that somebody gave with pynomaly.feedback; who, when and why is in anomaly_history';
COMMENT ON COLUMN pynomaly_data_science.anomaly.status IS 'open until somebody says otherwise with pynomaly.set_anomaly_status';
CREATE INDEX anomaly_detection_idx ON pynomaly_data_science.anomaly (detection);
CREATE INDEX anomaly_label_idx ON pynomaly_data_science.anomaly (detection) WHERE label IS NOT NULL;
CREATE INDEX anomaly_detected_at_idx ON pynomaly_data_science.anomaly (detected_at);
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.anomaly', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.anomaly_id_seq', '');

CREATE TABLE pynomaly_data_science.anomaly_history (
    anomaly bigint REFERENCES pynomaly_data_science.anomaly ON DELETE CASCADE,
    changed_at timestamptz,
    owner regrole NOT NULL,
    changed_by text NOT NULL,
    status_before text NOT NULL,
    status text NOT NULL,
    note text,
    label_before text,
    label text,
    PRIMARY KEY (anomaly, changed_at)
);
COMMENT ON TABLE pynomaly_data_science.anomaly_history IS 'who gave an anomaly which status and label, and why';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_data_science.anomaly_history', '');

ALTER TABLE pynomaly_data_science.dataset ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_science.dataset_version ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_science.detection ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_science.anomaly ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_data_science.anomaly_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_data_science.dataset FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_science.dataset_version FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_science.detection FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_science.anomaly FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_data_science.anomaly_history FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_data_science.dataset IS 'rows of one''s own roles';
COMMENT ON POLICY own ON pynomaly_data_science.dataset_version IS 'rows of one''s own roles';
COMMENT ON POLICY own ON pynomaly_data_science.detection IS 'rows of one''s own roles';
COMMENT ON POLICY own ON pynomaly_data_science.anomaly IS 'rows of one''s own roles';
COMMENT ON POLICY own ON pynomaly_data_science.anomaly_history IS 'rows of one''s own roles';

CREATE VIEW pynomaly_data_science.found_anomaly WITH (security_invoker = true, security_barrier = true) AS
    SELECT a.id, s.source, a.key, a.score, a.p_value, a.severity, a.reasons, a.status, a.detected_at,
        d.model_name, d.model_version, d.request, a.detection, a.label
    FROM pynomaly_data_science.anomaly a
        JOIN pynomaly_data_science.detection d ON d.id = a.detection
        JOIN pynomaly_data_science.dataset s ON s.id = d.dataset;
COMMENT ON VIEW pynomaly_data_science.found_anomaly IS 'anomalies with the relation that they are in and the model that found them';

SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.dataset', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.dataset_version', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.detection', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.anomaly', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.anomaly_history', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_data_science.found_anomaly', 'pynomaly_viewer');

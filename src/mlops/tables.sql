-- Models, their versions, and the aliases by which people choose one.  See registry.c and alias.c.

CREATE SCHEMA pynomaly_mlops;
COMMENT ON SCHEMA pynomaly_mlops IS 'pynomaly: models, their versions and aliases';
SELECT pynomaly_kernel.add_grant('USAGE', 'SCHEMA', 'pynomaly_mlops', 'pynomaly_viewer');

-- A name is looked up among all owners' models, so it comes first in the index.
CREATE TABLE pynomaly_mlops.model (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner regrole NOT NULL,
    name text COLLATE "C" NOT NULL CHECK (name <> ''),
    description text,
    last_version integer NOT NULL CHECK (last_version > 0),
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    UNIQUE (name, owner)
);
COMMENT ON TABLE pynomaly_mlops.model IS 'what versions are versions of; two owners may have models of one name';
COMMENT ON COLUMN pynomaly_mlops.model.name IS 'of a person''s choice, or the name of the relation that it learnt from, with schema and quotes as SQL has them';
COMMENT ON COLUMN pynomaly_mlops.model.last_version IS 'the number given out last; numbers have no gaps, since the row is locked until its user commits';
COMMENT ON COLUMN pynomaly_mlops.model.changed_at IS 'last change of a version or an alias; who makes one updates it first, so that changes of one model come one after another';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.model', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.model_id_seq', '');

CREATE TABLE pynomaly_mlops.model_version (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model bigint NOT NULL REFERENCES pynomaly_mlops.model ON DELETE CASCADE,
    owner regrole NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    algorithm text COLLATE "C" NOT NULL,
    contamination float8 NOT NULL,
    source text,
    dataset bigint,
    columns name[] NOT NULL,
    rows bigint NOT NULL,
    training_rows bigint NOT NULL,
    seed bigint NOT NULL,
    sketch_digest bytea NOT NULL CHECK (octet_length(sketch_digest) = 32),
    options jsonb NOT NULL,
    code_version text NOT NULL,
    request uuid,
    status text COLLATE "C" NOT NULL CHECK (status IN ('ready', 'expired', 'withdrawn')),
    created_at timestamptz NOT NULL,
    created_by regrole NOT NULL,
    seconds float8 NOT NULL,
    parent integer,
    learned jsonb,
    labels jsonb,
    UNIQUE (model, version)
);
COMMENT ON TABLE pynomaly_mlops.model_version IS 'fitted models with their lineage: from what, how, by whom and by which code; the same sketch, labels, options and code give the same digest';
COMMENT ON COLUMN pynomaly_mlops.model_version.digest IS 'SHA-256 of the pynomaly.model, which is an artifact of the owner while the status is ready';
COMMENT ON COLUMN pynomaly_mlops.model_version.source IS 'the relation that was read, as SQL names it; NULL: not told';
COMMENT ON COLUMN pynomaly_mlops.model_version.dataset IS 'id of the dataset, as the domain that processed it gave it';
COMMENT ON COLUMN pynomaly_mlops.model_version.columns IS 'those that play a part in the score';
COMMENT ON COLUMN pynomaly_mlops.model_version.rows IS 'of the relation';
COMMENT ON COLUMN pynomaly_mlops.model_version.training_rows IS 'of the sample that it was fitted from';
COMMENT ON COLUMN pynomaly_mlops.model_version.sketch_digest IS 'SHA-256 of the sketch that it was fitted from';
COMMENT ON COLUMN pynomaly_mlops.model_version.options IS 'as they were given';
COMMENT ON COLUMN pynomaly_mlops.model_version.code_version IS 'the extension''s version';
COMMENT ON COLUMN pynomaly_mlops.model_version.request IS 'the request that had it trained; NULL: somebody''s own call';
COMMENT ON COLUMN pynomaly_mlops.model_version.status IS 'expired: made way for newer ones; withdrawn: its request failed or was cancelled; both have lost their bytes';
COMMENT ON COLUMN pynomaly_mlops.model_version.seconds IS 'time that training took, with the scan if there was one';
COMMENT ON COLUMN pynomaly_mlops.model_version.parent IS 'version of this model that it was made of, by verdicts of people (pynomaly.feedback); NULL: it was fitted';
COMMENT ON COLUMN pynomaly_mlops.model_version.labels IS 'what people had said of rows before: SHA-256 of the artifact, labels used by kind, and those left out since their rows do not have the model''s columns; NULL: none';
COMMENT ON COLUMN pynomaly_mlops.model_version.learned IS 'the verdicts, and what followed from them: p-value at the threshold, weights of members';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.model_version', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.model_version_id_seq', '');
CREATE INDEX model_version_digest_idx ON pynomaly_mlops.model_version (digest);
CREATE INDEX model_version_request_idx ON pynomaly_mlops.model_version (request) WHERE request IS NOT NULL;
CREATE INDEX model_version_trained_idx ON pynomaly_mlops.model_version (model, version)
    WHERE status = 'ready' AND request IS NOT NULL;

CREATE TABLE pynomaly_mlops.alias (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model bigint NOT NULL REFERENCES pynomaly_mlops.model ON DELETE CASCADE,
    owner regrole NOT NULL,
    name text COLLATE "C" NOT NULL CHECK (name <> ''),
    UNIQUE (model, name)
);
COMMENT ON TABLE pynomaly_mlops.alias IS 'names for a version that can be given to another one, such as champion; whatever changes what an address means invalidates this table''s relation-cache entry';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.alias', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.alias_id_seq', '');

-- Ranges have equality in GiST by themselves, so the alias as a range of one number needs no further extension.  A foreign
-- key of "before" to its own table would make pg_dump warn; rows go with the whole alias only.
CREATE TABLE pynomaly_mlops.alias_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alias bigint NOT NULL REFERENCES pynomaly_mlops.alias ON DELETE CASCADE,
    owner regrole NOT NULL,
    version bigint NOT NULL REFERENCES pynomaly_mlops.model_version ON DELETE CASCADE,
    before bigint,
    valid tstzrange NOT NULL CHECK (NOT isempty(valid)),
    changed_by regrole NOT NULL,
    reason text,
    request uuid,
    CONSTRAINT alias_history_one_at_a_time EXCLUDE USING gist (int8range(alias, alias, '[]') WITH =, valid WITH &&)
);
COMMENT ON TABLE pynomaly_mlops.alias_history IS 'which version an alias stood for, when, and who decided so';
COMMENT ON COLUMN pynomaly_mlops.alias_history.before IS 'the row where a rollback from here leads: to what the alias stood for before it was given to this version; NULL: nowhere';
COMMENT ON COLUMN pynomaly_mlops.alias_history.valid IS 'without an upper bound: now';
COMMENT ON COLUMN pynomaly_mlops.alias_history.request IS 'the request that changed it; NULL: a call of changed_by';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.alias_history', '');
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.alias_history_id_seq', '');
CREATE UNIQUE INDEX alias_history_now_idx ON pynomaly_mlops.alias_history (alias) WHERE upper_inf(valid);
CREATE INDEX alias_history_alias_idx ON pynomaly_mlops.alias_history (alias, id);
CREATE INDEX alias_history_version_idx ON pynomaly_mlops.alias_history (version);

CREATE TABLE pynomaly_mlops.request_model (
    request uuid PRIMARY KEY,
    owner regrole NOT NULL,
    version bigint NOT NULL REFERENCES pynomaly_mlops.model_version ON DELETE CASCADE,
    reused boolean NOT NULL,
    chosen_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_mlops.request_model IS 'the version that each request was served with';
COMMENT ON COLUMN pynomaly_mlops.request_model.owner IS 'of the request; the version may be that of a role that it belongs to';
COMMENT ON COLUMN pynomaly_mlops.request_model.reused IS 'false: trained for the request';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.request_model', '');
CREATE INDEX request_model_version_idx ON pynomaly_mlops.request_model (version);

CREATE TABLE pynomaly_mlops.verdict (
    model bigint REFERENCES pynomaly_mlops.model ON DELETE CASCADE,
    parent integer,
    reference bigint,
    owner regrole NOT NULL,
    label text COLLATE "C" NOT NULL CHECK (label IN ('anomaly', 'false_alarm')),
    evidence jsonb NOT NULL,
    given_by regrole NOT NULL,
    given_at timestamptz NOT NULL,
    PRIMARY KEY (model, parent, reference)
);
COMMENT ON TABLE pynomaly_mlops.verdict IS 'what people said of rows that a model has found, which its versions learn from; the last word on each row';
COMMENT ON COLUMN pynomaly_mlops.verdict.parent IS 'version that was fitted and whose scores these are; that and those made of it are a family, which has found the row';
COMMENT ON COLUMN pynomaly_mlops.verdict.reference IS 'number of the row for who asked, such as an anomaly''s';
COMMENT ON COLUMN pynomaly_mlops.verdict.evidence IS 'the row''s scores; no value of it';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_mlops.verdict', '');

ALTER TABLE pynomaly_mlops.model ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.model FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.model IS 'one sees what belongs to a role that one has';
ALTER TABLE pynomaly_mlops.model_version ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.model_version FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.model_version IS 'one sees what belongs to a role that one has';
ALTER TABLE pynomaly_mlops.alias ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.alias FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.alias IS 'one sees what belongs to a role that one has';
ALTER TABLE pynomaly_mlops.alias_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.alias_history FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.alias_history IS 'one sees what belongs to a role that one has';
ALTER TABLE pynomaly_mlops.request_model ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.request_model FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.request_model IS 'one sees what belongs to a role that one has';
ALTER TABLE pynomaly_mlops.verdict ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_mlops.verdict FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_mlops.verdict IS 'one sees what belongs to a role that one has';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.verdict', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.model', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.model_version', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.alias', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.alias_history', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_mlops.request_model', 'pynomaly_viewer');

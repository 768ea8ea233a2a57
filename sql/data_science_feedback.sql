-- What people say of anomalies: labels, what the model learns from them in the same transaction, and how it is taken back.
-- needs: mlops
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset null '(null)'
SET client_min_messages = warning;
SELECT pynomaly.create_roles();
CREATE ROLE regress_feedback_anna;
CREATE ROLE regress_feedback_bert;
CREATE ROLE regress_feedback_clara;
CREATE ROLE regress_feedback_viewer;
GRANT pynomaly_analyst TO regress_feedback_anna, regress_feedback_bert, regress_feedback_clara;
GRANT pynomaly_viewer TO regress_feedback_viewer;
GRANT regress_feedback_anna TO regress_feedback_clara;
SET client_min_messages = notice;
CREATE SCHEMA feedback;
GRANT USAGE, CREATE ON SCHEMA feedback TO regress_feedback_anna, regress_feedback_bert, regress_feedback_viewer, regress_feedback_clara;
SET search_path = feedback, public;
SET ROLE regress_feedback_anna;
-- 2,000 readings whose oddness rises with their number.
CREATE TABLE reading (id int PRIMARY KEY, value float8);
INSERT INTO reading SELECT i, i * i / 1000.0 FROM generate_series(1, 2000) AS i;
CREATE FUNCTION science(operation text, arguments jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pynomaly_kernel.call('data_science', operation, arguments) $$;
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    hint text;
BEGIN
    EXECUTE command INTO result;
    RETURN coalesce(result, 'no error');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || coalesce(E'\n  hint: ' || nullif(hint, ''), '');
END $$;
-- The rows that the champion flags now.
CREATE FUNCTION flagged(model text DEFAULT 'odd') RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pynomaly.detect('reading', model => model) WHERE is_anomaly $$;
RESET ROLE;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) TO regress_feedback_anna, regress_feedback_clara;
GRANT USAGE ON SCHEMA pynomaly_kernel TO regress_feedback_anna, regress_feedback_clara;
SET ROLE regress_feedback_anna;
SELECT address FROM jsonb_to_record(pynomaly_kernel.call('mlops', 'train', '{"name": "odd", "source": "feedback.reading", "algorithm": "zscore", "contamination": 0.01}')) AS t(address text);
SELECT science('detect', '{"source": "feedback.reading", "model": "odd"}') ->> 'anomalies' AS anomalies;
CREATE FUNCTION anomaly_of(reading_id int) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT a.id FROM pynomaly_data_science.found_anomaly a WHERE a.key = jsonb_build_object('id', reading_id) AND a.source = 'feedback.reading'::regclass ORDER BY a.id LIMIT 1 $$;
CREATE FUNCTION say(reading_id int, label text, note text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT f #- '{anomaly}' #- '{learned,changes,anomalies}' #- '{learned,changes,false_alarms}' FROM pynomaly.feedback(anomaly_of(reading_id), say.label, say.note) AS f $$;

-- Of each flagged row the raw score is kept, and its values.
SELECT count(*), bool_and(evidence - '{raw,row}'::text[] = '{}' AND evidence ? 'raw'),
    bool_and((evidence #>> '{row,value}')::float8 = (SELECT value FROM reading WHERE id = (a.key ->> 'id')::int) AND evidence #> '{row,id}' IS NULL) AS "as they are" FROM pynomaly_data_science.anomaly a WHERE a.id >= anomaly_of(2000);
SELECT flagged();
-- One false alarm among the mildest raises the threshold past it; the model is called the same, in the same transaction.
BEGIN;
SELECT say(1983, 'false_alarm', 'a sensor that we know');
SELECT flagged(), (SELECT min((key ->> 'id')::int) FROM pynomaly.detect('reading', model => 'odd') WHERE is_anomaly) AS first,
    pynomaly.is_anomaly('odd', (SELECT value FROM reading WHERE id = 1983)) AS "1983", pynomaly.is_anomaly('odd', (SELECT value FROM reading WHERE id = 1984)) AS "1984";
SELECT version, aliases, parent, learned - 'false_alarms' AS learned, jsonb_array_length(learned -> 'false_alarms') AS false_alarms FROM pynomaly_mlops.version WHERE name = 'odd' ORDER BY version;
SELECT status, label FROM pynomaly_data_science.found_anomaly WHERE id = anomaly_of(1983);
SELECT changed_by, status_before, status, label_before, label, note FROM pynomaly_data_science.anomaly_history WHERE anomaly = anomaly_of(1983);
-- A rollback undoes all of it.
ROLLBACK;
SELECT flagged(), (SELECT count(*) FROM pynomaly_mlops.version WHERE name = 'odd') AS versions,
    (SELECT count(*) FROM pynomaly_data_science.anomaly_history WHERE anomaly = anomaly_of(1983)) AS history, (SELECT count(*) FROM pynomaly_mlops.verdict) AS verdicts;

-- One click cannot silence everything: of the worst row it changes nothing but the label.
SELECT say(2000, 'false_alarm');
SELECT flagged();
-- Several false alarms go further, each by the share that the prior grants it, and never past a tenth of what was expected.
SELECT i, say(i, 'false_alarm') #>> '{learned,outcome}' AS outcome, flagged() FROM generate_series(1984, 1998, 2) AS i;
-- A labelled anomaly stays flagged whatever comes: the threshold goes back below it.
SELECT say(1990, 'anomaly') #>> '{status}' AS status;
SELECT flagged(), pynomaly.is_anomaly('odd', (SELECT value FROM reading WHERE id = 1990)) AS "1990";
-- The last word on a row counts; what was taken back leaves no trace, and the model that was there before is there again.
SELECT say(1990, 'false_alarm') #>> '{learned,version}' AS version;
SELECT say(1990, NULL) AS taken_back;
SELECT status_before, status, label_before, label FROM pynomaly_data_science.anomaly_history WHERE anomaly = anomaly_of(1990) ORDER BY changed_at;
SELECT count(say(i, NULL)) FROM generate_series(1983, 2000) AS i;
SELECT flagged(), version, aliases FROM pynomaly_mlops.version WHERE name = 'odd' AND aliases <> '{}';
-- The order of verdicts does not matter.
SELECT say(1981, 'false_alarm') IS NOT NULL AS a, say(1986, 'false_alarm') IS NOT NULL AS b;
SELECT digest AS first FROM pynomaly_mlops.version WHERE name = 'odd' AND aliases <> '{}' \gset
SELECT say(1981, NULL) IS NOT NULL AS a, say(1986, NULL) IS NOT NULL AS b;
SELECT say(1986, 'false_alarm') IS NOT NULL AS b, say(1981, 'false_alarm') IS NOT NULL AS a;
SELECT digest = :'first' AS same FROM pynomaly_mlops.version WHERE name = 'odd' AND aliases <> '{}';
-- An anomaly that a detection with a larger contamination has found lowers the threshold, within its bounds.
SELECT science('detect', '{"source": "feedback.reading", "model": "odd", "contamination": 0.04}') ->> 'anomalies' AS anomalies;
SELECT count(say(i, NULL)) FROM unnest('{1981,1986}'::int[]) AS i;
SELECT count(say(i, 'anomaly')) FROM generate_series(1970, 1980) AS i;
SELECT flagged();
SELECT count(say(i, 'anomaly')) FROM generate_series(1922, 1935) AS i;
SELECT flagged();
SELECT count(say(i, NULL)) FROM generate_series(1922, 1980) AS i;

-- A champion of another family is left alone: the label is kept for it all the same.
SELECT pynomaly_kernel.call('mlops', 'train', '{"name": "odd", "source": "feedback.reading", "algorithm": "ecod"}') ->> 'version' AS version \gset
SELECT pynomaly_kernel.call('mlops', 'promote', jsonb_build_object('model', 'odd/' || :'version')) ->> 'version' = :'version' AS promoted;
SELECT say(1983, 'false_alarm');
SELECT pynomaly_kernel.call('mlops', 'rollback', '{"model": "odd"}') ->> 'alias' AS rolled_back;
SELECT say(1984, 'false_alarm') #> '{learned,outcome}' AS outcome, count(*) AS verdicts FROM pynomaly_mlops.verdict;

-- Who may: those who may set the status.
SELECT outcome($$SELECT pynomaly.feedback(anomaly_of(1985), 'nonsense')$$);
SELECT outcome($$SELECT pynomaly.feedback(0, 'anomaly')$$);
SELECT outcome($$SELECT pynomaly.feedback(NULL, 'anomaly')$$);
SELECT anomaly_of(1985) AS anomaly \gset
SET ROLE regress_feedback_bert;
SELECT replace(outcome(format('SELECT pynomaly.feedback(%s, %L)', :anomaly, 'anomaly')), :'anomaly', 'N') AS outcome;
SELECT count(*) FROM pynomaly_mlops.verdict;
SET ROLE regress_feedback_viewer;
SELECT outcome(format('SELECT pynomaly.feedback(%s, %L)', :anomaly, 'anomaly'));
-- A member of the owner's role may, also beside a model of the same name of his own.
SET ROLE regress_feedback_clara;
SELECT pynomaly_kernel.call('mlops', 'train', '{"name": "odd", "source": "feedback.reading", "algorithm": "ecod"}') ->> 'address' AS own;
SELECT f ->> 'label' AS label, f #>> '{learned,outcome}' AS outcome FROM pynomaly.feedback(:anomaly, 'false_alarm') AS f;
SELECT given_by, owner, label, evidence ? 'row' AS "with values" FROM pynomaly_mlops.verdict WHERE reference = :anomaly;
RESET ROLE;
SELECT action, actor, count(*) FROM pynomaly.audit WHERE action IN ('data_science.feedback', 'mlops.learn') AND actor LIKE 'regress_feedback%' GROUP BY action, actor ORDER BY action, actor;

-- An ensemble's weights move, too, where the rows that it was fitted from are still known.
SET ROLE regress_feedback_anna;
CREATE TABLE two (id int PRIMARY KEY, a float8, b float8);
INSERT INTO two SELECT i, i % 40, (i * 7) % 41 FROM generate_series(1, 2000) AS i;
INSERT INTO two SELECT 10000 + i, 60 + i, 20 FROM generate_series(1, 12) AS i;
SELECT pynomaly_kernel.call('mlops', 'train', '{"name": "both", "source": "feedback.two", "algorithm": "ensemble", "contamination": 0.01,
    "options": {"members": ["zscore", {"algorithm": "isolation_forest", "trees": 20}, "ecod"]}}') ->> 'address' AS address;
SELECT science('detect', '{"source": "feedback.two", "model": "both"}') ->> 'detection' AS detection \gset
SELECT count(*) > 5 AS found, bool_and(jsonb_array_length(evidence -> 'members') = 3) AS three FROM pynomaly_data_science.anomaly WHERE detection = :detection;
SELECT count(f) AS labelled
FROM (SELECT id, pynomaly.feedback(id, CASE WHEN (key ->> 'id')::int > 10006 THEN 'anomaly' ELSE 'false_alarm' END) AS f
      FROM (SELECT id, key FROM pynomaly_data_science.anomaly WHERE detection = :detection ORDER BY score DESC, id LIMIT 10) AS worst) AS said;
SELECT version, parent, jsonb_array_length(learned -> 'weights') AS weights, learned -> 'weights' <> learned -> 'weights_before' AS changed,
    (SELECT round(sum(w::numeric), 9) FROM jsonb_array_elements_text(learned -> 'weights') AS w) AS sum
FROM pynomaly_mlops.version WHERE name = 'both' AND aliases <> '{}';
-- Labelled anomalies are flagged by it.
SELECT bool_and(pynomaly.is_anomaly('both', a, b)) AS flagged FROM two JOIN pynomaly_data_science.anomaly x ON (x.key ->> 'id')::int = two.id AND x.detection = :detection WHERE x.label = 'anomaly';

-- Models that are trained later learn from labels, too, where the algorithm does.  Of 2,640 rows 60 are bad, odd in z only; 240 others
-- are wild, and odder.
CREATE FUNCTION uniform(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((pynomaly.row_key(i, j) & 1125899906842623) + 0.5) / 1125899906842624 $$;
CREATE FUNCTION bell(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT uniform(i, 3 * j) + uniform(i, 3 * j + 1) + uniform(i, 3 * j + 2) $$;
CREATE TABLE planted (id int PRIMARY KEY, x float8, y float8, z float8, town text, at timestamptz);
INSERT INTO planted SELECT id, bell(id, 0), bell(id, 1), CASE WHEN id % 40 = 0 THEN -0.2 ELSE bell(id, 2) END FROM generate_series(1, 2400) AS id;
INSERT INTO planted SELECT id, 9 * uniform(id, 0) - 3, 9 * uniform(id, 1) - 3, 1.5 FROM generate_series(2401, 2640) AS id;
UPDATE planted SET town = 'town ' || id % 5, at = '2026-01-01 12:00 UTC'::timestamptz + id * interval '1 day', x = CASE WHEN id = 40 THEN NULL ELSE x END;
-- What a version has used, and what it says of that.
CREATE FUNCTION train(options jsonb DEFAULT '{}', algorithm text DEFAULT 'auto') RETURNS text LANGUAGE sql AS $$
    SELECT pynomaly_kernel.call('mlops', 'train', jsonb_build_object('name', 'planted', 'source', 'feedback.planted', 'algorithm', algorithm, 'options', options)) ->> 'address' $$;
CREATE FUNCTION learnt(trained text, OUT labels jsonb, OUT digest text, OUT says text) LANGUAGE sql AS $$
    SELECT v.labels - 'digest', v.digest, substring(('pynomaly.model:' || replace(encode(pynomaly_kernel.get_artifact(decode(v.digest, 'hex')), 'base64'), E'\n', ''))::pynomaly.model::jsonb
        ->> 'decisions' FROM '; (a regression.*|no row is labelled as an.*)')
    FROM pynomaly_mlops.version v WHERE v.address = trained AND v.owner = current_user::regrole $$;
RESET ROLE;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.get_artifact(bytea) TO regress_feedback_anna, regress_feedback_clara, regress_feedback_bert;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) TO regress_feedback_bert;
GRANT USAGE ON SCHEMA pynomaly_kernel TO regress_feedback_bert;
SET ROLE regress_feedback_anna;
-- Without labels it is what pynomaly.fit gives.
SELECT digest AS first, labels, says FROM learnt(train()) \gset
SELECT :'first' = encode(sha256(pynomaly.model_send(pynomaly.fit(pynomaly.sketch_of('planted', key => '{id}')))), 'hex') AS same, NOT :{?labels} AS "no labels", :'says' AS says;
-- Another champion, so that labels move no threshold.
SELECT pynomaly_kernel.call('mlops', 'promote', jsonb_build_object('model', train('{}', 'ecod'))) ->> 'version' AS champion;
SELECT science('detect', '{"source": "feedback.planted", "model": "planted/1", "contamination": 0.2}') ->> 'detection' AS detection \gset
-- One percent of the rows is labelled: bad ones as anomalies, wild ones as false alarms.
CREATE TABLE said AS SELECT a.id AS anomaly, (key ->> 'id')::int AS id, (key ->> 'id')::int <= 2400 AS bad
FROM (SELECT *, row_number() OVER (PARTITION BY (key ->> 'id')::int <= 2400 ORDER BY pynomaly.row_key((key ->> 'id')::int)) AS place
      FROM pynomaly_data_science.anomaly WHERE detection = :detection AND ((key ->> 'id')::int % 40 = 0 OR (key ->> 'id')::int > 2400)) AS a WHERE place <= 13;
SELECT bad, count(pynomaly.feedback(anomaly, CASE WHEN bad THEN 'anomaly' ELSE 'false_alarm' END)) FROM said GROUP BY bad ORDER BY bad;
SELECT train() AS taught \gset
SELECT labels, says FROM learnt(:'taught');
CREATE VIEW rest AS SELECT x, y, z, town, at, id % 40 = 0 AND id <= 2400 AS bad FROM planted WHERE id NOT IN (SELECT id FROM said);
CREATE FUNCTION quality(address text) RETURNS float8 LANGUAGE sql AS $$ SELECT value FROM pynomaly.evaluate(address, 'rest', 'bad', '{"replicates": 0}') WHERE metric = 'roc_auc' $$;
SELECT quality('planted/1') < 0.95 AS "without labels badly", quality(:'taught') > 0.99 AS "with labels well";
-- The same labels give the same bytes; algorithms that learn from none are given none; ensembles hand them on.
SELECT a.digest = b.digest AS same FROM learnt(train()) AS a, learnt(:'taught') AS b;
SELECT algorithm, labels FROM unnest('{ecod,ensemble}'::text[], '{"{}","{\"members\": [\"zscore\", \"auto\"]}"}'::jsonb[]) AS t(algorithm, options), learnt(train(options, algorithm));
-- What is detected again and labelled again is the same row: the later word counts, also one that another detection's anomaly is given.
BEGIN;
SELECT science('detect', '{"source": "feedback.planted", "model": "planted/1", "contamination": 0.2}') ->> 'detection' AS again \gset
SELECT count(pynomaly.feedback(a.id, 'false_alarm')) FROM pynomaly_data_science.anomaly a JOIN said ON said.id = (key ->> 'id')::int AND bad WHERE detection = :again AND said.id > 40;
SELECT labels FROM learnt(train());
ROLLBACK;
-- The labelled rows need not be there any more, nor as they were: what was said was said of them as they were flagged.
BEGIN;
DELETE FROM planted WHERE id IN (SELECT id FROM said WHERE id % 3 = 0);
UPDATE planted SET x = 1.5, y = 1.5, z = 1.5 WHERE id IN (SELECT id FROM said);
SELECT train() AS again \gset
SELECT labels, says, quality(:'again') > 0.99 AS "still well" FROM learnt(:'again');
-- A column more that says nothing is no harm; one that the model uses is, as is one of another type: such labels are left out.
ALTER TABLE planted ADD nothing int;
SELECT labels FROM learnt(train());
SAVEPOINT added;
ALTER TABLE planted ADD w float8;
UPDATE planted SET w = uniform(id, 20);
SELECT labels, says FROM learnt(train());
ROLLBACK TO added;
DROP VIEW rest;
ALTER TABLE planted ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC';
SELECT labels FROM learnt(train());
ROLLBACK;
-- Beside a label column, of which a row's label yields to what somebody has said of it.
BEGIN;
ALTER TABLE planted ADD label boolean;
UPDATE planted SET label = false WHERE id IN (SELECT id FROM said) OR id % 100 = 1;
SELECT labels, says FROM learnt(train('{"label_column": "label"}'));
ROLLBACK;
-- Of other roles' labels those of one's own roles count, and no others.
GRANT SELECT ON planted TO regress_feedback_bert, regress_feedback_clara;
SET ROLE regress_feedback_bert;
SELECT labels, digest = :'first' AS "as first" FROM learnt(train());
SET ROLE regress_feedback_clara;
SELECT labels FROM learnt(train());
-- A digest alone is no right to what it names.
SELECT v.labels ->> 'digest' AS labels, v.sketch_digest AS sketch FROM pynomaly_mlops.version v WHERE v.owner = 'regress_feedback_anna'::regrole AND v.address = :'taught' \gset
SET ROLE regress_feedback_bert;
SELECT replace(outcome(format('SELECT pynomaly_kernel.call(%L, %L, %L)', 'mlops', 'train', jsonb_build_object('name', 'stolen', 'labels', :'labels',
    'sketch', (SELECT sketch_digest FROM pynomaly_mlops.version WHERE owner = 'regress_feedback_bert'::regrole AND name = 'planted')))), :'labels', 'DIGEST') AS outcome;
-- Labels that are taken away leave no trace.
SET ROLE regress_feedback_anna;
SELECT count(pynomaly.feedback(anomaly, NULL)) FROM said;
SELECT labels, digest = :'first' AS "as first" FROM learnt(train());
-- False alarms alone teach such a model nothing.
SELECT count(pynomaly.feedback(anomaly, 'false_alarm')) FROM said WHERE NOT bad;
SELECT labels, digest = :'first' AS "as first" FROM learnt(train());

-- Where there is no registry the call fails, and nothing is left.
RESET ROLE;
ALTER SCHEMA pynomaly_mlops RENAME TO hidden_mlops;
SET ROLE regress_feedback_anna;
SELECT outcome($$SELECT pynomaly.feedback(anomaly_of(1987), 'anomaly')$$);
SELECT label, status FROM pynomaly_data_science.anomaly WHERE id = anomaly_of(1987);
RESET ROLE;
ALTER SCHEMA hidden_mlops RENAME TO pynomaly_mlops;
-- Dropping the model drops its verdicts; labels stay with the anomalies, and feedback says that the model is gone.
SET ROLE regress_feedback_anna;
SELECT pynomaly_kernel.call('mlops', 'drop_model', '{"model": "odd"}') ->> 'model' AS dropped;
SELECT say(1984, 'anomaly');
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_feedback_anna, regress_feedback_bert, regress_feedback_clara, regress_feedback_viewer CASCADE;
DELETE FROM pynomaly_data_science.dataset WHERE owner::text LIKE 'regress_feedback%';
DELETE FROM pynomaly_mlops.model WHERE owner::text LIKE 'regress_feedback%';
DELETE FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'regress_feedback%';
DROP SCHEMA feedback CASCADE;
DROP ROLE regress_feedback_anna, regress_feedback_bert, regress_feedback_clara, regress_feedback_viewer;

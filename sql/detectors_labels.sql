-- Labels: a column that says of some rows what they are, is never a feature, and teaches auto.
-- Uniform pseudo-random numbers that depend on their place alone, and sums of three.
CREATE FUNCTION uniform(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((pynomaly.row_key(i, j) & 1125899906842623) + 0.5) / 1125899906842624 $$;
CREATE FUNCTION bell(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT uniform(i, 3 * j) + uniform(i, 3 * j + 1) + uniform(i, 3 * j + 2) $$;
-- Bad rows are odd in z, but less so than many rows that are not bad: without labels they are found worse than with.
CREATE TABLE labelled AS
    SELECT id, bell(id, 0) AS x, bell(id, 1) AS y, CASE WHEN id % 40 = 0 THEN -0.2 ELSE bell(id, 2) END AS z,
        CASE WHEN id % 3 = 0 THEN id % 40 = 0 END AS label, CASE WHEN id % 40 = 0 THEN 'bad' ELSE 'good' END AS kind
    FROM generate_series(1, 2400) AS id;
INSERT INTO labelled SELECT id, 9 * uniform(id, 0) - 3, 9 * uniform(id, 1) - 3, 1.5, CASE WHEN id % 3 = 0 THEN false END, 'wild' FROM generate_series(2401, 2640) AS id;
CREATE FUNCTION found(options jsonb, algorithm text = 'auto', OUT bad_among_first_60 bigint) LANGUAGE sql BEGIN ATOMIC
    SELECT count(*) FILTER (WHERE kind = 'bad')
    FROM (SELECT kind FROM pynomaly.detect('labelled', '{x,y,z}', algorithm, key => '{id}', options => options) AS d JOIN labelled AS l ON l.id = (d.key ->> 'id')::int
          ORDER BY d.score DESC LIMIT 60) AS worst;
END;
SELECT found('{}') < 30 AS "without labels few", found('{"label_column": "label"}') >= 58 AS "with labels nearly all";

-- An ensemble hands the labels on to auto; others leave them alone.
SELECT found('{"label_column": "label", "members": ["auto"]}', 'ensemble') >= 58 AS "with labels nearly all",
    found('{"label_column": "label"}', 'ecod') = found('{}', 'ecod') AS "not by ecod";

-- Where no row is labelled as ordinary, those without a label stand for them; where none is labelled as an anomaly nothing is learnt.
ALTER TABLE labelled ADD anomalies int, ADD ordinary int, ADD five int DEFAULT 5;
UPDATE labelled SET anomalies = 1 WHERE label;
UPDATE labelled SET ordinary = 0 WHERE NOT label;
SELECT found('{"label_column": "anomalies"}') >= 55 AS "anomalies alone", found('{"label_column": "ordinary"}') = found('{}') AS "ordinary rows alone";
SELECT label, pynomaly.fit(pynomaly.sketch_of('labelled', ARRAY['x', 'y', 'z', label], '{id}'), options => jsonb_build_object('label_column', label))::jsonb ->> 'decisions' AS decisions
FROM unnest('{label,anomalies,ordinary}'::name[]) AS label;

-- The label is never a feature, nor in the reasons; the same model comes from a sketch that holds it.
SELECT string_agg(DISTINCT r ->> 'feature', ', ') AS features
FROM pynomaly.anomalies('labelled', '{x,y,z,label}', options => '{"label_column": "label"}') AS a, jsonb_array_elements(reasons) AS r;
SELECT string_agg(c ->> 'name', ', ') AS columns
FROM jsonb_array_elements(pynomaly.fit(pynomaly.sketch_of('labelled', '{x,y,label,z}'), options => '{"label_column": "label"}')::jsonb -> 'columns') AS c;
CREATE TABLE fitted AS SELECT pynomaly.fit(pynomaly.sketch_of('labelled', '{x,y,z,label}', '{id}'), options => '{"label_column": "label"}') AS m;
SELECT count(*) AS rows, count(*) FILTER (WHERE d.score = pynomaly.score(m, x, y, z)) AS equal
FROM fitted, labelled AS l JOIN pynomaly.detect('labelled', '{x,y,z}', key => '{id}', options => '{"label_column": "label"}') AS d ON l.id = (d.key ->> 'id')::int;
DROP TABLE fitted;
SELECT count(*) AS rows FROM pynomaly.detect_query('SELECT x, y, z, label FROM labelled', options => '{"label_column": "label"}');

-- What labels taught is the reason: of the rows that they make odd, z.
SELECT count(*) AS rows, count(*) FILTER (WHERE reasons -> 0 ->> 'feature' = 'z') >= 0.9 * count(*) AS "z first"
FROM pynomaly.detect('labelled', '{x,y,z}', key => '{id}', options => '{"label_column": "label", "explain": "all"}') AS d
    JOIN labelled AS l ON l.id = (d.key ->> 'id')::int WHERE kind = 'bad';

-- What is no label is refused, but only where labels are learnt from.
SELECT count(*) FROM pynomaly.detect('labelled', '{x,y}', options => '{"label_column": "kind"}');
SELECT count(*) FROM pynomaly.detect('labelled', '{x,y}', options => '{"label_column": "five"}');
SELECT count(*) FROM pynomaly.detect('labelled', '{x,y}', options => '{"label_column": "none"}');
SELECT count(*) FROM pynomaly.detect('labelled', '{x,y}', 'ensemble', options => '{"label_column": "kind", "members": ["ecod", "auto"]}');
SELECT pynomaly.fit(pynomaly.sketch_of('labelled', '{x,y}'), options => '{"label_column": "label"}') IS NULL AS fitted;
SELECT pynomaly.fit(pynomaly.sketch_of('labelled', '{x,kind}'), options => '{"label_column": "kind"}') IS NULL AS fitted;
SELECT count(*) AS rows FROM pynomaly.detect('labelled', '{x,y}', 'ecod', options => '{"label_column": "kind"}');
DROP FUNCTION found, bell, uniform;
DROP TABLE labelled;

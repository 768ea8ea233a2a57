-- demo.sql
--	What pynomaly finds in the made-up payments of payments.sql; scripts/demo runs it.
\set QUIET on
\pset footer off
\pset pager off
\set ON_ERROR_STOP on

CREATE EXTENSION pynomaly;

-- Kept for the two questions below; pynomaly itself stores nothing here.
CREATE TEMPORARY TABLE found AS
    SELECT row_number() OVER () AS place, a.*
    FROM pynomaly.anomalies('payments', contamination => 0.005) AS a;

-- A reason in words: {"feature": "amount", "value": 21148.16, "expected": 48.36, "low": 2.22, "high": 910.37, ...}
CREATE FUNCTION pg_temp.in_words(reason jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN format('%s is %s, ', reason ->> 'feature', COALESCE(reason ->> 'value', 'missing'))
        || CASE WHEN jsonb_typeof(reason -> 'low') = 'number'
                THEN format('normally %s to %s', reason ->> 'low', reason ->> 'high')
                ELSE format('mostly %s', reason ->> 'expected') END
        || format(' (%s %%)', round((reason ->> 'contribution')::numeric * 100));

\echo
\echo '100,000 payments, 500 of them planted anomalies. The ten that pynomaly finds oddest, and why:'
\echo '    SELECT * FROM pynomaly.anomalies(''payments'', contamination => 0.005);'
\echo
SELECT f.key ->> 'id' AS id, round(f.score::numeric, 5) AS score, f.severity,
    COALESCE(t.kind, '') AS planted,
    (SELECT string_agg(pg_temp.in_words(r.reason), E'\n' ORDER BY r.place)
     FROM jsonb_array_elements(f.reasons) WITH ORDINALITY AS r (reason, place) WHERE r.place <= 3) AS reasons
FROM found AS f LEFT JOIN payments_truth AS t ON t.id = (f.key ->> 'id')::bigint
ORDER BY f.place
LIMIT 10;

\echo
\echo 'Planted anomalies among the rows flagged, by kind. Those marked * hold ordinary values that do not go together;'
\echo 'ecod looks at each column on its own:'
\echo '    SELECT * FROM pynomaly.anomalies(''payments'', contamination => 0.005, algorithm => ''ecod'');'
\echo
WITH ecod AS (
    SELECT (key ->> 'id')::bigint AS id
    FROM pynomaly.anomalies('payments', contamination => 0.005, algorithm => 'ecod', options => '{"explain": "none"}')
)
SELECT COALESCE(t.kind || CASE WHEN t.kind LIKE 'wrong%' THEN ' *' ELSE '' END, 'all') AS planted, count(*) AS rows,
    count(f.key) AS "found by isolation_forest", count(e.id) AS "found by ecod"
FROM payments_truth AS t
    LEFT JOIN found AS f ON (f.key ->> 'id')::bigint = t.id
    LEFT JOIN ecod AS e ON e.id = t.id
GROUP BY ROLLUP (t.kind || CASE WHEN t.kind LIKE 'wrong%' THEN ' *' ELSE '' END)
ORDER BY grouping(t.kind || CASE WHEN t.kind LIKE 'wrong%' THEN ' *' ELSE '' END), 1;

SELECT format('%s rows are flagged by isolation_forest; %s of the 500 planted ones are among them, %s of the worst 100.',
              count(*), count(t.id), count(t.id) FILTER (WHERE f.place <= 100)) AS summary
FROM found AS f LEFT JOIN payments_truth AS t ON t.id = (f.key ->> 'id')::bigint
\gset
\echo
\echo :summary

-- Profiles are their owner's and its members': what belongs to others does not exist, by any call or view.
CREATE SCHEMA data_profiling_privileges;
SET search_path = data_profiling_privileges;
\pset null '(null)'
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
CREATE ROLE pyn_profile_ann;
CREATE ROLE pyn_profile_bob;
CREATE ROLE pyn_profile_team;
GRANT pyn_profile_team TO pyn_profile_bob;
GRANT USAGE ON SCHEMA data_profiling_privileges, pynomaly_data_profiling TO pyn_profile_ann, pyn_profile_bob, pyn_profile_team;
GRANT SELECT ON ALL TABLES IN SCHEMA pynomaly_data_profiling TO pyn_profile_ann, pyn_profile_bob, pyn_profile_team;
-- Users reach operations by the public calls alone; the door itself stands open here to be tried.
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval), pynomaly_kernel.put_artifact(text, bytea)
    TO pyn_profile_ann, pyn_profile_bob, pyn_profile_team;
CREATE TABLE payment AS SELECT i AS id, 'payee ' || i % 4 AS payee FROM generate_series(1, 20) AS i;
GRANT SELECT ON payment TO pyn_profile_ann, pyn_profile_bob, pyn_profile_team;
CREATE FUNCTION stored_sketch(source regclass) RETURNS text LANGUAGE sql AS $$
    SELECT encode(pynomaly_kernel.put_artifact('sketch', decode(split_part(pynomaly.sketch_of(source)::text, ':', 2), 'base64')), 'hex')
$$;
CREATE FUNCTION profile(sketch text, source text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM jsonb_array_elements(pynomaly_kernel.call('data_profiling', 'profile', jsonb_build_object('dataset', 21, 'source', source, 'sketch', sketch)))
$$;

SET ROLE pyn_profile_ann;
SELECT stored_sketch('payment') AS sketch \gset
SELECT profile(:'sketch', 'ann''s payment') AS columns;
SELECT profile(:'sketch', 'ann''s payment') AS columns;
SELECT min(id) AS first, max(id) AS last, count(*) FROM pynomaly_data_profiling.profile \gset ann_
SELECT owner, source, column_name, top_values FROM pynomaly_data_profiling.latest_column_profile ORDER BY "position";
SELECT owner, rows, previous = :ann_first AS follows FROM pynomaly_data_profiling.profile WHERE id = :ann_last;
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', :ann_last)) ->> 'source' AS source;
SELECT pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :ann_last));

-- Another role has neither the sketch nor the profiles, and what it profiles itself follows nothing.
SET ROLE pyn_profile_bob;
SELECT profile(:'sketch', 'bob''s payment');
SELECT count(*) AS profiles, (SELECT count(*) FROM pynomaly_data_profiling.column_profile) AS columns, (SELECT count(*) FROM pynomaly_data_profiling.change) AS changes,
    (SELECT count(*) FROM pynomaly_data_profiling.latest_column_profile) AS latest, (SELECT count(*) FROM pynomaly_data_profiling.latest_change) AS latest_changes
FROM pynomaly_data_profiling.profile;
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', :ann_last));
SELECT pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :ann_last));
\set VERBOSITY default
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', '{"profile": 0}');
\set VERBOSITY sqlstate
SELECT profile(stored_sketch('payment'), 'bob''s payment') AS columns;
SELECT max(id) AS last FROM pynomaly_data_profiling.profile \gset bob_
SELECT owner, previous FROM pynomaly_data_profiling.profile;
SELECT pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :bob_last, 'previous', :ann_last));
SELECT pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :bob_last));

-- A member has what belongs to its role; the role has not what belongs to the member.
SET ROLE pyn_profile_team;
SELECT profile(stored_sketch('payment'), 'the team''s payment') AS columns;
SELECT max(id) AS last FROM pynomaly_data_profiling.profile \gset team_
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', :bob_last));
SET ROLE pyn_profile_bob;
SELECT owner, source FROM pynomaly_data_profiling.profile ORDER BY id;
SELECT pynomaly_kernel.call('data_profiling', 'get_profile', jsonb_build_object('profile', :team_last)) ->> 'source' AS source;
SELECT jsonb_array_length(pynomaly_kernel.call('data_profiling', 'compare', jsonb_build_object('profile', :bob_last, 'previous', :team_last))) AS changes;

-- Nobody writes, and nobody but the extension calls an operation's function.
\set VERBOSITY terse
INSERT INTO pynomaly_data_profiling.change (profile, owner, "position", property) VALUES (:bob_last, 'pyn_profile_bob', 1, 'rows');
DELETE FROM pynomaly_data_profiling.profile;
SELECT count(*) FROM pynomaly_data_profiling.profile('{}');
SELECT pynomaly_data_profiling.get_profile(jsonb_build_object('profile', :bob_last));
RESET ROLE;

-- The events are the owner's, too, and say nothing of the values.
SELECT publisher, subject, data - 'profile' - 'previous' - 'seconds' AS data FROM pynomaly_kernel.event
WHERE type = 'data_profiling.profile_generated.v1' AND publisher::text LIKE 'pyn\_profile\_%' ORDER BY id;
DELETE FROM pynomaly_data_profiling.profile WHERE dataset = 21;
SET client_min_messages = warning;
DROP SCHEMA data_profiling_privileges CASCADE;
DELETE FROM pynomaly_kernel.artifact WHERE owner::text LIKE 'pyn\_profile\_%';
DROP OWNED BY pyn_profile_ann, pyn_profile_bob, pyn_profile_team;
DROP ROLE pyn_profile_ann, pyn_profile_bob, pyn_profile_team;

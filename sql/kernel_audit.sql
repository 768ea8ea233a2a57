-- The audit trail: what is appended, sealed, and found when it was tampered with.
\set VERBOSITY terse
CREATE FUNCTION pg_temp.act(from_number int, to_number int) RETURNS void LANGUAGE sql AS $$
    SELECT pynomaly.limit_role('pg_monitor', i, NULL) FROM generate_series(from_number, to_number) AS i $$;
\set verdict 'SELECT intact, sealed, unsealed, first_broken, reason FROM pynomaly.verify_audit()'

-- What other tests have left.
DELETE FROM pynomaly_kernel.audit;
DELETE FROM pynomaly_kernel.audit_pending;
CALL pynomaly.process_events();
:verdict;
SELECT pynomaly.limit_role('pg_monitor', 3, 20);
-- What is rolled back was not done.
BEGIN;
SELECT pynomaly.limit_role('pg_monitor', 4, 20);
ROLLBACK;
SELECT action, subject, details, actor = current_user AS actor, sequence, hash FROM pynomaly.audit;
:verdict;
-- In a session with temporary objects a superuser may process events, too.
CALL pynomaly.process_events();
SELECT action, subject, details, sequence, length(hash) FROM pynomaly.audit;
:verdict;

-- The hash is SHA-256 of the fields with their lengths: computed here by PostgreSQL's own function.
CREATE FUNCTION pg_temp.field(value text) RETURNS bytea LANGUAGE sql AS
    $$ SELECT CASE WHEN value IS NULL THEN int8send(-1) ELSE int8send(octet_length(value)) || convert_to(value, 'UTF8') END $$;
SELECT sequence, hash = sha256(int8send(sequence) || int8send(id) || timestamptz_send(at) || pg_temp.field(actor)
    || pg_temp.field(session_actor) || pg_temp.field(action) || pg_temp.field(subject) || pg_temp.field(details::text)) AS "as computed"
FROM pynomaly_kernel.audit WHERE sequence = 1;

-- More than one portion.
SELECT pg_temp.act(1, 2500);
CALL pynomaly.process_events();
:verdict;
SELECT head AS head FROM pynomaly.verify_audit() \gset
SELECT count(*) = max(sequence) AND min(sequence) = 1 AS "no gaps" FROM pynomaly_kernel.audit;

-- Tampering, as a superuser can.
BEGIN;
UPDATE pynomaly_kernel.audit SET details = '{"max_active": 999}' WHERE sequence = 1200;
:verdict;
ROLLBACK;
BEGIN;
UPDATE pynomaly_kernel.audit SET actor = 'somebody' WHERE sequence = 1;
:verdict;
ROLLBACK;
BEGIN;
UPDATE pynomaly_kernel.audit SET at = at + interval '1 microsecond' WHERE sequence = 2501;
:verdict;
ROLLBACK;
BEGIN;
DELETE FROM pynomaly_kernel.audit WHERE sequence = 1000;
:verdict;
ROLLBACK;
BEGIN;
DELETE FROM pynomaly_kernel.audit WHERE sequence = 1;
:verdict;
ROLLBACK;
BEGIN;
INSERT INTO pynomaly_kernel.audit SELECT 0, id, at, actor, session_actor, action, subject, details, hash FROM pynomaly_kernel.audit WHERE sequence = 7;
:verdict;
ROLLBACK;
-- Two rows that change places.
BEGIN;
UPDATE pynomaly_kernel.audit SET sequence = -sequence WHERE sequence IN (500, 501);
UPDATE pynomaly_kernel.audit SET sequence = 1001 + sequence WHERE sequence IN (-500, -501);
:verdict;
ROLLBACK;
-- The end that was cut off, and a chain that was made anew: found with a head that was noted.
BEGIN;
DELETE FROM pynomaly_kernel.audit WHERE sequence > 2490;
:verdict;
SELECT intact, sealed, first_broken, reason FROM pynomaly.verify_audit(2501, :'head');
ROLLBACK;
SELECT intact, sealed, first_broken, reason FROM pynomaly.verify_audit(2501, :'head');
SELECT intact, sealed, first_broken, reason FROM pynomaly.verify_audit(2501, repeat('0', 64));
SELECT intact, sealed, first_broken, reason FROM pynomaly.verify_audit(2501);
:verdict;

SELECT pynomaly.limit_role('pg_monitor');
SELECT pynomaly.limit_role('pg_monitor', -1);
SELECT pynomaly.limit_role(NULL, 1);
SELECT count(*) AS limits FROM pynomaly_gateway.role_limit;

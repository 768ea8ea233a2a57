-- Who does the work: background workers, or a session.  See src/kernel/launcher.c, worker.c and consumer.c.

CREATE FUNCTION pynomaly.start() RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_start';
REVOKE ALL ON FUNCTION pynomaly.start() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.start() IS
    'makes the background workers serve this database once the transaction commits, now and, when the library is preloaded, after each restart of the server';

CREATE FUNCTION pynomaly.stop() RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_stop';
REVOKE ALL ON FUNCTION pynomaly.stop() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly.stop() IS 'sends this database''s background workers away once the transaction commits; each ends its present event first';

CREATE PROCEDURE pynomaly.process_events(max_events integer DEFAULT NULL)
    LANGUAGE C AS 'MODULE_PATHNAME', 'pyn_process_events';
REVOKE ALL ON PROCEDURE pynomaly.process_events(integer) FROM PUBLIC;
COMMENT ON PROCEDURE pynomaly.process_events(integer) IS
    'does the workers'' work in this session, at most so many events, and commits after each batch; an error (25001) inside a transaction block';

CREATE FUNCTION pynomaly_kernel.workers()
    RETURNS TABLE (domain name, pid integer, state text, started_at timestamptz, next_start timestamptz, failures integer)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_workers';
REVOKE ALL ON FUNCTION pynomaly_kernel.workers() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.workers() IS
    'this database''s background workers; state: running, starting, wanted (waits for its turn or its back-off), without place (the server has no free background worker), idle (comes with the next event)';

CREATE FUNCTION pynomaly_kernel.launcher_pid() RETURNS integer
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pyn_launcher_pid';
REVOKE ALL ON FUNCTION pynomaly_kernel.launcher_pid() FROM PUBLIC;
COMMENT ON FUNCTION pynomaly_kernel.launcher_pid() IS 'process of the launcher; NULL when none runs';

CREATE SCHEMA pynomaly;
COMMENT ON SCHEMA pynomaly IS 'pynomaly: what users call';
GRANT USAGE ON SCHEMA pynomaly TO PUBLIC;

-- Everybody may name the type of an event, which the handlers take; nobody but the owner may touch a table.
CREATE SCHEMA pynomaly_kernel;
COMMENT ON SCHEMA pynomaly_kernel IS 'pynomaly: event log, subscriptions, schedules, services, sagas, audit and artifacts';
GRANT USAGE ON SCHEMA pynomaly_kernel TO PUBLIC;

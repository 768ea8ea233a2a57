CREATE SCHEMA pynomaly;
COMMENT ON SCHEMA pynomaly IS 'pynomaly: what users call';
GRANT USAGE ON SCHEMA pynomaly TO PUBLIC;

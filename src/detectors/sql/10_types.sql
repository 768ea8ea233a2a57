CREATE TYPE pynomaly.model;

CREATE FUNCTION pynomaly.model_in(cstring) RETURNS pynomaly.model
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_model_in';
COMMENT ON FUNCTION pynomaly.model_in(cstring) IS 'text input of pynomaly.model';

CREATE FUNCTION pynomaly.model_out(pynomaly.model) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_model_out';
COMMENT ON FUNCTION pynomaly.model_out(pynomaly.model) IS 'text output of pynomaly.model';

CREATE FUNCTION pynomaly.model_recv(internal) RETURNS pynomaly.model
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_model_recv';
COMMENT ON FUNCTION pynomaly.model_recv(internal) IS 'binary input of pynomaly.model';

CREATE FUNCTION pynomaly.model_send(pynomaly.model) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_model_send';
COMMENT ON FUNCTION pynomaly.model_send(pynomaly.model) IS 'binary output of pynomaly.model';

CREATE TYPE pynomaly.model (
    INPUT = pynomaly.model_in,
    OUTPUT = pynomaly.model_out,
    RECEIVE = pynomaly.model_recv,
    SEND = pynomaly.model_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = double,
    STORAGE = external
);
COMMENT ON TYPE pynomaly.model IS
    'what a detector has learnt: portable bytes with a checksum, to be stored, passed, dumped and scored by';

CREATE FUNCTION pynomaly.model_to_jsonb(pynomaly.model) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_model_to_jsonb';
COMMENT ON FUNCTION pynomaly.model_to_jsonb(pynomaly.model) IS
    'algorithm, columns in the order of score''s arguments, features with their normal ranges, calibration';

CREATE CAST (pynomaly.model AS jsonb) WITH FUNCTION pynomaly.model_to_jsonb(pynomaly.model);
COMMENT ON CAST (pynomaly.model AS jsonb) IS 'what a model says of itself, as jsonb';

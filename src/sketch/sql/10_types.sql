CREATE TYPE pynomaly.sketch;

CREATE FUNCTION pynomaly.sketch_in(cstring) RETURNS pynomaly.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_in';
COMMENT ON FUNCTION pynomaly.sketch_in(cstring) IS 'text input of pynomaly.sketch';

CREATE FUNCTION pynomaly.sketch_out(pynomaly.sketch) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_out';
COMMENT ON FUNCTION pynomaly.sketch_out(pynomaly.sketch) IS 'text output of pynomaly.sketch';

CREATE FUNCTION pynomaly.sketch_recv(internal) RETURNS pynomaly.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_recv';
COMMENT ON FUNCTION pynomaly.sketch_recv(internal) IS 'binary input of pynomaly.sketch';

CREATE FUNCTION pynomaly.sketch_send(pynomaly.sketch) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_send';
COMMENT ON FUNCTION pynomaly.sketch_send(pynomaly.sketch) IS 'binary output of pynomaly.sketch';

CREATE TYPE pynomaly.sketch (
    INPUT = pynomaly.sketch_in,
    OUTPUT = pynomaly.sketch_out,
    RECEIVE = pynomaly.sketch_recv,
    SEND = pynomaly.sketch_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = double,
    STORAGE = extended
);
COMMENT ON TYPE pynomaly.sketch IS
    'mergeable summary of a relation: statistics per column and a uniform row sample';

CREATE FUNCTION pynomaly.sketch_to_jsonb(pynomaly.sketch) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_to_jsonb';
COMMENT ON FUNCTION pynomaly.sketch_to_jsonb(pynomaly.sketch) IS
    'rows, sample size and the statistics of each column';

CREATE CAST (pynomaly.sketch AS jsonb) WITH FUNCTION pynomaly.sketch_to_jsonb(pynomaly.sketch);
COMMENT ON CAST (pynomaly.sketch AS jsonb) IS 'what a sketch says, as jsonb';

CREATE FUNCTION pynomaly.row_key(VARIADIC "any") RETURNS bigint
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_row_key';
COMMENT ON FUNCTION pynomaly.row_key(VARIADIC "any") IS
    'hash of a row''s key, to be given to sketch_agg; whole numbers of different widths hash alike';

CREATE FUNCTION pynomaly.sketch_of(source regclass, columns name[] DEFAULT NULL, key name[] DEFAULT NULL,
                                   options jsonb DEFAULT '{}') RETURNS pynomaly.sketch
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pyn_sketch_of';
COMMENT ON FUNCTION pynomaly.sketch_of(regclass, name[], name[], jsonb) IS
    'sketch of a relation, read once as the caller; columns: NULL for every usable one; key: NULL for the primary key, else the row''s place, else the row itself; options: seed (42), sample_text (true)';

CREATE FUNCTION pynomaly.sketch_accumulate(pynomaly.sketch, columns name[], key bigint, VARIADIC "any")
    RETURNS pynomaly.sketch
    LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_accumulate';
COMMENT ON FUNCTION pynomaly.sketch_accumulate(pynomaly.sketch, name[], bigint, VARIADIC "any") IS
    'transition function of pynomaly.sketch_agg';

CREATE FUNCTION pynomaly.sketch_combine(pynomaly.sketch, pynomaly.sketch) RETURNS pynomaly.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pyn_sketch_combine';
COMMENT ON FUNCTION pynomaly.sketch_combine(pynomaly.sketch, pynomaly.sketch) IS
    'combine function of pynomaly.sketch_agg and transition function of pynomaly.merge';

CREATE AGGREGATE pynomaly.sketch_agg(columns name[], key bigint, VARIADIC "any") (
    SFUNC = pynomaly.sketch_accumulate,
    STYPE = pynomaly.sketch,
    SSPACE = 8388608,
    COMBINEFUNC = pynomaly.sketch_combine,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pynomaly.sketch_agg(name[], bigint, VARIADIC "any") IS
    'sketch of the rows; columns name the values (at most 97), or choose from one row value (NULL: all usable); key: as row_key gives it, NULL: the row itself';

CREATE AGGREGATE pynomaly.merge(pynomaly.sketch) (
    SFUNC = pynomaly.sketch_combine,
    STYPE = pynomaly.sketch,
    SSPACE = 8388608,
    COMBINEFUNC = pynomaly.sketch_combine,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pynomaly.merge(pynomaly.sketch) IS
    'one sketch of all the rows that the given sketches have seen';

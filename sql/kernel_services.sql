-- Services: contracts as data, and calls through the door.
\set VERBOSITY terse
\pset null '(null)'

CREATE SCHEMA pynomaly_shop;
CREATE FUNCTION pynomaly_shop.sell(arguments jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(coalesce((arguments ->> 'seconds')::float8, 0));
    RETURN jsonb_build_object('sold', arguments -> 'number', 'to', current_user);
END $$;
CREATE FUNCTION pynomaly_shop.stock(arguments jsonb) RETURNS TABLE (article int, number int) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT i, i * 10 FROM generate_series(1, (arguments ->> 'articles')::int) AS i;
END $$;
SELECT pynomaly_kernel.register_event_type('shop.sold.v1', '{"type": "object"}');
CREATE FUNCTION contract(changed jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT '{"operations": {
        "sell": {"kind": "unary", "changes_state": true, "deadline": "1 minute",
            "arguments": {"type": "object", "additionalProperties": false, "required": ["number"],
                "properties": {"number": {"type": "integer"}, "seconds": {"type": "number"}}},
            "result": {"type": "object", "required": ["sold"], "properties": {"sold": {"type": "integer"}}}},
        "stock": {"kind": "stream", "changes_state": false, "arguments": {"type": "object"}}},
        "publishes": ["shop.sold.v1"], "consumes": [], "calls": []}'::jsonb || changed $$;

-- What is no contract.
SELECT pynomaly_kernel.register_service('shop', '1.0', '{}');
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"operation": {}}'));
SELECT pynomaly_kernel.register_service('shop', '1', contract());
SELECT pynomaly_kernel.register_service('shop', '1.0.0', contract());
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"operations": {"lend": {"kind": "unary", "changes_state": false, "arguments": {}}}}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"operations": {"stock": {"kind": "unary", "changes_state": false, "arguments": {}}}}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"operations": {"sell": {"kind": "unary", "changes_state": false, "arguments": {"pattern": "x"}}}}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"publishes": ["shop.lent.v1"]}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"publishes": ["kernel.saga_ended.v1"]}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"calls": ["mlops.lend"]}'));
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"consumes": ["mlops.model_lent.v1"]}'));
SELECT count(*) AS "none is registered" FROM pynomaly.services() WHERE domain = 'shop';

-- What may come with a domain that is not there yet is pending.
SELECT pynomaly_kernel.register_service('shop', '1.0', contract('{"calls": ["bank.pay"], "consumes": ["bank.paid.v1"]}'));
SELECT * FROM pynomaly.services() WHERE domain = 'shop';
SELECT pynomaly_kernel.check_contracts();

-- Versions.
SELECT pynomaly_kernel.register_service('shop', '1.0', contract());
SELECT pynomaly_kernel.register_service('shop', '0.9', contract());
SELECT pynomaly_kernel.register_service('shop', '1.1', contract());
SELECT pynomaly_kernel.register_service('shop', '1.1', contract());
SELECT pynomaly_kernel.check_contracts();
CREATE FUNCTION changed(path text[], value jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb_set(contract(), path, value)';
SELECT pynomaly_kernel.register_service('shop', '1.2', contract('{"operations": {}}'));
SELECT pynomaly_kernel.register_service('shop', '1.2', changed('{operations,sell,arguments,required}', '["number", "seconds"]'));
SELECT pynomaly_kernel.register_service('shop', '1.2', changed('{operations,sell,arguments,properties,number}', '{"type": "string"}'));
SELECT pynomaly_kernel.register_service('shop', '1.2', contract() #- '{operations,sell,arguments,properties,seconds}');
SELECT pynomaly_kernel.register_service('shop', '1.2', contract() #- '{operations,sell,result,required}');
SELECT pynomaly_kernel.register_service('shop', '1.2', contract('{"publishes": []}'));
-- More is no break.
SELECT pynomaly_kernel.register_service('shop', '1.2', changed('{operations,sell,arguments,properties,colour}', '{"type": "string"}'));
-- A major version may break callers, but not those that are registered.
SELECT pynomaly_kernel.register_service('desk', '1.0', '{"operations": {}, "publishes": [], "consumes": ["shop.sold.v1"], "calls": ["shop.sell"]}');
SELECT pynomaly_kernel.register_service('shop', '2.0', contract('{"operations": {}}'));
SELECT pynomaly_kernel.register_service('shop', '2.0', contract('{"publishes": []}'));
SELECT pynomaly_kernel.register_service('shop', '2.0', contract() #- '{operations,stock}');
SELECT domain, version, status, operations FROM pynomaly.services() WHERE domain IN ('shop', 'desk') ORDER BY domain;
SELECT pynomaly_kernel.register_service('shop', '3.0', contract());

-- Calls.
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 3}');
SELECT pynomaly_kernel.call('shop', 'stock', '{"articles": 3}');
SELECT pynomaly_kernel.call('shop', 'stock', '{"articles": 0}');
SELECT pynomaly_kernel.call('shop', 'sell', '{}');
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 3, "colour": 1}');
SELECT pynomaly_kernel.call('shop', 'sell', '[]');
SELECT pynomaly_kernel.call('shop', 'lend');
SELECT pynomaly_kernel.call('bank', 'pay');
SELECT pynomaly_kernel.call('shop', repeat('x', 100));
SELECT pynomaly_kernel.call('shop', NULL);
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 3}', '-1 s');
CREATE OR REPLACE FUNCTION pynomaly_shop.sell(arguments jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"sold": "three"}'::jsonb $$;
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 3}');

-- Deadlines: the caller's, the operation's, and the nearer one of nested calls.
CREATE OR REPLACE FUNCTION pynomaly_shop.sell(arguments jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF arguments ? 'seconds' THEN
        PERFORM pynomaly_kernel.call('shop', 'sell', arguments - 'seconds', ((arguments ->> 'seconds') || ' s')::interval);
    ELSE
        PERFORM pg_sleep(60);
    END IF;
    RETURN '{"sold": 1}';
END $$;
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1}', '50 ms');
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1, "seconds": 100}', '50 ms');
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1, "seconds": 0.05}', '100 s');
-- It is over then.
SELECT pg_sleep(0.1), pynomaly_kernel.call('shop', 'stock', '{"articles": 1}');
-- The session's own timeout stays what it is.
SET statement_timeout = '50 ms';
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1}', '100 s');
RESET statement_timeout;

-- A call that changes something leaves an audit row and a span, one that fails or only reads does not.
SELECT action, actor, session_actor, subject, details FROM pynomaly.audit WHERE action LIKE 'shop.%';
SELECT name, owner, parent_id IS NULL AS root, ended_at >= started_at AS ended FROM pynomaly_kernel.span WHERE name LIKE 'shop.%';
BEGIN READ ONLY;
SELECT pynomaly_kernel.call('shop', 'stock', '{"articles": 1}');
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 3}');
ROLLBACK;

-- The caller is the current user.
CREATE ROLE pyn_test_caller;
GRANT EXECUTE ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) TO pyn_test_caller;
GRANT USAGE ON SCHEMA pynomaly_shop TO pyn_test_caller;
CREATE OR REPLACE FUNCTION pynomaly_shop.sell(arguments jsonb) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT jsonb_build_object('sold', 1, 'to', current_user) $$;
SET ROLE pyn_test_caller;
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1}');
RESET ROLE;
SELECT actor, session_actor = session_user AS session_actor FROM pynomaly.audit WHERE actor = 'pyn_test_caller';
REVOKE ALL ON FUNCTION pynomaly_kernel.call(name, text, jsonb, interval) FROM pyn_test_caller;
REVOKE ALL ON SCHEMA pynomaly_shop FROM pyn_test_caller;
DROP ROLE pyn_test_caller;

-- A function that is gone, or of another kind, is found out at the call.
DROP FUNCTION pynomaly_shop.stock(jsonb);
SELECT pynomaly_kernel.call('shop', 'stock', '{"articles": 1}');

-- Forgotten, unless others use it.
SELECT pynomaly_kernel.unregister_service('shop');
SELECT pynomaly_kernel.unregister_service('desk');
SELECT pynomaly_kernel.unregister_service('shop');
SELECT pynomaly_kernel.unregister_service('shop');
SELECT pynomaly_kernel.unregister_service('mlops');
SELECT pynomaly_kernel.call('shop', 'sell', '{"number": 1}');
DROP SCHEMA pynomaly_shop CASCADE;
DROP FUNCTION contract, changed;

-- Subscriptions and schedules, worked off by process_events(): effects, retries, dead events, and the SQLSTATE of every bad input.
\set SHOW_CONTEXT never
\pset null '(null)'
CREATE SCHEMA desk;
SET search_path = desk;
GRANT USAGE ON SCHEMA desk TO PUBLIC;
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', SQLSTATE || ': ' || message, 'hint: ' || nullif(hint, ''));
END $$;
\pset tuples_only on
\pset format unaligned
SELECT pynomaly_kernel.register_event_type('shop.paid.v1', '{"type": "object"}');
SELECT pynomaly_kernel.register_event_type('shop.shipped.v1', '{"type": "object"}', 5::smallint);
SELECT pynomaly_kernel.register_event_type('stock.counted.v1', '{}');
SELECT pynomaly_kernel.register_event_type('stock.moved.v1', '{}');

CREATE TABLE effect (place serial, handler text, subject text, data jsonb);
CREATE FUNCTION book(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ? 'fails' THEN
        RAISE EXCEPTION 'no % today', event.subject USING ERRCODE = 'PY001', DETAIL = 'data was ' || event.data::text;
    END IF;
    INSERT INTO desk.effect (handler, subject, data) VALUES ('book', event.subject, event.data);
END $$;
CREATE FUNCTION tell(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
    $$INSERT INTO desk.effect (handler, subject, data) VALUES ('tell', event.subject, event.data)$$;
CREATE FUNCTION answer(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
    $$SELECT pynomaly_kernel.publish('shop.shipped.v1', event.subject, jsonb_build_object('because', event.data))$$;
CREATE FUNCTION gives_text(event pynomaly_kernel.event) RETURNS text LANGUAGE sql AS $$SELECT ''$$;
CREATE FUNCTION gives_rows(event pynomaly_kernel.event) RETURNS SETOF text LANGUAGE sql AS $$SELECT ''$$;
CREATE PROCEDURE a_procedure(event pynomaly_kernel.event) LANGUAGE sql AS $$SELECT$$;
CREATE FUNCTION pg_temp.temporary(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$SELECT$$;
CREATE FUNCTION takes_nothing() RETURNS void LANGUAGE sql AS $$INSERT INTO desk.effect (handler) VALUES ('clock')$$;
CREATE FUNCTION fails() RETURNS void LANGUAGE sql AS $$SELECT 1 / 0$$;

-- subscribe()
SELECT pynomaly.subscribe('shop.paid.v1', 'book', max_attempts => 2);
SELECT pynomaly.subscribe('shop.*', 'desk.tell', name => 'bell', max_attempts => 3, timeout => '2 s');
CALL pynomaly.process_events();
SELECT name, type, handler, domain, owner, status, reason, note, max_attempts, timeout, CASE WHEN name <> 'listeners' THEN handled END AS handled, oldest_waiting, waiting, parked, dead
FROM pynomaly.subscriptions WHERE handler IS NULL OR handler NOT LIKE 'pynomaly%' ORDER BY name COLLATE "C";
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'bell')$$);
SELECT outcome($$SELECT pynomaly.subscribe(NULL, 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', NULL)$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.unknown.v1', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('*.paid.v1', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('Shop.*', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.**', 'book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'nothing')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'nowhere.book')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'a.b.c.d')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', '')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book; DROP TABLE effect')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'takes_nothing')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'gives_text')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'gives_rows')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'a_procedure')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'pg_temp.temporary')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', '')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', repeat('n', 201))$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x', 0)$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x', 101)$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x', timeout => '0 s')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x', timeout => '-1 s')$$);
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x', timeout => '25 days')$$);
-- Who may not log in, and who may not execute the function.
SET client_min_messages = error;
DROP ROLE IF EXISTS regress_subscriber;
RESET client_min_messages;
CREATE ROLE regress_subscriber;
GRANT EXECUTE ON FUNCTION pynomaly.subscribe(text, text, text, integer, interval), pynomaly.unsubscribe(text), pynomaly.resume(text),
    pynomaly.replay(text, timestamptz), pynomaly.redrive(text, bigint), pynomaly.schedule(text, text, text, text, interval), pynomaly.unschedule(text)
    TO regress_subscriber;
REVOKE EXECUTE ON FUNCTION tell(pynomaly_kernel.event) FROM PUBLIC;
SET ROLE regress_subscriber;
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'hers')$$);
SELECT outcome($$SELECT pynomaly.schedule('hers', '1 hour', 'takes_nothing')$$);
RESET ROLE;
ALTER ROLE regress_subscriber LOGIN;
SET ROLE regress_subscriber;
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'tell', 'hers')$$);
-- What belongs to others.
SELECT outcome($$SELECT pynomaly.unsubscribe('bell')$$);
SELECT outcome($$SELECT pynomaly.resume('bell')$$);
SELECT outcome($$SELECT pynomaly.replay('bell', now())$$);
SELECT outcome($$SELECT pynomaly.redrive('bell')$$);
RESET ROLE;
-- What is not there, or a part of pynomaly.
SELECT outcome($$SELECT pynomaly.unsubscribe('nothing')$$);
SELECT outcome($$SELECT pynomaly.unsubscribe('listeners')$$);
SELECT outcome($$SELECT pynomaly.resume('nothing')$$);
SELECT outcome($$SELECT pynomaly.replay('nothing', now())$$);
SELECT outcome($$SELECT pynomaly.redrive('nothing')$$);
SELECT outcome($$SELECT pynomaly.redrive(NULL)$$);
SELECT pynomaly.redrive('bell');
SELECT pynomaly.redrive('bell', 1);
SELECT outcome($$SELECT pynomaly_kernel.add_subscription('stock', 'counter', NULL, NULL)$$);
SELECT outcome($$SELECT pynomaly_kernel.add_subscription(NULL, 'counter', '*', NULL)$$);
SELECT outcome($$SELECT pynomaly_kernel.add_subscription('stock', 'counter', 'x', NULL)$$);
SELECT outcome($$SELECT pynomaly_kernel.add_subscription('stock', 'listeners', '*', NULL)$$);

-- process_events()
SELECT outcome($$CALL pynomaly.process_events()$$);
BEGIN;
CALL pynomaly.process_events();
ROLLBACK;
CALL pynomaly.process_events(0);
CALL pynomaly.process_events(-1);
BEGIN READ ONLY;
CALL pynomaly.process_events();
ROLLBACK;
SET default_transaction_isolation = 'serializable';
CALL pynomaly.process_events();
RESET default_transaction_isolation;
-- Events are handled in order, each by those who have subscribed to it.
SELECT count(pynomaly_kernel.publish('shop.paid.v1', 'order ' || i, jsonb_build_object('n', i))) FROM generate_series(1, 3) AS i;
SELECT count(pynomaly_kernel.publish('shop.shipped.v1', 'order 1', '{}'));
SELECT count(pynomaly_kernel.publish('stock.moved.v1', 'shelf', '{}'));
SELECT name, oldest_waiting IS NOT NULL AS waits, lag >= '0' AS lag FROM pynomaly.subscriptions WHERE handler IS NULL OR handler NOT LIKE 'pynomaly%' ORDER BY name COLLATE "C";
CALL pynomaly.process_events();
SELECT handler, subject, data FROM effect ORDER BY handler, place;
SELECT name, handled, oldest_waiting, waiting, parked, dead FROM pynomaly.subscriptions WHERE handler NOT LIKE 'pynomaly%' ORDER BY name COLLATE "C";
CALL pynomaly.process_events();
SELECT count(*) AS still FROM effect;
-- At most so many.
TRUNCATE effect;
SELECT pynomaly.unsubscribe('bell');
SELECT count(pynomaly_kernel.publish('shop.paid.v1', 'order ' || i, jsonb_build_object('n', i))) FROM generate_series(1, 10) AS i;
SELECT sum(handled) AS before FROM pynomaly.subscriptions \gset
CALL pynomaly.process_events(4);
CALL pynomaly.process_events(4);
-- Ten for the listeners and ten for the handler, of which so many are done.
SELECT sum(handled) - :before AS handled FROM pynomaly.subscriptions;
CALL pynomaly.process_events();
SELECT string_agg(data ->> 'n', ' ' ORDER BY place) FROM effect;
-- A handler's events have their cause, and are handled in the same call.
TRUNCATE effect;
SELECT pynomaly.subscribe('shop.paid.v1', 'answer');
SELECT pynomaly.subscribe('shop.shipped.v1', 'tell', 'bell');
SELECT count(pynomaly_kernel.publish('shop.paid.v1', 'order 20', '{"n": 20}'));
CALL pynomaly.process_events();
SELECT handler, data FROM effect ORDER BY place;
SELECT a.causation_id = q.id AS caused, a.correlation_id = q.correlation_id AS same_story
FROM pynomaly.events a, pynomaly.events q
WHERE a.type = 'shop.shipped.v1' AND q.type = 'shop.paid.v1' AND a.subject = 'order 20' AND q.subject = 'order 20';
SELECT pynomaly.unsubscribe('desk.answer(shop.paid.v1)');
SELECT pynomaly.unsubscribe('bell');

-- Failures: attempts, then dead; later events of the subject wait behind, others do not.
TRUNCATE effect;
SELECT count(pynomaly_kernel.publish('shop.paid.v1', subject, data)) FROM (VALUES ('a', jsonb '{"fails": 1}'), ('a', '{"n": 2}'), ('b', '{"n": 3}'),
    (NULL, '{"fails": 4}'), (NULL, '{"n": 5}')) AS event (subject, data);
-- Until no attempt is due any more.
CREATE PROCEDURE work_until_rest() LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM pynomaly.retries WHERE state <> 'dead') LOOP
        PERFORM pg_sleep(0.05);
        COMMIT;
        CALL pynomaly.process_events();
    END LOOP;
END $$;
CALL pynomaly.process_events();
CALL work_until_rest();
SELECT subject, data FROM effect ORDER BY subject, place;
SELECT subscription, state, attempts, sqlstate, message, detail, split_part(context, E'\n', 1) AS context, type, subject, data
FROM pynomaly.retries ORDER BY subject;
SELECT waiting, parked, dead FROM pynomaly.subscriptions WHERE name = 'desk.book(shop.paid.v1)';
-- Whoever sees the subscription is told by events.
SELECT e.subject, e.publisher, e.data - 'event_id', f.data AS failed FROM pynomaly.events e JOIN pynomaly.events f ON f.id = (e.data ->> 'event_id')::bigint
WHERE e.type = 'kernel.event_failed.v1' ORDER BY f.id;
-- redrive() gives new attempts to one or to all.
CREATE OR REPLACE FUNCTION book(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
    $$INSERT INTO desk.effect (handler, subject, data) VALUES ('mended', event.subject, event.data)$$;
SELECT pynomaly.redrive('desk.book(shop.paid.v1)', event_id) FROM pynomaly.retries WHERE subject = 'a';
SELECT state, attempts FROM pynomaly.retries ORDER BY subject;
SELECT pynomaly.redrive('desk.book(shop.paid.v1)');
SELECT pynomaly.redrive('desk.book(shop.paid.v1)') AS again;
CALL work_until_rest();
SELECT handler, subject, data FROM effect WHERE handler = 'mended' ORDER BY subject;
SELECT count(*) FROM pynomaly.retries;

-- replay() hands over what was handled; a new subscription begins with what is committed from then on.
TRUNCATE effect;
SELECT pynomaly.subscribe('shop.paid.v1', 'tell', 'late');
CALL pynomaly.process_events();
SELECT count(*) AS nothing_yet FROM effect;
SELECT pynomaly.unsubscribe('late');
SELECT pynomaly.subscribe('stock.counted.*', 'tell', 'counter');
SELECT count(pynomaly_kernel.publish('stock.counted.v1', 'first shelf', '{}'));
CALL pynomaly.process_events();
SELECT subject FROM effect;
SELECT pynomaly.replay('counter', '-infinity');
CALL pynomaly.process_events();
SELECT subject FROM effect;
SELECT pynomaly.replay('counter', 'infinity');
CALL pynomaly.process_events();
SELECT count(*) AS still FROM effect;
SELECT pynomaly.replay('counter', NULL) IS NULL;
-- Without its handler a subscription is disabled, keeps its place, and goes on when it is resumed.
ALTER FUNCTION tell(pynomaly_kernel.event) RENAME TO hidden;
SELECT count(pynomaly_kernel.publish('stock.counted.v1', 'second shelf', '{}'));
CALL pynomaly.process_events();
SELECT status, reason FROM pynomaly.subscriptions WHERE name = 'counter';
SELECT component, name, status, split_part(message, ';', 1) AS message, hint FROM pynomaly.health() WHERE name = 'counter';
SELECT subject, data FROM pynomaly.events WHERE type = 'kernel.subscription_stopped.v1';
SELECT outcome($$SELECT pynomaly.replay('counter', now())$$);
ALTER FUNCTION hidden(pynomaly_kernel.event) RENAME TO tell;
CALL pynomaly.process_events();
SELECT count(*) AS still FROM effect;
SELECT pynomaly.resume('counter');
SELECT pynomaly.resume('counter') AS again;
CALL pynomaly.process_events();
SELECT subject FROM effect ORDER BY place;
SELECT status, reason FROM pynomaly.subscriptions WHERE name = 'counter';
-- unsubscribe() takes everything with it.
SELECT pynomaly.unsubscribe('counter');
SELECT outcome($$SELECT pynomaly.unsubscribe('counter')$$);
SELECT count(*) FROM pynomaly_kernel.subscription_position WHERE subscription = 'counter';

-- A domain's own subscription, whose handler runs as the extension's owner; names are quoted where they must be.
TRUNCATE effect;
CREATE SCHEMA "Stock Room";
CREATE FUNCTION "Stock Room"."Count"(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
    $$INSERT INTO desk.effect (handler, subject) VALUES (current_user, event.subject)$$;
SELECT pynomaly_kernel.add_subscription('stock', 'domain''s', 'stock.*', '"Stock Room"."Count"');
SELECT pynomaly.subscribe('stock.counted.v1', '"Stock Room"."Count"');
SELECT name, domain, handler FROM pynomaly.subscriptions WHERE type LIKE 'stock%' ORDER BY name COLLATE "C";
SELECT count(pynomaly_kernel.publish('stock.counted.v1', 'third shelf', '{}'));
CALL pynomaly.process_events();
SELECT handler, subject FROM effect;
SELECT pynomaly.unsubscribe(name) FROM pynomaly.subscriptions WHERE type LIKE 'stock%';

-- schedule()
TRUNCATE effect;
SELECT pynomaly.schedule('yearly', '30 12 29 2 *', 'takes_nothing', 'Europe/Berlin') > now() AS later;
SELECT pynomaly.schedule('hourly', '1 hour', 'desk.takes_nothing', timeout => '1 min') = now() + interval '1 hour' AS in_an_hour;
SELECT pynomaly.schedule('broken', '1 hour', 'fails') > now() AS later;
SELECT to_char(due_at AT TIME ZONE 'Europe/Berlin', 'DD.MM. HH24:MI:SS') AS local
FROM pynomaly.schedules WHERE name = 'yearly';
SELECT name, timing, time_zone, handler, owner, status, timeout, runs, failures, missed, last_run FROM pynomaly.schedules WHERE handler NOT LIKE 'pynomaly%' ORDER BY name;
CALL pynomaly.process_events();
SELECT count(*) AS not_yet FROM effect;
-- As if they had been made three hours ago, and nothing had run since then.
UPDATE pynomaly_kernel.schedule SET created_at = created_at - interval '3 hours' WHERE name <> 'yearly';
UPDATE pynomaly_kernel.schedule_state SET due_at = due_at - interval '3 hours' WHERE schedule <> 'yearly';
CALL pynomaly.process_events();
SELECT handler FROM effect;
SELECT name, status, due_at > now() AS later, due_at <= now() + interval '1 hour' AS soon, runs, failures, missed, last_run IS NOT NULL AS ran, last_success IS NOT NULL AS succeeded,
    sqlstate, message, context
FROM pynomaly.schedules WHERE handler NOT LIKE 'pynomaly%' ORDER BY name;
SELECT subject, data - 'due_at' FROM pynomaly.events WHERE type = 'kernel.schedule_failed.v1' ORDER BY id;
SELECT outcome(format('SELECT pynomaly.schedule(%L, %L, %L, %L)', name, timing, handler, time_zone))
FROM (VALUES ('yearly', '1 hour', 'takes_nothing', 'UTC'), (NULL, '1 hour', 'takes_nothing', 'UTC'), ('x', NULL, 'takes_nothing', 'UTC'),
    ('x', '1 hour', NULL, 'UTC'), ('x', '1 hour', 'takes_nothing', NULL), ('', '1 hour', 'takes_nothing', 'UTC'), ('x', '', 'takes_nothing', 'UTC'),
    ('x', 'now and then', 'takes_nothing', 'UTC'), ('x', '0 s', 'takes_nothing', 'UTC'), ('x', '-1 hour', 'takes_nothing', 'UTC'),
    ('x', '1 month -1 day', 'takes_nothing', 'UTC'), ('x', '* * * *', 'takes_nothing', 'UTC'), ('x', '60 * * * *', 'takes_nothing', 'UTC'),
    ('x', '* 24 * * *', 'takes_nothing', 'UTC'), ('x', '* * 0 * *', 'takes_nothing', 'UTC'), ('x', '* * * 13 *', 'takes_nothing', 'UTC'),
    ('x', '* * * * 8', 'takes_nothing', 'UTC'), ('x', '*/0 * * * *', 'takes_nothing', 'UTC'), ('x', '5-1 * * * *', 'takes_nothing', 'UTC'),
    ('x', '0 0 30 2 *', 'takes_nothing', 'UTC'), ('x', '1 hour', 'takes_nothing', 'Mars/Olympus'), ('x', '1 hour', 'nothing', 'UTC'),
    ('x', '1 hour', 'book', 'UTC'), ('x', '1 hour', 'pg_backend_pid', 'UTC')) AS s (name, timing, handler, time_zone);
SELECT outcome($$SELECT pynomaly.schedule('x', '1 hour', 'takes_nothing', timeout => '0 s')$$);
SET ROLE regress_subscriber;
SELECT outcome($$SELECT pynomaly.unschedule('yearly')$$);
RESET ROLE;
SELECT outcome($$SELECT pynomaly.unschedule('nothing')$$);
BEGIN READ ONLY;
SELECT outcome($$SELECT pynomaly.subscribe('shop.paid.v1', 'book', 'x')$$);
SELECT outcome($$SELECT pynomaly.unsubscribe('listeners')$$);
SELECT outcome($$SELECT pynomaly.resume('listeners')$$);
SELECT outcome($$SELECT pynomaly.replay('listeners', now())$$);
SELECT outcome($$SELECT pynomaly.redrive('listeners')$$);
SELECT outcome($$SELECT pynomaly.schedule('x', '1 hour', 'takes_nothing')$$);
SELECT outcome($$SELECT pynomaly.unschedule('yearly')$$);
SELECT outcome($$SELECT pynomaly_kernel.add_subscription('stock', 'counter', '*', NULL)$$);
SELECT outcome($$SELECT pynomaly.start()$$);
SELECT outcome($$SELECT pynomaly.stop()$$);
COMMIT;
SELECT pynomaly.unschedule('yearly'), pynomaly.unschedule('hourly'), pynomaly.unschedule('broken');
SELECT count(*) FROM pynomaly_kernel.schedule_state;
SELECT pynomaly.unsubscribe('desk.book(shop.paid.v1)');
DROP OWNED BY regress_subscriber;
DROP ROLE regress_subscriber;

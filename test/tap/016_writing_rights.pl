#
# 016_writing_rights.pl
#	No role can insert into our tables, and nothing that a subscriber makes runs as anybody but him.
#
# mallory may publish, subscribe, schedule and process events.  She has a schema whose functions and operators stand before
# PostgreSQL's for the database, for herself, for the worker's role and in her sessions.  Everything of hers that is called leaves a
# line in the server's log and a row in evil.probe, with the role that it ran as.  What she tries is tried where it may run: in her
# session, in her handler in the worker, and in her handler in process_events().
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_poll_interval = '100ms'
	pynomaly.kernel_max_attempts = 1
	autovacuum = off
});
$node->start;

# The test's own statements must not meet mallory's functions.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { $node->poll_query_until('postgres', $_[0]) or die "never true: $_[0]"; }

# As a role, with the settings that the role and the database have.  Gives output and error.
sub as
{
	my ($role, $command) = @_;
	local $ENV{PGOPTIONS} = '';
	my (undef, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
	return "$out$err";
}

my $everything = q{EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text), pynomaly_kernel.put_artifact(text, bytea),
	pynomaly_kernel.get_artifact(bytea), pynomaly_kernel.drop_artifact(bytea), pynomaly.subscribe(text, text, text, int, interval),
	pynomaly.unsubscribe(text), pynomaly.resume(text), pynomaly.replay(text, timestamptz), pynomaly.redrive(text, bigint),
	pynomaly.schedule(text, text, text, text, interval), pynomaly.unschedule(text)};
sql(qq{
	CREATE EXTENSION pynomaly SCHEMA pg_catalog;
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	CREATE ROLE mallory LOGIN;
	GRANT CREATE ON DATABASE postgres TO mallory;
	GRANT $everything TO mallory;
	GRANT EXECUTE ON PROCEDURE pynomaly.process_events(int) TO mallory;
	GRANT SELECT ON pynomaly.events, pynomaly.subscriptions, pynomaly.retries, pynomaly.schedules, pynomaly.throughput TO mallory;
	SELECT pynomaly_kernel.register_event_type('shop.paid.v1', '{}');
});

# mallory's schema, with her own now(), count(*), pg_visible_in_snapshot, =, <> and >= among others.
my @shadows = (
	[ 'now()', 'timestamptz', "timestamptz '2000-01-01'" ], [ 'clock_timestamp()', 'timestamptz', "timestamptz '2000-01-01'" ],
	[ 'gen_random_uuid()', 'uuid', "uuid '00000000-0000-0000-0000-000000000000'" ],
	[ 'pg_current_snapshot()', 'pg_snapshot', "pg_snapshot '1:1:'" ], [ 'pg_snapshot_xmax(pg_snapshot)', 'xid8', "xid8 '1'" ],
	[ 'pg_snapshot_xmin(pg_snapshot)', 'xid8', "xid8 '1'" ], [ 'pg_visible_in_snapshot(xid8, pg_snapshot)', 'boolean', 'false' ],
	[ 'date_trunc(text, timestamptz)', 'timestamptz', "timestamptz '2000-01-01'" ], [ 'current_database()', 'name', "name 'x'" ],
	[ 'jsonb_eq(jsonb, jsonb)', 'boolean', 'false' ], [ 'counted(bigint)', 'bigint', '1' ],
	map { [ "compared($_, $_)", 'boolean', 'false' ] } qw(text name oid bigint integer smallint bytea xid8 timestamptz regrole uuid));
my $shadows = join '', map { qq{
	CREATE FUNCTION evil.$_->[0] RETURNS $_->[1] LANGUAGE plpgsql SET search_path = pg_catalog AS
		\$\$BEGIN PERFORM evil.note('shadow'); RETURN $_->[2]; END\$\$;} } @shadows;
my $operators = join '', map { my $type = $_; map { "CREATE OPERATOR evil.$_ (FUNCTION = evil.compared, LEFTARG = $type, RIGHTARG = $type);" }
	('=', '<>', '>=', '<=', '<') } qw(text name oid bigint integer smallint bytea xid8 timestamptz regrole uuid);
as('mallory', 'CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC');
is(as('mallory', qq{
	SET search_path = pg_catalog;
	CREATE TABLE evil.probe (what text, who name, superuser boolean);
	GRANT INSERT ON evil.probe TO PUBLIC;
	CREATE FUNCTION evil.note(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS \$\$
	DECLARE
		superuser boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
	BEGIN
		INSERT INTO evil.probe VALUES (what, current_user, superuser);
		RAISE LOG 'probe % ran as % which is %', what, current_user, CASE WHEN superuser THEN 'SUPERUSER' ELSE 'no superuser' END;
	END \$\$;
	$shadows
	CREATE AGGREGATE evil.count(*) (sfunc = evil.counted, stype = bigint, initcond = '0');
	$operators
	CREATE FUNCTION evil.peek(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS
		\$\$BEGIN PERFORM evil.note('index'); RETURN n; END\$\$;
	CREATE FUNCTION evil.at_commit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS
		\$\$BEGIN PERFORM evil.note(tg_table_name || ' trigger'); RETURN NULL; END\$\$;
	CREATE TABLE evil.deferring (n int);
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON evil.deferring DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION evil.at_commit();
	CREATE TABLE evil.parent (n int PRIMARY KEY);
	CREATE TABLE evil.child (n int REFERENCES evil.parent DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE evil.indexed AS SELECT 1 AS n;
	CREATE TABLE evil.seen (place serial, subject text, what text);
	CREATE TABLE evil.outcome (who name, command text, sqlstate text);
}), '', 'mallory makes her schema');

# What she tries from inside, and the SQLSTATE that it must have.
my %outcomes = (
	'SET ROLE postgres' => '42501', 'SET LOCAL ROLE postgres' => '42501', 'RESET ROLE' => '42501', 'SET SESSION AUTHORIZATION postgres' => '42501',
	q{SELECT set_config('role', 'postgres', false)} => '42501', 'SET session_replication_role = replica' => '42501',
	'ALTER ROLE mallory SUPERUSER' => '42501', 'GRANT postgres TO mallory' => '42501', q{COPY evil.probe TO PROGRAM 'true'} => '42501',
	q{CREATE FUNCTION evil.c() RETURNS void LANGUAGE c AS 'pynomaly', 'pyn_stop'} => '42501',
	'CREATE TEMPORARY TABLE t (n int)' => '42501', q{DECLARE c CURSOR WITH HOLD FOR SELECT evil.note('held')} => '42501',
	'LISTEN pynomaly' => '42501', 'UNLISTEN *' => '42501', 'CALL pynomaly.process_events()' => '25001',
	'INSERT INTO pynomaly_kernel.event_0 DEFAULT VALUES' => '42501', 'DELETE FROM pynomaly_kernel.retry' => '42501',
	# At commit the trigger would run as whoever commits; at once it runs as her.
	'SET CONSTRAINTS ALL DEFERRED; INSERT INTO evil.deferring VALUES (1)' => '42501', 'INSERT INTO evil.deferring VALUES (2)' => '00000',
	'SET CONSTRAINTS ALL DEFERRED; INSERT INTO evil.child VALUES (9)' => '42501', 'INSERT INTO evil.child VALUES (9)' => '23503',
	'INSERT INTO evil.parent SELECT 1 + count(*) FROM evil.parent; INSERT INTO evil.child SELECT n FROM evil.parent' => '00000',
	'CREATE INDEX ON evil.indexed (evil.peek(n))' => '00000', 'CREATE MATERIALIZED VIEW evil.m AS SELECT evil.peek(2); DROP MATERIALIZED VIEW evil.m' => '00000');
my $tries = join ', ', map { "\$try\$$_\$try\$" } sort keys %outcomes;
is(as('mallory', qq{
	SET search_path = pg_catalog;
	CREATE FUNCTION evil.escape(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		try text;
	BEGIN
		PERFORM evil.note('handler');
		FOREACH try IN ARRAY ARRAY[$tries] LOOP
			BEGIN
				EXECUTE try;
				INSERT INTO evil.outcome VALUES (session_user, try, '00000');
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO evil.outcome VALUES (session_user, try, sqlstate);
			END;
		END LOOP;
	END \$\$;
	CREATE FUNCTION evil.unsettle(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO evil.seen (subject, what)
			SELECT event.subject, concat_ws('; ', current_setting('search_path'), current_setting('work_mem'), nullif(current_setting('my.own', true), ''));
		SET search_path = evil, pg_catalog;
		SET work_mem = '77kB';
		SET my.own = 'stays';
		PERFORM pg_catalog.pg_advisory_unlock_all();
	END \$\$;
	CREATE FUNCTION evil.tick() RETURNS void LANGUAGE plpgsql AS \$\$BEGIN PERFORM evil.note('tick'); END\$\$;
	CREATE FUNCTION evil.fail(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN RAISE EXCEPTION 'hers' USING DETAIL = evil.note('failing')::text; END\$\$;
}), '', 'and her handlers');

# Direct writing: every command on every relation of ours.  In the commands @ is the relation and # a column of it.
like(as('mallory', q{
	SET search_path = pg_catalog;
	DO $$
	DECLARE
		relation record;
		command text;
		successes text := '';
		tried int := 0;
	BEGIN
		FOR relation IN SELECT c.oid::regclass AS name, relkind, quote_ident((SELECT attname FROM pg_attribute WHERE attrelid = c.oid
				AND attnum > 0 AND NOT attisdropped ORDER BY attnum DESC LIMIT 1)) AS field
			FROM pg_class c WHERE (relnamespace = 'pynomaly_kernel'::regnamespace AND relkind IN ('r', 'S'))
				OR oid = 'pynomaly.events'::regclass ORDER BY 1
		LOOP
			FOREACH command IN ARRAY CASE relation.relkind
				WHEN 'S' THEN ARRAY['SELECT nextval(''@'')', 'SELECT setval(''@'', 1)', 'SELECT * FROM @', 'ALTER SEQUENCE @ RESTART']
				WHEN 'v' THEN ARRAY['INSERT INTO @ DEFAULT VALUES', 'UPDATE @ SET # = NULL', 'DELETE FROM @',
					'CREATE OR REPLACE VIEW @ AS SELECT 1', 'DROP VIEW @']
				ELSE ARRAY['INSERT INTO @ DEFAULT VALUES', 'UPDATE @ SET # = NULL', 'DELETE FROM @', 'TRUNCATE @', 'SELECT # FROM @',
					'CREATE TRIGGER t AFTER INSERT ON @ FOR EACH ROW EXECUTE FUNCTION evil.at_commit()',
					'CREATE RULE t AS ON INSERT TO @ DO NOTHING', 'CREATE TABLE evil.heir () INHERITS (@)',
					'CREATE TABLE evil.refers (x int REFERENCES @)', 'CREATE INDEX ON @ (#)', 'LOCK @ IN ACCESS SHARE MODE',
					'CREATE POLICY p ON @ USING (true)', 'ALTER TABLE @ OWNER TO mallory', 'DROP TABLE @', 'GRANT INSERT ON @ TO mallory'] END
			LOOP
				tried := tried + 1;
				BEGIN
					EXECUTE replace(replace(command, '@', relation.name::text), '#', relation.field);
					successes := successes || E'\n' || command || ' ' || relation.name;
				EXCEPTION
					WHEN insufficient_privilege THEN
					WHEN invalid_foreign_key OR undefined_object THEN	-- not every table has a primary key
					WHEN OTHERS THEN
						successes := successes || E'\n' || command || ' ' || relation.name || ': ' || sqlerrm;
				END;
			END LOOP;
		END LOOP;
		RAISE NOTICE 'tried %, had no refusal from:%', tried > 200, successes;
	END $$}), qr/tried t, had no refusal from:$/, 'she is refused every way to write, read, lock or hook into the tables, sequences and views');

# From here on her functions stand before PostgreSQL's, for everybody who says nothing else.
sql(q{ALTER DATABASE postgres SET search_path = evil, pg_catalog;
	ALTER ROLE postgres SET search_path = evil, pg_catalog; ALTER ROLE mallory SET search_path = evil, pg_catalog});
is(as('mallory', q{SELECT now() = timestamptz '2000-01-01', count(*) FROM (SELECT 1) AS one}), 'f|1', "her session finds her functions");
my $shadowed = sql(q{SELECT count(*) FROM evil.probe WHERE what = 'shadow' AND who = 'mallory'});
ok($shadowed >= 3, 'and they say who calls them');

# All that she may call.  Neither the worker nor her session may find her functions in our statements.
my $calls = q{
	SELECT pynomaly.subscribe('shop.paid.v1', 'evil.escape') IS NULL;
	SELECT pynomaly.subscribe('shop.*', 'evil.unsettle', 'unsettle') IS NULL;
	SELECT pynomaly.subscribe('shop.paid.v1', 'evil.fail', 'fail') IS NULL;
	SELECT pynomaly.schedule('tick', '1 second', 'evil.tick') IS NULL;
	SELECT count(pynomaly_kernel.publish('shop.paid.v1', subject, '{}', 'key ' || subject)) FROM unnest('{one,two,one}'::text[]) AS subject;
	SELECT pynomaly_kernel.drop_artifact(pynomaly_kernel.put_artifact('model', '\xbeef'));
};
my $afterwards = q{
	SELECT pynomaly.redrive('fail'); SELECT pynomaly.resume('fail'); SELECT pynomaly.replay('fail', now());
	SELECT pynomaly.unsubscribe('fail'); SELECT pynomaly.unsubscribe('unsettle'); SELECT pynomaly.unsubscribe('evil.escape(shop.paid.v1)');
	SELECT pynomaly.unschedule('tick');
	SELECT count(*) FROM pynomaly.events; SELECT count(*) FROM pynomaly.subscriptions; SELECT count(*) FROM pynomaly.retries;
	SELECT count(*) FROM pynomaly.schedules; SELECT count(*) FROM pynomaly.throughput;
};
my $is_done = q{SELECT count(DISTINCT subject) = 2 FROM evil.seen};
my $has_ticked = q{SELECT count(*) > 0 FROM evil.probe WHERE what = 'tick'};
my $has_failed = q{SELECT count(*) = 2 FROM pynomaly.retries WHERE subscription = 'fail' AND state = 'dead'};
my $worker = q{SELECT count(*) || ' ' || coalesce(min(pid), 0) FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%' AND datname = 'postgres'};
my $consumers = q{SELECT count(*) || ' ' || coalesce(min(pid), 0) FROM pg_locks WHERE classid = 'pg_extension'::regclass
	AND mode = 'ExclusiveLock' AND granted AND objsubid > 0};

# Checks what became of all that in one place, and clears it away.
sub check
{
	my ($where, $session_user) = @_;
	is(sql(qq{SELECT string_agg(DISTINCT command || ': ' || sqlstate, E'\\n') FROM evil.outcome WHERE who = '$session_user'}),
		join("\n", map { "$_: $outcomes{$_}" } sort keys %outcomes), "$where: every escape ends with its SQLSTATE, what is hers works");
	is(sql(q{SELECT string_agg(DISTINCT what, ' | ') FROM evil.seen}), sql(q{SELECT what FROM evil.seen ORDER BY place LIMIT 1}),
		"$where: what a handler sets does not last");
	is(sql(q{SELECT string_agg(DISTINCT concat_ws(' ', what, 'as', who), ', ') FROM evil.probe WHERE what <> 'shadow'}),
		'deferring trigger as mallory, handler as mallory, index as mallory, tick as mallory', "$where: handlers, triggers, indexes and schedules run as her");
	is(sql(q{SELECT string_agg(DISTINCT who::text, ' ') FROM evil.probe WHERE superuser OR who <> 'mallory'}), '', "$where: nothing of hers ran as another");
	my $out = as('mallory', $afterwards);
	unlike($out, qr/ERROR/, "$where: the rest of her calls succeed") or diag $out;
	sql('TRUNCATE evil.outcome, evil.seen, evil.probe, evil.parent, evil.child, evil.deferring');
}

sql('SELECT pynomaly.start()');
wait_for($worker =~ s/\|\| ' '.*? FROM/= 1 FROM/r);
unlike(as('mallory', $calls), qr/ERROR/, 'her calls succeed while the worker runs');
wait_for($_) foreach $is_done, $has_ticked, $has_failed, q{SELECT count(*) > 0 FROM evil.outcome};
is(sql($consumers), sql($worker), 'after pg_advisory_unlock_all() in a handler the worker is still the only consumer');
check('worker', 'postgres');

sql('SELECT pynomaly.stop()');
wait_for($worker =~ s/\|\| ' '.*? FROM/= 0 FROM/r);
unlike(as('mallory', $calls =~ s/'key '/'new key '/r), qr/ERROR/, 'her calls succeed without workers');
sleep 1;
is(as('mallory', 'CALL pynomaly.process_events()'), '', 'she processes events herself');
is(sql($_), 't', 'which is done') foreach $is_done, $has_ticked, $has_failed;
check('session', 'mallory');
like(as('mallory', 'CREATE TEMPORARY TABLE t (); CALL pynomaly.process_events()'), qr/ERROR:  .*temporary/, 'but not with temporary tables, which could stand in the way of others');

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/probe handler ran as mallory which is no superuser/, "the server's log tells of what ran");
like($log, qr/probe failing ran as mallory which is no superuser/, 'also of what was rolled back');
unlike($log, qr/probe .* which is SUPERUSER/, 'and never of a superuser');
done_testing();

#
# 016_rights_of_others.pl
#	Subscribers do not meet: each sees and handles what is his, and a handler that somebody else owns runs as the subscriber.
#
# Also what holds for a session that does the workers' work: cancelling it and its timeouts are respected, and lose nothing.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('others');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# As a role; gives output and error.
sub as
{
	my ($role, $command) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
	return "$out$err";
}

my @roles = qw(alice bob mallory carol);
sql('CREATE EXTENSION pynomaly');
foreach my $role (@roles)
{
	sql(qq{
		CREATE ROLE $role LOGIN;
		CREATE SCHEMA $role AUTHORIZATION $role;
		GRANT EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text), pynomaly_kernel.put_artifact(text, bytea),
			pynomaly_kernel.get_artifact(bytea), pynomaly_kernel.drop_artifact(bytea), pynomaly.subscribe(text, text, text, int, interval),
			pynomaly.unsubscribe(text), pynomaly.resume(text), pynomaly.replay(text, timestamptz), pynomaly.redrive(text, bigint),
			pynomaly.schedule(text, text, text, text, interval), pynomaly.unschedule(text) TO $role;
		GRANT EXECUTE ON PROCEDURE pynomaly.process_events(int) TO $role;
		GRANT SELECT ON pynomaly.events, pynomaly.subscriptions, pynomaly.retries, pynomaly.schedules, pynomaly.throughput TO $role;
	});
}
sql(q{
	GRANT alice TO carol;
	SELECT pynomaly_kernel.register_event_type('shop.' || name || '.v1', '{}') FROM unnest('{secret,shared,slow,locked}'::text[]) AS name;
	CREATE TABLE public.seen (place serial, subscriber name, superuser boolean, what text);
	GRANT INSERT, SELECT, DELETE ON public.seen TO PUBLIC;
	GRANT USAGE ON SEQUENCE public.seen_place_seq TO PUBLIC;
});

# Events and what is told of them.
foreach my $role (qw(alice mallory carol))
{
	is(as($role, qq{
		CREATE FUNCTION $role.handler(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
			BEGIN INSERT INTO public.seen (subscriber, what) VALUES (current_user, event.subject || ' ' || event.data); END\$\$;
		CREATE FUNCTION $role.failing(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
			BEGIN RAISE EXCEPTION '% of $role', event.data; END\$\$;
		DO \$\$BEGIN PERFORM pynomaly.subscribe('*', '$role.handler', '$role'),
			pynomaly.subscribe('shop.secret.v1', '$role.failing', '$role fails', 1); END\$\$;
	}), '', "$role subscribes");
}
as($_, qq{SELECT pynomaly_kernel.publish('shop.secret.v1', 'of $_', '{"card": "4711 $_"}')}) foreach qw(alice mallory);
my $digest = as('alice', q{SELECT pynomaly_kernel.put_artifact('model', 'her model')});
is(as('mallory', 'CALL pynomaly.process_events()'), '', 'mallory processes the events of all');
is(sql(q{SELECT string_agg(subscriber || ' got ' || what, ', ' ORDER BY subscriber, what) FROM seen WHERE what LIKE 'of %'}),
	'alice got of alice {"card": "4711 alice"}, carol got of alice {"card": "4711 alice"}, mallory got of mallory {"card": "4711 mallory"}',
	'an event comes to its publisher and the members of his role, to nobody else');
is(sql(q{SELECT string_agg(subscriber || ' ' || count, ', ') FROM (SELECT subscriber, count(*) FROM seen WHERE what LIKE '%fails%' GROUP BY 1 ORDER BY 1) AS s}),
	'alice 1, carol 2, mallory 1', 'and so do the events that tell of failures');
my $all_views = join ' UNION ALL ', map { "SELECT t::text FROM pynomaly.$_ t" } qw(events subscriptions retries schedules throughput);
my $seen = as('mallory', $all_views);
unlike($seen, qr/alice|carol/, "no view shows mallory anything of others, be it data, names or errors");
like($seen, qr/4711 mallory.*of mallory/s, 'but what is hers');
like(as('carol', $all_views), qr/4711 alice.* of alice/s, "a member of a role sees the role's");
is(as('mallory', 'SELECT count(*) FROM pynomaly.retries'), '1', 'she has one retry');
is(as('carol', 'SELECT count(*) FROM pynomaly.retries'), '2', 'carol sees hers and the one of alice');
like(as('mallory', "SELECT pynomaly_kernel.get_artifact('$digest')"), qr/ERROR:  role "mallory" has no artifact with this digest/,
	"who knows the digest of another's artifact does not get it");
is(as('carol', "SELECT pynomaly_kernel.get_artifact('$digest') = 'her model'"), 't', 'a member does');
is(as('mallory', "SELECT pynomaly_kernel.drop_artifact('$digest')"), 'f', 'nor can she drop it');
foreach my $call ("unsubscribe('alice')", "resume('alice')", "replay('alice', now())", "redrive('alice fails')")
{
	like(as('mallory', "SELECT pynomaly.$call"), qr/ERROR:  must be owner of subscription/, "$call is refused to her");
}
as('alice', q{CREATE FUNCTION alice.tick() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''tick of alice''; END';
	SELECT pynomaly.schedule('of alice', '1 day', 'alice.tick')});
like(as('mallory', "SELECT pynomaly.unschedule('of alice')"), qr/ERROR:  must be owner of schedule/, "unschedule() is refused to her");
unlike(as('mallory', $all_views), qr/alice/, "nor does she see alice's schedule");
sql('SELECT pynomaly.unsubscribe(name) FROM pynomaly.subscriptions WHERE owner <> current_user::regrole');

# bob owns the function that alice has subscribed.  Each turn: what bob does to it, and what becomes of the next event.
sub as_bob_wants
{
	my ($change, $expected, $what) = @_;
	is(as('bob', $change), '', "bob: $what");
	sql('TRUNCATE seen');
	as('alice', q{SELECT pynomaly_kernel.publish('shop.shared.v1', NULL, '{}'); CALL pynomaly.process_events()});
	is(sql(q{SELECT concat_ws('|', (SELECT coalesce(string_agg(subscriber || coalesce(' ' || superuser, ''), ', '), '') FROM seen),
			(SELECT coalesce(string_agg(sqlstate, ', '), '') FROM pynomaly.retries WHERE subscription = 'shared'),
			status || coalesce(': ' || reason, '')) FROM pynomaly.subscriptions WHERE name = 'shared'}), $expected, $what);
	as('alice', q{SELECT pynomaly.unsubscribe('shared'); SELECT pynomaly.subscribe('shop.shared.v1', 'bob.f', 'shared', 1)});
}
my $body = q{FUNCTION bob.f(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN /* more */ INSERT INTO public.seen (subscriber, superuser)
		SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user; END $$};
is(as('bob', "GRANT USAGE ON SCHEMA bob TO alice; CREATE $body"), '', 'bob has a function');
is(as('alice', q{SELECT pynomaly.subscribe('shop.shared.v1', 'bob.f', 'shared', 1)}), 'shared', 'which alice subscribes');
as_bob_wants('', 'alice false||active', 'the function runs as alice');
as_bob_wants("CREATE OR REPLACE $body" =~ s/more/and more/r, 'alice false||active', 'one that he puts in its place does, too');
as_bob_wants("CREATE OR REPLACE $body" =~ s{/\* more \*/}{SET ROLE postgres;}r, '|42501|active', 'it cannot SET ROLE');
as_bob_wants("CREATE OR REPLACE $body; ALTER FUNCTION bob.f SECURITY DEFINER", 'bob false||active', 'as a security definer it runs as bob');
as_bob_wants("CREATE OR REPLACE $body; ALTER FUNCTION bob.f SECURITY DEFINER SET role = bob", '|42501|active', 'a role in its settings is refused');
as_bob_wants("CREATE OR REPLACE $body; ALTER FUNCTION bob.f SECURITY INVOKER RESET ALL; REVOKE EXECUTE ON FUNCTION bob.f FROM PUBLIC",
	'||disabled: its owner "alice" may not execute bob.f', 'without the right to execute it the subscription is disabled');
as('bob', 'GRANT EXECUTE ON FUNCTION bob.f TO alice');
as('alice', q{SELECT pynomaly.subscribe('shop.shared.v1', 'bob.f', 'shared', 1)});
as_bob_wants('DROP FUNCTION bob.f; CREATE ' . $body =~ s/FUNCTION/PROCEDURE/r =~ s/RETURNS void//r,
	'||disabled: function bob.f(pynomaly_kernel.event) does not exist', 'a procedure in its place is none');
as('alice', q{SELECT pynomaly.unsubscribe('shared')});

# A session that processes events: a handler that sleeps at the third of five events as long as the brake is on.
is(as('mallory', q{
	CREATE TABLE mallory.brake AS SELECT 1;
	CREATE FUNCTION mallory.slow(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.seen (subscriber, what) VALUES (current_user, event.subject);
		IF event.subject = '3' AND EXISTS (SELECT FROM mallory.brake) THEN
			PERFORM pg_sleep(600);
		END IF;
	END $$;
	CREATE TABLE mallory.locked ();
	CREATE FUNCTION mallory.locks(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS 'LOCK TABLE mallory.locked';
	DO $$BEGIN PERFORM pynomaly.subscribe('shop.slow.v1', 'mallory.slow', 'slow', timeout => '1 hour'),
		pynomaly.subscribe('shop.locked.v1', 'mallory.locks', 'locks', 1); END$$;
}), '', 'mallory has handlers that wait');
foreach my $end ('cancel', 'statement_timeout')
{
	sql('TRUNCATE seen');
	as('mallory', 'INSERT INTO mallory.brake VALUES (1)');
	as('mallory', q{SELECT pynomaly_kernel.publish('shop.slow.v1', i::text, '{}') FROM generate_series(1, 5) AS i});
	if ($end eq 'cancel')
	{
		my ($out, $err) = ('', '');
		my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=mallory', '-c', 'CALL pynomaly.process_events()' ],
			'>', \$out, '2>', \$err);
		$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'mallory' AND wait_event = 'PgSleep'});
		like(as('mallory', q{SET lock_timeout = '100ms'; CALL pynomaly.process_events()}), qr/ERROR:  canceling statement due to lock timeout/,
			'lock_timeout ends the waiting for another session that processes events');
		sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'mallory' AND wait_event = 'PgSleep'});
		$session->finish;
		like($err, qr/ERROR:  canceling statement due to user request/, 'process_events() is cancelled in the middle of a handler');
	}
	else
	{
		like(as('mallory', q{SET statement_timeout = '1s'; CALL pynomaly.process_events()}), qr/ERROR:  canceling statement due to statement timeout/,
			'statement_timeout ends it');
	}
	as('mallory', 'DELETE FROM mallory.brake');
	is(as('mallory', 'CALL pynomaly.process_events()'), '', "$end: the next call goes on");
	is(sql(q{SELECT string_agg(what, ' ' ORDER BY place) FROM seen}), '1 2 3 4 5', "$end: nothing is lost or done twice");
}
as('mallory', q{SELECT pynomaly_kernel.publish('shop.locked.v1', NULL, '{}')});
my ($in, $out) = ("BEGIN; LOCK TABLE mallory.locked; SELECT 'has it';\n", '');
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out);
$holder->pump until $out =~ /has it/;
is(as('mallory', q{SET lock_timeout = '100ms'; CALL pynomaly.process_events()}), '', "lock_timeout fails a handler that waits");
is(sql(q{SELECT sqlstate || ' ' || state FROM pynomaly.retries WHERE subscription = 'locks'}), '55P03 dead', 'with its SQLSTATE');
$in = "ROLLBACK;\n\\q\n";
$holder->finish;

$node->stop;
done_testing();

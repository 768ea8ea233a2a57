#
# 019_lag_and_replay.pl
#	Who is too far behind is suspended and goes on later; who asks is handed events again; and the clock's work is made up for.
#
# A subscriber is kept from its work by a session that holds the row of its position, as its own long handler would.
# Where hours must pass, stored times are set back instead.  Without workers process_events() does the work, so that a
# step of the test ends when all is done that was due.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PostgreSQL::Test::Cluster->new('lag');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_max_lag = '10min'
	pynomaly.kernel_retry_delay = 100});
$node->start;

sub value { return $node->safe_psql('postgres', shift) }
sub process { return $node->safe_psql('postgres', q{SET lock_timeout = '60s'; CALL pynomaly.process_events()}) }
sub happens { return value("SELECT pynomaly_kernel.publish('test.$_[0].v1', 'subject', '{\"n\": $_[1]}')") }
sub seen_by { return value("SELECT string_agg(n::text, ' ' ORDER BY place) FROM seen WHERE subscription = '$_[0]'") }

sub set_to
{
	my ($name, $setting) = @_;
	value("ALTER SYSTEM SET pynomaly.$name = '$setting'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('pynomaly.$name', true) = '$setting'") or die;
}

# The numbers of events that each handler was given, in this order.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE seen (place bigserial, subscription text, n int, subject text);
	CREATE TABLE pace (seconds float8);
	INSERT INTO pace VALUES (0);
	GRANT ALL ON seen, pace, seen_place_seq TO PUBLIC;
});
for my $name (qw(late elsewhere again low high))
{
	my $type = $name =~ /low|high/ ? $name : $name eq 'again' ? 'replay' : $name eq 'late' ? 'a' : 'b';
	my $priority = $name eq 'high' ? 9 : 0;
	$node->safe_psql('postgres', qq{
		SELECT pynomaly_kernel.register_event_type('test.$type.v1', '{"type": "object"}', ${priority}::smallint);
		CREATE FUNCTION see_$name(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM pg_sleep(seconds) FROM public.pace WHERE seconds > 0;
			INSERT INTO public.seen (subscription, n, subject) VALUES ('$name', (event.data ->> 'n')::int, event.subject);
		END \$\$});
}

#
# A subscription that is too far behind.
#
value(q{SELECT pynomaly_kernel.add_subscription('outpost', 'late', 'test.a.v1', 'see_late');
	SELECT pynomaly_kernel.add_subscription('outpost', 'elsewhere', 'test.b.v1', 'see_elsewhere')});
my $holder = $node->background_psql('postgres', timeout => 180);
my $hold = q{BEGIN; SELECT FROM pynomaly_kernel.subscription_position WHERE subscription = 'late' FOR UPDATE};
my $status = q{SELECT status FROM pynomaly.subscriptions WHERE name = 'late'};
my $report = q{SELECT status || ': ' || message FROM pynomaly.health() WHERE component = 'subscription' AND name = 'late'};

process();
value(q{UPDATE pynomaly_kernel.subscription_position SET updated_at = updated_at - interval '1 hour'});
$holder->query_safe($hold);
happens('a', $_) for 1 .. 3;
process();
is(value($status), 'active', 'a subscription that is a little behind stays active');
value(q{UPDATE pynomaly_kernel.event SET "time" = "time" - interval '1 hour'});
process();
is(value($status), 'suspended', 'it is suspended when it is behind for longer than kernel_max_lag');
like(value(q{SELECT reason FROM pynomaly.subscriptions WHERE name = 'late'}), qr/waits for events since .*kernel_max_lag/,
	'the view says why');
like(value($report), qr/^error: suspended: it waits for events since/, 'so does health()');
is(value(q{SELECT string_agg(concat_ws(' ', subject, data ->> 'subscription', data ->> 'status'), ',') FROM pynomaly.events
		WHERE type = 'kernel.subscription_stopped.v1'}), 'late late suspended', 'one event tells of it');
is(value(q{SELECT count(*) FROM pynomaly.subscriptions WHERE status <> 'active'}), '1', 'no other subscription is suspended');

$holder->query_safe('COMMIT');
happens('a', 4);
process();
is(seen_by('late'), '', 'a suspended subscription is handed nothing');
my ($code, $out, $err) = $node->psql('postgres', q{SELECT pynomaly.resume('late')});
is($err, '', 'resume() has nothing to warn of when all events are still there');
process();
is(value($status), 'active', 'a resumed subscription has its turn before it is measured again');
is(seen_by('late'), '1 2 3 4', 'and goes on where it stopped');

#
# The same, but the log does not wait for it.
#
my $left = q{SELECT count(*) FROM pynomaly_kernel.event WHERE type = 'test.a.v1' AND (data ->> 'n')::int IN (5, 6)};
set_to('kernel_retention', '1s');
$holder->query_safe($hold);
happens('a', $_) for 5, 6;
sleep(1.5);
for (1 .. 3) { process(); sleep(0.5) }
ok(wait_for(sub { process(); value(q{SELECT count(*) > 0 FROM pynomaly_kernel.event_member
	WHERE closed_at < clock_timestamp() - interval '1 s'}) eq 't' }), 'a member is past the retention');
process();
is(value($left), '2', 'an active subscription that is behind holds back the log');

$holder->query_safe('COMMIT');
value(q{UPDATE pynomaly_kernel.subscription SET status = 'suspended' WHERE name IN ('late', 'elsewhere')});
$holder->query_safe($hold);
($code, $out, $err) = $node->psql('postgres', q{SET lock_timeout = '5s'; CALL pynomaly.process_events()});
is($err, '', 'whoever empties the log does not wait for a suspended subscription whose handler still runs');
$holder->query_safe('COMMIT');
ok(wait_for(sub { process(); value($left) eq '0' }), 'a suspended one does not hold it back');
like(value($report), qr/^error: suspended.*events up to .* were removed before it had handled them/,
	'health() says that events were removed');
set_to('kernel_retention', '1d');
happens('a', 7);
($code, $out, $err) = $node->psql('postgres', q{SELECT pynomaly.resume('late')});
like($err, qr/WARNING:  subscription "late": events up to .* were removed before it had handled them/, 'and so does resume()');
($code, $out, $err) = $node->psql('postgres', q{SELECT pynomaly.resume('elsewhere')});
is($err, '', 'but not for a subscription that they were no events for');
process();
is(seen_by('late'), '1 2 3 4 7', 'it is handed what is left, and nothing twice');
$holder->quit;

#
# Replay.
#
happens('replay', 1);
value(q{SELECT pynomaly.subscribe('test.replay.v1', 'see_again', 'again')});
happens('replay', $_) for 2 .. 5;
process();
is(seen_by('again'), '2 3 4 5', 'events from the subscription on are handled');
my $time_of = q{SELECT "time" FROM pynomaly.events WHERE type = 'test.replay.v1' AND data ->> 'n' =};
value(qq{DELETE FROM seen; SELECT pynomaly.replay('again', ($time_of '4'))});
happens('replay', 6);
process();
is(seen_by('again'), '4 5 6', 'replay() hands again what was published since then, in order, and new events behind it');
process();
is(seen_by('again'), '4 5 6', 'once');
for my $since ('-infinity', '2000-01-01 00:00:00+00')
{
	value(qq{DELETE FROM seen; SELECT pynomaly.replay('again', '$since')});
	process();
	is(seen_by('again'), '2 3 4 5 6', "a replay since $since hands again all that was handled, and nothing that was not");
}

# The worker ends in the middle of a replay.
value(q{DELETE FROM seen;
	SELECT pynomaly_kernel.publish('test.replay.v1', 'subject ' || n % 3, jsonb_build_object('n', n))
		FROM generate_series(101, 400) AS n;
	SELECT pynomaly.start()});
my $handled = q{SELECT count(*) FROM seen WHERE subscription = 'again'};
$node->poll_query_until('postgres', "SELECT ($handled) = 300") or die 'events were not handled';
value(qq{UPDATE pace SET seconds = 0.05; DELETE FROM seen; SELECT pynomaly.replay('again', ($time_of '101'))});
value(q{SELECT pynomaly_kernel.publish('test.replay.v1', 'subject ' || n % 3, jsonb_build_object('n', n))
	FROM generate_series(401, 403) AS n});
$node->poll_query_until('postgres', "SELECT ($handled) BETWEEN 1 AND 250") or die 'the replay did not begin';
is(value(q{SELECT pg_terminate_backend(pid) FROM pynomaly_kernel.workers() WHERE domain = 'gateway'}), 't',
	'the worker is terminated during a replay');
cmp_ok(value($handled), '<', 300, 'before its end');
value('UPDATE pace SET seconds = 0');
$node->poll_query_until('postgres', "SELECT ($handled) >= 303 AND NOT EXISTS (SELECT FROM pynomaly_kernel.retry)");
is(value(q{SELECT count(*), count(DISTINCT n), min(n), max(n) FROM seen WHERE subscription = 'again'}), '303|303|101|403',
	'each event is handed again exactly once');
is(value(q{SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY subject ORDER BY place) AS previous FROM seen) AS s
		WHERE previous > n}), '0', 'each subject in its order, new events behind');
value('DELETE FROM seen');

#
# A long transaction.
#
my $long = $node->background_psql('postgres', timeout => 180);
my $long_id = $long->query_safe(q{BEGIN; SELECT pynomaly_kernel.publish('test.replay.v1', 'subject', '{"n": 501}')});
cmp_ok($long_id, '<', happens('replay', 502), 'a transaction stays open with an event, while others publish');
ok($node->poll_query_until('postgres', "SELECT ($handled) = 1"), 'which does not wait');
happens('replay', 503);
ok($node->poll_query_until('postgres', "SELECT ($handled) = 2"), 'nor do later ones');
$long->query_safe('COMMIT');
ok($node->poll_query_until('postgres', "SELECT ($handled) = 3"), 'its own comes when it commits');
is(seen_by('again'), '502 503 501', 'behind those that were committed before, though its id is lower');
$long->query_safe(q{BEGIN; SELECT pynomaly_kernel.publish('test.replay.v1', 'subject', '{"n": 504}'); ROLLBACK});
$long->quit;

value('SELECT pynomaly.stop()');
$node->poll_query_until('postgres', 'SELECT count(pid) = 0 FROM pynomaly_kernel.workers()') or die 'the workers did not leave';
process();
is(seen_by('again'), '502 503 501', 'and an event that was rolled back is nobody\'s');

#
# Priorities.
#
value(q{SELECT pynomaly.subscribe('test.low.v1', 'see_low', 'a'); SELECT pynomaly.subscribe('test.high.v1', 'see_high', 'z')});
happens('low', $_) for 1 .. 3;
happens('high', $_) for 1 .. 3;
process();
is(value(q{SELECT string_agg(subscription || n, ' ' ORDER BY place) FROM seen WHERE subscription IN ('low', 'high')}),
	'high1 high2 high3 low1 low2 low3', 'events of a higher priority go first, whatever was published before');

#
# Schedules.
#
value(q{
	CREATE ROLE clerk LOGIN; CREATE ROLE guest LOGIN;
	GRANT EXECUTE ON FUNCTION pynomaly.schedule TO PUBLIC;
	CREATE TABLE ran (schedule text, who name);
	GRANT ALL ON ran TO PUBLIC;
	CREATE FUNCTION tick() RETURNS void LANGUAGE sql AS $$INSERT INTO public.ran VALUES ('tick', current_user)$$;
	CREATE FUNCTION tock() RETURNS void LANGUAGE sql AS $$INSERT INTO public.ran VALUES ('tock', current_user)$$;
	CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.ran VALUES ('fail', current_user); PERFORM 1 / 0; END$$;
	SET SESSION AUTHORIZATION clerk;
	SELECT pynomaly.schedule('hourly', '1 hour', 'tick'), pynomaly.schedule('broken', '1 hour', 'fail');
	SET SESSION AUTHORIZATION guest; SELECT pynomaly.schedule('orphan', '1 hour', 'tick');
	RESET SESSION AUTHORIZATION; DROP ROLE guest});
process();
is(value('SELECT count(*) FROM ran'), '0', 'a schedule does not run before it is due');

# Five and a half hours pass.
value(q{UPDATE pynomaly_kernel.schedule SET created_at = created_at - interval '330 min';
	UPDATE pynomaly_kernel.schedule_state SET due_at = due_at - interval '330 min'});
process();
is(value(q{SELECT string_agg(concat_ws(' ', schedule, who), ',') FROM ran}), 'tick clerk',
	'due times that were missed are made up for by one run, as the owner');
is(value(q{SELECT s.runs, s.missed, s.failures, s.due_at - k.created_at
		FROM pynomaly.schedules s JOIN pynomaly_kernel.schedule k USING (name) WHERE name = 'hourly'}), '1|4|0|06:00:00',
	'the others are counted, and the next one is in its old place');
is(value(q{SELECT status, runs, failures, sqlstate, message, last_success IS NULL, due_at > now()
		FROM pynomaly.schedules WHERE name = 'broken'}),
	'active|1|1|22012|division by zero|t|t', 'a failed run shows its error, leaves no effects, and waits for the next due time');
is(value(q{SELECT string_agg(concat_ws(' ', subject, data ->> 'schedule', data ->> 'sqlstate', publisher), ',')
		FROM pynomaly.events WHERE type = 'kernel.schedule_failed.v1' AND subject = 'broken'}),
	'broken broken 22012 clerk', 'one event tells the owner of it');
is(value(q{SELECT status || ' ' || reason FROM pynomaly.schedules WHERE name = 'orphan'}), 'disabled its owner was dropped',
	'a schedule whose owner was dropped is disabled');
is(value(q{SELECT string_agg(name || ' ' || status, ',' ORDER BY name) FROM pynomaly.health() WHERE component = 'schedule' AND name NOT LIKE '%: %'}),
	'broken warning,hourly ok,orphan error', 'health() tells of both');

# Against each minute of the next eight days, by what its wall clock shows.
for my $cron ([ '30 4 * * *', 'UTC', 'HH24:MI', '04:30' ], [ '0 9 * * 1', 'Asia/Tokyo', 'HH24:MI D', '09:00 2' ],
	[ '15 */6 * * *', 'America/New_York', 'MI HH24', '15 (00|06|12|18)' ])
{
	my ($timing, $zone, $format, $shows) = @$cron;
	is(value(qq{SELECT pynomaly.schedule('cron $timing', '$timing', 'tick', '$zone') = (SELECT min(minute)
			FROM generate_series(date_trunc('hour', now()), now() + interval '8 days', '1 min') AS minute
			WHERE minute > now() AND to_char(minute AT TIME ZONE '$zone', '$format') ~ '^$shows\$')}), 't',
		"'$timing' in $zone is first due when the clock there says so");
}

# The server is away for a while.
value(q{SET SESSION AUTHORIZATION clerk; SELECT pynomaly.schedule('second', '1 second', 'tock');
	RESET SESSION AUTHORIZATION; SELECT pynomaly.start()});
$node->poll_query_until('postgres', q{SELECT runs >= 2 FROM pynomaly.schedules WHERE name = 'second'}) or die 'it did not run';
my $missed = value(q{SELECT missed FROM pynomaly.schedules WHERE name = 'second'});
$node->stop;
sleep(3);
$node->start;
ok($node->poll_query_until('postgres', qq{SELECT missed >= $missed + 2 FROM pynomaly.schedules WHERE name = 'second'}),
	'runs that were missed while the server was down are made up for when it is back');
is(value(q{SELECT count(*) = (SELECT runs FROM pynomaly.schedules WHERE name = 'second'), min(who), max(who) FROM ran
		WHERE schedule = 'tock'}), 't|clerk|clerk', 'each run has its effect once, as the owner, in a worker, too');
value('SELECT pynomaly.stop()');

$node->stop;
done_testing();

# Repeats until it is true, for 180 s at most.
sub wait_for
{
	my ($condition) = @_;
	for (1 .. 900)
	{
		return 1 if $condition->();
		sleep(0.2);
	}
	return 0;
}

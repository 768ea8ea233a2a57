#
# 018_rotation.pl
#	A day of the log in little more than a minute: nothing is lost, nothing bloats, and no publisher waits.
#
# An hour lasts three seconds here and events are kept for two hours, so the eight members go round nine times in the 24
# hours.  Three publishers write all the while, a tenth of it rolled back.  One subscriber is down from 5 to 17 o'clock,
# a write transaction stays open from 8 to 11 and a reader of all events from 13 to 18.
#
# What publishers and handlers did is written down in tables of the test's own, in the same transactions, and compared
# in the end.  The worker's upkeep comes each five seconds, which is more than an hour here, so a session does it, too.
#
# Runs by itself, since its hours pass whether the machine has time for it or not.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use List::Util qw(max);
use Time::HiRes qw(sleep time);

my $HOUR = 3;
my $RETENTION = 2 * $HOUR;

my $node = PostgreSQL::Test::Cluster->new('rotation');
$node->init;
$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_retention = $RETENTION
	pynomaly.kernel_max_lag = 3600
	log_line_prefix = '%m [%p] %a '
	log_lock_waits = on
	deadlock_timeout = '100ms'
	autovacuum_naptime = '10s'});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	CREATE UNLOGGED TABLE published (event_id bigint, at timestamptz);
	CREATE UNLOGGED TABLE seen (subscription text, event_id bigint);
	CREATE UNLOGGED TABLE took (publisher text, ms float8);
	CREATE UNLOGGED TABLE waited (session text, lock text);
	CREATE TABLE evening ();

	CREATE FUNCTION see_steady(event pynomaly_kernel.event) RETURNS void LANGUAGE sql
		AS $$INSERT INTO public.seen VALUES ('steady', event.id)$$;
	CREATE FUNCTION see_outpost(event pynomaly_kernel.event) RETURNS void LANGUAGE sql
		AS $$INSERT INTO public.seen VALUES ('outpost', event.id)$$;

	-- Each tenth transaction is rolled back.  With keys all members are looked through, not only the open one.
	CREATE PROCEDURE publish(keys boolean) LANGUAGE plpgsql AS $$
	DECLARE
		publisher text := current_setting('application_name');
		n int := 0;
		began timestamptz;
		ended timestamptz;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM evening) LOOP
			n := n + 1;
			began := clock_timestamp();
			INSERT INTO published SELECT pynomaly_kernel.publish('test.happened.v1', 'subject ' || n % 7,
				jsonb_build_object('n', n, 'text', repeat(md5(n::text), 10)), CASE WHEN keys THEN 'key ' || n END), began;
			IF n % 10 = 0 THEN
				ROLLBACK;
			ELSE
				COMMIT;
			END IF;
			ended := clock_timestamp();
			INSERT INTO took VALUES (publisher, 1000 * extract(epoch FROM ended - began));
			COMMIT;
			PERFORM pg_sleep(0.03);
		END LOOP;
	END $$;

	-- Looks each 50 ms who waits for which heavyweight lock, but for the moment in which a table grows.
	CREATE PROCEDURE look() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM evening) LOOP
			INSERT INTO waited SELECT a.application_name, concat_ws(' ', l.mode, l.locktype, l.relation::regclass)
				FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND l.locktype <> 'extend';
			COMMIT;
			PERFORM pg_sleep(0.05);
		END LOOP;
	END $$;

	SELECT pynomaly_kernel.register_event_type('test.happened.v1',
		'{"type": "object", "properties": {"n": {"type": "integer"}}}');
	SELECT pynomaly.subscribe('test.happened.v1', 'see_steady', 'steady');
	SELECT pynomaly_kernel.add_subscription('outpost', 'outpost', 'test.*', 'see_outpost');
	SELECT pynomaly.start();
});
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pynomaly_kernel.workers() WHERE state = 'running'})
	or die 'the workers did not come';

sub value { return $node->safe_psql('postgres', shift) }

my %session;
for my $name ('publisher 1', 'publisher 2', 'keyed publisher', qw(sampler keeper holder writer reader))
{
	$session{$name} = $node->background_psql('postgres', timeout => 600);
	$session{$name}->query_safe("SET application_name = '$name'");
}
# If emptying a member waited for the reader, the day would not go on.
$session{keeper}->query_safe(q{SET lock_timeout = '60s'});
my %pid = map { $_ => $session{$_}->query_safe('SELECT pg_backend_pid()') } qw(holder writer reader);

my $sizes = q{
	SELECT format('%s events in %s members, log %s kB, positions %s kB, other tables %s kB',
		(SELECT count(*) FROM pynomaly_kernel.event),
		(SELECT count(opened_at) FROM pynomaly_kernel.event_member),
		(SELECT sum(pg_total_relation_size(inhrelid))::bigint / 1024 FROM pg_inherits
			WHERE inhparent = 'pynomaly_kernel.event'::regclass),
		pg_total_relation_size('pynomaly_kernel.subscription_position') / 1024,
		(SELECT sum(pg_total_relation_size('pynomaly_kernel.' || name))::bigint / 1024
			FROM (VALUES ('event_member'), ('retry'), ('throughput'), ('subscription'), ('schedule_state')) AS t (name)))};
my $files = q{SELECT string_agg(pg_relation_filenode(inhrelid)::text, ' ' ORDER BY inhrelid) FROM pg_inherits
	WHERE inhparent = 'pynomaly_kernel.event'::regclass};

my $begin;
my $report_at = 0;
sub hour { return (time() - $begin) / $HOUR }

# Lets time pass until an hour of the day, keeps the log up meanwhile, and gives how large it and the positions became.
sub pass_until
{
	my ($hour) = @_;
	my ($log, $positions) = (0, 0);
	do
	{
		$session{keeper}->query_safe('CALL pynomaly.process_events(1)');
		my $line = value($sizes);
		my ($log_now, $positions_now) = $line =~ /log (\d+) kB, positions (\d+) kB/;
		$log = $log_now if $log_now > $log;
		$positions = $positions_now if $positions_now > $positions;
		if (hour() >= $report_at)
		{
			diag(sprintf('%04.1f h: %s', hour(), $line));
			$report_at += 2;
		}
		sleep(0.4);
	} while (hour() < $hour);
	return ($log, $positions);
}

# The same until it is true; a busy machine may need longer than the day.
sub pass_until_true
{
	my ($condition) = @_;
	my $deadline = time() + 180;
	while (time() < $deadline)
	{
		return 1 if $condition->();
		pass_until(0);
	}
	return 0;
}

my $files_at_first = value($files);
$begin = time();
$session{$_}->query_until(qr/begun/, "\\echo begun\nCALL publish(false);\n") for 'publisher 1', 'publisher 2';
$session{'keyed publisher'}->query_until(qr/begun/, "\\echo begun\nCALL publish(true);\n");
$session{sampler}->query_until(qr/begun/, "\\echo begun\nCALL look();\n");

my ($morning) = pass_until(5);
cmp_ok(value('SELECT count(opened_at) FROM pynomaly_kernel.event_member'), '<', 8, 'members are free in the morning');

# The subscriber goes down: somebody else has its position.
$session{holder}->query_safe(q{BEGIN;
	SELECT FROM pynomaly_kernel.subscription_position WHERE subscription = 'outpost' FOR UPDATE});
my $down_at = value('SELECT clock_timestamp()');
pass_until(8);
my $long_event = $session{writer}->query_safe(q{BEGIN;
	INSERT INTO published SELECT pynomaly_kernel.publish('test.happened.v1', 'long', '{"n": 0}'), clock_timestamp()
		RETURNING event_id});
pass_until(11);
is(value("SELECT count(*) FROM seen WHERE event_id = $long_event"), '0', 'an event is not handled before it is committed');
$session{writer}->query_safe('COMMIT');
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM seen WHERE subscription = 'steady' AND event_id = $long_event"),
	'an event of a transaction that was open for longer than the retention is handled when it commits');
pass_until(13);
$session{reader}->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pynomaly.events');
pass_until(17);
my $warning = q{SELECT count(*) FROM pynomaly.health() WHERE component = 'event log' AND status = 'warning'
	AND hint ~ 'a subscription is behind'};
ok(pass_until_true(sub { value($warning) eq '1' }), 'health() warns that all members are in use and the open one grows');

is(value(qq{SELECT count(*) FROM published p WHERE at >= '$down_at' AND NOT EXISTS
		(SELECT FROM pynomaly_kernel.event WHERE id = p.event_id)}), '0',
	'what a subscriber has not handled is kept while it is down, far beyond the retention');
is(value(qq{SELECT count(*) FROM seen JOIN published USING (event_id)
		WHERE subscription = 'outpost' AND at > '$down_at'}), '0', 'it really was down');
$session{holder}->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM published p
			WHERE at < clock_timestamp() - interval '2 s'
			AND NOT EXISTS (SELECT FROM seen WHERE subscription = 'outpost' AND event_id = p.event_id))}),
	'the subscriber catches up when it is back');

my (undef, $positions_before) = pass_until(18);
$session{reader}->query_safe('COMMIT');
ok(pass_until_true(sub { my ($size) = pass_until(0); $size <= 1.5 * $morning }),
	'the log becomes as small as it was in the morning');
my ($evening, $positions) = pass_until(max(24, hour() + 2));
value('INSERT INTO evening DEFAULT VALUES');

# The publishers' last transactions, and all that is to be handled.
$session{$_}->query_safe('SELECT 1') for 'publisher 1', 'publisher 2', 'keyed publisher', 'sampler';
$node->poll_query_until('postgres', q{SELECT count(*) >= 2 * (SELECT count(*) FROM published) FROM seen});

my $count = value('SELECT count(*) FROM published');
diag("$count events were published");
is(value(q{SELECT subscription, count(*), count(DISTINCT event_id) FROM seen GROUP BY subscription ORDER BY subscription}),
	"outpost|$count|$count\nsteady|$count|$count",
	'each subscription has handled as many events as were committed, none of them twice');
is(value(q{SELECT count(*) FROM published p FULL JOIN seen s USING (event_id) WHERE p.event_id IS NULL OR s.event_id IS NULL}),
	'0', 'and they are the same events');
is(value(q{SELECT count(*) FROM pynomaly.subscriptions WHERE status <> 'active'}), '0', 'all subscriptions are active');
is(value('SELECT count(*) FROM pynomaly_kernel.retry'), '0', 'no event had to be tried again');

my @before = split / /, $files_at_first;
my @after = split / /, value($files);
is(scalar(grep { $before[$_] == $after[$_] } 0 .. 7), 0, 'every member has been emptied');
diag(sprintf('the log had at most %d kB in the morning and %d kB in the evening', $morning, $evening));
cmp_ok($evening, '<=', 2 * $morning, 'and stays so');
cmp_ok($positions, '<=', 1.5 * $positions_before,
	'the table of positions, rewritten with each piece of work, no longer grows when nobody keeps their old versions');

# Once nothing is published the log becomes empty, whatever was in it.
ok(pass_until_true(sub { value('SELECT count(*) FROM pynomaly_kernel.event') eq '0' }),
	'events that are past the retention and that nobody needs are gone');
diag(value($sizes));

diag("$_") for split /\n/, value(q{SELECT format('%s: at most %s ms, 99 of 100 in %s ms', publisher, round(max(ms)),
		round(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms))) FROM took GROUP BY publisher ORDER BY publisher});
diag("seen to wait: $_") for split /\n/, value('SELECT session, lock, count(*) FROM waited GROUP BY 1, 2 ORDER BY 1, 2');
is(value(q{SELECT count(*) FROM waited WHERE session ~ '^publisher'}), '0', 'a publisher was never seen to wait for a lock');
my $log = slurp_file($node->logfile);
unlike($log, qr/\] publisher \d LOG:  process \d+ still waiting/, 'no publisher waited for one for 100 ms');
unlike($log, qr/still waiting for AccessExclusiveLock/, 'nobody queued up to empty a member');

# Who looks through all members may meet the one that is being emptied, but never waits for those who keep it open.
my @blockers = $log =~ /DETAIL:  Process(?:es)? holding the lock: ([\d, ]+)\./g;
my %open = reverse %pid;
is(join(' ', grep { defined } map { $open{$_} } map { split /, / } @blockers), '',
	'and nobody waited for the long reader, the long writer or the subscriber that was down');

$_->quit for values %session;
$node->stop;
done_testing();

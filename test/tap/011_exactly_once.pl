#
# 011_exactly_once.pl
#	100,000 events of 16 clients take effect once each, in the order of their subjects, whatever ends on the way.
#
# The clients (see publisher) roll back transactions and savepoints, and lose connections.  The worker is terminated ten times and
# killed three times, which is a crash of the whole server each.  Meanwhile a transaction that has published stays open for
# a minute.  What the clients know to be committed is compared with what the handler wrote down.
#
# PYN_SEED repeats the clients' decisions, though not the order in which the server takes them.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;
use Time::HiRes qw(sleep);

my $clients = 16;
my $quota = 6250;    # events of each client
my $open_for = 60;   # s that the long transaction takes
my $seed = $ENV{PYN_SEED} // int rand 1000000;
note("PYN_SEED=$seed");

my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('exactly_once');
$node->init;
$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = 'pynomaly'
	restart_after_crash = on
	log_statement = none
	pynomaly.kernel_retry_delay = '100ms'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	SELECT pynomaly_kernel.register_event_type('test.counted.v1', '{"type": "object"}');
	CREATE ROLE app LOGIN;
	GRANT USAGE ON SCHEMA pynomaly, pynomaly_kernel TO app;
	GRANT SELECT ON pynomaly.events TO app;
	GRANT EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text),
		pynomaly.subscribe(text, text, text, int, interval) TO app;

	CREATE TABLE subject (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 20);
	INSERT INTO subject SELECT id, 0 FROM generate_series(1, 1001) AS id;
	CREATE TABLE handled (place bigint GENERATED ALWAYS AS IDENTITY, id bigint, key text, subject text, n int);
	CREATE TABLE committed (id bigint, key text);
	GRANT SELECT, UPDATE ON subject TO app;
	GRANT INSERT ON handled TO app;

	-- Publishes the next event of a subject; of a negative one without a number.
	CREATE FUNCTION publish_next(key text, which int, attempt int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		number int;
	BEGIN
		UPDATE subject SET n = n + 1 WHERE id = which RETURNING n INTO number;
		RETURN pynomaly_kernel.publish('test.counted.v1', 's' || abs(which),
			jsonb_build_object('key', key, 'n', number, 'attempt', attempt), key);
	END $$;

	-- Nothing here refuses an event that was handled before.
	CREATE FUNCTION write_down(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.handled (id, key, subject, n)
			VALUES (e.id, e.data ->> 'key', e.subject, (e.data ->> 'n')::int) $$;
	SET SESSION AUTHORIZATION app;
	SELECT pynomaly.subscribe('test.counted.v1', 'write_down', name => 'written down');
	RESET SESSION AUTHORIZATION;
	SELECT pynomaly.start();
});

my $handled = 'SELECT count(*) FROM handled';
my $worker = q{SELECT pid FROM pynomaly_kernel.workers() WHERE domain = 'gateway' AND pid IS NOT NULL};

sub wait_for
{
	my ($condition, $what) = @_;
	$node->poll_query_until('postgres', "SELECT $condition") or die "timed out: $what\n";
}

# Waits until so many events have been handled.
sub wait_handled
{
	my ($goal) = @_;
	wait_for("($handled) >= $goal", "$goal events are handled");
}

# Ends the worker; gives true when another has come, which start() asks for without the pause after a failure.
sub end_worker
{
	my ($command) = @_;
	wait_for("EXISTS ($worker)", 'a worker');
	my $pid = $node->safe_psql('postgres', $worker);
	$command->($pid);
	wait_for("NOT EXISTS ($worker INTERSECT SELECT $pid)", 'the worker ends');
	$node->safe_psql('postgres', 'SELECT pynomaly.start()');
	wait_for("EXISTS ($worker)", 'another worker');
	return $node->safe_psql('postgres', $worker) != $pid;
}

my ($terminated, $killed) = (0, 0);

sub terminate
{
	$terminated += end_worker(sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0])") });
}

sub crash
{
	$killed += end_worker(sub { kill 'KILL', $_[0] or die "cannot kill $_[0]: $!\n" });
}

sub open_gate
{
	append_to_file("$folder/gate.$_[0]", '');
}

my $connection = $node->connstr('postgres') . ' user=app';
my @clients = map { IPC::Run::start([ $^X, 'test/tap/publisher', $connection, $_, $quota, $seed, $folder ],
	'<', \undef, '>', "$folder/out.$_", '2>', "$folder/err.$_") } 1 .. $clients;

wait_handled(4000);
crash();
wait_handled(10000);
crash();
cmp_ok($node->safe_psql('postgres', q{SELECT last_value FROM pynomaly_kernel.retry_place_seq}), '>', 0,
	'after a crash the first events are handled by the retry table');

my $long = $node->background_psql('postgres');
$long->set_query_timer_restart;
$long->query_safe(q{SET SESSION AUTHORIZATION app; BEGIN});
my $publish_long = q{SELECT string_agg(publish_next('long-' || i, 1001, 1)::text, ',') FROM generate_series(%d, %d) AS i};
my $early = $long->query_safe(sprintf $publish_long, 1, 50);
my $opened = time;
open_gate(1);
foreach my $step (1 .. 10)
{
	wait_handled(24000 + 4500 * $step);
	terminate();
}
sleep 0.2 while time - $opened < $open_for;
is($node->safe_psql('postgres', "SELECT count(*) FROM handled WHERE id IN ($early)"), '0',
	'events of a transaction that is open for a minute are not handled');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM handled WHERE id > (SELECT max(id) FROM unnest('{$early}'::bigint[]) AS id)"),
	'>', 30000, 'while later events of others are');
$long->query_safe(sprintf $publish_long, 51, 100);
$long->query_safe('COMMIT');
$long->quit;
wait_for("count(*) = 100 FROM handled WHERE key LIKE 'long-%'", 'events of the long transaction');
pass('when it has committed they are handled, too');

open_gate(2);
wait_handled(85000);
crash();
is($terminated, 10, 'ten workers were terminated, and others came');
is($killed, 3, 'three workers were killed, and the server came back');

foreach my $client (1 .. $clients)
{
	my $succeeded = $clients[$client - 1]->finish;
	ok($succeeded, "client $client has committed all its events") or diag slurp_file("$folder/err.$client");
	$node->safe_psql('postgres', "COPY committed FROM '$folder/committed.$client'");
}
my $summary = `cat $folder/summary.*`;
my %total;
$total{$1} += $2 while $summary =~ /^(.*)\t(\d+)$/gm;
note(join ', ', map { "$_: $total{$_}" } sort keys %total);
ok($total{$_}, "among the transactions: $_")
	foreach ('rollback', 'rolled back to a savepoint', 'in doubt', 'found committed', 'repeated');

# An event after all others: when it has been handled, nothing else is to come.
$node->safe_psql('postgres', q{
	INSERT INTO committed SELECT id, data ->> 'key' FROM pynomaly.events WHERE data ->> 'key' LIKE 'long-%';
	GRANT INSERT ON committed TO app;
	SET SESSION AUTHORIZATION app;
	INSERT INTO committed SELECT pynomaly_kernel.publish('test.counted.v1', 'last', '{"key": "last"}'), 'last'});
wait_for("EXISTS (SELECT FROM handled WHERE key = 'last')", 'the last event');
wait_for('NOT EXISTS (SELECT FROM pynomaly_kernel.retry)', 'an empty retry table');
pass('no event is left in the retry table');

is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), count(DISTINCT key) FROM committed'),
	join('|', (16 * 6250 + 101) x 3), '100,000 events of the clients were committed, and 101 others');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id, key FROM committed EXCEPT SELECT id, key FROM handled) AS lost'),
	'0', 'every committed event was handled');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id, key FROM handled EXCEPT SELECT id, key FROM committed) AS more'),
	'0', 'every handled event was committed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id FROM handled GROUP BY id HAVING count(*) > 1) AS twice'),
	'0', 'no event was handled twice');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id) FROM pynomaly_kernel.event WHERE type = 'test.counted.v1'}),
	join('|', (16 * 6250 + 101) x 2), 'the log holds the committed events and no others');
is($node->safe_psql('postgres', q{SELECT count(*) FROM
	(SELECT n, row_number() OVER (PARTITION BY subject ORDER BY place) FROM handled WHERE n IS NOT NULL) AS h
	WHERE n <> row_number}), '0', 'the handler saw the events of each subject in their order, without gaps');
is($node->safe_psql('postgres', q{SELECT count(*) FROM
	subject s LEFT JOIN (SELECT subject, max(n) AS n FROM handled GROUP BY subject) AS h ON h.subject = 's' || s.id
	WHERE s.n <> coalesce(h.n, 0)}), '0', 'and as many as its row has counted');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM handled WHERE n IS NOT NULL'), '>', 80000,
	'most events have such a number');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal (?!9)/, 'no process ended otherwise');
$node->stop;
done_testing();

#
# 013_worker_places.pl
#	Workers share what places the server has: when there is none for the launcher start() says so, when there is none for a
#	worker health() and the log do; domains take turns; a session can do a worker's work while it runs.
#
# Places are held by parallel workers, which have theirs from max_worker_processes, too.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $setup = q{
	CREATE EXTENSION pynomaly;
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	CREATE TABLE seen (subject text, handler text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.seen VALUES ((e).subject, 'see') $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
};

sub publish
{
	my ($node, $subject) = @_;
	$node->safe_psql('postgres', "SELECT pynomaly_kernel.publish('shop.order_paid.v1', '$subject', '{}')");
}

# A session that holds one of the server's places for background workers.
sub hold_place
{
	my ($node, $held) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/sent/, "SET force_parallel_mode = on;\n\\echo sent\nSELECT pg_sleep(100000);\n");
	$node->poll_query_until('postgres', "SELECT count(*) = $held FROM pg_stat_activity WHERE backend_type = 'parallel worker'")
		or die 'no parallel worker has come';
	return $session;
}

# Gives one place back.
sub free_place
{
	my ($node, $held) = @_;
	$node->safe_psql('postgres', q{SELECT pg_cancel_backend(leader_pid) FROM pg_stat_activity
		WHERE backend_type = 'parallel worker' LIMIT 1});
	$node->poll_query_until('postgres', "SELECT count(*) = $held FROM pg_stat_activity WHERE backend_type = 'parallel worker'")
		or die 'the parallel worker has not gone';
}

# No place
my $node = PostgreSQL::Test::Cluster->new('two_places');
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	max_logical_replication_workers = 0
	max_worker_processes = 2
	pynomaly.kernel_idle_exit = '1h'
});
$node->start;
$node->safe_psql('postgres', $setup);
my @holders = (hold_place($node, 1), hold_place($node, 2));
my ($code, $out, $err) = $node->psql('postgres', 'SELECT pynomaly.start()', extra_params => [ '-v', 'VERBOSITY=verbose' ]);
isnt($code, 0, 'start() fails where the launcher has no place');
like($err, qr/ERROR:  53400: the server has no free background worker/, 'with the SQLSTATE of a limit of the configuration');
like($err, qr/HINT:  Increase max_worker_processes/, 'and a hint');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_db_role_setting'), '0', 'and starts nothing');

free_place($node, 1);
my $log = -s $node->logfile;
$node->safe_psql('postgres', 'SELECT pynomaly.start()');
publish($node, $_) foreach 1 .. 5;
$node->wait_for_log(qr/LOG:  pynomaly: cannot start a worker: no background worker is free/, $log);
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pynomaly.health()
	WHERE status <> 'ok' AND hint LIKE '%max_worker_processes%'}), 'health() says that workers have no place');
is($node->safe_psql('postgres', 'SELECT count(*) FROM seen'), '0', 'without a place for a worker events wait');
publish($node, $_) foreach 6 .. 10;
free_place($node, 0);
ok($node->poll_query_until('postgres', 'SELECT count(DISTINCT subject) = 10 AND count(*) = 10 FROM seen'),
	'when there is room the worker comes and handles all that has waited');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pynomaly.health() WHERE hint LIKE '%max_worker_processes%'}), '0',
	'and health() is content');
my $lines = () = slurp_file($node->logfile, $log) =~ /LOG:  pynomaly: cannot start a worker/g;
is($lines, 1, 'the log had it once');
$_->quit foreach @holders;
$node->stop;

# Turns
$node = PostgreSQL::Test::Cluster->new('turns');
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	pynomaly.kernel_idle_exit = '1h'
	pynomaly.max_workers = 1
});
$node->start;
$node->safe_psql('postgres', $setup . q{
	CREATE FUNCTION see_one(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.seen VALUES ((e).subject, 'one') $$;
	CREATE FUNCTION see_two(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.seen VALUES ((e).subject, 'two') $$;
	SELECT pynomaly_kernel.add_subscription('one', 'one', 'shop.order_paid.v1', 'see_one');
	SELECT pynomaly_kernel.add_subscription('two', 'two', 'shop.order_paid.v1', 'see_two');
});
$node->safe_psql('postgres', 'SELECT pynomaly.start()');
my $most = 0;
foreach my $round (1 .. 3)
{
	publish($node, $round);
	my $seen = "SELECT coalesce(string_agg(handler, ' ' ORDER BY handler), '') FROM seen WHERE subject = '$round'";
	for (my $i = 0; $i < 1800 && $node->safe_psql('postgres', $seen) ne 'one see two'; $i++)
	{
		my $now = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pynomaly worker'});
		$most = $now if $now > $most;
		select(undef, undef, undef, 0.1);
	}
	is($node->safe_psql('postgres', $seen), 'one see two', "with one worker for three domains each handles event $round once");
}
is($most, 1, 'and there was never more than one worker');
is($node->safe_psql('postgres', 'SELECT sum(failures) FROM pynomaly_kernel.workers()'), '0', 'to make room is no failure');

# A session in the worker's place
$node->append_conf('postgresql.conf', 'pynomaly.max_workers = 5');
$node->reload;
$node->safe_psql('postgres', q{
	SELECT pynomaly.unsubscribe('one');
	SELECT pynomaly.unsubscribe('two');
	TRUNCATE seen;
	CREATE OR REPLACE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		SELECT pg_sleep(0.01);
		INSERT INTO public.seen VALUES ((e).subject, 'see') $$;
});
my $running = q{SELECT count(*) = 1 FROM pynomaly_kernel.workers() WHERE domain = 'gateway' AND state = 'running'};
my $pid = q{SELECT pid FROM pynomaly_kernel.workers() WHERE domain = 'gateway'};
$node->poll_query_until('postgres', $running) or die 'no worker has come';
my $worker = $node->safe_psql('postgres', $pid);
$node->safe_psql('postgres', q{SELECT pynomaly_kernel.publish('shop.order_paid.v1', i::text, '{}') FROM generate_series(1, 500) AS i});
$node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM seen') or die 'the worker has not begun';
my $session = $node->safe_psql('postgres', 'CALL pynomaly.process_events(); SELECT pg_backend_pid()');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 500 FROM seen'), 'a worker and process_events() handle all events');
is($node->safe_psql('postgres', 'SELECT count(DISTINCT subject) FROM seen'), '500', 'each once');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT pid::text, chr(44) ORDER BY pid::text) FROM seen'),
	join(',', sort $worker, $session), 'the session took the place of the worker that was at it');
publish($node, 'afterwards');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM seen WHERE subject = 'afterwards'}), 'afterwards the worker goes on');
is($node->safe_psql('postgres', q{SELECT pid FROM seen WHERE subject = 'afterwards'}), $worker, 'it is the same one');

$node->stop;
done_testing();

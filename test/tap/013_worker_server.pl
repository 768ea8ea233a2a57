#
# 013_worker_server.pl
#	Workers come back, and no event is lost or handled twice, when a worker is idle for long, when processes are ended or
#	killed, and when the server reloads its settings or restarts.  All of it with and without preloading.
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
	CREATE TABLE seen (subject text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.seen (subject) VALUES ((e).subject) $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
	SELECT pynomaly.start();
};
my $worker = q{SELECT pid FROM pynomaly_kernel.workers() WHERE state = 'running'};
my $launcher = 'SELECT pynomaly_kernel.launcher_pid()';
my $is_idle = q{SELECT count(*) = 1 FROM pynomaly_kernel.workers() WHERE state = 'idle'};
my $health = q{SELECT status, message, hint FROM pynomaly.health() WHERE component = 'workers'};

sub event { return "SELECT pynomaly_kernel.publish('shop.order_paid.v1', '$_[0]', '{}');" }

foreach my $preloaded (0, 1)
{
	my $with = $preloaded ? '(preloaded)' : '(not preloaded)';
	my $node = PostgreSQL::Test::Cluster->new($preloaded ? 'preloaded' : 'not_preloaded');
	my $run = sub { $node->safe_psql('postgres', $_[0]) };
	my $is_seen = sub {
		my ($subject, $test) = @_;
		ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM seen WHERE subject = '$subject'"), "$test $with");
	};
	my $is_not_seen = sub {
		my ($subjects, $test) = @_;
		is($run->("SELECT count(*) FROM seen WHERE subject IN ($subjects)"), '0', "$test $with");
	};
	# The process that a query gives, when it gives another one than before.
	my $another = sub {
		my ($query, $before) = @_;
		$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($query) AS p (pid) WHERE pid <> $before")
			or die 'no other process has come';
		return $run->($query);
	};

	$node->init;
	$node->append_conf('postgresql.conf', q{
		autovacuum = off
		max_prepared_transactions = 5
		restart_after_crash = on
		pynomaly.kernel_idle_exit = '1h'
	});
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pynomaly'}) if $preloaded;
	$node->start;
	$run->($setup);
	my $pid = $another->($worker, 0);

	# Savepoints
	$run->('BEGIN;' . event('kept') . 'SAVEPOINT a;' . event('undone 1') . 'SAVEPOINT b;' . event('undone 2')
		. 'RELEASE b; ROLLBACK TO a;' . event('kept, too') . 'COMMIT');
	$is_seen->('kept', 'an event published before a savepoint that is rolled back is handled');
	$is_seen->('kept, too', 'as is one published after it');
	$is_not_seen->(q{'undone 1', 'undone 2'}, 'but none published within it');
	is($run->(q{SELECT count(*) FROM pynomaly.events WHERE subject LIKE 'undone%'}), '0', "which do not exist $with");

	# Reload, idle exit and return
	$node->append_conf('postgresql.conf', 'pynomaly.kernel_idle_exit = 1');
	$node->reload;
	ok($node->poll_query_until('postgres', $is_idle), "a running worker takes a setting from a reload, and leaves when idle $with");
	is($run->('SELECT failures FROM pynomaly_kernel.workers()'), '0', "which is no failure $with");
	$run->(event('after idleness'));
	$is_seen->('after idleness', 'the next event brings a worker back');
	isnt($run->(q{SELECT pid FROM seen WHERE subject = 'after idleness'}), $pid, "another one $with");

	# Two-phase commit; the worker would leave after one second
	$node->poll_query_until('postgres', $is_idle) or die 'the worker has not left';
	$run->('BEGIN;' . event('two-phase') . q{PREPARE TRANSACTION 'p'});
	$run->('BEGIN;' . event('undone 3') . q{PREPARE TRANSACTION 'q'});
	$run->('SELECT pg_sleep(3)');
	$is_not_seen->(q{'two-phase'}, 'an event of a prepared transaction is not handled');
	$run->(q{COMMIT PREPARED 'p'});
	$is_seen->('two-phase', 'but when it is committed, though after the time of the idle exit');
	$run->(q{ROLLBACK PREPARED 'q'});
	$run->(event('after q'));
	$is_seen->('after q', 'later events are handled');
	$is_not_seen->(q{'undone 3'}, 'ROLLBACK PREPARED publishes nothing');
	ok($node->poll_query_until('postgres', $is_idle), "a worker that stayed for prepared transactions leaves then $with");

	# pg_terminate_backend
	$node->append_conf('postgresql.conf', q{pynomaly.kernel_idle_exit = '1h'});
	$node->reload;
	$run->(event('back'));
	$pid = $another->($worker, 0);
	$run->("SELECT pg_terminate_backend($pid)");
	my $next = $another->($worker, $pid);
	$run->(event('after the worker was terminated'));
	$is_seen->('after the worker was terminated', 'a terminated worker is followed by another one');
	like($run->(q{SELECT status, message FROM pynomaly.health() WHERE component = 'worker'}),
		qr/^warning\|running, ended badly 1 times in a row/, "health() has seen it $with");
	my $old = $run->($launcher);
	$run->("SELECT pg_terminate_backend($old)");
	my $new = $another->($launcher, $old);
	is($run->($worker), $next, "the worker does not mind that the launcher is terminated $with");
	$run->("SELECT pg_terminate_backend($next)");
	$another->($worker, $next);
	$run->(event('after the launcher was terminated'));
	$is_seen->('after the launcher was terminated', 'a terminated launcher comes back and goes on to start workers');

	# SIGKILL, which makes the server start anew
	foreach my $what ([ 'worker', $worker ], [ 'launcher', $launcher ])
	{
		my ($name, $query) = @$what;
		$run->(event("before the $name was killed"));
		$is_seen->("before the $name was killed", "an event is handled before the $name is killed");
		my $log = -s $node->logfile;
		kill 'KILL', $run->($query);
		$node->wait_for_log(qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s, $log);
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
		$run->(event("after the $name was killed"));
		$is_seen->("after the $name was killed", "after a crash by a killed $name workers come back");
	}

	# Restart of the server
	$node->restart;
	if ($preloaded)
	{
		$run->(event('after a restart'));
		$is_seen->('after a restart', 'workers come back when the server is restarted');
		like($run->($health), qr/^ok\|the launcher runs as process \d+\|$/, "health() says so $with");
	}
	else
	{
		is($run->('SELECT pynomaly_kernel.launcher_pid() IS NULL'), 't', "no launcher comes when the server is restarted $with");
		is($run->($health), 'error|the launcher does not run|SELECT pynomaly.start(); '
				. 'with pynomaly in shared_preload_libraries it comes with the server.', "health() says so and what to do $with");
		$run->(event('after a restart'));
		is($run->(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%'}), '0',
			"and publishing brings none $with");
		$is_not_seen->(q{'after a restart'}, 'so the event waits');
		$run->('SELECT pynomaly.start()');
		$is_seen->('after a restart', 'until start() is called again');
	}

	is($run->('SELECT count(*) FROM (SELECT subject FROM seen GROUP BY subject HAVING count(*) > 1) AS twice'), '0',
		"nothing was handled twice $with");
	$node->stop;
}

done_testing();

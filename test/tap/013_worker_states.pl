#
# 013_worker_states.pl
#	Workers come and go with the extension: CREATE and DROP EXTENSION, start() and stop(), committed and rolled back, while
#	a worker is idle and while it is busy.  All of it with and without preloading.
#
# A handler that is to be busy waits for an advisory lock that the test holds.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $create = q{
	CREATE EXTENSION pynomaly;
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
};
my $subscribe = q{
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF (e).subject LIKE 'busy%' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
		INSERT INTO public.seen (subject) VALUES ((e).subject);
	END $$;
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
};
my $is_running = q{SELECT count(*) = 1 FROM pynomaly_kernel.workers() WHERE domain = 'gateway' AND state = 'running'};
my $processes = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pynomaly worker'};
my $is_started = q{SELECT count(*) FROM pg_db_role_setting WHERE setconfig @> ARRAY['pynomaly.autostart=on']};
my $launcher = q{SELECT status, message, hint FROM pynomaly.health() WHERE component = 'workers'};
my $drop_waits = q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND classid = 'pg_extension'::regclass
	AND mode = 'AccessExclusiveLock'};

foreach my $preloaded (0, 1)
{
	my $with = $preloaded ? '(preloaded)' : '(not preloaded)';
	my $node = PostgreSQL::Test::Cluster->new($preloaded ? 'preloaded' : 'not_preloaded');
	my $publish = sub {
		$node->safe_psql('postgres', "SELECT pynomaly_kernel.publish('shop.order_paid.v1', '$_[0]', '{}')");
	};
	my $seen = sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE subject = '$_[0]'");
	};
	my $is_seen = sub {
		my ($subject, $test) = @_;
		ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM seen WHERE subject = '$subject'"), "$test $with");
	};
	my $pid = sub {
		$node->poll_query_until('postgres', $is_running) or die 'no worker has come';
		$node->safe_psql('postgres', q{SELECT pid FROM pynomaly_kernel.workers() WHERE domain = 'gateway'});
	};
	# Publishes an event whose handler waits until the session that is given back lets it go.
	my $make_busy = sub {
		my $session = $node->background_psql('postgres');
		$session->query_safe('SELECT pg_advisory_lock(1)');
		$publish->($_[0]);
		$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted})
			or die 'the handler was not called';
		return $session;
	};
	# Begins DROP EXTENSION while a handler is busy, and lets it go when DROP EXTENSION waits; it may be rolled back then.
	my $drop_while_busy = sub {
		my ($subject, $end) = @_;
		my $busy = $make_busy->($subject);
		my $drop = $node->background_psql('postgres', on_error_stop => 0);
		$drop->query_until(qr/sent/, "\\echo sent\nBEGIN; DROP EXTENSION pynomaly CASCADE;\n");
		ok($node->poll_query_until('postgres', $drop_waits), "DROP EXTENSION waits for the event that is being handled $with");
		is($seen->($subject), '0', "which is not done yet $with");
		$busy->quit;
		is($drop->query_safe("SELECT count(*) FROM seen WHERE subject = '$subject'"), '1',
			"and goes on when it is $with");
		$drop->query_safe($end);
		$drop->quit;
	};

	$node->init;
	$node->append_conf('postgresql.conf', q{
		autovacuum = off
		client_min_messages = warning
		pynomaly.kernel_idle_exit = '1h'
	});
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pynomaly'}) if $preloaded;
	$node->start;

	# CREATE EXTENSION
	is($node->psql('postgres', "BEGIN; $create SELECT pynomaly.start(); ROLLBACK", on_error_stop => 1), 0,
		"CREATE EXTENSION and start() can be rolled back $with");
	is($node->safe_psql('postgres', $is_started), '0', "and leave no setting $with");
	$node->safe_psql('postgres', "CREATE TABLE seen (subject text, pid int DEFAULT pg_backend_pid()); $create $subscribe");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0',
		"CREATE EXTENSION alone asks for no worker $with");
	like($node->safe_psql('postgres', $launcher), qr/^warning\|no background worker serves this database\|SELECT pynomaly\.start/,
		"as health() says $with");

	# start()
	$node->safe_psql('postgres', 'BEGIN; SELECT pynomaly.start(); ROLLBACK');
	$node->poll_query_until('postgres', 'SELECT pynomaly_kernel.launcher_pid() IS NOT NULL') or die 'no launcher has come';
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0',
		"start() that is rolled back asks for no worker $with");
	$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; SELECT pynomaly.start(); ROLLBACK TO s; COMMIT');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0',
		"nor does start() in a savepoint that is rolled back $with");
	$publish->('before start');
	$node->safe_psql('postgres', 'SELECT pynomaly.start()');
	$is_seen->('before start', 'start() brings a worker, which handles what has waited');
	is($node->safe_psql('postgres', $is_started), '1', "start() sets the database's pynomaly.autostart $with");
	like($node->safe_psql('postgres', $launcher),
		$preloaded ? qr/^ok\|the launcher runs as process \d+\|$/ : qr/^ok\|the launcher runs as process \d+\|.*shared_preload_libraries/,
		$preloaded ? "health() has nothing to say of the launcher $with" : "health() says that it will not survive a restart $with");
	my $first = $pid->();
	$node->safe_psql('postgres', 'SELECT pynomaly.start()');
	$publish->('started twice');
	$is_seen->('started twice', 'start() again does no harm');
	is($pid->(), $first, "the worker is the same one $with");

	# stop()
	$node->safe_psql('postgres', 'BEGIN; SELECT pynomaly.stop(); ROLLBACK');
	$publish->('not stopped');
	$is_seen->('not stopped', 'after stop() that is rolled back the worker goes on');
	is($pid->(), $first, "it is the same one $with");
	my $busy = $make_busy->('busy when stopped');
	$node->safe_psql('postgres', 'SELECT pynomaly.stop()');
	is($node->safe_psql('postgres', $processes), '1', "stop() lets a worker end what it does $with");
	$busy->quit;
	ok($node->poll_query_until('postgres', $processes, '0'), "then the worker leaves $with");
	is($seen->('busy when stopped'), '1', "when the event is done $with");
	is($node->safe_psql('postgres', $is_started), '0', "stop() resets pynomaly.autostart $with");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0', "no worker is asked for $with");
	$publish->('while stopped');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0',
		"and publishing asks for none $with");
	$node->safe_psql('postgres', 'SELECT pynomaly.start()');
	$is_seen->('while stopped', 'what was published while stopped is handled after start()');

	# DROP EXTENSION
	my $before = $pid->();
	$drop_while_busy->('busy 1', 'ROLLBACK');
	$publish->('not dropped');
	$is_seen->('not dropped', 'after DROP EXTENSION that is rolled back the worker goes on');
	is($pid->(), $before, "it is the same one $with");
	$drop_while_busy->('busy 2', 'COMMIT');
	ok($node->poll_query_until('postgres', $processes, '0'), "the worker leaves when the extension is dropped $with");
	is($seen->('busy 2'), '1', "the effect of the last event stays $with");
	is($node->safe_psql('postgres', $is_started), '1', "so does the database's setting $with");

	# and once more
	$node->safe_psql('postgres', $create . $subscribe);
	$publish->('created again');
	$is_seen->('created again', 'CREATE EXTENSION brings the worker back where pynomaly.autostart is still set');
	$pid->();
	$node->safe_psql('postgres', 'DROP EXTENSION pynomaly CASCADE');
	ok($node->poll_query_until('postgres', $processes, '0'), "an idle worker is in nobody's way and leaves, too $with");
	$node->safe_psql('postgres', $create . $subscribe);
	$publish->('created thrice');
	$is_seen->('created thrice', 'and comes back');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT subject FROM seen GROUP BY subject HAVING count(*) > 1) AS twice'),
		'0', "nothing was handled twice $with");

	$node->stop;
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|ended badly|exited with exit code [^01]/,
		"no process ended otherwise than it should $with");
}

done_testing();

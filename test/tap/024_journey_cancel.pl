#
# 024_journey_cancel.pl
#	A request can be cancelled at every step, one whose step cannot be done fails with the reason, and neither leaves
#	anything behind; a step that meets a passing obstacle is tried again.
#
# Steps are held by locks, so that the moment of a cancellation is certain.  Without workers, process_events(1) makes one
# step after the other while the engine, which comes last, knows nothing of them yet.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @steps = qw(process analyze profile train detect);

# What makes each step wait in the middle of its work.
my %hold = (
	process => 'SELECT pg_advisory_xact_lock(1)',
	analyze => 'LOCK TABLE pynomaly_data_quality.check_run IN SHARE MODE',
	profile => 'LOCK TABLE pynomaly_data_profiling.profile IN SHARE MODE',
	train => 'LOCK TABLE pynomaly_mlops.model IN SHARE MODE',
	detect => 'LOCK TABLE pynomaly_data_science.detection IN SHARE MODE');

# What a request has left that can be undone: dataset versions, checks, profiles, models, detections, and
# whether there are anomalies.
my $is_done = '1 1 1 1 1 t';
my $is_undone = '0 0 0 0 0 f';
my $before;

my $node = PostgreSQL::Test::Cluster->new('cancel');
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	jit = off
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_retry_delay = '100ms'
});
$node->start;

# The view waits for the advisory lock 1; the sequence says how many times it was begun to read.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	SELECT pynomaly.create_roles();
	CREATE ROLE ann LOGIN;
	GRANT pynomaly_data_scientist TO ann;
	CREATE TABLE payment (id int PRIMARY KEY, amount float8, hour int);
	INSERT INTO payment SELECT n, n % 97 + n % 13 / 7.0, n % 24 FROM generate_series(1, 2000) AS n;
	UPDATE payment SET amount = 100000 WHERE id = 7;
	CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(1);
		RETURN true;
	END $$;
	CREATE VIEW held AS SELECT p.* FROM (SELECT gate() AS open OFFSET 0) AS g JOIN payment p ON g.open;
	GRANT SELECT ON payment, held TO ann;
});

sub run { return $node->safe_psql('postgres', $_[0]) }
sub as { my ($role, $query) = @_; return run("SET SESSION AUTHORIZATION $role; $query") }

sub is_soon
{
	my ($query, $expected, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->poll_query_until('postgres', $query, $expected) ? pass($test) : is(run($query), $expected, $test);
}

# Does what is due again and again, since a retry is due later.
sub is_done_in_the_end
{
	my ($query, $expected, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		run('CALL pynomaly.process_events()');
		last if run($query) eq $expected;
		usleep(100_000);
	}
	is(run($query), $expected, $test);
}

sub status { return "SELECT status FROM pynomaly.requests WHERE id = '$_[0]'" }
sub reason { return "SELECT status || ' ' || coalesce(sqlstate, 'without reason') FROM pynomaly.requests WHERE id = '$_[0]'" }

# How a request stands, and what the calls have been that undid something since the last time.
my $last_audit = 0;
sub look
{
	my ($request) = @_;
	my @names = qw(reason message left timeline report_status report_reason champion models undone last_audit);
	my @values = split /\n/, run(qq{
		SELECT unnest(ARRAY[r.status || ' ' || coalesce(r.sqlstate, 'without reason'), coalesce(r.message, ''),
			concat_ws(' ',
				(SELECT count(*) FROM pynomaly_data_science.dataset_version WHERE request = r.id),
				(SELECT count(*) FROM pynomaly_data_quality.check_run WHERE request = r.id),
				(SELECT count(*) FROM pynomaly_data_profiling.profile WHERE request = r.id),
				(SELECT count(*) FROM pynomaly_mlops.model_version WHERE request = r.id AND status = 'ready'),
				(SELECT count(*) FROM pynomaly_data_science.detection WHERE request = r.id),
				(SELECT count(*) > 0 FROM pynomaly_data_science.found_anomaly WHERE request = r.id)),
			(SELECT string_agg(name || ' ' || state, ', ' ORDER BY step) FROM pynomaly.timeline WHERE request = r.id),
			coalesce(p.report ->> 'status', ''), coalesce(p.report -> 'reason' ->> 'sqlstate', ''),
			(SELECT string_agg(m.name || '/' || v.version, ' ' ORDER BY m.name) FROM pynomaly_mlops.alias a
				JOIN pynomaly_mlops.alias_history h ON h.alias = a.id AND upper_inf(h.valid)
				JOIN pynomaly_mlops.model_version v ON v.id = h.version JOIN pynomaly_mlops.model m ON m.id = v.model),
			(SELECT count(*) FROM pynomaly_kernel.artifact WHERE kind = 'model')::text,
			(SELECT coalesce(string_agg(action, ', ' ORDER BY id), 'nothing')
				FROM (SELECT id, action FROM pynomaly_kernel.audit UNION ALL SELECT id, action FROM pynomaly_kernel.audit_pending) AS a
				WHERE id > $last_audit AND action ~ '[.](discard|withdraw)'),
			(SELECT last_value FROM pynomaly_kernel.audit_pending_id_seq)::text])
		FROM pynomaly.requests r LEFT JOIN pynomaly_gateway.report p ON p.request = r.id WHERE r.id = '$request'});
	my %state;
	@state{@names} = @values;
	$last_audit = $state{last_audit};
	return \%state;
}

# Which calls undo a number of completed steps.
sub undo_of
{
	my ($completed) = @_;
	return join(', ', ('data_science.discard_detection') x ($completed >= 5), ('mlops.withdraw') x ($completed >= 4),
		('data_profiling.discard_profile') x ($completed >= 3), ('data_quality.discard_check') x ($completed >= 2),
		('data_science.discard_dataset_version') x ($completed >= 1)) || 'nothing';
}

# The timeline of a request that ended before its step of this number was done.
sub timeline_of
{
	my ($completed, $how) = @_;
	return join(', ', (map { "$_ compensated" } @steps[ 0 .. $completed - 1 ]), $completed < 5 ? "$steps[$completed] $how" : ());
}

# What is true of each cancelled request of which this number of steps had been completed.
sub is_cancelled
{
	my ($state, $number) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($state->{reason}, 'cancelled 57014', 'the reason has the SQLSTATE of a cancellation');
	is($state->{message}, 'cancelled by role "ann"', 'and says who did it');
	is("$state->{report_status} $state->{report_reason}", 'cancelled 57014', 'as does the report');
	is($state->{timeline}, timeline_of($number, 'left'), 'the timeline says what was done and undone');
	is($state->{champion}, 'public.held/1', 'the champion is the one before');
	is($state->{models}, $before->{models}, "no model's bytes are left");
}

# ---------------------------------------------------------------- with workers: each step is interrupted

run('SELECT pynomaly.start()');
my $first = as('ann', q{SELECT pynomaly.submit('held')});
is(as('ann', "SELECT pynomaly.wait('$first')"), 'completed', 'a request is completed');
is(as('ann', "SELECT pynomaly.cancel('$first')"), 'f', 'a request that has ended cannot be cancelled');
$before = look($first);
is($before->{reason}, 'completed without reason', 'and keeps its status');
is($before->{left}, $is_done, 'its dataset version, model, detection and anomalies');
is($before->{champion}, 'public.held/1', 'and its model is the champion');

my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->set_query_timer_restart;
foreach my $number (0 .. 4)
{
	my $step = $steps[$number];
	$holder->query_safe("BEGIN; $hold{$step};");
	my $request = as('ann', q{SELECT pynomaly.submit('held', options => '{"seed": 7}')});
	is_soon(qq{SELECT step, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pynomaly worker' AND wait_event_type = 'Lock')
		FROM pynomaly.requests WHERE id = '$request'}, "$step|1", "a request is in step $step, which waits for a lock");
	is(as('ann', "SELECT pynomaly.cancel('$request')"), 't', 'it can be cancelled');
	is_soon(status($request), 'cancelled', 'which interrupts the step');
	is(look($request)->{left}, $is_undone, 'and undoes the others');
	$holder->query_safe('ROLLBACK;');
	is(as('ann', "SELECT pynomaly.wait('$request')"), 'cancelled', 'wait() ends and says so');
	is_cancelled(look($request), $number);
	is(as('ann', "SELECT pynomaly.cancel('$request')"), 'f', 'it cannot be cancelled again');
}
is(run('SELECT count(*) FROM pynomaly.retries'), '0', 'a cancelled step is not tried again');

# Somebody else's request
run('CREATE ROLE bob LOGIN; GRANT pynomaly_data_scientist TO bob; GRANT SELECT ON payment TO bob');
$holder->query_safe("BEGIN; $hold{analyze};");
my $request = as('ann', q{SELECT pynomaly.submit('held')});
my ($code, $out, $err) = $node->psql('postgres', "SET SESSION AUTHORIZATION bob; SELECT pynomaly.cancel('$request')");
like($err, qr/request $request does not exist/, "somebody else's request does not exist for cancel()");
my $open = $node->background_psql('postgres', on_error_stop => 1);
$open->query_safe("SET SESSION AUTHORIZATION ann; BEGIN; SELECT pynomaly.cancel('$request'); ROLLBACK;");
is(run(status($request)), 'running', 'a cancellation that is rolled back is none');
$open->query_safe("BEGIN; SELECT pynomaly.cancel('$request');");
is(run(status($request)), 'running', 'nor is one that is not committed yet');
$open->query_safe('COMMIT;');
$open->quit;
is_soon(status($request), 'cancelled', 'but it is when it is committed');
$holder->query_safe('ROLLBACK;');

# A step that waits to be tried again
$node->append_conf('postgresql.conf', "pynomaly.kernel_retry_delay = '1h'");
$node->reload;
run('ALTER DATABASE postgres SET lock_timeout = 50');
run('SELECT pg_terminate_backend(pid) FROM pynomaly_kernel.workers() WHERE pid IS NOT NULL');
$holder->query_safe("BEGIN; $hold{train};");
$request = as('ann', q{SELECT pynomaly.submit('held')});
is_soon(q{SELECT state || ' ' || sqlstate FROM pynomaly.retries}, 'waiting 55P03', 'a step that could not get a lock waits for another attempt');
is(run(status($request)), 'running', 'meanwhile the request goes on');
as('ann', "SELECT pynomaly.cancel('$request')");
is_soon(status($request), 'cancelled', 'it can be cancelled before that');
is(look($request)->{left}, $is_undone, 'and leaves nothing');
$holder->query_safe('ROLLBACK;');
run('ALTER DATABASE postgres RESET lock_timeout');
$node->append_conf('postgresql.conf', "pynomaly.kernel_retry_delay = '100ms'");
$node->reload;
run('SELECT pynomaly.stop()');
is_soon(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pynomaly worker'}, '0', 'the workers leave');

# ---------------------------------------------------------------- one event at a time, the engine behind

my $next = 'CALL pynomaly.process_events(1);';
my $all = 'CALL pynomaly.process_events()';
run($all);
look($first);
foreach my $number (0 .. 5)
{
	$request = as('ann', q{SELECT pynomaly.submit('payment', options => '{"seed": 7}')});
	run($next) foreach 1 .. $number;
	is(look($request)->{left}, join(' ', (map { $number >= $_ ? 1 : 0 } 1 .. 5), $number >= 5 ? 't' : 'f'),
		"$number steps are done, of which the engine does not know");
	is(as('ann', "SELECT pynomaly.cancel('$request'), pynomaly.cancel('$request')"), 't|f', 'the request can be cancelled, once');
	is(run(status($request)), 'cancelling', 'and is being cancelled');
	run($all);
	my $state = look($request);
	is($state->{left}, $is_undone, 'when all is done, nothing is left of it');
	is($state->{undone}, undo_of($number), 'what was done was undone in reverse order');
	is_cancelled($state, $number);
}

# ---------------------------------------------------------------- steps that fail

# fails ROLE, STEPS, DAMAGE, SQLSTATE, PATTERN, TEST, COMPLETED: what is done after a number of steps makes the next one
# fail, or a later one, when so many were completed.
sub fails
{
	my ($role, $number, $damage, $sqlstate, $pattern, $test, $completed) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $failing = as($role, q{SELECT pynomaly.submit('lost')});
	run($next) foreach 1 .. $number;
	run($damage);
	run($all);
	my $state = look($failing);
	is($state->{reason}, "failed $sqlstate", $test);
	like($state->{message}, $pattern, 'with a message that names it');
	is($state->{left}, $is_undone, 'nothing is left of it');
	is($state->{timeline}, timeline_of($completed // $number, 'failed'), 'the timeline says which step failed');
	is("$state->{report_status} $state->{report_reason}", "failed $sqlstate", 'the report tells the reason, too');
	is(run("SELECT count(*) FROM pynomaly.retries WHERE subject = '$failing'"), '0', 'and no event is left');
	return $failing;
}
my $lost = 'CREATE TABLE lost AS SELECT * FROM payment; GRANT SELECT ON lost TO ann';
run($lost);
fails('ann', 0, 'DROP TABLE lost', '42P01', qr/does not exist/, 'a request whose table is dropped before the first step fails');
run($lost);
fails('ann', 4, 'DROP TABLE lost', '42P01', qr/does not exist/, 'and one whose table is dropped half way');
run($lost);
fails('ann', 0, 'REVOKE SELECT ON lost FROM ann', '42501', qr/permission denied for table lost/,
	'a request whose owner may not read the table any more fails');
run('GRANT SELECT ON lost TO ann');
fails('ann', 4, 'REVOKE SELECT ON lost FROM ann', '42501', qr/permission denied for table lost/, 'and one that may not half way');
run('GRANT SELECT ON lost TO ann');
fails('ann', 4, 'ALTER TABLE lost DROP COLUMN amount', '42703', qr/amount/, 'a request whose column is dropped half way fails');
run('ALTER TABLE lost ADD amount float8 DEFAULT 1');
fails('ann', 4, q{ALTER TABLE lost ALTER amount TYPE text USING 'much'}, '42804', qr/amount/,
	'as does one whose column changes its type half way');
run("DROP TABLE lost; $lost");
fails('ann', 0, 'TRUNCATE lost', '55000', qr/lost has no rows/, 'a request whose table is emptied before the first step fails', 3);
run("DROP TABLE lost; $lost; GRANT SELECT ON lost TO bob");
my $failed = fails('bob', 4, 'REVOKE ALL ON payment, lost FROM bob; DROP ROLE bob', '42704', qr/role/,
	'a request whose owner is dropped half way fails');
run('CREATE ROLE bob LOGIN; GRANT pynomaly_data_scientist TO bob; GRANT SELECT ON lost TO bob');
is(as('bob', 'SELECT count(*) FROM pynomaly.requests'), '0', 'which a later role of his name does not see');
fails('bob', 0, 'REVOKE ALL ON lost FROM bob; DROP ROLE bob', '42704', qr/role/, 'so does one whose owner is dropped before the first step');

# The gate
as('ann', q{SELECT pynomaly.add_rule('payment', 'range', 'amount', 0, 1000, 'error')});
$request = as('ann', q{SELECT pynomaly.submit('payment', gate => 'stop')});
run($all);
my $state = look($request);
is($state->{reason}, 'stopped without reason', 'a request that fails a check is stopped by the gate');
like($state->{message}, qr/the largest value of column "amount" is outside the range of rule/, 'and says why');
is($state->{timeline}, 'process completed, analyze completed', 'the steps after it are not done');
is($state->{left}, '1 1 0 0 0 f', 'what was read and checked stays');
is(run("SELECT pynomaly.report('$request') -> 'quality' ->> 'verdict'"), 'stop', 'the report has the verdict');
is(run("SELECT jsonb_array_length(pynomaly.report('$request') -> 'quality' -> 'failed')"), '1', 'and the check');
is(as('ann', "SELECT pynomaly.cancel('$request')"), 'f', 'a request that was stopped cannot be cancelled');
$request = as('ann', q{SELECT pynomaly.submit('payment', gate => 'warn')});
run($all);
is(run(status($request)), 'completed', 'with a gate that warns it is completed');

# ---------------------------------------------------------------- obstacles that pass

foreach my $step (@steps)
{
	$holder->query_safe("BEGIN; $hold{$step};");
	$request = as('ann', q{SELECT pynomaly.submit('held')});
	run("SET lock_timeout = 50; $all");
	is(run("SELECT state || ' ' || sqlstate FROM pynomaly.retries WHERE subject = '$request'"), 'waiting 55P03', "step $step cannot get a lock and waits");
	is(run(status($request)), 'running', 'the request goes on');
	$holder->query_safe('ROLLBACK;');
	is_done_in_the_end(status($request), 'completed', 'and is completed when the lock is free');
	is(look($request)->{left}, $is_done, 'the step was done once');
}
run(q{CREATE SEQUENCE tries; GRANT USAGE ON tries TO ann;
	CREATE OR REPLACE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
		IF nextval('public.tries') IN (1, 3) THEN RAISE 'not now' USING ERRCODE = 'deadlock_detected'; END IF;
		RETURN true;
	END $$});
$request = as('ann', q{SELECT pynomaly.submit('held')});
is_done_in_the_end(status($request), 'completed', 'a request whose steps are the victims of deadlocks is completed');
is(run('SELECT last_value FROM tries'), '4', 'each was tried again once');
is(look($request)->{left}, $is_done, 'and done once');
run(q{CREATE OR REPLACE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
	RAISE 'never' USING ERRCODE = 'serialization_failure'; END $$});
$node->append_conf('postgresql.conf', "pynomaly.kernel_retry_delay = '1ms'");
$node->reload;
$request = as('ann', q{SELECT pynomaly.submit('held')});
is_done_in_the_end(reason($request), 'failed 40001', 'an obstacle that never passes fails the request in the end');
is(look($request)->{left}, $is_undone, 'which leaves nothing');

is(run('SELECT intact FROM pynomaly.verify_audit()'), 't', 'the audit trail is intact');
is(run(q{SELECT count(*) FROM pynomaly.requests WHERE ended_at IS NULL}), '0', 'no request is left open');
is(run(q{SELECT count(*) FROM pynomaly_gateway.request r WHERE NOT EXISTS (SELECT FROM pynomaly_gateway.report p WHERE p.request = r.id)}),
	'0', 'each has a report');
is(run('SELECT count(*) FROM pynomaly_kernel.saga_step s GROUP BY saga, step HAVING count(*) > 1'), '', 'no step is recorded twice');
$holder->quit;
$node->stop;
done_testing();

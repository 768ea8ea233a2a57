#
# 020_journey_faults.pl
#	Whatever is killed while requests are under way, each comes to its end, and nothing is lost or done twice.
#
# Ten times, at a random moment, a worker, a session that submits or waits, or the whole server is killed, while
# several roles have requests in flight, some of them submitted twice with one key.  When the server is back the
# requests go on by themselves.  What has been done for each is counted afterwards, and the audit trail verified.
#
# PYN_SEED repeats the choices, though not what the server is doing at that moment.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = $ENV{PYN_SEED} // int rand 1000000;
note("PYN_SEED=$seed");
srand $seed;

my @roles = qw(ann bob cleo);
my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'pynomaly'
	restart_after_crash = on
	fsync = on
	jit = off
	log_statement = none
	pynomaly.kernel_retry_delay = '100ms'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	SELECT pynomaly.create_roles();
	CREATE TABLE payment (id int PRIMARY KEY, amount float8, hour int, kind text);
	INSERT INTO payment SELECT n, n % 97 + n % 13 / 7.0, n % 24, 'kind ' || n % 5 FROM generate_series(1, 40000) AS n;
	UPDATE payment SET amount = 100000 + id WHERE id % 8000 = 7;
	CREATE TABLE lost AS SELECT * FROM payment;
	ANALYZE;
	CREATE ROLE ann LOGIN;
	CREATE ROLE bob LOGIN;
	CREATE ROLE cleo LOGIN;
	GRANT pynomaly_data_scientist TO ann, bob, cleo;
	GRANT SELECT ON payment, lost TO ann, bob, cleo;
	SELECT pynomaly.start();
});

sub is_back
{
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
}

# run QUERY: its result; asked again if a crash has come between.  For queries that may be repeated.
sub run
{
	my ($query) = @_;
	foreach (1 .. 100)
	{
		my ($code, $out, $err) = $node->psql('postgres', $query);
		return $out if $code == 0 && $err eq '';
		die "$query: $err" if $err !~ /terminat|crash|starting up|recovery|shutting down|connection|server closed/i;
		is_back();
	}
	die "no answer to $query";
}

# A request with a key is submitted until it is known to be; without one it may be lost, if its session is.
my $number = 0;
my %keyed;
my %without;
my @sessions;

sub call
{
	my ($role, $arguments) = @_;
	return "SET SESSION AUTHORIZATION $role; SET client_min_messages = error; SELECT pynomaly.submit('payment', $arguments)";
}

sub submit_with_key
{
	my ($role) = @_;
	my $key = 'key ' . ++$number;
	$keyed{$key} = { role => $role, call => call($role, "options => '{\"seed\": $number}', idempotency_key => '$key'") };
	return $key;
}

# Sessions in the background: they submit with and without a key, and wait for what they have submitted.
my $folder = PostgreSQL::Test::Utils::tempdir();
sub session
{
	my ($kind, $query) = @_;
	my $file = "$folder/session" . @sessions;
	append_to_file("$file.sql", $query);
	my $process = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', "$file.sql", '-d', $node->connstr('postgres') ],
		'<', '/dev/null', '>', "$file.out", '2>', "$file.err");
	push @sessions, { kind => $kind, file => $file, process => $process };
}

sub end_sessions
{
	foreach my $session (@sessions)
	{
		my $file = $session->{file};
		$session->{process}->finish;
		$without{$1} = 1 if $session->{kind} eq 'without' && slurp_file("$file.out") =~ /^([0-9a-f-]{36})$/m;
		unlink map { "$file.$_" } qw(sql out err);
	}
	@sessions = ();
}

my %pid_of = (
	worker => q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pynomaly worker' ORDER BY pid},
	session => q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid});

# The server cannot start again before all that belonged to it has gone.  Stopped first, it starts nothing more.
sub kill_server
{
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	kill 'STOP', $postmaster;
	my @left = ($postmaster);
	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		my $stat = eval { slurp_file($file) } // '';
		push @left, $1 if $stat =~ /^(\d+) \(.*\) \S $postmaster /s;
	}
	$node->kill9;
	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		@left = grep { kill 0, $_ } @left;
		last if !@left;
		usleep(10_000);
	}
	$node->start;
}

# Kills what it can find; gives what that was.
sub kill_one
{
	my ($what) = @_;
	if ($what ne 'server')
	{
		my ($code, $out) = $node->psql('postgres', $pid_of{$what});
		my @pids = split /\n/, $out // '';
		if (@pids)
		{
			return $what if kill 'KILL', $pids[ int rand @pids ];
		}
		$what = 'worker' eq $what ? 'session' : 'worker';
		($code, $out) = $node->psql('postgres', $pid_of{$what});
		@pids = split /\n/, $out // '';
		return $what if @pids && kill 'KILL', $pids[ int rand @pids ];
	}
	kill_server();
	return 'server';
}

# One that is bound to fail
my $doomed = run(q{BEGIN; SELECT pynomaly.submit('lost', idempotency_key => 'doomed'); DROP TABLE lost; COMMIT});

my @kinds = (('worker') x 4, ('session') x 3, ('server') x 3);
my %killed;
my @under_way;
while (@kinds)
{
	my $what = splice @kinds, int rand @kinds, 1;
	my @keys = map { submit_with_key($_) } @roles[ 0 .. int rand 3 ];
	foreach my $key (@keys)
	{
		# Twice at the same time
		session('keyed', "$keyed{$key}{call} AS id \\gset\nSELECT pynomaly.wait(:'id', '3 s');");
		session('keyed', "$keyed{$key}{call};") if rand() < 0.5;
	}
	session('without', call($roles[ rand @roles ], "options => '{\"seed\": 0}'") . ';');
	$node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM pynomaly.requests WHERE ended_at IS NULL') or die 'nothing was submitted';
	usleep(int rand 500_000);
	push @under_way, run('SELECT count(*) FROM pynomaly.requests WHERE ended_at IS NULL');
	$killed{ kill_one($what) }++;
	is_back();
	end_sessions();
	# Who does not know whether it was submitted submits again.
	foreach my $key (@keys)
	{
		$keyed{$key}{id} = run("$keyed{$key}{call};");
	}
}
note(join ', ', map { "$killed{$_} times a $_" } sort keys %killed);
note("requests under way at each time: @under_way");
is(scalar @under_way, 10, 'ten times something was killed');
cmp_ok((grep { $_ > 0 } @under_way), '>=', 5, 'while requests were under way, most times');
foreach my $key (sort keys %keyed)
{
	$keyed{$key}{again} = run("$keyed{$key}{call};");
}

ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pynomaly.requests r
	WHERE ended_at IS NULL OR NOT EXISTS (SELECT FROM pynomaly_gateway.report p WHERE p.request = r.id)'),
	'after all that every request comes to its end and has its report')
	or diag run(q{SELECT id, status, step, sqlstate, message FROM pynomaly.requests WHERE ended_at IS NULL});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pynomaly_kernel.retry'), 'no event is left to be tried again')
	or diag run('SELECT subscription, state, attempts, sqlstate, message FROM pynomaly_kernel.retry');

is(run(q{SELECT string_agg(DISTINCT status || coalesce(' ' || sqlstate, ''), ', ') FROM pynomaly.requests WHERE source <> 'public.lost'}),
	'completed', 'all of them are completed')
	or diag run(q{SELECT id, status, sqlstate, message FROM pynomaly.requests WHERE status <> 'completed'});
is(run("SELECT status || ' ' || sqlstate FROM pynomaly.requests WHERE id = '$doomed'"), 'failed 42P01',
	'except the one whose table was dropped, which tells so');
is(join(' ', grep { $keyed{$_}{id} ne $keyed{$_}{again} } sort keys %keyed), '', 'the same key gives the same request');
is(run('SELECT count(*), count(DISTINCT idempotency_key) FROM pynomaly.requests WHERE idempotency_key <> $$doomed$$'),
	join('|', (scalar keys %keyed) x 2), 'and makes one request');
my $in = join ', ', map { "'$_'" } keys %without;
is($in ? run("SELECT count(*) FROM pynomaly.requests WHERE id IN ($in)") : 0, scalar keys %without,
	'no request that was given an id is lost');
is(run(q{SELECT count(*) FROM pynomaly_kernel.saga s FULL JOIN pynomaly_gateway.request r ON r.id = s.id
	WHERE s.id IS NULL OR r.id IS NULL}), '0', 'there is no half request');

# What was done for each that was completed
is(run(q{SELECT string_agg(DISTINCT name || ' ' || state, ', ' ORDER BY name || ' ' || state) FROM pynomaly.timeline t
	JOIN pynomaly.requests r ON r.id = t.request WHERE r.status = 'completed'}),
	'analyze completed, detect completed, process completed, profile completed, train completed', 'each step was done');
my %tables = (
	'pynomaly_data_science.dataset_version' => 'reading', 'pynomaly_data_quality.check_run' => 'check',
	'pynomaly_data_profiling.profile' => 'profile', 'pynomaly_mlops.request_model' => 'choice of a model',
	'pynomaly_mlops.model_version' => 'model', 'pynomaly_data_science.detection' => 'detection', 'pynomaly_gateway.report' => 'report');
foreach my $table (sort keys %tables)
{
	is(run(qq{SELECT count(*) FROM pynomaly.requests r WHERE status = 'completed'
		AND (SELECT count(*) FROM $table AS t WHERE t.request = r.id) <> 1}), '0', "each completed request has one $tables{$table}");
	is(run(qq{SELECT count(*) FROM $table AS t WHERE NOT EXISTS (SELECT FROM pynomaly.requests r WHERE r.id = t.request)}), '0',
		"and there is no $tables{$table} of no request");
}
foreach my $type (qw(gateway.detection_requested data_science.dataset_processed data_quality.quality_analyzed
	data_profiling.profile_generated mlops.model_ready data_science.detection_completed kernel.saga_ended gateway.report_ready))
{
	is(run(qq{SELECT count(*) FROM pynomaly.requests r WHERE status = 'completed'
		AND (SELECT count(*) FROM pynomaly.events e WHERE e.type = '$type.v1' AND e.subject = r.id::text) <> 1}), '0',
		"each has published $type once");
}
is(run(q{SELECT count(*) FROM (SELECT detection, key FROM pynomaly_data_science.anomaly GROUP BY detection, key HAVING count(*) > 1) AS twice}),
	'0', 'no anomaly of a detection is there twice');
is(run(q{SELECT count(*) FROM pynomaly_data_science.detection d
	WHERE stored <> (SELECT count(*) FROM pynomaly_data_science.anomaly a WHERE a.detection = d.id)}), '0', 'nor is one missing');
is(run(q{SELECT count(*) FROM (SELECT v.dataset FROM pynomaly_data_science.dataset_version v GROUP BY dataset
	HAVING max(version) <> count(*)) AS gap}), '0', 'versions of datasets have no gaps');
is(run(q{SELECT count(*) FROM pynomaly_kernel.artifact a WHERE a.kind = 'model'
	AND NOT EXISTS (SELECT FROM pynomaly_mlops.model_version v WHERE v.digest = a.digest AND v.owner = a.owner AND v.status = 'ready')}), '0',
	"no model's bytes are left over");
is(run(q{SELECT string_agg(DISTINCT (r.report #>> '{data,rows}')::text, ' ') FROM pynomaly_gateway.report r
	WHERE report ->> 'status' = 'completed'}), '40000', 'each report is of the whole table');

# Equal requests give equal answers, killed or not.
is(run(q{SELECT count(DISTINCT found) FROM (
	SELECT r.id, md5(string_agg(a.key::text || a.score || a.p_value, ' ' ORDER BY a.key)) AS found
	FROM pynomaly.requests r JOIN pynomaly_data_science.found_anomaly a ON a.request = r.id
	WHERE r.arguments -> 'options' = '{"seed": 0}' GROUP BY r.id) AS f}), keys %without ? '1' : '0', 'equal requests have found the same');

my @verified = split /\|/, run('SELECT intact, unsealed, first_broken, reason FROM pynomaly.verify_audit()');
is($verified[0], 't', 'the audit trail is intact') or diag "@verified";
is(run(q{SELECT count(*) FROM pynomaly.requests r WHERE (SELECT count(*) FROM pynomaly.audit a
	WHERE a.action = 'mlops.train' AND a.details ->> 'request' = r.id::text) > 1}), '0', 'and tells of nothing twice');
is(run(q{SELECT count(*) FROM pynomaly.audit WHERE action = 'gateway.submit'}), run('SELECT count(*) FROM pynomaly.requests'),
	'and of each submitted request');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal (?!9)/, 'no process ended otherwise');
$node->stop;
done_testing();

#
# 022_journey_restore.pl
#	A dump holds what journeys have made and how far they have come: restored elsewhere, or copied by CREATE DATABASE,
#	nothing is missing, requests that had not ended go on and are completed, numbers go on, and scores are the same.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = q{
	autovacuum = off
	jit = off
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_retry_delay = '1h'
};
my $roles = q{
	CREATE ROLE ann LOGIN;
	CREATE ROLE bob LOGIN;
};
my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', $settings);
$node->start;
$node->safe_psql('postgres', $roles);
$node->safe_psql('postgres', 'CREATE ROLE zoe LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE shop');
my $all = 'CALL pynomaly.process_events()';

sub as { my ($server, $role, $query, $database) = @_; return $server->safe_psql($database // 'shop', "SET SESSION AUTHORIZATION $role; $query") }

# The later tables are made first, so that OIDs and their order differ from those of a restored database.
$node->safe_psql('shop', q{
	CREATE EXTENSION pynomaly;
	SELECT pynomaly.create_roles();
	GRANT pynomaly_data_scientist TO ann, bob, zoe;
	CREATE SCHEMA "Sales";
	GRANT USAGE ON SCHEMA "Sales" TO ann, bob, zoe;
	CREATE TABLE "Sales"."Paid orders" (id int PRIMARY KEY, "Amount" float8, hour int, kind text, at timestamptz);
	INSERT INTO "Sales"."Paid orders" SELECT n, n % 97 + n % 13 / 7.0, n % 24, 'kind ' || n % 5, '2026-01-01'::timestamptz + n * interval '1 min'
		FROM generate_series(1, 3000) AS n;
	CREATE TABLE gone (a float8);
	CREATE TABLE payment (id int PRIMARY KEY, amount float8, hour int);
	INSERT INTO payment SELECT n, n % 97 + n % 13 / 7.0, n % 24 FROM generate_series(1, 2000) AS n;
	UPDATE payment SET amount = 100000 WHERE id = 7;
	INSERT INTO gone SELECT n FROM generate_series(1, 100) AS n;
	GRANT SELECT ON "Sales"."Paid orders", payment, gone TO ann, bob, zoe;
	SELECT pynomaly.limit_role('ann', 50, 100);
	SELECT pynomaly.add_rule('payment', 'range', 'id', 0, 3000, 'error');
	SELECT pynomaly.add_rule('gone', 'row_count', NULL, 1000, NULL, 'error');
});
my $submit = q{SELECT pynomaly.submit('"Sales"."Paid orders"', key => '{id}', idempotency_key => '%s')};
my %request;
$request{completed} = as($node, 'ann', sprintf $submit, 'first');
as($node, 'ann', q{SELECT pynomaly.add_rule('payment', 'completeness', 'amount', 0.5, NULL, 'warn')});
as($node, 'ann', q{SELECT pynomaly.train('mine', 'payment', columns => '{amount,hour}')}) eq 'mine/1' or die;
$request{other} = as($node, 'bob', q{SELECT pynomaly.submit('payment')});
$request{stopped} = as($node, 'postgres', q{SELECT pynomaly.submit('gone', gate => 'stop')});
$request{failed} = as($node, 'ann', q{SELECT pynomaly.submit('gone', columns => '{a}')});
$node->safe_psql('shop', 'REVOKE SELECT ON gone FROM ann');
$node->safe_psql('shop', $all);
$request{cancelled} = as($node, 'ann', q{SELECT pynomaly.submit('payment')});
$node->safe_psql('shop', "SELECT pynomaly.cancel('$request{cancelled}'); $all");
as($node, 'ann', q{SELECT pynomaly.set_anomaly_status((SELECT min(a.id) FROM pynomaly.request_anomalies('} . $request{completed} . q{') AS a),
	'false_alarm', 'it was a gift')});
is($node->safe_psql('shop', q{SELECT string_agg(status, ',' ORDER BY status) FROM pynomaly.requests}),
	'cancelled,completed,completed,failed,stopped', 'requests have ended in all ways');
# Gone when all is done: a role with requests and models.  In a dump it has a number in place of its name, which may be
# another role's elsewhere; so what belonged to it is forgotten, at night or now.
my $zoe = $node->safe_psql('shop', q{SELECT 'zoe'::regrole::oid});
as($node, 'zoe', q{SELECT pynomaly.submit('payment')});
$node->safe_psql('shop', "$all; REVOKE ALL ON payment, gone, \"Sales\".\"Paid orders\" FROM zoe; REVOKE ALL ON SCHEMA \"Sales\" FROM zoe;
	DROP ROLE zoe; SELECT pynomaly_kernel.forget_dropped_roles(); $all");
# Dropped when all is done, so that its datasets have no relation any more.
$node->safe_psql('shop', 'DROP TABLE gone');

# Requests that have not ended.  What makes a step fail for want of a lock; it waits to be tried again then.
my %hold = (
	process => 'LOCK TABLE "Sales"."Paid orders" IN ACCESS EXCLUSIVE MODE',
	analyze => 'LOCK TABLE pynomaly_data_quality.check_run IN SHARE MODE',
	profile => 'LOCK TABLE pynomaly_data_profiling.profile IN SHARE MODE',
	train => 'LOCK TABLE pynomaly_mlops.request_model IN SHARE MODE',
	detect => 'LOCK TABLE pynomaly_data_science.detection IN SHARE MODE');
my @steps = qw(process analyze profile train detect);

# With one event at a time the engine, which comes last, does not know of any.
sub submit_and_hold
{
	my ($step, $call, $events) = @_;
	my $id = as($node, 'ann', $call);
	my $holder = $node->background_psql('shop', on_error_stop => 1);
	$holder->query_safe("BEGIN; $hold{$step};") if $step;
	$node->safe_psql('shop', 'SET lock_timeout = 10;' . ($events ? 'CALL pynomaly.process_events(1);' x $events : $all));
	$holder->query_safe('ROLLBACK;') if $step;
	$holder->quit;
	return $id;
}
foreach my $known (0 .. 4)
{
	$request{"known $known"} = submit_and_hold($steps[$known], sprintf($submit, "known $known"), 0);
	is($node->safe_psql('shop', q{SELECT status || ' ' || step FROM pynomaly.requests WHERE id = '} . $request{"known $known"} . q{'}),
		"running $steps[$known]", "a request waits in step $steps[$known]");
}
foreach my $done (0 .. 5)
{
	$request{"done $done"} = submit_and_hold($steps[$done], sprintf($submit, "done $done"), $done + 1 - ($done == 5));
	is($node->safe_psql('shop', q{SELECT status || ' ' || step FROM pynomaly.requests WHERE id = '} . $request{"done $done"} . q{'}),
		"running process", "one has done $done steps, of which the engine does not know");
}
my $other_seed = q{SELECT pynomaly.submit('"Sales"."Paid orders"', options => '{"seed": 5}')};
$request{cancelling} = submit_and_hold('detect', $other_seed, 5);
as($node, 'ann', "SELECT pynomaly.cancel('$request{cancelling}')");
$request{fresh} = as($node, 'ann', sprintf $submit, 'fresh');
my @unfinished = sort grep { /^(known|done|fresh)/ } keys %request;
is($node->safe_psql('shop', q{SELECT count(*) FROM pynomaly.requests WHERE ended_at IS NULL}), scalar(@unfinished) + 1, 'none of these has ended');

# What must come back as it is.  Digests and texts stand for rows, names for OIDs.
my @tables = split /\n/, $node->safe_psql('shop', q{
	SELECT c.oid::regclass FROM pg_extension x JOIN pg_class c ON c.oid = ANY (x.extconfig)
	WHERE x.extname = 'pynomaly' AND c.relkind IN ('r', 'p') ORDER BY 1});
my @results = grep { /^pynomaly_(data_|mlops|gateway)/ || $_ eq 'pynomaly_kernel.artifact' } @tables;
cmp_ok(scalar @results, '>=', 18, 'there are tables of results, which are dumped');
is($node->safe_psql('shop', q{
	SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname ~ '^pynomaly_(data_|mlops|gateway)' AND relkind IN ('r', 'S') AND c.oid <> 'pynomaly_gateway.route'::regclass
		AND NOT c.oid = ANY (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'pynomaly')}), '',
	'all of them, with their sequences');
my $digest = join ' UNION ALL ', map {
	"SELECT '$_ ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE \"C\")), 'empty') FROM $_ AS t" } @results;
my $audit = 'SELECT sequence, actor, action, subject, hash FROM pynomaly.audit ORDER BY 1';
my $head = q{SELECT intact, sealed, head FROM pynomaly.verify_audit()};
my $scores = q{SELECT md5(string_agg(d::text, chr(10) ORDER BY key::text)) FROM pynomaly.detect('"Sales"."Paid orders"', key => '{id}') AS d};
my $by_model = q{SELECT md5(string_agg(pynomaly.score('%s', amount, hour)::text, ' ' ORDER BY id)) FROM payment};
my $by_journey = q{SELECT md5(string_agg(d::text, chr(10) ORDER BY key::text))
	FROM pynomaly.detect('"Sales"."Paid orders"', model => '"Sales"."Paid orders"@champion') AS d};
my %expected;
sub facts
{
	my ($server, $database) = @_;
	return {
		tables => $server->safe_psql($database, $digest),
		audit => $server->safe_psql($database, $audit),
		detect => as($server, 'ann', $scores, $database),
		score => as($server, 'ann', sprintf($by_model, 'mine'), $database),
		version => as($server, 'ann', sprintf($by_model, 'mine/1'), $database),
		alias => as($server, 'ann', sprintf($by_model, 'mine@champion'), $database),
		journey => as($server, 'ann', $by_journey, $database),
		limits => $server->safe_psql($database, 'SELECT role, max_active, max_per_hour FROM pynomaly_gateway.role_limit'),
		report => as($server, 'ann', "SELECT pynomaly.report('$request{completed}')", $database),
		anomalies => as($server, 'ann', "SELECT * FROM pynomaly.request_anomalies('$request{completed}') ORDER BY id", $database),
		head => $server->safe_psql($database, $head),
	};
}
my $before = facts($node, 'shop');
my ($intact, $sealed, $noted_head) = split /\|/, $before->{head};
is($intact, 't', 'the audit trail is intact');
my $last_ids = q{
	SELECT string_agg(s.seqrelid::regclass || ' ' || pg_sequence_last_value(s.seqrelid), chr(10) ORDER BY s.seqrelid::regclass::text)
	FROM pg_sequence s JOIN pg_class c ON c.oid = seqrelid JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname ~ '^pynomaly_(data_|mlops|gateway)'};
my $ids = $node->safe_psql('shop', $last_ids);

# is_the_same SERVER, DATABASE, HOW
sub is_the_same
{
	my ($server, $database, $how) = @_;
	my $after = facts($server, $database);
	is($after->{tables}, $before->{tables}, "$how: all rows of all results are there");
	is($after->{limits}, "ann|50|100", "$how: limits are there");
	is($after->{report}, $before->{report}, "$how: reports are the same");
	is($after->{anomalies}, $before->{anomalies}, "$how: anomalies are, with their status");
	is($after->{audit}, $before->{audit}, "$how: the audit trail is");
	is($after->{head}, $before->{head}, "$how: and is intact");
	is($server->safe_psql($database, "SELECT intact FROM pynomaly.verify_audit($sealed, '$noted_head')"), 't',
		"$how: its head is the one that was noted");
	is($after->{detect}, $before->{detect}, "$how: detect() gives the same scores");
	is($after->{score}, $before->{score}, "$how: so does score() by a model's name");
	is($after->{version}, $before->{score}, "$how: by a version");
	is($after->{alias}, $before->{score}, "$how: by an alias");
	is($after->{journey}, $before->{journey}, "$how: and by the champion of a journey");
	is($server->safe_psql($database, $last_ids), $ids, "$how: sequences go on where they were");
}

# goes_on SERVER, DATABASE, HOW: what had not ended does end.
sub goes_on
{
	my ($server, $database, $how) = @_;
	my $in = "'" . join("', '", map { $request{$_} } @unfinished) . "'";
	my $again = "SELECT pynomaly.submit('\"Sales\".\"Paid orders\"', key => '{id}', idempotency_key => ";
	is(as($server, 'ann', "$again 'first')", $database), $request{completed},
		"$how: to submit again with a key gives the request that has ended");
	is(as($server, 'ann', "$again 'done 3')", $database), $request{'done 3'}, "$how: and one that has not");
	$server->safe_psql($database, $all);
	is($server->safe_psql($database, "SELECT string_agg(DISTINCT status, ' ') FROM pynomaly.requests WHERE id IN ($in)"), 'completed',
		"$how: requests that had not ended go on and are completed")
		or diag $server->safe_psql($database, "SELECT id, status, step, sqlstate, message FROM pynomaly.requests WHERE id IN ($in)");
	is($server->safe_psql($database, "SELECT status FROM pynomaly.requests WHERE id = '$request{cancelling}'"), 'cancelled',
		"$how: one that was being cancelled is cancelled");
	is($server->safe_psql($database, qq{
		SELECT string_agg(DISTINCT concat_ws(' ',
			(SELECT string_agg(name || ' ' || state, ',' ORDER BY step) FROM pynomaly.timeline t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_data_science.dataset_version t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_data_quality.check_run t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_data_profiling.profile t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_mlops.request_model t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_data_science.detection t WHERE t.request = r.id),
			(SELECT count(*) FROM pynomaly_gateway.report t WHERE t.request = r.id)), chr(10))
		FROM pynomaly.requests r WHERE id IN ($in)}),
		join(',', map { "$_ completed" } qw(process analyze profile train detect)) . ' 1 1 1 1 1 1', "$how: each step was done once");
	is($server->safe_psql($database, qq{SELECT concat_ws(' ',
		(SELECT count(*) FROM pynomaly_data_science.dataset_version WHERE request = '$request{cancelling}'),
		(SELECT count(*) FROM pynomaly_data_quality.check_run WHERE request = '$request{cancelling}'),
		(SELECT count(*) FROM pynomaly_data_profiling.profile WHERE request = '$request{cancelling}'),
		(SELECT count(*) FROM pynomaly_mlops.model_version WHERE request = '$request{cancelling}' AND status = 'ready'),
		(SELECT count(*) FROM pynomaly_data_science.detection WHERE request = '$request{cancelling}'))}), '0 0 0 0 0',
		"$how: and the cancelled one has left nothing");
	is($server->safe_psql($database, q{SELECT count(*) FROM (SELECT detection, key FROM pynomaly_data_science.anomaly
		GROUP BY detection, key HAVING count(*) > 1) AS twice}), '0', "$how: no anomaly is there twice");
	is($server->safe_psql($database, q{SELECT count(*) FROM pynomaly.retries WHERE state <> 'dead'}), '0', "$how: no event is left")
		or diag $server->safe_psql($database, q{SELECT subscription, state, attempts, sqlstate, message FROM pynomaly.retries});
	my $new = as($server, 'ann', q{SELECT pynomaly.submit('payment', options => '{"seed": 9}')}, $database);
	$server->safe_psql($database, $all);
	is($server->safe_psql($database, "SELECT status FROM pynomaly.requests WHERE id = '$new'"), 'completed', "$how: new requests are completed");
	is($server->safe_psql($database, q{SELECT count(DISTINCT id) > 1 AND count(*) = count(DISTINCT id) FROM pynomaly_data_science.detection}), 't',
		"$how: and have numbers of their own");
	is(as($server, 'bob', 'SELECT count(*) FROM pynomaly.requests', $database), '1', "$how: each role sees its own requests");
	is($server->safe_psql($database, "SELECT intact FROM pynomaly.verify_audit($sealed, '$noted_head')"), 't', "$how: the audit trail goes on intact");
}

# CREATE DATABASE ... TEMPLATE, into the same server
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is_the_same($node, 'copy', 'copy');

# Dumps, into another server; plain and in pg_dump's own format
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', $settings);
$other->start;
# Other roles take the OIDs that the first ones have there.
$other->safe_psql('postgres', join ';', map { "CREATE ROLE stranger$_ LOGIN" } 1 .. 12);
$other->safe_psql('postgres', $roles);
$other->safe_psql('postgres', 'CREATE DATABASE custom; ');
$other->safe_psql('postgres', 'CREATE DATABASE plain');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/custom", $node->connstr('shop') ], 'pg_dump dumps the database');
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$folder/plain", $node->connstr('shop') ], 'as SQL, too');
# The roles that create_roles() makes are the cluster's, not the dump's.
$other->safe_psql('postgres', q{CREATE EXTENSION pynomaly; SELECT pynomaly.create_roles(); GRANT pynomaly_data_scientist TO ann, bob;});
$other->command_ok([ 'pg_restore', '--exit-on-error', '-d', $other->connstr('custom'), "$folder/custom" ], 'pg_restore restores it');
$other->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/plain", '-d', $other->connstr('plain') ], 'as does psql');
is_the_same($other, 'custom', 'pg_restore');
goes_on($other, 'custom', 'pg_restore');

my $stranger = $other->safe_psql('postgres', "SELECT rolname FROM pg_roles WHERE oid = $zoe");
like($stranger, qr/^stranger/, 'a stranger has the OID that a dropped role had in the other server');
$other->safe_psql('custom', "GRANT pynomaly_viewer TO $stranger");
is(as($other, $stranger, "SELECT concat_ws(' ', (SELECT count(*) FROM pynomaly.requests), (SELECT count(*) FROM pynomaly_gateway.report),
	(SELECT count(*) FROM pynomaly_data_science.anomaly), (SELECT count(*) FROM pynomaly_mlops.model))", 'custom'), '0 0 0 0',
	'but does not see what belonged to it');

# With workers in the place of process_events()
$other->safe_psql('plain', 'SELECT pynomaly.start()');
ok($other->poll_query_until('plain', 'SELECT count(*) = 0 FROM pynomaly.requests WHERE ended_at IS NULL'),
	'plain dump: after start() the workers go on with all requests');
is($other->safe_psql('plain', 'SELECT intact FROM pynomaly.verify_audit()'), 't', 'plain dump: the audit trail is intact');
$other->stop;

# The copy goes on by itself, and the original as if there were none.
goes_on($node, 'copy', 'copy');
is($node->safe_psql('shop', $digest), $before->{tables}, 'original: knows nothing of what copies have done');
$node->safe_psql('shop', 'UPDATE pynomaly_kernel.retry SET due_at = now()');
goes_on($node, 'shop', 'original');
$node->stop;
done_testing();

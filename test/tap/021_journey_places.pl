#
# 021_journey_places.pl
#	Requests are under way while the extension or their database is dropped: what goes, goes as a whole, and other
#	databases' requests do not notice.
#
# A view that waits for the advisory lock 1 holds the first step of a request, so that the moment is certain.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('places');
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	jit = off
	max_worker_processes = 24
	pynomaly.max_workers = 18
	shared_preload_libraries = 'pynomaly'
});
$node->start;

my $tables = q{
	CREATE TABLE payment (id int PRIMARY KEY, amount float8, hour int);
	INSERT INTO payment SELECT n, n % 97 + n % 13 / 7.0, n % 24 FROM generate_series(1, 2000) AS n;
	CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(1);
		RETURN true;
	END $$;
	CREATE VIEW held AS SELECT p.* FROM (SELECT gate() AS open OFFSET 0) AS g JOIN payment p ON g.open;
};
my $create = 'CREATE EXTENSION pynomaly;';
my $start = 'SELECT pynomaly.start();';
my $is_held = q{SELECT count(*) FROM pg_stat_activity WHERE datname = '%s' AND backend_type = 'pynomaly worker' AND wait_event = 'advisory'};
my $ended = q{SELECT string_agg(DISTINCT status, ' ') FROM pynomaly.requests};

sub run { my ($database, $query) = @_; return $node->safe_psql($database, $query) }

sub is_soon
{
	my ($database, $query, $expected, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->poll_query_until($database, $query, $expected) ? pass($test) : is(run($database, $query), $expected, $test);
}

# Submits requests of the view, of which the first is held in its first step.
sub submit_held
{
	my ($database, $count) = @_;
	my $holder = $node->background_psql($database, on_error_stop => 1);
	$holder->set_query_timer_restart;
	$holder->query_safe('SELECT pg_advisory_lock(1);');
	run($database, q{SELECT pynomaly.submit('held', options => jsonb_build_object('seed', n)) FROM generate_series(1, } . $count . ') AS n');
	$node->poll_query_until('postgres', sprintf($is_held, $database), '1') or die 'no step is held';
	return $holder;
}

# ---------------------------------------------------------------- CREATE EXTENSION that is rolled back

run('postgres', "CREATE DATABASE $_") foreach qw(shop other plain dropped forced);
run($_, $tables) foreach qw(shop other plain dropped forced);
my $status = run('shop', qq{
	SET client_min_messages = error;
	BEGIN;
	$create
	SELECT pynomaly.submit('payment') AS id \\gset
	SELECT pynomaly.start() AS started \\gset
	ROLLBACK;
	BEGIN;
	SAVEPOINT a;
	$create
	SELECT pynomaly.submit('payment') AS id \\gset
	ROLLBACK TO a;
	COMMIT;
	$create
	SELECT pynomaly.submit('payment') AS id \\gset
	CALL pynomaly.process_events();
	SELECT status FROM pynomaly.requests WHERE id = :'id'});
is($status, 'completed', 'after a CREATE EXTENSION that was rolled back, and one in a savepoint, the next one works in the same session');
is(run('shop', 'SELECT count(*) FROM pynomaly.requests'), '1', 'and knows nothing of requests that were rolled back');
is(run('shop', 'SELECT intact, sealed > 0 FROM pynomaly.verify_audit()'), 't|t', 'its audit trail is intact');
is(run('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pynomaly worker'}), '0', 'no worker has come');
run('plain', "BEGIN; $create ROLLBACK");
is(run('plain', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pynomaly%'}), '0', 'a CREATE EXTENSION that is rolled back leaves nothing');

# ---------------------------------------------------------------- several databases

run('shop', $start);
run($_, "$create $start") foreach qw(other dropped forced);
run($_, q{SELECT pynomaly.submit('payment', options => jsonb_build_object('seed', n)) FROM generate_series(1, 3) AS n}) foreach qw(shop other);
my $forced = submit_held('forced', 3);
is(run('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'plain'}), '0', 'no worker is in the database without the extension');
my ($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE forced WITH (FORCE)');
is($code, 0, 'DROP DATABASE WITH (FORCE) drops a database in the middle of a step') or diag $err;
$forced->{run}->finish;
is_soon($_, $ended, 'completed', "the requests of database $_ are completed") foreach qw(shop other);
is(run($_, 'SELECT count(*) FROM pynomaly.requests'), $_ eq 'shop' ? '4' : '3', "and $_ has no others") foreach qw(shop other);

# ---------------------------------------------------------------- DROP DATABASE

my $dropped = submit_held('dropped', 1);
($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE dropped');
like($err, qr/database "dropped" is being accessed by other users/, 'DROP DATABASE waits in vain for a step that does not end');
is(run('dropped', q{SELECT string_agg(status, ' ') FROM pynomaly.requests}), 'running', 'the request goes on');
$dropped->query_safe('SELECT pg_advisory_unlock(1);');
$dropped->quit;
is_soon('dropped', $ended, 'completed', 'and is completed');
run('dropped', q{SELECT pynomaly.submit('payment', options => jsonb_build_object('seed', n)) FROM generate_series(1, 100) AS n});
$node->poll_query_until('dropped', q{SELECT count(*) > 0 FROM pynomaly.timeline WHERE state = 'completed' AND request IN
	(SELECT id FROM pynomaly.requests WHERE ended_at IS NULL)}) or die 'no request is under way';
($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE dropped');
is($code, 0, 'DROP DATABASE drops a database between steps') or diag $err;

# ---------------------------------------------------------------- DROP EXTENSION

my $holder = submit_held('shop', 3);
my $dropper = $node->background_psql('shop', on_error_stop => 1);
$dropper->set_query_timer_restart;
$dropper->query_until(qr/dropping/, "\\echo dropping\nBEGIN; DROP EXTENSION pynomaly;\n\\echo gone\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%DROP EXTENSION%'
	AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()}) or die 'nobody drops';
pass('DROP EXTENSION waits for the step that is in progress');
$holder->query_safe('SELECT pg_advisory_unlock(1);');
$dropper->query_until(qr/gone/, '');
$dropper->query_safe('ROLLBACK;');
is_soon('shop', $ended, 'completed', 'after DROP EXTENSION that is rolled back all requests are completed');
is(run('shop', q{SELECT count(*) FROM (SELECT request FROM pynomaly_data_science.dataset_version GROUP BY request HAVING count(*) > 1) AS twice}),
	'0', 'and no step was done twice');
$holder->quit;

$holder = submit_held('shop', 3);
$dropper->query_until(qr/dropping/, "\\echo dropping\nDROP EXTENSION pynomaly;\n\\echo gone\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%DROP EXTENSION%'
	AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()}) or die 'nobody drops';
$holder->query_safe('SELECT pg_advisory_unlock(1);');
$dropper->query_until(qr/gone/, '');
$dropper->quit;
$holder->quit;
is(run('shop', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pynomaly%'}), '0', 'DROP EXTENSION takes all with it');
is(run('shop', 'SELECT count(*) FROM held'), '2000', "but not users' tables");
is_soon('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type = 'pynomaly worker'}, '0', 'workers leave');
run('other', q{SELECT pynomaly.submit('payment')});
is_soon('other', $ended, 'completed', 'the requests of another database are completed');
run('shop', $create);
run('shop', q{SET client_min_messages = error; SELECT pynomaly.submit('payment')});
is_soon('shop', $ended, 'completed', 'after another CREATE EXTENSION workers come, since pynomaly.autostart is still set, and complete new requests');
is(run('shop', 'SELECT count(*) FROM pynomaly.requests'), '1', 'of old ones nothing is known');
is(run('shop', 'SELECT intact FROM pynomaly.verify_audit()'), 't', 'the audit trail began anew');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'no process has crashed');
unlike(slurp_file($node->logfile), qr/gave up event/, 'no event was given up');
$node->stop;
done_testing();

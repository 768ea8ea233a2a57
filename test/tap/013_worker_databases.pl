#
# 013_worker_databases.pl
#	Workers are in nobody's way when a database is copied, renamed, moved or dropped, and a copy of a database does not do
#	what the original is going to do.
#
# These commands fail where another session is in the database for more than five seconds.  The poll interval is a minute,
# so that a worker that looked around only when it polls would be noticed.  Preloading makes no difference here.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('databases');
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_idle_exit = '1h'
	pynomaly.kernel_poll_interval = '60s'
	pynomaly.kernel_retry_delay = '1h'
});
$node->start;

my $setup = q{
	CREATE EXTENSION pynomaly;
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	CREATE TABLE seen (subject text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF (e).subject = 'fails' THEN RAISE 'not today'; END IF;
		INSERT INTO public.seen (subject) VALUES ((e).subject);
	END $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
};
my $is_running = q{SELECT count(*) = 1 FROM pynomaly_kernel.workers() WHERE state = 'running'};

sub publish
{
	my ($database, $subject) = @_;
	$node->safe_psql($database, "SELECT pynomaly_kernel.publish('shop.order_paid.v1', '$subject', '{}')");
}

sub is_seen
{
	my ($database, $subject, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($database, "SELECT count(*) = 1 FROM seen WHERE subject = '$subject'"), $test);
}

# Makes sure that a worker is connected, which a database command has to get rid of; gives its process.
sub live_worker
{
	my ($database) = @_;
	$node->poll_query_until($database, $is_running) or die "no worker has come to $database";
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'pynomaly worker'")
		or die "no worker is connected to $database";
	return $node->safe_psql($database, 'SELECT pid FROM pynomaly_kernel.workers()');
}

sub succeeds
{
	my ($command, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($code, $out, $err) = $node->psql('postgres', $command);
	is($code, 0, $test) or diag $err;
}

# Two databases with the extension and one without
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(shop other plain);
foreach my $database (qw(shop other))
{
	$node->safe_psql($database, $setup);
	$node->safe_psql($database, 'SELECT pynomaly.start()');
}
publish($_, "first in $_") foreach qw(shop other);
is_seen($_, "first in $_", "the events of database $_ are handled") foreach qw(shop other);
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT datname, ' ' ORDER BY datname) FROM pg_stat_activity
	WHERE backend_type = 'pynomaly worker'}), 'other shop', 'no worker is in a database without the extension');
is($node->safe_psql($_, 'SELECT string_agg(subject, chr(44)) FROM seen'), "first in $_", "$_ has handled its own events only")
	foreach qw(shop other);

# CREATE DATABASE ... TEMPLATE
publish('shop', 'fails');
$node->poll_query_until('shop', q{SELECT count(*) = 1 FROM pynomaly.retries WHERE state = 'waiting' AND attempts = 1})
	or die 'the handler has not failed';
my $before = live_worker('shop');
succeeds('CREATE DATABASE copy TEMPLATE shop', 'CREATE DATABASE copies a database with a worker');
publish('shop', 'after the copy');
is_seen('shop', 'after the copy', 'the worker comes back to the original');
isnt(live_worker('shop'), $before, 'it is another one, since the worker had to let go');
is($node->safe_psql('shop', q{SELECT state FROM pynomaly.retries}), 'waiting', 'what waited there still waits');

is($node->safe_psql('copy', q{SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
	WHERE datname = 'copy'}), '0', 'the copy is not started');
is($node->safe_psql('copy', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0', 'and asks for no worker');
is($node->safe_psql('copy', 'SELECT origin FROM pynomaly_kernel.event_log'),
	$node->safe_psql('shop', 'SELECT origin FROM pynomaly_kernel.event_log'), 'nothing has looked at its log yet');
$node->safe_psql('copy', 'CALL pynomaly.process_events()');
isnt($node->safe_psql('copy', 'SELECT origin FROM pynomaly_kernel.event_log'),
	$node->safe_psql('shop', 'SELECT origin FROM pynomaly_kernel.event_log'), 'the copy takes a new origin');
is($node->safe_psql('copy', q{SELECT state, message FROM pynomaly.retries}), 'dead|not today',
	'an event that waits in the original is dead in the copy');
is($node->safe_psql('copy', q{SELECT name || ': ' || note FROM pynomaly.subscriptions ORDER BY name}),
	join("\n", map { "$_: began anew: its position was of the database that this one is a copy of" } qw(listeners see)),
	'its subscriptions begin anew and say so');
is($node->safe_psql('copy', q{SELECT status FROM pynomaly.health() WHERE component = 'subscription' AND name = 'see'}), 'warning',
	'as does health()');
publish('copy', 'in the copy');
$node->safe_psql('copy', 'CALL pynomaly.process_events()');
is($node->safe_psql('copy', q{SELECT string_agg(subject, ',' ORDER BY subject) FROM seen}), 'first in shop,in the copy',
	'the copy handles its own events, and none of the original\'s again');
is($node->safe_psql('shop', q{SELECT count(*) FROM seen WHERE subject = 'in the copy'}), '0',
	'which the original does not hear of');

# ALTER DATABASE
live_worker('shop');
succeeds('ALTER DATABASE shop RENAME TO store', 'ALTER DATABASE RENAME renames a database with a worker');
publish('store', 'renamed');
is_seen('store', 'renamed', 'the worker comes back to the renamed database');
my $place = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE place LOCATION '$place'");
live_worker('store');
succeeds('ALTER DATABASE store SET TABLESPACE place', 'ALTER DATABASE SET TABLESPACE moves a database with a worker');
publish('store', 'moved');
is_seen('store', 'moved', 'the worker comes back to the moved database');

# DROP DATABASE
my $log = -s $node->logfile;
live_worker('other');
my $bystander = live_worker('store');
succeeds('DROP DATABASE other', 'DROP DATABASE drops a database with a worker');
$node->safe_psql('copy', 'SELECT pynomaly.start()');
live_worker('copy');
succeeds('DROP DATABASE copy WITH (FORCE)', 'DROP DATABASE WITH (FORCE) does, too');
publish('store', 'the others are dropped');
is_seen('store', 'the others are dropped', 'meanwhile the others work');
is(live_worker('store'), $bystander, 'undisturbed');

# The back-offs of a slot that nobody took away would be 1, 2 and 4 seconds by now.
$node->safe_psql('postgres', 'SELECT pg_sleep(8)');
my $fatal = () = slurp_file($node->logfile, $log) =~ /FATAL:  database \d+ does not exist/g;
cmp_ok($fatal, '<=', 2, 'workers do not go on trying to reach dropped databases');

$node->stop;
done_testing();

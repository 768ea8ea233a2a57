#
# 014_standby.pl
#	A hot standby publishes nothing and runs no worker; when it is promoted it goes on where the primary stopped.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	autovacuum = off
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_idle_exit = '1h'
});
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE seen (subject text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF (e).subject = 'unfinished' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
		INSERT INTO public.seen (subject) VALUES ((e).subject);
	END $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
	SELECT pynomaly.start();
});
my $publish = q{SELECT pynomaly_kernel.publish('shop.order_paid.v1', '%s', '{}')};
my $seen = q{SELECT string_agg(subject, ',' ORDER BY subject) FROM seen};
my $origin = 'SELECT origin FROM pynomaly_kernel.event_log';

# One standby that preloads the library as the primary does, and one that does not.
$primary->backup('base');
my %standby;
foreach my $name (qw(preloaded not_preloaded))
{
	$standby{$name} = PostgreSQL::Test::Cluster->new($name);
	$standby{$name}->init_from_backup($primary, 'base', has_streaming => 1);
	$standby{$name}->append_conf('postgresql.conf', q{shared_preload_libraries = ''}) if $name eq 'not_preloaded';
	$standby{$name}->start;
}

$primary->safe_psql('postgres', sprintf $publish, 'finished');
$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM seen WHERE subject = 'finished'}) or die 'no worker has come';
my $busy = $primary->background_psql('postgres');
$busy->query_safe('SELECT pg_advisory_lock(1)');
$primary->safe_psql('postgres', sprintf $publish, 'unfinished');
$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted})
	or die 'the handler was not called';
# The position of a worker is committed asynchronously: a switch makes sure that it has gone to the log before the wait.
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->wait_for_catchup($_) foreach values %standby;

foreach my $name (sort keys %standby)
{
	my $node = $standby{$name};
	my $with = $name eq 'preloaded' ? '(preloaded)' : '(not preloaded)';
	my %refused = (
		'publish()' => sprintf($publish, 'on a standby'),
		'start()' => 'SELECT pynomaly.start()',
		'stop()' => 'SELECT pynomaly.stop()',
		'process_events()' => 'CALL pynomaly.process_events()',
		'submit()' => q{SELECT pynomaly.submit('seen')},
		'subscribe()' => q{SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'another')});

	foreach my $call (sort keys %refused)
	{
		my ($code, $out, $err) = $node->psql('postgres', $refused{$call}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		like($err, qr/ERROR:  25006: cannot execute \Q$call\E during recovery/, "$call is refused on a standby $with");
	}
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%'}), '0',
		"no process of pynomaly runs there $with");
	is($node->safe_psql('postgres', $seen), 'finished', "what the primary's handlers did is there $with");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pynomaly.events WHERE subject IN ('finished', 'unfinished')}), '2',
		"events can be read $with");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pynomaly.health() WHERE component = 'subscription' AND name IN ('listeners', 'see')}), '2',
		"health() works $with");
}

my $expected_origin = $primary->safe_psql('postgres', $origin);
$primary->stop('immediate');
eval { $busy->quit };

foreach my $name (sort keys %standby)
{
	my $node = $standby{$name};
	my $with = $name eq 'preloaded' ? '(preloaded)' : '(not preloaded)';

	$node->promote;
	if ($name eq 'not_preloaded')
	{
		is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%'}), '0',
			"after the promotion no worker comes by itself $with");
		$node->safe_psql('postgres', 'SELECT pynomaly.start()');
	}
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM seen WHERE subject = 'unfinished'}),
		"what the primary had not finished is handled after the promotion $with");
	$node->safe_psql('postgres', sprintf $publish, 'promoted');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM seen WHERE subject = 'promoted'}),
		"and new events are $with");
	is($node->safe_psql('postgres', $seen), 'finished,promoted,unfinished', "each once $with");
	is($node->safe_psql('postgres', $origin), $expected_origin, "the log is still the same one $with");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pynomaly.subscriptions WHERE note IS NOT NULL'), '0',
		"and no subscription began anew $with");
	$node->stop;
}

done_testing();

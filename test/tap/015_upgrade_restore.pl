#
# 015_upgrade_restore.pl
#	pg_dump carries what users have made and nothing that happened; pg_upgrade carries all of it, and nothing is lost or
#	handled twice.
#
use strict;
use warnings;
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = q{
	autovacuum = off
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_idle_exit = '1h'
	pynomaly.kernel_retry_delay = '1h'
};
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', $settings);
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE shop');
$old->safe_psql('shop', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE seen (subject text, origin uuid);
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF (e).subject IN ('dead', 'retried') THEN RAISE 'not today'; END IF;
		INSERT INTO public.seen VALUES ((e).subject, (e).origin);
	END $$;
	CREATE FUNCTION tick() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.seen VALUES ('tick') $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{"type": "object", "required": ["amount"]}', 3::smallint);
	SELECT pynomaly_kernel.register_event_type('shop.order_lost.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see', 7, '12 seconds');
	SELECT pynomaly.subscribe('shop.order_lost.v1', 'see', 'see once', 1);
	SELECT pynomaly.schedule('tick', '0 4 * * *', 'tick', 'Europe/Berlin');
	SELECT pynomaly_kernel.put_artifact('note', 'the bytes');
	SELECT pynomaly.start();
});
my $publish = q{SELECT pynomaly_kernel.publish('shop.order_%s.v1', '%s', '{"amount": 1}')};
my $retries = q{SELECT string_agg(subject || ' ' || state || ' ' || attempts, ', ' ORDER BY subject) FROM pynomaly.retries};
my $made = q{
	SELECT 'type', type, schema::text, priority::text, '' FROM pynomaly_kernel.event_type WHERE NOT builtin
	UNION ALL SELECT 'subscription', name, type || ' ' || handler, owner::text || ' ' || max_attempts, timeout::text
		FROM pynomaly_kernel.subscription WHERE NOT builtin
	UNION ALL SELECT 'schedule', name, timing, time_zone, handler FROM pynomaly_kernel.schedule WHERE NOT builtin
	UNION ALL SELECT 'artifact', kind, encode(digest, 'hex'), convert_from(pynomaly_kernel.get_artifact(digest), 'UTF8'), owner::text
		FROM pynomaly_kernel.artifact
	ORDER BY 1, 2};
my $seen = q{SELECT string_agg(subject, ',' ORDER BY subject) FROM seen};
my $origin = 'SELECT origin FROM pynomaly_kernel.event_log';

$old->safe_psql('shop', sprintf $publish, @$_) foreach [ 'paid', 'handled' ], [ 'lost', 'dead' ], [ 'paid', 'retried' ];
$old->poll_query_until('shop', "SELECT ($retries) = 'dead dead 1, retried waiting 1' AND ($seen) = 'handled'")
	or die 'the worker has not come so far';
my $expected = $old->safe_psql('shop', $made);
is(scalar(split /\n/, $expected), 6, 'there are types, subscriptions, a schedule and an artifact');

# Dump and restore, into another server
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop.dump';
$old->safe_psql('shop', 'SELECT pynomaly.stop()');
$old->poll_query_until('shop', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pynomaly worker'}) or die;
$old->safe_psql('shop', sprintf $publish, 'paid', 'waiting');
$old->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $old->connstr('shop') ], 'pg_dump dumps the database');

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', $settings);
$other->start;
$other->safe_psql('postgres', 'CREATE DATABASE shop');
$other->command_ok([ 'pg_restore', '--exit-on-error', '-d', $other->connstr('shop'), $dump ], 'pg_restore restores it');
is($other->safe_psql('shop', $made), $expected, 'types, subscriptions, schedules and artifacts come back');
is($other->safe_psql('shop', q{SELECT count(*) FROM pynomaly.events}), '0', 'events do not');
is($other->safe_psql('shop', q{SELECT count(*) FROM pynomaly_kernel.retry}), '0', 'nor do retries and dead events');
is($other->safe_psql('shop', q{SELECT count(*) FROM pynomaly_kernel.subscription_position WHERE subscription LIKE 'see%'}), '0',
	'nor positions');
isnt($other->safe_psql('shop', $origin), $old->safe_psql('shop', $origin), 'the log has another origin');
is($other->safe_psql('shop', 'SELECT count(*) FROM pynomaly_kernel.workers()'), '0', 'no worker comes before start()');
$other->safe_psql('shop', 'SELECT pynomaly.start()');
ok($other->poll_query_until('shop', q{SELECT count(*) = 2 FROM pynomaly.subscriptions
	WHERE note = 'began anew: it had no position, as after a restore'}), 'positions begin anew, with a note');
is($other->safe_psql('shop', q{SELECT string_agg(name, ',' ORDER BY name) FROM pynomaly.health()
	WHERE component = 'subscription' AND status = 'warning'}), 'see,see once', 'which health() shows');
$other->safe_psql('shop', sprintf $publish, 'paid', 'restored');
ok($other->poll_query_until('shop', "SELECT ($seen) = 'handled,restored'"), 'new events are handled, old ones are not again');
ok($other->poll_query_until('shop', q{SELECT count(*) = 1 FROM pynomaly.schedules WHERE name = 'tick' AND due_at > now() AND runs = 0 AND missed = 0}),
	'the schedule goes on with its next due time');
$other->stop;

# pg_upgrade.  The setting is made behind the launcher's back, so that an event is still waiting when the server stops.
my $expected_origin = $old->safe_psql('shop', $origin);
my $events = 'SELECT id, type, subject, xid, data FROM pynomaly_kernel.event ORDER BY id';
my $expected_events = $old->safe_psql('shop', $events);
like($expected_events, qr/\|waiting\|/, 'an event waits');
$old->safe_psql('postgres', 'ALTER DATABASE shop SET pynomaly.autostart = on');
is($old->safe_psql('shop', $seen), 'handled', 'and is not handled by the old server');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', $settings);
my $bin = dirname(`which postgres`);
chdir PostgreSQL::Test::Utils::tempdir() or die "chdir: $!";
command_ok([ 'pg_upgrade', '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
		'-p', $old->port, '-P', $new->port, '-s', $new->host ], 'pg_upgrade accepts the extension');
$new->start;
ok($new->poll_query_until('shop', q{SELECT count(*) = 1 FROM seen WHERE subject = 'waiting'}),
	'after pg_upgrade the worker comes and handles the event that has waited');
is($new->safe_psql('shop', $events), $expected_events, 'all events are there');
is($new->safe_psql('shop', $origin), $expected_origin, 'in the same log');
is($new->safe_psql('shop', $made), $expected, 'with all that users have made');
is($new->safe_psql('shop', q{SELECT count(*) FROM pynomaly.subscriptions WHERE note IS NOT NULL}), '0', 'no subscription began anew');
$new->safe_psql('shop', sprintf $publish, 'paid', 'upgraded');
ok($new->poll_query_until('shop', q{SELECT count(*) = 1 FROM seen WHERE subject = 'upgraded'}), 'new events are handled');
is($new->safe_psql('shop', $seen), 'handled,upgraded,waiting', 'each once');
is($new->safe_psql('shop', q{SELECT count(DISTINCT origin) FROM seen}), '1', 'and under the old origin');
is($new->safe_psql('shop', $retries), 'dead dead 1, retried waiting 1', 'dead events and retries are as they were');
is($new->safe_psql('shop', q{SELECT max(id) - min(id) + 1 = count(*) AND count(*) = count(DISTINCT id) FROM pynomaly_kernel.event
	WHERE subject IN ('waiting', 'upgraded')}), 't', 'ids go on');
$new->stop;

done_testing();

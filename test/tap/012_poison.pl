#
# 012_poison.pl
#	A handler that fails, hangs, fights back or takes its worker down harms its own events only, and not for ever.
#
# Each poisoned subscription has a type of its own, of which five events are published: 1 to 3 of the subject a, 4 and 5 of
# b.  Its handler misbehaves at some of them until it is mended.  The subscription "healthy" is handed all of them.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('poison');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'pynomaly'
	pynomaly.kernel_retry_delay = '100ms'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub wait_for
{
	my ($condition, $what) = @_;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what) or diag sql('TABLE pynomaly.retries');
}

sql(q{
	CREATE EXTENSION pynomaly;
	CREATE ROLE app LOGIN;
	CREATE ROLE dropped LOGIN IN ROLE app;
	CREATE ROLE locked LOGIN IN ROLE app;
	CREATE ROLE denied LOGIN IN ROLE app;
	GRANT USAGE ON SCHEMA pynomaly, pynomaly_kernel TO app;
	GRANT EXECUTE ON FUNCTION pynomaly_kernel.publish(text, text, jsonb, text), pynomaly.redrive(text, bigint),
		pynomaly.subscribe(text, text, text, int, interval), pynomaly.resume(text) TO app;
	CREATE TABLE done (place bigint GENERATED ALWAYS AS IDENTITY, name text, type text, subject text, n int, event_id bigint,
		calls bigint);
	CREATE TABLE mended (name text);
	CREATE SEQUENCE calls_of_twice;
	CREATE SEQUENCE calls_of_killers;
	GRANT SELECT, INSERT ON done, mended TO app;
	GRANT USAGE, SELECT ON SEQUENCE calls_of_twice, calls_of_killers TO app;

	CREATE FUNCTION write_down(name text, e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.done (name, type, subject, n, event_id, calls)
			SELECT name, e.type, e.subject, (e.data ->> 'n')::int, e.id, last_value FROM public.calls_of_killers $$;
	CREATE FUNCTION is_mended(name text) RETURNS boolean LANGUAGE sql AS
		$$ SELECT EXISTS (SELECT FROM public.mended m WHERE m.name = is_mended.name) $$;
	CREATE FUNCTION end_session() RETURNS void LANGUAGE sql SECURITY DEFINER AS
		$$ SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()) $$;
	CREATE FUNCTION publish_five(type text) RETURNS void LANGUAGE sql AS
		$$ SELECT pynomaly_kernel.publish(type, CASE WHEN n <= 3 THEN 'a' ELSE 'b' END, jsonb_build_object('n', n))
			FROM generate_series(1, 5) AS n $$;
});

# Which events a handler misbehaves at, how, its attempts and other arguments, and its owner if it is not app.
my %poison = (
	broken => [ '1, 5', q{RAISE EXCEPTION 'no stock for order %', e.data ->> 'n' USING ERRCODE = 'P0042', DETAIL = 'shelf 7 is empty'}, 3 ],
	patient => [ '1, 5', q{RAISE EXCEPTION 'later, perhaps'}, 100 ],
	twice => [ '1', q{IF nextval('public.calls_of_twice') <= 2 THEN RAISE EXCEPTION 'not yet'; END IF}, 3 ],
	slow => [ '1, 5', 'PERFORM pg_sleep(600)', q{2, timeout => '500 ms'} ],
	committer => [ '1', 'COMMIT', 2 ],
	wordy => [ '1', q{RAISE EXCEPTION '%', repeat('ten bytes ', 100000) USING DETAIL = repeat('Ö', 100000)}, 2 ],
	crasher => [ '1', q{PERFORM nextval('public.calls_of_killers'), public.end_session()}, 2 ],
	hostile => [ '1', q{PERFORM nextval('public.calls_of_killers');
		LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP}, q{2, timeout => '200 ms'} ],
	dropped => [ '0', 'NULL', 2, 'dropped' ],
	locked => [ '0', 'NULL', 2, 'locked' ],
	denied => [ '0', 'NULL', 2, 'denied' ],
);

foreach my $name (sort keys %poison)
{
	my ($events, $deed, $arguments, $owner) = @{ $poison{$name} };
	sql(qq{
		SELECT pynomaly_kernel.register_event_type('test.$name.v1', '{"type": "object"}');
		CREATE FUNCTION handle_$name(e pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			IF (e.data ->> 'n')::int IN ($events) AND NOT public.is_mended('$name') THEN
				$deed;
			END IF;
			PERFORM public.write_down('$name', e);
		END \$\$;
		SET SESSION AUTHORIZATION @{[ $owner // 'app' ]};
		SELECT pynomaly.subscribe('test.$name.v1', 'handle_$name', '$name', $arguments);
	});
}
sql(q{
	CREATE FUNCTION handle_healthy(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
		$$ SELECT public.write_down('healthy', e) $$;
	CREATE FUNCTION raise_alarm(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.done (name, type, event_id)
			VALUES ('alarm', e.data ->> 'subscription', (e.data ->> 'event_id')::bigint) $$;
	SET SESSION AUTHORIZATION app;
	SELECT pynomaly.subscribe('test.*', 'handle_healthy', 'healthy');
	SELECT pynomaly.subscribe('kernel.event_failed.v1', 'raise_alarm', 'alarm');
	RESET SESSION AUTHORIZATION;
	DROP ROLE dropped;
	ALTER ROLE locked NOLOGIN;
	REVOKE EXECUTE ON FUNCTION handle_denied(pynomaly_kernel.event) FROM PUBLIC;
	SELECT pynomaly.start();
});

sub publish
{
	sql(join '', 'SET SESSION AUTHORIZATION app; BEGIN;', (map { "SELECT publish_five('test.$_.v1');" } @_), 'COMMIT');
}

# What a subscription's handler has done, in order; between subjects there is none.
sub done
{
	my ($name) = @_;
	return qq{(SELECT coalesce(string_agg(of_subject, ', ' ORDER BY of_subject), '') FROM
		(SELECT subject || ' ' || string_agg(n::text, ' ' ORDER BY place) AS of_subject FROM done
			WHERE name = '$name' GROUP BY subject) AS d)};
}

sub retries
{
	my ($name) = @_;
	return qq{(SELECT coalesce(string_agg(concat_ws(' ', data -> 'n', state), ', ' ORDER BY event_id), '')
		FROM pynomaly.retries WHERE subscription = '$name')};
}

sub mend
{
	my ($name) = @_;
	sql("INSERT INTO mended VALUES ('$name')");
}

# First those that leave the worker alive.
my @tame = grep { $_ !~ /crasher|hostile/ } sort keys %poison;
publish(@tame);
wait_for(qq{@{[ retries('patient') ]} = '1 waiting, 2 parked, 3 parked, 5 waiting'},
	'events that failed wait, later ones of their subjects are parked');
is(sql("SELECT @{[ done('patient') ]}"), 'b 4', 'an event of another subject is handled, or one before the failure');
mend('patient');
wait_for("@{[ retries('patient') ]} = ''", 'a later attempt succeeds');
is(sql("SELECT @{[ done('patient') ]}"), 'a 1 2 3, b 4 5', 'then the parked events are released, in their order');
wait_for("(SELECT count(*) FROM done WHERE name = 'healthy') = 5 * " . @tame,
	'the healthy subscription is handed all events of the others');

wait_for("@{[ retries('broken') ]} = '1 dead, 5 dead'", 'after its last attempt an event is dead');
wait_for("@{[ done('broken') ]} = 'a 2 3, b 4'", 'and releases the parked events, in their order');
is(sql(q{SELECT attempts, sqlstate, message, detail, failed_at > "time",
		context ~ '^PL/pgSQL function (public\.)?handle_broken\(pynomaly_kernel\.event\) line \d+ at RAISE$'
	FROM pynomaly.retries WHERE subscription = 'broken' AND data ->> 'n' = '5'}),
	'3|P0042|no stock for order 5|shelf 7 is empty|t|t', 'sqlstate, message, detail and context of the error are told');
wait_for("@{[ retries('twice') ]} = '' AND @{[ done('twice') ]} <> ''", 'a handler that fails twice is called a third time');
is(sql("SELECT @{[ done('twice') ]}, last_value FROM calls_of_twice"), 'a 1 2 3, b 4 5|3', 'takes effect once, and in order');

wait_for("@{[ retries('slow') ]} = '1 dead, 5 dead'", 'a handler that takes too long is interrupted');
is(sql(q{SELECT DISTINCT attempts, sqlstate, message FROM pynomaly.retries WHERE subscription = 'slow'}),
	'2|57014|the handler took longer than 500 ms', 'for that reason');
wait_for("@{[ retries('committer') ]} = '1 dead'", 'a handler that commits fails');
is(sql(q{SELECT attempts, sqlstate, message FROM pynomaly.retries WHERE subscription = 'committer'}),
	'2|2D000|invalid transaction termination', 'for that reason');
wait_for("@{[ retries('wordy') ]} = '1 dead'", 'a handler that fails with many words fails like others');
is(sql(q{SELECT attempts, sqlstate, left(message, 20), left(detail, 3) FROM pynomaly.retries WHERE subscription = 'wordy'}),
	'2|P0001|ten bytes ten bytes |ÖÖÖ', 'and the beginning of its message and detail can be read');
wait_for("@{[ done($_) ]} = 'a 2 3, b 4 5'", "other events of $_ are handled") foreach qw(committer wordy);

# Those whose owner cannot run them any more.
my %reason = (
	dropped => 'its owner was dropped',
	locked => 'its owner "locked" may not log in',
	denied => 'its owner "denied" may not execute public.handle_denied');
foreach my $name (sort keys %reason)
{
	wait_for("status <> 'active' FROM pynomaly.subscriptions WHERE name = '$name'", "the subscription $name is disabled");
	is(sql("SELECT status, reason FROM pynomaly.subscriptions WHERE name = '$name'"), "disabled|$reason{$name}",
		'which the view tells with the reason');
	is(sql("SELECT status, message ~ '^disabled: $reason{$name}', hint FROM pynomaly.health()
		WHERE component = 'subscription' AND name = '$name'"),
		'error|t|Call pynomaly.resume when the cause is removed.', 'and health() with what to do');
	is(sql("SELECT data - 'reason' FROM pynomaly.events WHERE type = 'kernel.subscription_stopped.v1' AND subject = '$name'"),
		qq({"status": "disabled", "subscription": "$name"}), 'and one event');
	is(sql("SELECT @{[ done($name) ]}"), '', 'its handler was not called');
}
sql(q{ALTER ROLE locked LOGIN; GRANT EXECUTE ON FUNCTION handle_denied(pynomaly_kernel.event) TO denied});
foreach my $name ('locked', 'denied')
{
	sql("SET SESSION AUTHORIZATION $name; SELECT pynomaly.resume('$name')");
	wait_for("@{[ done($name) ]} = 'a 1 2 3, b 4 5'", "$name is resumed when its owner can run it again, and nothing was lost");
}
sql(q{SELECT pynomaly.unsubscribe('dropped')});
is(sql(q{SELECT count(*) FROM pynomaly.subscriptions WHERE name = 'dropped'}), '0',
	'the subscription of a dropped role can be removed');

# The killers.  What the healthy one does it notes with the number of their calls, since it must not wait for the last one.
# The crasher's workers come after the pauses that the launcher makes, when the event is due again already.
my $calls = 0;
foreach my $name ('crasher', 'hostile')
{
	publish($name);
	my $without_pause = $name eq 'hostile' ? 'FROM (SELECT pynomaly.start()) AS s' : '';
	wait_for("@{[ retries($name) ]} = '1 dead' $without_pause",
		"an event is given up whose handler ends its worker ($name)");
	wait_for("@{[ done($name) ]} = 'a 2 3, b 4 5'", 'the others of the subscription are handled');
	my $before = $calls;
	$calls = sql('SELECT last_value FROM calls_of_killers');
	cmp_ok($calls, '<=', $before + 3, 'at most one call was not counted as an attempt');
	wait_for("count(*) = 5 FROM done WHERE name = 'healthy' AND type = 'test.$name.v1'", 'the healthy subscription is handed all');
	is(sql("SELECT count(*) FROM done WHERE name = 'healthy' AND type = 'test.$name.v1' AND calls < $calls"), '5',
		'and did not wait until the killer had no attempts left');
}
is(sql(q{SELECT string_agg(concat_ws(' ', subscription, attempts, sqlstate, message), ', ' ORDER BY subscription)
	FROM pynomaly.retries WHERE subscription IN ('crasher', 'hostile')}),
	join(', ', map { "$_ 2 57P01 the worker ended before the handler did" } qw(crasher hostile)),
	'after the attempts that they had, with what is known');

# Dead events are told.
my $dead = q{SELECT subscription, event_id, attempts, sqlstate FROM pynomaly.retries WHERE state = 'dead'};
my $told = q{SELECT data ->> 'subscription', (data ->> 'event_id')::bigint, (data ->> 'attempts')::int, data ->> 'sqlstate'
	FROM pynomaly.events WHERE type = 'kernel.event_failed.v1'};
is(sql("SELECT count(*) FROM ($dead) AS dead"), '8', 'eight events are dead');
is(sql("SELECT count(*) FROM ($told) AS told"), '8', 'eight were announced');
is(sql("SELECT count(*) FROM ($dead INTERSECT $told) AS same"), '8', 'the same, with attempts and sqlstate');
wait_for("(SELECT count(*) FROM done d JOIN pynomaly.retries r ON r.subscription = d.type AND r.event_id = d.event_id
	WHERE d.name = 'alarm') = 8", 'a subscription to these announcements is handed them');
is(sql(q{SELECT name, status, message FROM pynomaly.health() WHERE component = 'dead events' AND name = 'broken'}),
	'broken|warning|2 events were given up', 'health() counts them');

# New attempts.
my $first = sql(q{SELECT min(event_id) FROM pynomaly.retries WHERE subscription = 'broken'});
is(sql("SET SESSION AUTHORIZATION app; SELECT pynomaly.redrive('broken', $first)"), '1', 'a dead event is redriven');
wait_for("(SELECT count(*) FROM pynomaly.events WHERE type = 'kernel.event_failed.v1') = 9",
	'it dies again where the handler was not mended');
is(sql("SELECT attempts FROM pynomaly.retries WHERE event_id = $first AND subscription = 'broken'"), '3',
	'after a new set of attempts');
mend($_) foreach keys %poison;
sql("SET SESSION AUTHORIZATION app; SELECT pynomaly.redrive('broken', $first)");
wait_for("@{[ done('broken') ]} = 'a 2 3 1, b 4'", 'it is handled where the handler was mended');
is(sql("SELECT @{[ retries('broken') ]}"), '5 dead', 'the other dead event stays');
is(sql("SET SESSION AUTHORIZATION app; SELECT pynomaly.redrive('$_->[0]')"), $_->[1], "all dead events of $_->[0] are redriven")
	foreach ([ broken => 1 ], [ slow => 2 ], [ committer => 1 ], [ wordy => 1 ], [ crasher => 1 ], [ hostile => 1 ]);
wait_for('NOT EXISTS (SELECT FROM pynomaly.retries)', 'and nothing is left to retry');
is(sql(qq{SELECT string_agg(concat_ws(' ', name, n), ', ' ORDER BY name) FROM
	(SELECT name, count(DISTINCT n) AS n FROM done WHERE name <> 'alarm' AND name <> 'healthy' GROUP BY name) AS d}),
	join(', ', map { "$_ 5" } grep { $_ ne 'dropped' } sort keys %poison), 'each subscription has handled all of its events');
is(sql(q{SELECT count(*) FROM (SELECT FROM done WHERE name <> 'alarm' GROUP BY name, event_id HAVING count(*) > 1) AS twice}),
	'0', 'and none twice');
is(sql(q{SELECT count(*) FROM done WHERE name = 'healthy'}), 5 * keys %poison, 'the healthy one has, too');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'no process crashed');
$node->stop;
done_testing();

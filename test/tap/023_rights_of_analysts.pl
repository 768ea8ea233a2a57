#
# 023_rights_of_analysts.pl
#	What an analyst has in pynomaly is his and his roles': nobody else sees it, touches it or learns of it, and nobody
#	reads through pynomaly what he could not read himself.
#
# alice has a table of secrets, bob is curious and has more rights than he would need, sam is another system.  All of what
# bob sees is searched for her values, names and ids, not only where one would look for them.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('analysts');
$node->init;
# What the server logs is part of the test, so that is as it comes.
$node->append_conf('postgresql.conf', "autovacuum = off\nlog_statement = none\npynomaly.kernel_retry_delay = 1ms\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# As a role; gives output and error, the latter with its SQLSTATE.
sub as
{
	my ($role, $command, @arguments) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose', @arguments ]);
	# The client's words and the server's source lines differ from version to version; the NOTICE is that no worker runs.
	$err =~ s/^(psql:<stdin>:\d+: )?(NOTICE|HINT): .*(no background worker|pynomaly\.start).*\n?//mg;
	$err =~ s/^(LOCATION|LINE \d+): .*\n?//mg;
	$err =~ s/^psql:<stdin>:\d+: //mg;
	return "$out$err";
}

# Does what waits, until nothing does.
sub work { my $out = as('postgres', 'CALL pynomaly.process_events()'); is($out, '', 'events are processed') if $out ne ''; return; }

# What comes of each command, as a role.
sub try_all
{
	my ($role, @commands) = @_;
	my @answers = split /^-- /m, as($role, join '', map { "SELECT '-- ' || public.try(\$try\$$_\$try\$);" } @commands);
	shift @answers;
	chomp @answers;
	return @answers;
}

# A request of the role, with what must follow in the call of submit.
sub submit
{
	my ($role, $arguments) = @_;
	my $id = as($role, "SELECT pynomaly.submit($arguments)");
	like($id, qr/^[0-9a-f-]{36}$/, "$role submits $arguments") unless $id =~ /^[0-9a-f-]{36}$/;
	return $id;
}

sub status { return sql("SELECT status || coalesce(' ' || sqlstate, '') FROM pynomaly.requests WHERE id = '$_[0]'"); }

sql(q{
	CREATE EXTENSION pynomaly;
	SELECT pynomaly.create_roles();
	SELECT pynomaly_kernel.register_event_type('shop.paid.v1', '{}');
	CREATE TABLE public.heard (subscriber name, what text);
	GRANT INSERT ON public.heard TO PUBLIC;
	-- What comes of a command: its first row, or its error.
	CREATE FUNCTION public.try(command text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer record;
		detail text;
		hint text;
	BEGIN
		EXECUTE command INTO answer;
		RETURN 'row: ' || coalesce(answer::text, '-');
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RETURN concat_ws(' | ', sqlstate, sqlerrm, nullif(detail, ''), nullif(hint, ''));
	END $$;
});
foreach my $role (qw(alice bob))
{
	sql(qq{CREATE ROLE $role LOGIN; GRANT pynomaly_data_scientist TO $role;
		CREATE SCHEMA $role AUTHORIZATION $role; GRANT USAGE ON SCHEMA $role TO PUBLIC});
}
sql(q{CREATE ROLE sam LOGIN; GRANT pynomaly_service, pynomaly_viewer TO sam; CREATE ROLE adam LOGIN; GRANT pynomaly_admin TO adam});

# ---------------------------------------------------------------- alice's secrets

my $secret = qr/hideout|secretplace|987654321|770077|4321\.5/;
is(as('alice', q{
	CREATE TABLE alice.ledger (id int PRIMARY KEY, amount float8, place text);
	INSERT INTO alice.ledger SELECT i, 770077 + i % 7, 'secretplace' || i % 5 FROM generate_series(1, 400) AS i;
	INSERT INTO alice.ledger VALUES (4711, 987654321.125, 'hideout');
	CREATE FUNCTION alice.handler(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO public.heard VALUES (current_user, event::text); END $$;
	CREATE FUNCTION alice.failing(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'no hideout' USING DETAIL = 'secretplace9', HINT = '987654321'; END $$;
	CREATE FUNCTION alice.tick() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no hideout at the tick'; END $$;
	-- A view whose reading fails with a value in the message.
	CREATE VIEW alice.broken AS SELECT id, amount, CASE WHEN place = 'hideout' THEN place::int ELSE 1 END AS number FROM alice.ledger;
	DO $$BEGIN PERFORM pynomaly.subscribe('*', 'alice.handler', 'alice hears'),
		pynomaly.subscribe('gateway.report_ready.v1', 'alice.failing', 'alice fails', 1), pynomaly.schedule('alice ticks', '1 second', 'alice.tick'); END$$;
}), '', 'alice has a table, subscriptions and a schedule');
is(as('bob', q{
	CREATE TABLE bob.things AS SELECT i AS id, i % 11 AS size, 'thing' || i % 3 AS name FROM generate_series(1, 200) AS i;
	CREATE FUNCTION bob.handler(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO public.heard VALUES (current_user, event::text); END $$;
	DO $$BEGIN PERFORM pynomaly.subscribe('*', 'bob.handler', 'bob hears'), pynomaly.subscribe('gateway.*', 'bob.handler', 'bob hears more'); END$$;
}), '', 'bob subscribes to everything');
my %id = (
	done => submit('alice', q{'alice.ledger', model => 'alices_model', idempotency_key => 'alices key'}),
	broken => submit('alice', q{'alice.broken'}),
	cancelled => submit('alice', q{'alice.ledger', columns => '{amount}'}));
is(as('alice', "SELECT pynomaly.cancel('$id{cancelled}')"), 't', 'alice cancels one of her requests');
my $of_bob = submit('bob', q{'bob.things'});
work();
is(join(', ', map { status($id{$_}) } qw(done broken cancelled)), 'completed, failed 22P02, cancelled 57014', "alice's requests end as they should");
is(status($of_bob), 'completed', "and so does bob's");
my $promised = as('alice', q{
	SELECT 'profiled' FROM pynomaly.profile('alice.ledger') HAVING count(*) > 0;
	INSERT INTO alice.ledger SELECT i, 4321.5, 'secretplace7' FROM generate_series(5000, 5300) AS i;
	SELECT 'again' FROM pynomaly.profile('alice.ledger') HAVING count(*) > 0;
	SELECT 'ruled' WHERE pynomaly.add_rule('alice.ledger', 'range', 'amount', low => 0, high => 770077, severity => 'error') > 0;
	SELECT 'checked' FROM pynomaly.check('alice.ledger') HAVING count(*) > 0;
	SELECT 'trained ' || pynomaly.train('alices_other', 'alice.ledger') || ' ' || pynomaly.train('alices_other', 'alice.ledger', options => '{"seed": 7}');
	SELECT 'promoted' WHERE pynomaly.promote('alices_other/2', reason => 'for the hideout') IS NOT NULL;
	SELECT 'rolled back' WHERE pynomaly.rollback('alices_other', reason => 'for secretplace1') IS NOT NULL;
	SELECT 'noted' FROM pynomaly.set_anomaly_status((SELECT min(id) FROM pynomaly_data_science.anomaly), 'acknowledged', 'it is the hideout');
});
is($promised, "profiled\nagain\nruled\nchecked\ntrained alices_other/1 alices_other/2\npromoted\nrolled back\nnoted", 'alice profiles, checks, trains and judges');
sql(q{SELECT pg_sleep(1)}) while sql(q{SELECT count(*) FROM pynomaly.schedules WHERE name = 'alice ticks' AND due_at > clock_timestamp()}) > 0;
work();
$id{waiting} = submit('alice', q{'alice.ledger', contamination => 0.02});
as('alice', 'ANALYZE alice.ledger');
sql(q{ANALYZE pynomaly_data_science.anomaly, pynomaly_data_profiling.column_profile, pynomaly_gateway.report});

my $hers = as('alice', q{SELECT string_agg(message, ' ') FROM pynomaly.requests; SELECT pynomaly.report(id) FROM pynomaly.requests;
	SELECT a::text FROM pynomaly_data_science.anomaly a; SELECT r::text FROM pynomaly.retries r; SELECT s::text FROM pynomaly.schedules s});
like($hers, qr/invalid input syntax for type integer: "hideout"/, 'alice sees why her view failed');
like($hers, qr/$_/, "and $_") foreach '987654321\.125', 'secretplace', 'no hideout', 'no hideout at the tick';
is(sql(q{SELECT string_agg(DISTINCT subscriber, ', ') FROM heard WHERE what ~ 'alice'}), 'alice', "her events reached her handler and no other's");
cmp_ok(sql(q{SELECT count(*) FROM heard WHERE subscriber = 'bob'}), '>=', 10, "bob's reached his");

# What names alice's things and must not be shown: ids of requests, digests, and whatever has her name in it.
my @digests = split /\n/, sql(q{SELECT encode(digest, 'hex') FROM pynomaly_kernel.artifact WHERE owner = 'alice'::regrole});
cmp_ok(scalar @digests, '>=', 4, 'alice has sketches and models');
my $hex = join '|', map { unpack 'H*', $_ } qw(hideout secretplace alice);
my $name = join '|', 'alice', values %id, @digests, $hex;
my $hidden = qr/$secret|$name/i;

# ---------------------------------------------------------------- what bob may read

sub readable
{
	return split /\n/, as($_[0], q{SELECT oid::regclass FROM pg_class WHERE relnamespace::regnamespace::text ~ '^pynomaly' AND relkind NOT IN ('i', 'S', 'c', 't')
		AND has_any_column_privilege(oid, 'SELECT') ORDER BY 1});
}
sub everything { return as($_[0], join '', map { "SELECT '$_', x::text FROM $_ AS x;" } readable($_[0])); }
my @of_bob = readable('bob');
cmp_ok(scalar @of_bob, '>=', 25, 'bob may read many tables and views');
my $all = everything('bob');
unlike($all, qr/ERROR/, 'which he does');
like($all, qr/bob\.things.*thing1/s, 'he sees what is his');
unlike($all, $hidden, "nothing of alice's, be it values, names, ids, errors or counts by her name, is in any of them");
my $of_alice = everything('alice');
like($of_alice, qr/$_/i, "which would have been found: $_") foreach 'hideout', 'secretplace', '987654321', $id{done}, $id{broken}, $digests[0];
my $of_sam = everything('sam');
unlike($of_sam, $hidden, 'nor does another system, sam, see anything of hers');
# The audit trail has the calls' arguments: what alice wrote herself, not what is in her table.
my @of_adam = split /\n/, everything('adam');
is(join("\n", grep { $_ =~ $hidden && !/^pynomaly\.audit\|/ } @of_adam), '', 'nor an administrator, beyond the audit trail');
is(join("\n", grep { $_ =~ $secret && !/"reason"|"note"|mlops\.(promote|rollback)|set_anomaly_status|add_rule/ } @of_adam), '', 'which has what she called, not what is in her table');
like(everything('postgres'), qr/hideout.*$id{done}/s, 'a superuser sees all');

# A function that tells what it is given, and costs so little that the planner would have it called first.
my $leaks = as('bob', q{CREATE FUNCTION bob.leak(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$BEGIN RAISE NOTICE '%', what; RETURN false; END$$;}
	. join '', map { "SELECT FROM $_ AS x WHERE bob.leak(x::text);" } @of_bob);
like($leaks, qr/NOTICE.*thing1/, 'a function in a condition is given what bob sees');
unlike($leaks, $hidden, 'and nothing else');
my @tables = split /\n/, sql(q{SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND oid::regclass::text IN (} . join(', ', map { "'$_'" } @of_bob) . ')');
my $copies = as('bob', join '', map { "COPY $_ TO STDOUT;" } @tables);
like($copies, qr/bob\.things/, 'he can copy what he sees');
unlike($copies, $hidden, 'and nothing else');
unlike(as('bob', q{SELECT s::text FROM pg_stats s; SELECT s::text FROM pg_stats_ext s}), $secret, "nor do PostgreSQL's statistics show him values");

# ---------------------------------------------------------------- what bob may call

# Each call with her name or id and with one that nobody has: the answers must be the same.
my %of_alice = (
	anomaly => sql(q{SELECT min(id) FROM pynomaly_data_science.anomaly WHERE owner = 'alice'::regrole}),
	detection => sql(q{SELECT min(id) FROM pynomaly_data_science.detection WHERE owner = 'alice'::regrole}),
	profile => sql(q{SELECT max(id) FROM pynomaly_data_profiling.profile WHERE owner = 'alice'::regrole}),
	mine => sql(q{SELECT max(id) FROM pynomaly_data_profiling.profile WHERE owner = 'bob'::regrole}),
	rule => sql(q{SELECT min(id) FROM pynomaly_data_quality.rule WHERE owner = 'alice'::regrole}),
	request => $id{done}, waiting => $id{waiting}, model => 'alices_model', other => 'alices_other');
my %of_nobody = (anomaly => 1000001, detection => 1000002, profile => 1000003, rule => 1000004, mine => $of_alice{mine}, model => 'xlices_model', other => 'xlices_other',
	request => '01a2216c-ae4d-7d89-a61b-000000000001', waiting => '01a2216c-ae4d-7d89-a61b-000000000002');
my %calls = (
	"report('#request')" => '42704', "wait('#request', '0 s')" => '42704', "wait('#waiting', '0 s')" => '42704', "cancel('#request')" => '42704',
	"cancel('#waiting')" => '42704', "request_anomalies('#request')" => 'row: (,,,,,,)', "set_anomaly_status(#anomaly, 'ignored')" => '42704',
	"feedback(#anomaly, 'anomaly')" => '42704',
	"compare_profiles(#profile)" => '42704', "compare_profiles(#mine, #profile)" => '42704', "compare_profiles(#profile, #mine)" => '42704',
	"promote('#model/1')" => '42704', "promote('#other/2', 'stolen')" => '42704', "rollback('#other')" => '42704', "drop_model('#model')" => '42704',
	"score('#model', 1.0::float8, 'x'::text)" => '42704', "is_anomaly('#model\@champion', 1.0::float8, 'x'::text)" => '42704',
	"explain('#other/1', 1.0::float8, 'x'::text)" => '42704', "detect('bob.things', model => '#model')" => '42704',
	"submit('bob.things', model => '#model\@champion')" => '42704', "submit('bob.things', model => '#other/1')" => '42704', "drop_rule(#rule)" => '42704');
my @calls = sort keys %calls;
my @real = try_all('bob', map { "SELECT * FROM pynomaly.$_" =~ s/#(\w+)/$of_alice{$1}/gr } @calls);
my @none = try_all('bob', map { "SELECT * FROM pynomaly.$_" =~ s/#(\w+)/$of_nobody{$1}/gr } @calls);
while (my ($i, $call) = each @calls)
{
	like($real[$i], qr/^\Q$calls{$call}\E( \| |$)/, "bob: $call");
	foreach my $what ($call =~ /#(\w+)/g)
	{
		$real[$i] =~ s/\b$of_alice{$what}\b/#$what/g;
		$none[$i] =~ s/\b$of_nobody{$what}\b/#$what/g;
	}
	is($real[$i], $none[$i], "bob: $call tells not whether there is such a thing");
}
my @owned = ("unsubscribe('alice hears')", "resume('alice hears')", "replay('alice hears', '-infinity')", "redrive('alice fails')", "unschedule('alice ticks')");
my @owned_answers = try_all('bob', map { "SELECT pynomaly.$_" } @owned);
like($owned_answers[$_], qr/^42501 \| must be owner of /, "bob: $owned[$_]") foreach 0 .. $#owned;
my @refused = ("SELECT pynomaly_kernel.get_artifact('\\x$digests[0]')", "SELECT pynomaly_kernel.publish('shop.paid.v1', NULL, '{}')", 'CALL pynomaly.process_events()',
	q{SELECT pynomaly_kernel.call('data_science', 'anomalies', '{"detection": 1}')}, q{SELECT pynomaly_mlops.get_model('{"name": "alices_model"}')},
	q{SELECT pynomaly_data_science.process_dataset('{"source": "alice.ledger"}')}, q{SELECT pynomaly.limit_role('alice', 0)}, 'SELECT * FROM pynomaly.verify_audit()',
	'SELECT * FROM pynomaly.audit', 'SELECT * FROM pynomaly.health()', 'SELECT pynomaly.create_roles()', 'SELECT pynomaly.stop()',
	'SELECT FROM pynomaly_gateway.request FOR SHARE', 'SELECT FROM pynomaly.requests FOR UPDATE', 'LOCK TABLE pynomaly_gateway.request IN ROW EXCLUSIVE MODE');
my @refusals = try_all('bob', @refused);
like($refusals[$_], qr/^42501 \| permission denied/, "bob: $refused[$_]") foreach 0 .. $#refused;
isnt(submit('bob', q{'bob.things', model => 'alices_model', idempotency_key => 'alices key'}), $id{done}, 'with her idempotency key he gets a request of his own');
is(as('bob', q{SELECT pynomaly.train('alices_other', 'bob.things')}), 'alices_other/1', 'with the name of her model a model of his own');
is(join(', ', try_all('sam', "SELECT pynomaly_kernel.get_artifact('\\x$digests[0]')", "SELECT pynomaly_kernel.drop_artifact('\\x$digests[0]')")),
	'02000 | role "sam" has no artifact with this digest, row: (f)', 'who knows a digest has not what it names');
work();
is(as('alice', q{SELECT count(*) > 0 FROM pynomaly_data_quality.rule; SELECT string_agg(DISTINCT status, ', ') FROM pynomaly_data_science.anomaly;
	SELECT address FROM pynomaly_mlops.version WHERE 'champion' = ANY (aliases) AND name ~ '^alices' ORDER BY 1; SELECT pynomaly.wait(id, '0 s') FROM pynomaly.requests ORDER BY 1}),
	"t\nacknowledged, open\nalices_model/1\nalices_other/1\ncancelled\ncompleted\ncompleted\nfailed", "all of alice's is as it was, and the request that waited was completed");


# ---------------------------------------------------------------- what sam may publish

my @forged = (
	[ 'data_science.detection_failed.v1', '{"request": "@", "step": "detect", "sqlstate": "XX000", "message": "forged"}' ],
	[ 'data_science.detection_completed.v1', '{"request": "@", "detection": 1, "rows": 1, "anomalies": 0, "seconds": 1}' ],
	[ 'kernel.saga_step_left.v1', '{"request": "@", "step": "detect"}' ], [ 'kernel.saga_ended.v1', '{"request": "@", "definition": "detection", "state": "cancelled"}' ],
	[ 'kernel.event_failed.v1', '{"subscription": "data_science: detect", "event_id": 1, "event_type": "mlops.model_ready.v1", "subject": "@", "attempts": 5, "sqlstate": "XX000"}' ]);
my $target = submit('alice', q{'alice.ledger', contamination => 0.03});
my @forging = try_all('sam', map { "SELECT pynomaly_kernel.publish('$_->[0]', '$target', '" . $_->[1] =~ s/@/$target/r . "')" } @forged);
like($forging[$_], qr/^42501 \| /, "sam is refused to publish $forged[$_][0]") foreach 0 .. $#forged;
my @types_of_ours = split /\n/, sql('SELECT type FROM pynomaly_kernel.event_type WHERE builtin');
is(join(', ', grep { !/^42501 \| / } try_all('sam', map { "SELECT pynomaly_kernel.publish('$_', '$target', '{}')" } @types_of_ours)), '',
	'and any other event of ours');
like((try_all('sam', q{SELECT pynomaly_kernel.publish('shop.paid.v1', NULL, '{}')}))[0], qr/^row: /, 'but not one of his own');
# Even an event of the right type changes nothing unless the request's owner has caused it.
sql(qq{INSERT INTO pynomaly_kernel.event_0
	SELECT nextval('pynomaly_kernel.event_id'), origin, type, 'kernel', '$target', now(), data::jsonb, gen_random_uuid(), NULL, NULL, 0, 'sam', pg_current_xact_id(), NULL
	FROM pynomaly_kernel.event_log, (VALUES } . join(', ', map { "('$_->[0]', '" . $_->[1] =~ s/@/$target/r . "')" } @forged) . ') AS forged (type, data)');
work();
is(status($target), 'completed', "alice's request goes its way");
is(sql("SELECT owner FROM pynomaly_gateway.report WHERE request = '$target'"), 'alice', 'and the report is hers');

# ---------------------------------------------------------------- what others see while it runs

is(as('alice', q{
	CREATE FUNCTION alice.gate(n int) RETURNS int LANGUAGE plpgsql AS $$
		BEGIN IF n = 4711 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; RETURN n; END $$;
	CREATE VIEW alice.slow AS SELECT alice.gate(id) AS id, amount, place FROM alice.ledger;
}), '', 'alice has a view that can be stopped');
sql('SELECT pynomaly.start()');
my $gate = $node->background_psql('postgres');
$gate->query('SELECT pg_advisory_lock(4711);');
my $listener = $node->background_psql('postgres', extra_params => [ '-U', 'bob' ]);
$listener->query("LISTEN $_;") foreach 'pynomaly', map { "pynomaly_$_" } qw(gateway kernel data_science data_quality data_profiling mlops);
my $slow = submit('alice', q{'alice.slow', model => 'alices_model'});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted});
my $activity = as('bob', q{SELECT a::text FROM pg_stat_activity a; SELECT l::text FROM pg_locks l; SELECT p::text FROM pg_stat_progress_copy p; SELECT b::text FROM pg_stat_database b});
my $worker = sql(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted});
like($activity, qr/^\(\d+,postgres,$worker,.*<insufficient privilege>/m, 'bob sees a worker, but not what it does');
unlike($activity, $hidden, 'nor anything of hers');
foreach my $role (qw(alice bob adam))
{
	my @signals = try_all($role, "SELECT pg_cancel_backend($worker)", "SELECT pg_terminate_backend($worker)");
	is(scalar(grep { /^42501 \| must be a superuser/ } @signals), 2, "$role cannot interrupt the worker");
}
# He has models of these names himself by now.
unlike(everything('bob') =~ s/alices_model|alices_other|alices key//gr, $hidden, 'half done it shows nothing of hers');
is(sql("SELECT status || ' ' || step FROM pynomaly.requests WHERE id = '$slow'"), 'running process', 'it still waits');
$gate->quit;
is(sql("SELECT pynomaly.wait('$slow')"), 'completed', 'and is completed when it may go on');
is(as('alice', q{SELECT 'checked' FROM pynomaly.check('alice.ledger') HAVING count(*) > 0}), 'checked', 'alice checks');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pynomaly.subscriptions WHERE name = 'listeners' AND oldest_waiting IS NOT NULL});
my $told = $listener->query('SELECT 1;');
$listener->quit;
like($told, qr/notification "pynomaly_$_" with payload/, "who listens is told of events of $_") foreach qw(gateway data_science data_quality mlops);
unlike($told, qr/$secret|$hex/, 'but of no values');
is(join("\n", grep { !/^\{"type": "[a-z_.0-9]+", "id": \d+, "subject": "[^"]*"\}$/ } $told =~ /with payload "(.*)" received/g), '', 'only of types, numbers and subjects');

# ---------------------------------------------------------------- names that stand before PostgreSQL's

# mallory's functions and operators are found first, by everybody who says nothing else; she may create in her schema and in public.
sql(q{CREATE ROLE mallory LOGIN; CREATE SCHEMA trap AUTHORIZATION mallory; GRANT USAGE ON SCHEMA trap TO PUBLIC; GRANT CREATE ON SCHEMA public TO mallory});
my @types = qw(text name oid bigint integer smallint bytea uuid jsonb xid8 timestamptz interval regrole regclass boolean numeric float8);
my @functions = map { [ split / returns / ] } (
	'now() returns timestamptz', 'clock_timestamp() returns timestamptz', 'gen_random_uuid() returns uuid', 'current_database() returns name',
	'pg_has_role(oid, text) returns boolean', 'pg_has_role(oid, oid, text) returns boolean', 'jsonb_build_object(text, text) returns jsonb',
	'jsonb_strip_nulls(jsonb) returns jsonb', 'jsonb_array_elements(jsonb) returns jsonb', 'encode(bytea, text) returns text', 'format(text, integer) returns text',
	'upper_inf(tstzrange) returns boolean', 'nextval(regclass) returns bigint', 'array_length(anyarray, integer) returns integer', 'octet_length(bytea) returns integer',
	'pg_current_xact_id_if_assigned() returns xid8', 'pg_visible_in_snapshot(xid8, pg_snapshot) returns boolean', 'left(text, integer) returns text',
	'split_part(text, text, integer) returns text', 'date_trunc(text, timestamptz) returns timestamptz', 'member(jsonb, text) returns jsonb',
	'member_text(jsonb, text) returns text', 'joined(text, text) returns text', 'has(jsonb, text) returns boolean', 'contains(jsonb, jsonb) returns boolean',
	map { ("compared($_, $_) returns boolean", "max($_) returns $_", "min($_) returns $_") } @types);
my $functions = join '', map {
	my ($signature, $type) = @$_;
	map { "CREATE FUNCTION $_.$signature RETURNS $type LANGUAGE plpgsql SET search_path = pg_catalog AS
		\$\$BEGIN PERFORM trap.sprung('$_.$signature'); RETURN NULL; END\$\$;" } qw(trap public) } @functions;
my $operators = join '', map {
	my $type = $_;
	map { "CREATE OPERATOR trap.$_ (FUNCTION = trap.compared, LEFTARG = $type, RIGHTARG = $type);" } ('=', '<>', '>=', '<=', '<', '>') } grep { !/^reg/ } @types;
is(as('mallory', q{
	SET search_path = pg_catalog;
	CREATE FUNCTION trap.sprung(what text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE LOG 'trap % sprung by %', what, current_user; END$$;
	} . $functions . $operators
	. q{CREATE OPERATOR trap.-> (FUNCTION = trap.member, LEFTARG = jsonb, RIGHTARG = text); CREATE OPERATOR trap.->> (FUNCTION = trap.member_text, LEFTARG = jsonb, RIGHTARG = text);
	CREATE OPERATOR trap.|| (FUNCTION = trap.joined, LEFTARG = text, RIGHTARG = text); CREATE OPERATOR trap.? (FUNCTION = trap.has, LEFTARG = jsonb, RIGHTARG = text);
	CREATE OPERATOR trap.@> (FUNCTION = trap.contains, LEFTARG = jsonb, RIGHTARG = jsonb);
	CREATE VIEW trap.pg_roles AS SELECT oid, rolname FROM pg_catalog.pg_roles WHERE trap.sprung('pg_roles') IS NULL;
	CREATE VIEW trap.pynomaly_flagged AS SELECT 1 AS key WHERE trap.sprung('pynomaly_flagged') IS NULL}), '', 'mallory has functions, operators and views like those of PostgreSQL');
sql('SELECT pynomaly.stop()');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%' AND datname = 'postgres'});
sql('ALTER DATABASE postgres SET search_path = trap, pg_catalog, public');
is(as('bob', q{SELECT now() IS NULL}), 't', 'bob finds them');
my $everything = q{
	SELECT pynomaly.submit('bob.things', model => 'bobs', idempotency_key => 'bobs') AS request \gset
	SELECT pynomaly.submit('bob.things', model => 'bobs', idempotency_key => 'bobs') IS NULL;
	SELECT pynomaly.cancel(pynomaly.submit('bob.things')) IS NULL;
	SELECT FROM pynomaly.profile('bob.things'); SELECT FROM pynomaly.profile('bob.things', '{size}', '{id}'); SELECT FROM pynomaly.check('bob.things');
	SELECT pynomaly.add_rule('bob.things', 'row_count', low => 1) AS rule \gset
	SELECT FROM pynomaly.check('bob.things'); SELECT pynomaly.drop_rule(:rule) IS NULL;
	SELECT pynomaly.train('bobs', 'bob.things') IS NULL; SELECT pynomaly.train('bobs', 'bob.things', '{size}') IS NULL; SELECT pynomaly.promote('bobs/1', 'other', 'why not') IS NULL;
	SELECT pynomaly.promote('bobs/2', 'other') IS NULL; SELECT pynomaly.rollback('bobs', 'other') IS NULL;
	SELECT FROM pynomaly.detect('bob.things'); SELECT FROM pynomaly.anomalies('bob.things', model => 'bobs');
	SELECT pynomaly.score('bobs', 1, 1, 'x'::pg_catalog.text) IS NULL;
	SELECT pynomaly.report(:'request') IS NULL; SELECT FROM pynomaly.request_anomalies(:'request');
	SELECT FROM pynomaly.requests; SELECT FROM pynomaly.timeline; SELECT FROM pynomaly.events; SELECT FROM pynomaly.subscriptions;
	SELECT FROM pynomaly.retries; SELECT FROM pynomaly.schedules;
	SELECT FROM pynomaly_data_science.found_anomaly; SELECT FROM pynomaly_data_quality.latest_result; SELECT FROM pynomaly_data_profiling.latest_change; SELECT FROM pynomaly_mlops.version;
	SELECT pynomaly.subscribe('shop.*', 'bob.handler', 'of bob') IS NULL; SELECT pynomaly.unsubscribe('of bob') IS NULL;
	SELECT pynomaly.drop_model('bobs') IS NULL; SELECT FROM pynomaly.services();
};
unlike(as('bob', $everything), qr/ERROR/, 'with them before all he calls everything');
unlike(as('postgres', q{SELECT pynomaly.limit_role('alice', 5) IS NULL; SELECT pynomaly.limit_role('alice') IS NULL; CALL pynomaly.process_events(); SELECT FROM pynomaly.health();
	SELECT FROM pynomaly.verify_audit(); SELECT FROM pynomaly.audit; SELECT pynomaly.create_roles() IS NULL; SELECT pynomaly.start() IS NULL}), qr/ERROR/, 'and so does a superuser');
my $among_traps = as('bob', q{SELECT pynomaly.submit('bob.things')});
is(as('bob', "SELECT pynomaly.wait('$among_traps')"), 'completed', 'the worker completes a request');
sql('ALTER DATABASE postgres RESET search_path');

# ---------------------------------------------------------------- what the server has logged

$node->stop;
my $log = slurp_file($node->logfile);
is(join("\n", grep { !/trap\.now\(\) sprung by bob/ } $log =~ /trap .* sprung by .*/g), '',
	'nothing of hers was called in his name or the superuser\'s, but where he called it himself');
like($log, qr/trap\.now\(\) sprung by bob/, 'which the log tells of');
like($log, qr/subscription "alice fails" gave up event/, 'it tells of an event that was given up');
unlike($log, $secret, "and has none of alice's values");
done_testing();

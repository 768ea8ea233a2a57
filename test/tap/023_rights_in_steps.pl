#
# 023_rights_in_steps.pl
#	What is read for a role is read as that role: with its privileges when it is read, with the policies that hold for it,
#	and with no more power for what runs on the way.
#
# alice asks; bob owns what she may read in part or not at all.
#
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use Askers;

my $node = start_server('steps', 'pynomaly.kernel_poll_interval = 100ms', 'pynomaly.kernel_lock_timeout = 100ms');

foreach my $role (qw(alice bob))
{
	sql(qq{CREATE ROLE $role LOGIN; GRANT pynomaly_data_scientist TO $role;
		CREATE SCHEMA $role AUTHORIZATION $role; GRANT USAGE ON SCHEMA $role TO PUBLIC});
}

# ---------------------------------------------------------------- what she may not read

is(as('bob', q{
	CREATE TABLE bob.vault AS SELECT i AS id, i % 7 AS a, 660066 + i % 7 AS b FROM generate_series(1, 300) AS i;
	CREATE TABLE bob.partly AS TABLE bob.vault;
	CREATE TABLE bob.policied AS TABLE bob.vault;
	CREATE VIEW bob.invoking WITH (security_invoker) AS TABLE bob.vault;
	CREATE VIEW bob.shown AS SELECT id, a FROM bob.vault;
	ALTER TABLE bob.policied ENABLE ROW LEVEL SECURITY;
	CREATE POLICY looks_elsewhere ON bob.policied USING (a IN (SELECT v.a FROM bob.vault v));
	GRANT SELECT (id, a) ON bob.partly TO alice;
	GRANT SELECT ON bob.policied, bob.invoking, bob.shown TO alice;
}), '', 'bob has tables');
sql(q{CREATE SCHEMA hidden; CREATE TABLE hidden.t AS TABLE bob.vault; GRANT SELECT ON hidden.t TO alice});
is(as('alice', q{CREATE VIEW alice.peek AS TABLE bob.vault; CREATE VIEW alice.peek_further AS SELECT * FROM alice.peek WHERE a < 100}), '', 'alice makes views of one');
my $hidden = sql(q{SELECT 'hidden.t'::regclass::oid});
foreach my $source (q{'bob.vault'}, q{'bob.partly', columns => '{id,b}'}, q{'bob.partly', columns => '{a}', key => '{b}'}, q{'alice.peek'}, q{'alice.peek_further'}, q{'bob.invoking'},
	q{'bob.policied'}, "$hidden\::oid::regclass")
{
	my @answers = try_all('alice', map { "SELECT count(*) FROM pynomaly.$_" } "detect($source)", "anomalies($source)", "sketch_of($source)", "submit($source)",
		"profile($source)", "\"check\"($source)", "train('stolen', $source)");
	is(join("\n", grep { !/^42501: permission denied for / } @answers), '', "alice is refused $source by detect and submit alike, and by every other call");
}
is(sql('SELECT count(*) FROM pynomaly_data_science.dataset'), '0', 'of which nothing was stored');
my $partly = submit('alice', q{'bob.partly'});
my $shown = submit('alice', q{'bob.shown'});
work();
is(outcome($partly), 'completed', 'what she may read in part is read in part');
is(as('alice', "SELECT r #>> '{data,rows}', r #>> '{model,columns}', r::text ~ '6600' FROM pynomaly.report('$partly') AS r"),
	'300|["id", "a"]|f', 'without the column that she may not read');
is(outcome($shown), 'completed', 'a view shows her what its owner shows her');

# ---------------------------------------------------------------- what she may not read any more

is(as('bob', q{
	CREATE TABLE bob.lent AS TABLE bob.vault;
	CREATE TABLE bob.lent_below AS TABLE bob.vault;
	CREATE TABLE bob.lent_in_part AS TABLE bob.vault;
	CREATE TABLE bob.dropped AS TABLE bob.vault;
	CREATE TABLE bob.lent_longer AS TABLE bob.vault;
	GRANT SELECT ON bob.lent, bob.lent_below, bob.lent_in_part, bob.dropped, bob.lent_longer TO alice;
}), '', 'bob lends some tables');
is(as('alice', 'CREATE VIEW alice.over_lent AS TABLE bob.lent_below'), '', 'alice makes a view of one');
my %lent = (
	'bob.lent' => '42501: permission denied for table lent', 'alice.over_lent' => '42501: permission denied for table lent_below', 'bob.dropped' => '42P01: relation .*does not exist',
	q{bob.lent_in_part', columns => '{id,b}} => '42501: permission denied for table lent_in_part');
# One event after the other, until the first of them has been read.
my $late = submit('alice', q{'bob.lent_longer'});
my $is_read = "SELECT count(*) FROM pynomaly.events WHERE subject = '$late' AND type = 'data_science.dataset_processed.v1'";
for (1 .. 20) { last if sql("CALL pynomaly.process_events(1); $is_read") eq '1'; }
is(sql($is_read), '1', 'one is read before');
my %request = map { $_ => submit('alice', "'$_'") } sort keys %lent;
is(as('bob', q{
	REVOKE SELECT ON bob.lent, bob.lent_below, bob.lent_in_part FROM alice;
	GRANT SELECT (id, a) ON bob.lent_in_part TO alice;
	DROP TABLE bob.dropped;
}), '', 'bob wants them back');
is(as('bob', 'REVOKE SELECT ON bob.lent_longer FROM alice'), '', 'also the one of which the rows are still to be judged');
work();
foreach my $source (sort keys %lent)
{
	like(outcome($request{$source}), qr/^failed: $lent{$source}$/, "the request for $source fails and says why");
}
is(outcome($late), 'failed: 42501: permission denied for table lent_longer', 'the one that had been read fails, too');
is(sql("SELECT string_agg(name || ' ' || state, ', ' ORDER BY step) FROM pynomaly.timeline WHERE request = '$late' AND name IN ('process', 'train', 'detect')"),
	'process compensated, train compensated, detect failed', 'and what had been done is undone');
is(sql(q{SELECT count(*) FROM pynomaly_data_science.dataset_version v JOIN pynomaly_data_science.dataset d ON d.id = v.dataset
	WHERE d.source::oid NOT IN ('bob.partly'::regclass, 'bob.shown'::regclass)}), '0', 'no sketch of them is left');
unlike(as('alice', q{SELECT r::text FROM pynomaly.requests r; SELECT pynomaly.report(id) FROM pynomaly.requests}), qr/6600/, 'no reason shows values');

# ---------------------------------------------------------------- row-level security

is(as('bob', q{
	CREATE TABLE bob.shared (id int PRIMARY KEY, tenant name NOT NULL, amount int NOT NULL);
	INSERT INTO bob.shared SELECT i, CASE WHEN i % 2 = 0 THEN 'alice' ELSE 'bob' END, CASE WHEN i % 2 = 0 THEN 10 ELSE 880088 END + i % 7 FROM generate_series(1, 600) AS i;
	INSERT INTO bob.shared VALUES (1001, 'alice', 5000), (1002, 'bob', 99009900);
	ALTER TABLE bob.shared ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own_half ON bob.shared USING (tenant = current_user);
	GRANT SELECT ON bob.shared TO alice;
}), '', 'bob has a table of which each sees half');
my $half = submit('alice', q{'bob.shared', columns => '{amount}'});
my $half_later = submit('alice', q{'bob.shared', columns => '{amount}', contamination => 0.02});
# Who dumps databases has row_security off; what he sets is not for those whose work he does.
work('SET row_security = off; SET work_mem = 64; SET transform_null_equals = on;');
is(outcome($_), 'completed', 'her requests are completed') foreach $half, $half_later;
is(as('alice', qq{SELECT r #>> '{data,rows}', r #>> '{profile,rows}', r #>> '{quality,rows}', r #>> '{model,training_rows}', r #>> '{data,detection,rows}',
		r #>> '{profile,columns,0,maximum}', r #>> '{data,detection,worst,0,key,id}', r::text ~ '8800|99009900|1002' FROM pynomaly.report('$half') AS r}),
	'301|301|301|301|301|5000|1001|f', 'sketch, profile, checks, model and anomalies are of the half that her policy shows');
is(as('alice', q{SELECT count(*), count(*) FILTER (WHERE key ->> 'id' = '1002') FROM pynomaly.detect('bob.shared', '{amount}')}), '301|0', 'as in the call that stores nothing');
is(as('alice', q{SELECT "rows", maximum FROM pynomaly.profile('bob.shared', '{amount}')}), '301|5000', 'and in a profile');

# Tables of ours are read like any other.
my $of_bob = submit('bob', q{'bob.vault'});
my $ours = submit('alice', q{'pynomaly_data_science.dataset', columns => '{id,created_at}'});
my $not_hers = submit('alice', q{'pynomaly.requests', columns => '{status}', key => '{id}'});
work();
is(as('alice', qq{
	SELECT pynomaly.report('$ours') #>> '{data,rows}' = count(*)::text FROM pynomaly_data_science.dataset;
	SELECT pynomaly.report('$not_hers') #>> '{data,rows}' = count(*)::text FROM pynomaly.requests;
}), "t\nt", 'of our own tables she has in a step what she sees herself');
is(sql(qq{SELECT count(*) > 0 FROM pynomaly_data_science.dataset WHERE owner <> 'alice'::regrole}), 't', 'where others have some, too');
is((try_all('alice', q{SELECT pynomaly.submit('pynomaly_kernel.event')}))[0], '42501: permission denied for table event', 'and no more');

# ---------------------------------------------------------------- what runs on the way

# What she tries from inside, and the SQLSTATE that it must have.
my %tries = (
	'SET ROLE postgres' => '42501', 'SET LOCAL ROLE alice' => '42501', 'RESET ROLE' => '42501', 'SET SESSION AUTHORIZATION postgres' => '42501',
	q{SELECT set_config('role', 'postgres', false)} => '42501', 'SET session_replication_role = replica' => '42501',
	q{SELECT set_config('pynomaly.gateway_max_active', '9', false)} => '42501', 'ALTER ROLE alice SUPERUSER' => '42501', 'GRANT postgres TO alice' => '42501',
	q{COPY alice.outcome TO PROGRAM 'true'} => '42501', q{SELECT pg_read_file('PG_VERSION')} => '42501',
	q{CREATE FUNCTION alice.c() RETURNS void LANGUAGE c AS 'pynomaly', 'pyn_stop'} => '42501',
	'CREATE TEMPORARY TABLE t (n int)' => '42501', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1' => '42501', 'CALL pynomaly.process_events()' => '42501',
	'SELECT pg_cancel_backend(pg_backend_pid())' => '42501', 'SELECT pg_terminate_backend(pg_backend_pid())' => '42501',
	'SELECT FROM bob.vault' => '42501', 'SELECT FROM hidden.t' => '42501', 'SELECT FROM pynomaly_kernel.event_0' => '42501', 'SELECT FROM pynomaly_kernel.artifact' => '42501',
	'DELETE FROM pynomaly_gateway.request' => '42501', q{SELECT pynomaly_kernel.publish('shop.paid.v1', NULL, '{}')} => '42501',
	'SET CONSTRAINTS ALL DEFERRED; INSERT INTO alice.deferring VALUES (1)' => '42501', 'INSERT INTO alice.deferring VALUES (2)' => '00000',
	q{SET search_path = alice; SET work_mem = '77kB'; SET my.own = 'stays'; SET row_security = off} => '00000',
	q{DO 'BEGIN IF EXISTS (SELECT FROM pynomaly.requests WHERE owner <> ''alice''::regrole) THEN RAISE EXCEPTION ''sees others''; END IF; END'} => '00000');
my $tries = join ', ', map { "\$try\$$_\$try\$" } sort keys %tries;
is(as('alice', qq{
	CREATE TABLE alice.outcome (place text, command text, sqlstate text, who name, superuser boolean);
	CREATE TABLE alice.deferring (n int);
	CREATE FUNCTION alice.at_commit() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN INSERT INTO alice.outcome SELECT 'trigger', '', '00000', current_user, rolsuper FROM pg_roles WHERE rolname = current_user; RETURN NULL; END\$\$;
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON alice.deferring DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION alice.at_commit();
	CREATE FUNCTION alice.escape(n int, where_from text) RETURNS boolean LANGUAGE plpgsql AS \$\$
	DECLARE
		try text;
		code text;
		is_super boolean := (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
	BEGIN
		IF n = 1 THEN
			RAISE LOG 'escape from % as % which is %', where_from, current_user, CASE WHEN is_super THEN 'SUPERUSER' ELSE 'no superuser' END;
			FOREACH try IN ARRAY ARRAY[$tries] LOOP
				code := '00000';
				BEGIN
					EXECUTE try;
				EXCEPTION WHEN OTHERS THEN
					code := sqlstate;
				END;
				INSERT INTO alice.outcome VALUES (where_from, try, code, current_user, is_super);
			END LOOP;
		END IF;
		RETURN true;
	END \$\$;
	CREATE TABLE alice.mine AS SELECT i AS id, i % 7 AS a FROM generate_series(1, 300) AS i;
	CREATE VIEW alice.trap AS SELECT id, a FROM alice.mine WHERE alice.escape(id, 'a view');
	CREATE TABLE alice.guarded AS TABLE alice.mine;
	ALTER TABLE alice.guarded ENABLE ROW LEVEL SECURITY;
	ALTER TABLE alice.guarded FORCE ROW LEVEL SECURITY;
	CREATE POLICY trap ON alice.guarded USING (alice.escape(id, 'a policy'));
}), '', 'alice has a view and a policy with a function of hers');
is(as('bob', q{
	CREATE TABLE bob.settings (what text);
	CREATE FUNCTION bob.look(n int) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF n = 1 THEN
			INSERT INTO bob.settings SELECT concat_ws('; ', current_user, current_setting('search_path'), current_setting('work_mem'),
				current_setting('row_security'), nullif(current_setting('my.own', true), ''));
		END IF;
		RETURN true;
	END $$;
	CREATE VIEW bob.looks AS SELECT id, a FROM bob.vault WHERE bob.look(id);
}), '', 'and bob one that looks at settings');

# Clears away and gives what her function has noted.
sub check_escapes
{
	my ($where) = @_;
	is(sql(q{SELECT string_agg(DISTINCT command || ': ' || sqlstate, E'\n') FROM alice.outcome WHERE place <> 'trigger'}), join("\n", map { "$_: $tries{$_}" } sort keys %tries),
		"$where: every escape ends with its SQLSTATE, what is hers works");
	is(sql(q{SELECT string_agg(DISTINCT concat_ws(' ', place, 'as', who, superuser), ', ') FROM alice.outcome}),
		'a policy as alice f, a view as alice f, trigger as alice f', "$where: all of it ran as alice");
	sql('TRUNCATE alice.outcome, alice.deferring');
}

my @traps = (submit('alice', q{'alice.trap'}), submit('alice', q{'alice.guarded'}), submit('bob', q{'bob.looks'}));
# Not by an administrator but by a superuser, who has most to lose.
is(as('postgres', 'CALL pynomaly.process_events()'), '', 'a superuser does what waits');
is(outcome($_), 'completed', 'the request is completed all the same') foreach @traps;
check_escapes('session');
is(sql(q{SELECT string_agg(DISTINCT what, ' | ') FROM bob.settings}), 'bob; pg_catalog, pg_temp; 4MB; on', 'nothing that she has set is there for bob');

# Errors of hers that look like something else.
is(as('alice', q{
	CREATE FUNCTION alice.loud(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION '%', repeat('loud', 50000) USING DETAIL = repeat('detail', 50000); END $$;
	CREATE FUNCTION alice.pretends(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'was not cancelled' USING ERRCODE = '57014'; END $$;
	CREATE VIEW alice.loud AS SELECT alice.loud(id) AS id, a FROM alice.mine;
	CREATE VIEW alice.pretends AS SELECT alice.pretends(id) AS id, a FROM alice.mine}), '', 'alice has functions that fail');
my $pretends = submit('alice', q{'alice.pretends'});
my $loud = submit('alice', q{'alice.loud'});
my $after = submit('bob', q{'bob.looks', columns => '{a}'});
for (1 .. 5) { work(); last if sql(q{SELECT count(*) FROM pynomaly.requests WHERE ended_at IS NULL}) eq '0'; }
is(outcome($pretends), 'failed: 57014: was not cancelled', 'an error that pretends to be a cancellation fails the request, and stops nobody who does the work');
like(outcome($loud), qr/^failed: P0001: (loud){10}/, 'an endless message is told');
cmp_ok(length(outcome($loud)), '<', 8192, 'but not all of it');
is(outcome($after), 'completed', "and bob's request behind them is completed");

sql('SELECT pynomaly.start()');
sql('TRUNCATE bob.settings');
@traps = (submit('alice', q{'alice.trap'}), submit('alice', q{'alice.guarded'}), submit('bob', q{'bob.looks'}));
is(sql("SELECT pynomaly.wait('$_')"), 'completed', 'the worker completes the request') foreach @traps;
check_escapes('worker');
is(sql(q{SELECT string_agg(DISTINCT what, ' | ') FROM bob.settings}), 'bob; pg_catalog, pg_temp; 4MB; on', 'nothing that she has set is there for bob');

# ---------------------------------------------------------------- transactions that stay open

# What she has locked and not committed holds her own requests up, and nobody else's.
sub stop_workers
{
	sql('SELECT pynomaly.stop()');
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%' AND datname = 'postgres'});
}
stop_workers();
sql('GRANT SELECT ON bob.vault TO alice');
my %held = (
	'cancel' => submit('alice', q{'alice.mine', contamination => 0.03}), 'profile' => submit('alice', q{'alice.mine'}),
	'train' => submit('alice', q{'alice.trap', columns => '{a}', model => 'new'}), 'LOCK TABLE' => submit('alice', q{'alice.guarded', columns => '{id}'}));
my $open = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ]);
$open->query(qq{BEGIN; SELECT pynomaly.cancel('$held{cancel}'); SELECT count(*) FROM pynomaly.profile('alice.mine');
	SELECT pynomaly.train('new', 'bob.vault'); LOCK TABLE alice.guarded;});
my $free = submit('bob', q{'bob.vault'});
sql('SELECT pynomaly.start()');
is(sql("SELECT pynomaly.wait('$free', '60 s')"), 'completed', "bob's request is completed meanwhile");
$open->query('COMMIT;');
$open->quit;
is(sql("SELECT pynomaly.wait('$held{cancel}', '60 s')"), 'cancelled', 'what she has cancelled is cancelled when she commits');
like(sql("SELECT pynomaly.wait(id, '60 s') || ' ' || coalesce(sqlstate, '') FROM pynomaly.requests WHERE id = '$held{$_}'"), qr/^(completed |failed 55P03)$/, "what she held up by $_ comes to an end")
	foreach grep { $_ ne 'cancel' } sort keys %held;

# The same where the step waits for another attempt.
$node->append_conf('postgresql.conf', 'pynomaly.kernel_retry_delay = 2s');
$node->reload;
stop_workers();
my $retried = submit('alice', q{'alice.guarded', columns => '{id}'});
$open = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ]);
$open->query('BEGIN; LOCK TABLE alice.guarded;');
sql('SELECT pynomaly.start()');
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pynomaly.retries WHERE subject = '$retried' AND state = 'waiting'");
$open->query("SELECT pynomaly.cancel('$retried');");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pynomaly.retries WHERE subject = '$retried' AND due_at > clock_timestamp()");
my $free_too = submit('bob', q{'bob.vault'});
is(sql("SELECT pynomaly.wait('$free_too', '60 s')"), 'completed', "bob's request is completed while a step of hers waits for an attempt");
$open->query('COMMIT;');
$open->quit;
is(sql("SELECT pynomaly.wait('$retried', '60 s')"), 'cancelled', 'which is left when she commits');

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/escape from a $_ as alice which is no superuser/, "the server's log tells of her function in a $_") foreach qw(view policy);
unlike($log, qr/escape .* which is SUPERUSER/, 'and never of a superuser');
done_testing();

#
# 023_rights_of_roles.pl
#	Requests, models and limits of roles: members share what is their role's, whatever becomes of the role.
#
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use Askers;

my $node = start_server('roles');

sql(q{
	CREATE TABLE public.things AS SELECT i AS id, i % 7 AS a, i % 11 AS b FROM generate_series(1, 300) AS i;
	CREATE TABLE public.teams AS TABLE public.things;
	GRANT SELECT ON public.things TO PUBLIC;
});
sql("CREATE ROLE $_ LOGIN; GRANT pynomaly_data_scientist TO $_") foreach qw(alice bob carol dave erin zed);

# ---------------------------------------------------------------- roles and their members

sql(q{CREATE ROLE team; CREATE ROLE lonely LOGIN NOINHERIT; GRANT pynomaly_data_scientist TO team; GRANT team TO carol, dave, lonely; GRANT SELECT ON public.teams TO team});
my $for_team = as('carol', q{SET ROLE team; SELECT pynomaly.submit('public.teams', model => 'teams_model')});
my $of_carol = submit('carol', q{'public.things'});
work();
my $sees = "SELECT status FROM pynomaly.requests WHERE id = '$for_team'";
is(as('carol', $sees), 'completed', 'who asked as a role sees its request');
is(as('dave', "$sees; SELECT pynomaly.report(id) ->> 'status', pynomaly.wait(id) FROM pynomaly.requests; SELECT count(*) > 0 FROM pynomaly.request_anomalies('$for_team')"),
	"completed\ncompleted|completed\nt", "and so does a member of the role, and sees nothing of the other member's own");
is(as('dave', q{SELECT pynomaly.score('teams_model', 5000, 3, 1) IS NOT NULL}), 't', "he may use the role's model");
is(as('dave', qq{SELECT pynomaly.set_anomaly_status(min(id), 'ignored') FROM pynomaly.request_anomalies('$for_team');
	SELECT owner, changed_by FROM pynomaly_data_science.anomaly_history}), "\nteam|dave", 'and judge its anomalies, in his name');
is(as('lonely', "SET ROLE team; $sees"), 'completed', 'one who does not inherit the role sees it after SET ROLE');
is(as('alice', $sees), '', 'who is no member does not');
sql('REVOKE team FROM dave');
is(as('dave', $sees), '', 'nor one who is a member no more');
like(as('dave', q{SELECT pynomaly.score('teams_model', 1, 2, 3)}), qr/ERROR:  model "teams_model" does not exist/, 'for whom its model is gone');

# Nothing can belong to the roles that are there to be granted, since all would have it who have the role.
my @as_role = (q{submit('public.things')}, q{profile('public.things')}, q{"check"('public.things')}, q{add_rule('public.things', 'row_count', low => 1000000)},
	q{train('alices_next', 'public.things')}, q{subscribe('*', 'public.f')}, q{schedule('x', '1 hour', 'public.f')});
sql(q{CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION public.f(pynomaly_kernel.event) RETURNS void LANGUAGE sql AS ''});
my $answers = as('bob', 'SET ROLE pynomaly_data_scientist;' . join '', map { "SELECT public.try(\$try\$SELECT * FROM pynomaly.$_\$try\$);" } @as_role);
is(join("\n", grep { !/^(42501: role "pynomaly_data_scientist" is there to be granted|28000: role "pynomaly_data_scientist" may not log in)/ } split /\n/, $answers), '',
	'as that role he can neither ask for anything nor make anything that would be hers, too');
is(as('alice', q{SELECT count(*) FROM pynomaly.check('public.things') WHERE NOT passed}), '0', 'so no rule of his stops her');

# ---------------------------------------------------------------- roles that change

my $of_erin = submit('erin', q{'public.things'});
sql('ALTER ROLE erin RENAME TO erika');
my %of_zed = (at_once => submit('zed', q{'public.things'}));
my $is_read = "SELECT count(*) FROM pynomaly.events WHERE subject = '$of_zed{at_once}' AND type = 'data_science.dataset_processed.v1'";
for (1 .. 20) { last if sql("CALL pynomaly.process_events(1); $is_read") eq '1'; }
is(sql($is_read), '1', 'the first step for zed is done');
$of_zed{later} = submit('zed', q{'public.things', algorithm => 'ecod'});
my $oid = sql(q{SELECT 'zed'::regrole::oid});
sql('DROP OWNED BY zed; DROP ROLE zed');
my $after_zed = submit('alice', q{'public.things', algorithm => 'ecod'});
work();
is(as('erika', "SELECT status, owner FROM pynomaly.requests WHERE id = '$of_erin'"), 'completed|erika', 'a request belongs to its role under a new name');
is(outcome($after_zed), 'completed', 'a role that was dropped is in nobody\'s way');
like(outcome($of_zed{$_}), qr/^failed: 42704: the role .*dropped/, "its request ($_) fails and says why") foreach sort keys %of_zed;
is(sql("SELECT pynomaly.wait('$_', '0 s') || ' ' || (pynomaly.report('$_') #>> '{reason,sqlstate}')"), 'failed 42704',
	'of which a superuser has the report') foreach sort values %of_zed;
is(sql(q{SELECT count(*) FROM pynomaly.retries}), '0', 'nothing is left to be tried again');
is(sql("SELECT count(*) FROM pynomaly_data_science.dataset_version WHERE owner = $oid"), '0', 'and what had been done for it is undone');
sql('CREATE ROLE zed LOGIN; GRANT pynomaly_data_scientist TO zed');
is(as('zed', 'SELECT count(*) FROM pynomaly.requests; SELECT count(*) FROM pynomaly.events; SELECT count(*) FROM pynomaly_mlops.model'), "0\n0\n0",
	'another role of the same name has nothing of it');
is(sql('SELECT count(*) = (SELECT count(*) FROM pynomaly_gateway.request) FROM pynomaly.requests'), 't', 'a superuser sees all requests');

# ---------------------------------------------------------------- limits

my $over = qr/53400: role "\w+" has reached its limit of \d+ /;
sub limit { is(as('adam', "SELECT pynomaly.limit_role($_[0])"), '', "an administrator limits $_[0]"); return; }
sub submissions
{
	my ($role, $count) = @_;
	return join ', ', map { s/^row: .*/ok/r =~ s/^53400: role "\w+" has reached its limit of (\d+) (.*)/over $1 $2/r }
		try_all($role, (q{SELECT pynomaly.submit('public.things')}) x $count);
}
sql('TRUNCATE pynomaly_gateway.request CASCADE; DELETE FROM pynomaly_kernel.saga');
limit(q{'carol', 2});
is(submissions('carol', 3), 'ok, ok, over 2 active requests', 'no more requests than that are active');
is(submissions('alice', 1), 'ok', 'which does not concern others');
is(as('carol', q{SELECT pynomaly.cancel(max(id::text)::uuid) FROM pynomaly.requests WHERE owner = 'carol'::regrole}), 't', 'one is cancelled');
work();
is(submissions('carol', 3), 'ok, ok, over 2 active requests', 'those that have ended do not count');
limit(q{'team', 1});
sql('GRANT team TO dave');
is(submissions('dave', 2), 'ok, over 1 active requests', 'each member of a limited role is limited by himself');
is(submissions('carol', 1), 'over 1 active requests', 'of several limits the lowest counts');
limit(q{'team', max_per_hour => 2});
work();
is(submissions('dave', 2), 'ok, over 2 requests an hour', 'those of an hour can be limited, too');
limit(q{'team', 0});
is(submissions('dave', 1), 'over 0 active requests', 'none at all may be');
is(submissions('postgres', 2), 'ok, ok', 'a superuser is no member of a role for that');
sql(q{GRANT pynomaly_analyst TO lonely; ALTER ROLE lonely INHERIT});
is(submissions('lonely', 1), 'over 0 active requests', 'a further member is limited, too');
limit(q{'team'});
work();
is(submissions('dave', 2), 'ok, ok', 'without numbers there is no limit');
like(as('adam', q{SELECT pynomaly.limit_role('team', -1)}), qr/ERROR:  a limit must not be negative/, 'a limit is not negative');
like(as('alice', q{SELECT pynomaly.limit_role('alice')}), qr/ERROR:  permission denied for function limit_role/, 'nobody limits himself');
is(sql(q{SELECT count(*) FROM pynomaly.audit WHERE action = 'gateway.limit_role' AND actor = 'adam'}), '5', 'who has limited whom is in the audit trail');

# Two sessions for the last place, in each isolation level: the second one waits for the first.
sql('TRUNCATE pynomaly_gateway.request CASCADE; DELETE FROM pynomaly_kernel.saga');
limit(q{'carol', 1});
my $waits = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 4};
foreach my $try ([ 'READ COMMITTED', 'COMMIT' ], [ 'READ COMMITTED', 'ROLLBACK' ], [ 'REPEATABLE READ', 'COMMIT' ])
{
	my ($level, $end) = @$try;
	my ($first, $second) = map { $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'carol' ]) } 1 .. 2;
	$_->query("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM pynomaly.requests;") foreach $first, $second;
	$first->query(q{SET client_min_messages = warning; SELECT pynomaly.submit('public.things');});
	$second->query_until(qr/asks/, qq{SET client_min_messages = warning;\n\\echo asks\nSELECT public.try(\$\$SELECT pynomaly.submit('public.things')\$\$);\n});
	ok($node->poll_query_until('postgres', $waits), "$level: the second session waits for the first");
	$first->query("$end;");
	my $answer = $second->query('COMMIT; SELECT 1;');
	$end eq 'COMMIT' ? like($answer, $over, "$level: where that commits, the last place is taken") : like($answer, qr/row: /, "$level: where it rolls back, there is one");
	$_->quit foreach $first, $second;
	is(sql(q{SELECT count(*) FROM pynomaly.requests}), '1', 'one request is there');
	sql('TRUNCATE pynomaly_gateway.request CASCADE; DELETE FROM pynomaly_kernel.saga');
}
work();

$node->stop;
done_testing();

#
# 015_extension_update.pl
#	ALTER EXTENSION UPDATE sends the worker away, which has the old version's library; with the next event one comes that
#	works for the new version.  Where the update is rolled back the worker goes on.
#
# The next version is made here, in a copy of the installation, which nobody needs to own: PostgreSQL finds its files
# relative to its programs, so the programs are copied and the rest is linked.
#
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %system = map { $_ => `pg_config --$_` =~ s/\s+$//r } qw(bindir sharedir pkglibdir);
my $programs = dirname(PostgreSQL::Test::Utils::run_command([ 'which', 'postgres' ]));
my ($root) = $programs =~ /^(.*)\Q$system{bindir}\E$/ or die "$programs does not end like $system{bindir}";
my $copy = PostgreSQL::Test::Utils::tempdir();

# Links what is in a folder of the installation, except for folders that are to be made anew.
sub link_files
{
	my ($folder, $except) = @_;
	make_path("$copy$folder");
	foreach my $file (glob "$root$folder/*")
	{
		symlink $file, "$copy$folder/" . basename($file) unless basename($file) eq $except;
	}
}

link_files($system{pkglibdir}, 'bin');
link_files($system{sharedir}, 'extension');
link_files("$system{sharedir}/extension", '');
make_path("$copy$system{bindir}");
foreach my $program (qw(postgres initdb pg_ctl psql))
{
	copy("$programs/$program", "$copy$system{bindir}/$program") or die "$program: $!";
	chmod 0755, "$copy$system{bindir}/$program";
}
symlink "$system{bindir}/pg_config", "$copy$system{bindir}/pg_config";	# of which only the version is asked
append_to_file("$copy$system{sharedir}/extension/pynomaly--0.1.0--next.sql",
	q{COMMENT ON SCHEMA pynomaly IS 'the next version';});

my $node = PostgreSQL::Test::Cluster->new('update', install_path => dirname("$copy$system{bindir}"));
$node->init;
$node->append_conf('postgresql.conf', q{
	autovacuum = off
	pynomaly.kernel_idle_exit = '1h'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly VERSION '0.1.0';
	-- The kernel alone: one domain, whose worker these tests follow.
	DELETE FROM pynomaly_kernel.subscription WHERE builtin AND name <> 'listeners';
	CREATE TABLE seen (subject text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION see(e pynomaly_kernel.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.seen (subject) VALUES ((e).subject) $$;
	SELECT pynomaly_kernel.register_event_type('shop.order_paid.v1', '{}');
	SELECT pynomaly.subscribe('shop.order_paid.v1', 'see', 'see');
	SELECT pynomaly.start();
});
my $version = q{SELECT extversion FROM pg_extension WHERE extname = 'pynomaly'};

# Publishes an event and gives the process that has handled it.
sub handler_of
{
	my ($subject) = @_;
	$node->safe_psql('postgres', "SELECT pynomaly_kernel.publish('shop.order_paid.v1', '$subject', '{}')");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM seen WHERE subject = '$subject'")
		or die "nobody has handled the event $subject";
	return $node->safe_psql('postgres', "SELECT pid FROM seen WHERE subject = '$subject'");
}

my $before = handler_of('before');
$node->safe_psql('postgres', q{BEGIN; ALTER EXTENSION pynomaly UPDATE TO 'next'; ROLLBACK});
is($node->safe_psql('postgres', $version), '0.1.0', 'ALTER EXTENSION UPDATE can be rolled back');
is(handler_of('rolled back'), $before, 'then the worker goes on');

$node->safe_psql('postgres', q{ALTER EXTENSION pynomaly UPDATE TO 'next'});
is($node->safe_psql('postgres', $version), 'next', 'ALTER EXTENSION UPDATE succeeds while a worker is there');
ok($node->poll_query_until('postgres', qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $before)}),
	'the worker leaves');
my $after = handler_of('after');
isnt($after, $before, 'with the next event another one comes');
is(handler_of('and again'), $after, 'and stays');
is($node->safe_psql('postgres', 'SELECT failures FROM pynomaly_kernel.workers()'), '0', 'which is no failure');

$node->stop;
done_testing();

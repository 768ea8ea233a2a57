#
# 005_readme.pl
#	Every command of the README gives the output that is printed there.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$node->start;
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));
my $setup = run_log([ @psql, '-c', 'CREATE EXTENSION pynomaly', '-f', 'examples/payments.sql' ]);
ok($setup, 'the example is loaded as the README says');

my $text = slurp_file('README.md');
my $count = 0;
while ($text =~ /^```sql\n(.*?)^```\n```text\n(.*?)^```$/gms)
{
	my ($commands, $expected) = ($1, $2);
	my ($title) = $commands =~ /pynomaly\.(\w+)/;
	my $file = PostgreSQL::Test::Utils::tempdir . '/commands.sql';
	append_to_file($file, $commands);
	my ($out, $err) = run_command([ @psql, '-f', $file ]);
	s/[ \t]+$//gm, s/\n+\z/\n/ for $out, $expected;
	is("$out\n" =~ s/\n+\z/\n/r, $expected, ++$count . ": $title") or diag $err;
}
is($count, () = $text =~ /^```sql$/gm, 'every command of the README has its output there');
$node->stop;
done_testing();

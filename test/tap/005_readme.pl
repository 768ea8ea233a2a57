#
# 005_readme.pl
#	Every command of the README and of the documents gives the output that is printed there.
#
# A document's commands are one session of psql in a database of its own, in a server that is not preloaded.  Roles are the
# server's: the document that makes some comes last.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$node->start;

# Trailing blanks and empty lines at the ends do not count, nor where psql says that a message comes from.
sub normal
{
	my ($text) = @_;
	$text =~ s/^psql:\S+:\d+: //gm;
	$text =~ s/[ \t]+$//gm;
	$text =~ s/\A\n+//;
	return $text =~ s/\n*\z/\n/r;
}

foreach my $document ('README.md', 'docs/reference.md', 'docs/workers.md', 'docs/requests.md')
{
	my $database = lc $document =~ s/\W/_/gr;
	my @psql = ('psql', '-X', '-q', '-d', $node->connstr($database));
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	ok(run_log([ @psql, '-v', 'ON_ERROR_STOP=1', '-c', 'CREATE EXTENSION pynomaly', '-f', 'examples/payments.sql' ]),
		"$document: the example is loaded as the README says");

	my $text = slurp_file($document);
	my (@commands, @expected);
	while ($text =~ /^```sql\n(.*?)^```$(?:\n```text\n(.*?)^```$)?/gms)
	{
		push @commands, $1;
		push @expected, $2 // '';
	}
	my $file = PostgreSQL::Test::Utils::tempdir . '/commands.sql';
	append_to_file($file, join('', map { "$_\\echo @@@@\n" } @commands));
	my $log = "$file.out";
	run_log([ @psql, '-f', $file ], '>', $log, '2>&1');
	my @out = split /^@@@@\n/m, slurp_file($log), -1;
	foreach my $i (0 .. $#commands)
	{
		my ($title) = $commands[$i] =~ /pynomaly\w*\.(\w+)/;
		is(normal($out[$i] // ''), normal($expected[$i]), "$document, " . ($i + 1) . ": $title");
	}
	ok(scalar @commands, "$document has commands");
	# Its roles are in other documents, too.
	$node->safe_psql('postgres', "DROP DATABASE $database WITH (FORCE)");
}
$node->stop;
done_testing();

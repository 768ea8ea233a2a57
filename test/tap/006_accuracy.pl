#
# 006_accuracy.pl
#	On the labelled tables of the ADBench benchmark the detectors are as accurate as their published kin.
#
# The tables and what PyOD's and scikit-learn's detectors reach on them are in ../shared, which a user's checkout has not.
# ROC-AUC is the share of pairs of an anomaly and an ordinary row that are in the right order (ties count half), as
# scikit-learn computes it; average precision is the mean over the anomalies of the share of anomalies among the rows that
# score at least as high.  The label is among no algorithm's columns.
#
use strict;
use warnings;
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shared = $ENV{PYN_SHARED} // '';
plan skip_all => 'needs ../shared/data, the labelled tables' unless -d "$shared/data/adbench";

# The mean of each algorithm's results on a table: $baseline{table}{algorithm} = [sum, count].
my %baseline;
my ($names, @results) = split /\n/, slurp_file("$shared/data/baseline_adbench.csv");
for (@results)
{
	my %result;
	@result{ split /,/, $names } = split /,/;
	my ($table, $algorithm, $area) = @result{qw(dataset algo auroc)};
	$baseline{$table}{$algorithm}[0] += $area;
	$baseline{$table}{$algorithm}[1]++;
}
my $baseline = sub { my $b = $baseline{ $_[0] }{ $_[1] }; $b->[0] / $b->[1] };

my $node = PostgreSQL::Test::Cluster->new('accuracy');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pynomaly');

my @algorithms = qw(auto isolation_forest ecod);
my %sum;
my @tables = sort map { m{([^/]+)\.csv\.gz$} } glob "$shared/data/adbench/*.csv.gz";
foreach my $table (@tables)
{
	my ($text, $rows);
	gunzip("$shared/data/adbench/$table.csv.gz" => \$text) or die $GunzipError;
	my ($header, @lines) = split /\n/, $text;
	my @columns = grep { $_ ne 'label' } split /,/, $header;
	my $kind = @columns < 900 ? 'float8' : 'float4';	# a row must fit a page of 8 kB
	my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
	append_to_file($file, join('', map { $rows++; "$rows,$_\n" } @lines));
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS input; CREATE TABLE input (id int PRIMARY KEY, "
		. join(', ', map { "$_ $kind" } @columns) . ", label float8); COPY input FROM '$file' (FORMAT csv)");
	$node->safe_psql('postgres', join ';', map { qq{DROP TABLE IF EXISTS scored_$_; CREATE TABLE scored_$_ AS SELECT label, score
		FROM input JOIN pynomaly.detect('input', '{@{[join ',', @columns]}}', '$_', options => '{"explain": "none"}') ON id = (key ->> 'id')::int} }
		@algorithms);
	my %area = split /[|\n]/, $node->safe_psql('postgres', join ' UNION ALL ', map { qq{
		SELECT '$_', (sum(rank) FILTER (WHERE label = 1) - count(*) FILTER (WHERE label = 1) * (count(*) FILTER (WHERE label = 1) + 1) / 2)
			/ (count(*) FILTER (WHERE label = 1) * count(*) FILTER (WHERE label = 0))
		FROM (SELECT label, rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2.0 AS rank FROM scored_$_) AS ranked} }
		@algorithms);
	$sum{precision} += $node->safe_psql('postgres', q{
		SELECT sum(hits * so_far / of) / sum(hits) FROM (SELECT hits, sum(hits) OVER worse AS so_far, sum(rows) OVER worse AS of
			FROM (SELECT score, count(*) FILTER (WHERE label = 1) AS hits, count(*) AS rows FROM scored_auto GROUP BY score) AS s
			WINDOW worse AS (ORDER BY score DESC)) AS w});
	$sum{$_} += $area{$_} foreach keys %area;
	$sum{peer} += $baseline->($table, 'IForest');
	cmp_ok(abs($area{ecod} - $baseline->($table, 'ECOD')), '<=', 0.01, "$table: ecod is within 0.01 of PyOD's ECOD");
	cmp_ok($area{auto}, '>=', $baseline->($table, 'IForest') - 0.10, "$table: auto is at most 0.10 behind an isolation forest");
	note(sprintf '%s: auto %.4f, isolation_forest %.4f, ecod %.4f', $table, $area{auto}, $area{isolation_forest}, $area{ecod});
}
cmp_ok(scalar(@tables), '==', 17, 'all tables are there');
cmp_ok($sum{isolation_forest} / @tables, '>=', $sum{peer} / @tables - 0.01,
	sprintf 'isolation_forest (mean %.4f) is as accurate as scikit-learn\'s (%.4f)', $sum{isolation_forest} / @tables, $sum{peer} / @tables);
cmp_ok($sum{auto} / @tables, '>=', 0.79, sprintf 'auto has a mean ROC-AUC of at least 0.79 (%.4f)', $sum{auto} / @tables);
cmp_ok($sum{precision} / @tables, '>=', 0.41, sprintf 'and a mean average precision of at least 0.41 (%.4f)', $sum{precision} / @tables);
$node->stop;
done_testing();

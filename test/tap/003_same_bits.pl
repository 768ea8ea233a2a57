#
# 003_same_bits.pl
#	Models, scores and reasons of every algorithm have the same bits whichever variants of its functions glibc picks for the
#	CPU, and scores have them on any number of parallel workers.
#
# A server is started with glibc's AVX2, AVX512 and FMA variants masked; the same data must give the same bytes.  That the
# mask works is shown by libm itself: where the CPU has the variants, some of its results differ.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tunables = 'glibc.cpu.hwcaps=' . join ',',
	map { "-$_" } qw(AVX2_Usable AVX2 FMA_Usable FMA FMA4 AVX512F AVX512VL AVX512BW AVX_Usable AVX ERMS);

my $setup = q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE mixed AS
		SELECT i AS id, sin(i) * exp(cos(i * 0.37) * 3) AS wave, ln(i + 1) * (i % 13) AS logs, (i % 7)::int AS step,
			'kind ' || (i * i % 11) AS kind, timestamptz '2026-01-01' + i * i % 100000 * interval '37 seconds' AS at,
			NULLIF(i % 17, 5) AS gaps
		FROM generate_series(1, 5000) AS i;
	ALTER TABLE mixed ADD PRIMARY KEY (id);
	CREATE TABLE model (algorithm text PRIMARY KEY, model pynomaly.model);
};
my $fit = q{INSERT INTO model SELECT algorithm, pynomaly.fit(s, algorithm)
	FROM (SELECT pynomaly.sketch_of('mixed') AS s OFFSET 0) AS sketch, pynomaly.algorithms()};

# Each gives a row (algorithm, digest) for every algorithm.
my %questions = (
	'models' => q{SELECT algorithm, md5(model::text) FROM model},
	'bulk scores and p-values' => q{SELECT algorithm,
			(SELECT md5(string_agg(float8send(score)::text || float8send(p_value)::text, ',' ORDER BY (key->>'id')::int))
			 FROM pynomaly.detect('mixed', algorithm => a.algorithm, options => '{"explain": "none"}'))
		FROM pynomaly.algorithms() AS a},
	'scores row by row' => q{SELECT algorithm,
			(SELECT md5(string_agg(float8send(pynomaly.score(model, m))::text, ',' ORDER BY id)) FROM mixed AS m)
		FROM model},
	'reasons' => q{SELECT algorithm,
			(SELECT md5(string_agg(key::text || reasons::text, ',' ORDER BY ordinality))
			 FROM pynomaly.anomalies('mixed', algorithm => a.algorithm, contamination => 0.1, "limit" => 25) WITH ORDINALITY)
		FROM pynomaly.algorithms() AS a},
);
my $libm = q{SELECT md5(string_agg(float8send(ln(i / 7.0::float8))::text || float8send(exp(i / 977.0::float8))::text
	|| float8send(power(i / 3.0::float8, 1.7::float8))::text || float8send(sin(i / 11.0::float8))::text, ',' ORDER BY i))
	FROM generate_series(1, 20000) AS i};

# Scores of all rows by an algorithm's model, in a plan with so many workers; the scan scores, the leader sorts.
sub in_parallel
{
	my ($algorithm, $workers, $explain) = @_;

	return qq{
		SET max_parallel_workers_per_gather = $workers;
		SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0;
		SET min_parallel_table_scan_size = 0;
		SET parallel_leader_participation = } . ($workers == 2 ? 'off' : 'on') . qq{;
		$explain SELECT md5(string_agg(float8send(score)::text, ',' ORDER BY id))
		FROM (SELECT id, pynomaly.score((SELECT model FROM model WHERE algorithm = '$algorithm'), m) AS score
			  FROM mixed AS m OFFSET 0) AS s;
	};
}

sub answers
{
	my ($server, $question) = @_;

	return map { split /\|/, $_, 2 } split /\n/, $server->safe_psql('postgres', $question);
}

# The table is copied as text from one server to the other, so that what libm makes of its columns cannot matter.
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->append_conf('postgresql.conf', "max_worker_processes = 8\nmax_parallel_workers = 4");
$plain->start;
$plain->safe_psql('postgres', $setup);
$plain->safe_psql('postgres', $fit);
my $rows = $plain->safe_psql('postgres', 'COPY mixed TO STDOUT');
my @algorithms = split /\n/, $plain->safe_psql('postgres', 'SELECT algorithm FROM model ORDER BY algorithm');
my %expected = map { $_ => { answers($plain, $questions{$_}) } } keys %questions;
my $libm_expected = $plain->safe_psql('postgres', $libm);

foreach my $algorithm (@algorithms)
{
	foreach my $workers (0, 1, 2)
	{
		is($plain->safe_psql('postgres', in_parallel($algorithm, $workers, '')), $expected{'scores row by row'}{$algorithm},
			"$algorithm: the same scores with $workers workers");
	}
}
foreach my $workers (1, 2)
{
	my $plan = $plain->safe_psql('postgres', in_parallel('ecod', $workers, 'EXPLAIN (ANALYZE, COSTS OFF)'));

	like($plan, qr/Workers Launched: $workers\b.*Parallel Seq Scan/s, "$workers workers were launched, and scored");
}
$plain->stop;

my $masked = PostgreSQL::Test::Cluster->new('masked');
$masked->init;
{
	local $ENV{GLIBC_TUNABLES} = $tunables;
	$masked->start;
}
$masked->safe_psql('postgres', $setup . 'TRUNCATE mixed;');
my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
append_to_file($file, $rows . "\n");
$masked->safe_psql('postgres', "COPY mixed FROM '$file'");
$masked->safe_psql('postgres', $fit);

my $variants = slurp_file('/proc/cpuinfo') =~ /^flags.*\bfma\b/m;
my $differs = $masked->safe_psql('postgres', $libm) ne $libm_expected;
note($differs ? 'the mask changes what libm gives' : 'libm gives the same with the mask');
ok($differs || !$variants, 'the mask changes what libm gives, on a CPU that has the variants');
foreach my $name (sort keys %questions)
{
	my %given = answers($masked, $questions{$name});

	foreach my $algorithm (@algorithms)
	{
		ok(defined $given{$algorithm} && length($given{$algorithm}) == 32 && $given{$algorithm} eq $expected{$name}{$algorithm},
			"$algorithm, $name: the same bits with the variants masked");
	}
}
$masked->stop;
done_testing();

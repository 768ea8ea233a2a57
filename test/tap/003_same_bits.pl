#
# 003_same_bits.pl
#	Models and scores have the same bits whichever variants of its functions glibc picks for the CPU.
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
			'kind ' || (i * i % 11) AS kind, timestamptz '2026-01-01' + i * i % 100000 * interval '37 seconds' AS at
		FROM generate_series(1, 20000) AS i;
	ALTER TABLE mixed ADD PRIMARY KEY (id);
};

# The table is copied as text from one server to the other, so that what libm makes of its columns cannot matter.
my %questions = (
	'model of isolation_forest' => q{SELECT md5(pynomaly.fit(pynomaly.sketch_of('mixed'), 'isolation_forest')::text)},
	'model of ecod' => q{SELECT md5(pynomaly.fit(pynomaly.sketch_of('mixed'), 'ecod')::text)},
	'bulk scores and p-values of isolation_forest' =>
		q{SELECT md5(string_agg(float8send(score)::text || float8send(p_value)::text, ',' ORDER BY (key->>'id')::int))
		  FROM pynomaly.detect('mixed', algorithm => 'isolation_forest')},
	'bulk scores and p-values of ecod' =>
		q{SELECT md5(string_agg(float8send(score)::text || float8send(p_value)::text, ',' ORDER BY (key->>'id')::int))
		  FROM pynomaly.detect('mixed', algorithm => 'ecod')},
	'scores row by row' =>
		q{SELECT md5(string_agg(float8send(pynomaly.score(model, m))::text, ',' ORDER BY id))
		  FROM mixed AS m, (SELECT pynomaly.fit(pynomaly.sketch_of('mixed'), 'ecod') AS model OFFSET 0) AS f},
	'reasons' => q{SELECT md5(string_agg(reasons::text, ',' ORDER BY (key->>'id')::int)) FROM pynomaly.anomalies('mixed')},
);
my $libm = q{SELECT md5(string_agg(float8send(ln(i / 7.0::float8))::text || float8send(exp(i / 977.0::float8))::text
	|| float8send(power(i / 3.0::float8, 1.7::float8))::text || float8send(sin(i / 11.0::float8))::text, ',' ORDER BY i))
	FROM generate_series(1, 20000) AS i};

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', $setup);
my $rows = $plain->safe_psql('postgres', 'COPY mixed TO STDOUT');
my %expected = map { $_ => $plain->safe_psql('postgres', $questions{$_}) } keys %questions;
my $libm_expected = $plain->safe_psql('postgres', $libm);
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

my $variants = slurp_file('/proc/cpuinfo') =~ /^flags.*\bfma\b/m;
my $differs = $masked->safe_psql('postgres', $libm) ne $libm_expected;
note($differs ? 'the mask changes what libm gives' : 'libm gives the same with the mask');
ok($differs || !$variants, 'the mask changes what libm gives, on a CPU that has the variants');
foreach my $name (sort keys %questions)
{
	is($masked->safe_psql('postgres', $questions{$name}), $expected{$name}, "$name: the same bits with the variants masked");
}
$masked->stop;
done_testing();
